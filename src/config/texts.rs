//! What people are told: `config/messages/*.toml`, one file per language.
//!
//! The English texts are built in; a directory of the operator's adds languages, and a file of the
//! same name there replaces a built-in one. Every text is checked here, so that nothing can fail
//! when it is filled: `{code}` is the only place that is always there, any other name is looked up in
//! the challenge's `vars`, and a text whose name is missing there gives way to `default`.

use std::collections::BTreeMap;
use std::path::Path;

use super::delivery::locale;
use super::document;
use super::origin::{ConfigError, Path as KeyPath, Place};
use super::read::{Context, Item, Section};
use super::{kinds, parse_file};
use crate::challenge::Channel;
use crate::delivery::message::{DEFAULT_LANGUAGE, DEFAULT_TEXT, Template, Texts};

const ENGLISH: &str = include_str!("../../config/messages/en.toml");
/// Longer than any text message that a person would read.
const LONGEST_TEXT: usize = 1_000;

/// Reads the built-in texts and those of `dir`.
///
/// # Errors
/// All that is wrong in any file.
pub fn load(dir: Option<&Path>) -> Result<Texts, Vec<ConfigError>> {
    let english = document::parse(ENGLISH, &|line, column| Place::BuiltIn { line, column })?;
    let built_in = Place::BuiltIn { line: 1, column: 1 };
    let mut files = BTreeMap::from([(DEFAULT_LANGUAGE.to_owned(), (english, built_in))]);
    let mut errors = Vec::new();
    for (name, file) in dir.map(toml_files).transpose()?.into_iter().flatten() {
        match parse_file(&file) {
            Ok(table) => {
                files.insert(name.to_ascii_lowercase(), (table, super::place_in(&file)(1, 1)));
            }
            Err(more) => errors.extend(more),
        }
    }
    let cx = Context::default();
    let mut texts = Texts::default();
    for (name, (table, place)) in files {
        read_language(&name, Section::new(&cx, table, KeyPath::default(), place), &mut texts);
    }
    errors.extend(cx.into_report().errors);
    if errors.is_empty() { Ok(texts) } else { Err(errors) }
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

fn read_language(file_name: &str, mut top: Section<'_>, texts: &mut Texts) {
    let language = top.require("language", "a language tag such as \"en\"").and_then(locale);
    if let Some(language) = language.as_deref().filter(|language| !language.eq_ignore_ascii_case(file_name)) {
        top.refuse("language", format!("found {language:?} in {file_name}.toml"), "the name of the file");
    }
    for channel in Channel::ALL {
        let mut section = top.section(channel.as_str());
        let last_resort = file_name == DEFAULT_LANGUAGE && channel == Channel::Sms;
        if last_resort && !section.has(DEFAULT_TEXT) {
            section.refuse(DEFAULT_TEXT, "missing", "the text that is sent when no other fits");
        }
        for (name, item) in section.rest() {
            let must_render = file_name == DEFAULT_LANGUAGE && name == DEFAULT_TEXT;
            let template = template(&item, channel, must_render);
            if let (Some(language), Some(template)) = (&language, template) {
                texts.insert(channel, language, &name, template);
            }
        }
    }
    top.finish();
}

/// Reads one text; `must_render` for the one that everything falls back to.
fn template(item: &Item<'_>, channel: Channel, must_render: bool) -> Option<Template> {
    const ALLOWED: &str = "a text with places such as {code}; {{ and }} stand for braces";
    let Some(text) = item.as_text() else { return item.refuse(ALLOWED) };
    let length = text.chars().count();
    if text.trim().is_empty() || length > LONGEST_TEXT {
        return item.refuse_as(format!("a text of {length} characters"), format!("1 to {LONGEST_TEXT} characters"));
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(why) => return item.refuse_as(why, ALLOWED),
    };
    let has_code = template.names().any(|name| name == "code");
    if channel != Channel::Push && !has_code {
        return item.refuse_as("a text without {code}", "a text that tells the code");
    }
    if channel == Channel::Push && has_code {
        return item.refuse_as("a prompt with {code}", "a prompt without the code, which other apps could read");
    }
    if let Some(name) = template.names().find(|name| must_render && *name != "code") {
        let found = format!("{{{name}}} in the text that everything falls back to");
        return item.refuse_as(found, "no place but {code}, since not every challenge has others");
    }
    Some(template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge::{Address, Challenge, ContentHash, Fallback, Method};
    use crate::clock::Timestamp;
    use crate::phone::PhoneNumber;
    use crate::secret::Secret;

    fn challenge(purpose: &str, locale: Option<&str>) -> Challenge {
        let to = PhoneNumber::parse("+14155552671", None).expect("a number");
        Challenge {
            id: crate::challenge::ChallengeId::parse("c-1").expect("an id"),
            session_id: None,
            user_id: None,
            tenant: "default".into(),
            purpose: purpose.into(),
            code: Some(Secret::new("481516")),
            issued_at: Timestamp::EPOCH,
            arrived_at: Timestamp::EPOCH,
            expires_at: Timestamp::MAX,
            locale: locale.map(str::to_owned),
            template: None,
            vars: BTreeMap::new(),
            methods: vec![Method { id: None, address: Address::Sms { to } }],
            fallback: Fallback::Auto,
            origin: crate::challenge::Origin::default(),
            notes: Vec::new(),
            content: ContentHash(0),
        }
    }

    fn with_file(name: &str, content: &str) -> Result<Texts, Vec<String>> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(name), content).expect("writable");
        std::fs::write(dir.path().join("README.md"), "not a text").expect("writable");
        let shown = format!("{}/", dir.path().display());
        load(Some(dir.path()))
            .map_err(|errors| errors.iter().map(|error| error.to_string().replace(&shown, "")).collect())
    }

    /// The basic GSM 7-bit alphabet, as far as English needs it: one of these is one of 160.
    fn is_gsm7(c: char) -> bool {
        c.is_ascii_alphanumeric() || " \n@$!\"#%&'()*+,-./:;<=>?_".contains(c)
    }

    #[test]
    fn every_english_text_is_one_segment_with_the_code_first() {
        let texts = load(None).expect("the built-in texts are right");
        for purpose in ["default", "sign_in", "password_reset", "registration", "transaction", "anything"] {
            let rendered = texts.render(&challenge(purpose, None), Channel::Sms, None).expect("a text");
            assert!(rendered.text.starts_with("481516 is your "), "{}", rendered.text);
            assert!(rendered.text.contains("Don't share it"), "{}", rendered.text);
            // A code may be 10 characters longer than this one.
            assert!(rendered.text.len() + 10 <= 160 && rendered.text.chars().all(is_gsm7), "{}", rendered.text);
            for asks_for_reply in ["reply", "respond", "STOP", "http"] {
                assert!(!rendered.text.contains(asks_for_reply), "{}", rendered.text);
            }
        }
    }

    #[test]
    fn a_directory_adds_languages_and_replaces_files() {
        let german = "language = \"de\"\n[sms]\ndefault = \"{code} ist Ihr Code für {app}.\"\n";
        let texts = with_file("de.toml", german).expect("right");
        let rendered = texts.render(&challenge("sign_in", Some("de-AT")), Channel::Sms, None).expect("a text");
        assert!(rendered.text.ends_with("ignore this message."), "no app is given: {}", rendered.text);
        let mut with_app = challenge("sign_in", Some("de-AT"));
        with_app.vars.insert("app".into(), "Contoso".into());
        let rendered = texts.render(&with_app, Channel::Sms, None).expect("a text");
        assert_eq!((rendered.text.as_str(), rendered.language.as_str()), ("481516 ist Ihr Code für Contoso.", "de"));

        let texts = with_file("en.toml", "language = \"en\"\n[sms]\ndefault = \"Code {code}\"\n").expect("right");
        let rendered = texts.render(&challenge("sign_in", None), Channel::Sms, None).expect("a text");
        assert_eq!(rendered.text, "Code 481516");
    }

    #[test]
    fn each_mistake_is_told() {
        const HEAD: &str = "language = \"de\"\n[sms]\n";
        for (content, expected) in [
            (
                format!("{HEAD}x = \"no code\"\n"),
                "de.toml:3:5: sms.x: a text without {code}; allowed: a text that tells the code",
            ),
            (
                format!("{HEAD}x = \"{{code\"\n"),
                "de.toml:3:5: sms.x: `{` at byte 0 has no partner; allowed: a text with places such as {code}; {{ and }} stand for braces",
            ),
            (
                format!("{HEAD}x = 5\n"),
                "de.toml:3:5: sms.x: found 5; allowed: a text with places such as {code}; {{ and }} stand for braces",
            ),
            (format!("{HEAD}x = \"\"\n"), "de.toml:3:5: sms.x: a text of 0 characters; allowed: 1 to 1000 characters"),
            (
                "language = \"de\"\n[push]\nx = \"{code}\"\n".to_owned(),
                "de.toml:3:5: push.x: a prompt with {code}; allowed: a prompt without the code, which other apps could read",
            ),
            (
                "language = \"fr\"\n".to_owned(),
                "de.toml:1:12: language: found \"fr\" in de.toml; allowed: the name of the file",
            ),
            ("[sms]\n".to_owned(), "de.toml:1:1: language: missing; allowed: a language tag such as \"en\""),
            (
                "language = \"de\"\n[smss]\n".to_owned(),
                "de.toml:2:2: smss: unknown key; did you mean `sms`?; allowed: language, push, sms, voice",
            ),
            ("language = \"de\n".to_owned(), "de.toml:1:15: not TOML: invalid basic string, expected `\"`"),
        ] {
            assert_eq!(with_file("de.toml", &content), Err(vec![expected.to_owned()]), "{content}");
        }
    }

    #[test]
    fn english_must_always_have_something_to_say() {
        assert_eq!(
            with_file("en.toml", "language = \"en\"\n[sms]\ndefault = \"{code} for {app}\"\n"),
            Err(vec![
                "en.toml:3:11: sms.default: {app} in the text that everything falls back to; allowed: no place but {code}, \
                 since not every challenge has others"
                    .to_owned()
            ])
        );
        assert_eq!(
            with_file("en.toml", "language = \"en\"\n"),
            Err(vec![
                "en.toml:1:1: sms.default: missing; allowed: the text that is sent when no other fits".to_owned()
            ])
        );
    }
}
