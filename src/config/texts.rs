//! What people are told: `config/messages/*.toml`, one file per language.
//!
//! Five languages are built in. A directory of the operator's adds languages, and a file there replaces the
//! built-in texts of its language, channel by channel; a tenant may have a directory of its own. Every text is
//! checked here, so that nothing can fail when it is filled: `{code}` is the only place that is always there,
//! any other name is looked up in the challenge, and a text without a wording that can be filled gives way to
//! `default`.

use std::path::Path;

use super::document;
use super::origin::{ConfigError, Path as KeyPath, Place};
use super::read::{Context, Item, Section};
use super::{Settings, kinds, parse_file};
use crate::challenge::Channel;
use crate::delivery::language::Language;
use crate::delivery::message::{CODE, DEFAULT_LANGUAGE, DEFAULT_TEXT, Template, TextSet, Texts, Wording};

const BUILT_IN: [(&str, &str); 5] = [
    ("de", include_str!("../../config/messages/de.toml")),
    ("en", include_str!("../../config/messages/en.toml")),
    ("es", include_str!("../../config/messages/es.toml")),
    ("fr", include_str!("../../config/messages/fr.toml")),
    ("zh-Hans", include_str!("../../config/messages/zh-Hans.toml")),
];
/// Longer than anything that a person would read or listen to.
const LONGEST_TEXT: usize = 1_000;

/// Whom the texts of a file are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Everybody,
    Tenant,
}

/// Reads the built-in texts, those of `messages_dir`, and those of each tenant.
///
/// # Errors
/// All that is wrong in any file.
pub fn load(settings: &Settings) -> Result<Texts, Vec<ConfigError>> {
    let (cx, mut errors) = (Context::default(), Vec::new());
    let mut general = TextSet::new(settings.messages.clone());
    for (name, content) in BUILT_IN {
        let table = document::parse(content, &|line, column| Place::BuiltIn { line, column })?;
        let top = Section::new(&cx, table, KeyPath::default(), Place::BuiltIn { line: 1, column: 1 });
        language_file(name, top, For::Everybody, &mut general, &mut Vec::new());
    }
    if let Some(dir) = &settings.messages_dir {
        directory(dir, &cx, For::Everybody, &mut general).unwrap_or_else(|wrong| errors.extend(wrong));
    }
    let mut texts = Texts { general, ..Texts::default() };
    for (tenant, own) in &settings.tenant_messages {
        let mut set = TextSet::new(own.style(&settings.messages));
        if let Some(dir) = &own.dir {
            directory(dir, &cx, For::Tenant, &mut set).unwrap_or_else(|wrong| errors.extend(wrong));
        }
        texts.tenants.insert(tenant.clone(), set);
    }
    errors.extend(cx.into_report().errors);
    if errors.is_empty() { Ok(texts) } else { Err(errors) }
}

/// Reads every language of a directory into `set`; what can't be read at all is the error.
fn directory(dir: &Path, cx: &Context, whose: For, set: &mut TextSet) -> Result<(), Vec<ConfigError>> {
    let (mut errors, mut languages) = (Vec::new(), Vec::new());
    for (name, file) in toml_files(dir)? {
        match parse_file(&file) {
            Ok(table) => {
                let top = Section::new(cx, table, KeyPath::default(), super::place_in(&file)(1, 1));
                language_file(&name, top, whose, set, &mut languages);
            }
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The files of a directory that are TOML, by name without the ending, in order.
fn toml_files(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>, Vec<ConfigError>> {
    let unreadable = |error: std::io::Error| {
        let origin = super::Origin { place: super::place_in(dir)(1, 1), path: String::new() };
        vec![ConfigError::plain(origin, format!("can't be read: {}", kinds::reason(&error)))]
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one file; `languages` are those of the directory so far, with their files.
fn language_file(
    name: &str,
    mut top: Section<'_>,
    whose: For,
    set: &mut TextSet,
    languages: &mut Vec<(Language, String)>,
) {
    let language = top.require("language", LANGUAGE).and_then(language);
    if let Some(language) = &language {
        if !language.tag.eq_ignore_ascii_case(name) {
            top.refuse("language", format!("found {:?} in {name}.toml", language.tag), "the name of the file");
        }
        if let Some((_, other)) = languages.iter().find(|(known, _)| known.is_same(language)) {
            top.refuse("language", format!("the language of {other}.toml, too"), "one file for each language");
        }
        languages.push((language.clone(), name.to_owned()));
    }
    let last_resort = whose == For::Everybody && name.eq_ignore_ascii_case(DEFAULT_LANGUAGE);
    for channel in Channel::ALL {
        let is_there = top.has(channel.as_str());
        let section = top.section(channel.as_str());
        if !is_there {
            continue;
        }
        if last_resort && !section.has(DEFAULT_TEXT) {
            section.refuse(DEFAULT_TEXT, "missing", "the text that is sent when no other fits");
        }
        read_channel(section, channel, last_resort, language.as_ref(), set);
    }
    top.finish();
}

const LANGUAGE: &str = "a language tag such as \"de\" or \"zh-Hans\"";

fn language(item: Item<'_>) -> Option<Language> {
    item.parsed(LANGUAGE, Language::parse)
}

fn read_channel(
    mut section: Section<'_>,
    channel: Channel,
    last_resort: bool,
    language: Option<&Language>,
    set: &mut TextSet,
) {
    if let Some(language) = language {
        set.clear(channel, language);
    }
    for (name, item) in section.rest() {
        let wordings = wordings(item, channel, last_resort && name == DEFAULT_TEXT);
        if let (Some(language), Some(wordings)) = (language, wordings) {
            set.insert(channel, language, &name, wordings);
        }
    }
}

/// Reads one text; `must_render` for the one that everything falls back to.
fn wordings(item: Item<'_>, channel: Channel, must_render: bool) -> Option<Vec<Wording>> {
    let (cx, place) = (item.cx, item.origin());
    let wordings = match item.length() {
        Some(0) => return item.refuse_as("a list without wordings", "at least one wording"),
        Some(_) => item.list("a list of wordings", |item| wording(item, channel))?,
        None => vec![wording(item, channel)?],
    };
    // What is wrong with a wording has been told.
    let last = wordings.last()?;
    if let Some(name) = last.names().find(|name| must_render && *name != CODE) {
        let found = format!("{{{name}}} in the text that everything falls back to");
        let allowed = "no place but {code}, since not every challenge has others";
        cx.error(ConfigError::new(place, found, allowed));
        return None;
    }
    Some(wordings)
}

fn wording(item: Item<'_>, channel: Channel) -> Option<Wording> {
    if channel != Channel::Push {
        return Some(Wording { title: None, body: template(&item, channel)? });
    }
    if !item.is_table() {
        return item.refuse("a table: { title = \"…\", body = \"…\" }");
    }
    let mut section = item.section()?;
    let title = section.require("title", "what heads the prompt");
    let body = section.require("body", "what stands below the title");
    section.finish();
    let [title, body] = [title, body].map(|item| item.and_then(|item| template(&item, channel)));
    Some(Wording { title: Some(title?), body: body? })
}

fn template(item: &Item<'_>, channel: Channel) -> Option<Template> {
    const ALLOWED: &str = "a text with places such as {code}; {{ and }} stand for braces";
    let Some(text) = item.as_text().map(str::trim) else { return item.refuse(ALLOWED) };
    let length = text.chars().count();
    if length == 0 || length > LONGEST_TEXT {
        return item.refuse_as(format!("a text of {length} characters"), format!("1 to {LONGEST_TEXT} characters"));
    }
    let may_be = |c: char| !c.is_control() || (c == '\n' && channel == Channel::Sms);
    if let Some(c) = text.chars().find(|c| !may_be(*c)) {
        return item.refuse_as(format!("a text with {c:?}"), "printable characters; in a text message also \"\\n\"");
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(why) => return item.refuse_as(why, ALLOWED),
    };
    let has_code = template.names().any(|name| name == CODE);
    if channel != Channel::Push && !has_code {
        return item.refuse_as("a text without {code}", "a text that tells the code");
    }
    if channel == Channel::Push && has_code {
        return item.refuse_as("a prompt with {code}", "a prompt without the code, which other apps could read");
    }
    Some(template)
}

#[cfg(test)]
mod tests;
