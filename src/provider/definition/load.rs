//! From the text of a definition to its checked form: what it says of itself, its settings, its channels and
//! how they sign in. [`body`] reads what a request carries, [`answers`] what an answer means; together they
//! and [`receipt`] how receipts are asked for and read
//! are the only files that know the keys.

use std::collections::BTreeMap;

use reqwest::header::HeaderName;
use toml::de::DeTable;

use self::answers::{RESULTS, read_errors, read_reply};
use self::body::{marked, read_body, read_encodings, read_languages, read_validity};
use self::receipt::read_receipt;
use super::lookup::Lookups;
use super::reader::{Mistakes, Node, Section};
use super::reply::ErrorTable;
use super::request::{Auth, Header, Method, PathTemplate};
use super::{Definition, DefinitionError, Dialect, Required, SettingRule, variables};
use crate::challenge::Channel;
use crate::delivery::message::Template;

mod answers;
mod body;
mod receipt;

/// A variable, where a template may use it.
#[derive(Clone, Copy)]
struct Variable {
    /// Whether a message may have no value for it.
    may_lack: bool,
    /// Whether it is a number to those who speak JSON.
    is_number: bool,
}

/// Every variable that a template may use where it stands.
type Scope = BTreeMap<String, Variable>;

pub(super) fn load(name: &str, file: &str, text: &str) -> Result<Definition, Vec<DefinitionError>> {
    let mistakes = Mistakes::new(file, text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.add(at, "", error.message(), "TOML, with each key once");
    }
    let definition = read_definition(name, Section::root(document.get_ref()), &mistakes);
    let found = mistakes.into_sorted();
    if found.is_empty() { Ok(definition) } else { Err(found) }
}

fn read_definition(name: &str, mut root: Section<'_>, mistakes: &Mistakes<'_>) -> Definition {
    let base_url = root.take("base_url").and_then(|node| read_base_url(&node, mistakes));
    let settings = root.take("settings").and_then(|node| node.table(mistakes));
    let settings = settings.map(|section| read_settings(section, mistakes)).unwrap_or_default();
    let everywhere = scope_of_settings(&settings, None);
    let shared = Shared {
        auth: Part::read(root.take("auth"), |node| read_auth(node, &everywhere, mistakes)),
        errors: Part::read(root.take("errors"), |node| read_errors(node, mistakes)),
    };
    let mut dialects = BTreeMap::new();
    let mut sound = true;
    for channel in Channel::ALL {
        let Some(section) = root.take(channel.as_str()).map(|node| node.table(mistakes)) else { continue };
        match section.and_then(|section| read_dialect(section, channel, &shared, &settings, mistakes)) {
            Some(dialect) => drop(dialects.insert(channel, dialect)),
            None => sound = false,
        }
    }
    if dialects.is_empty() && sound {
        mistakes.add(0, "", "no channel", "at least one of the tables [sms], [voice], [push]");
    }
    root.finish(&["base_url", "settings", "auth", "errors", "sms", "voice", "push"], mistakes);
    Definition { name: name.into(), base_url, settings, dialects }
}

/// A table that need not be there.
#[derive(Clone)]
enum Part<T> {
    Absent,
    /// It is there, and its mistakes are told.
    Wrong,
    Read(T),
}

impl<T: Clone> Part<T> {
    fn read<'t>(node: Option<Node<'t>>, read: impl FnOnce(&Node<'t>) -> Option<T>) -> Self {
        node.map_or(Self::Absent, |node| read(&node).map_or(Self::Wrong, Self::Read))
    }

    /// This channel's own, or else what all channels share.
    fn or_shared(self, shared: &Self, key: &str, section: &Section<'_>, mistakes: &Mistakes<'_>) -> Option<T> {
        let chosen = if matches!(self, Self::Absent) { shared.clone() } else { self };
        if matches!(chosen, Self::Absent) {
            mistakes.add(section.at, key, "nothing", format!("a table [{key}], or [{}]", section.path_of(key)));
        }
        if let Self::Read(part) = chosen { Some(part) } else { None }
    }
}

/// What channels have in common unless they say otherwise.
struct Shared {
    auth: Part<Auth>,
    errors: Part<ErrorTable>,
}

fn read_base_url(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<String> {
    let allowed = "an http or https address without a query";
    let text = node.text(allowed, mistakes)?;
    let parsed = crate::provider::http::base_url(text);
    if parsed.is_none() {
        node.wrong(allowed, mistakes);
    }
    parsed.map(String::from)
}

fn read_settings(mut section: Section<'_>, mistakes: &Mistakes<'_>) -> BTreeMap<String, SettingRule> {
    let entries = section.entries();
    let mut rules = BTreeMap::new();
    let mut defaults = Vec::new();
    for (name, node) in entries {
        let named_well = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named_well || crate::provider::http::RESERVED_SETTINGS.contains(&name) {
            mistakes.add(
                node.at,
                &node.path,
                format!("`{name}`"),
                "a name of a-z, 0-9 and _ that every provider has not",
            );
        }
        let Some(mut table) = node.table(mistakes) else { continue };
        let secret = table.take("secret").and_then(|node| node.flag(mistakes)).unwrap_or_default();
        let required = table.take("required").and_then(|node| read_required(&node, mistakes)).unwrap_or_default();
        let mut rule = SettingRule { required, secret, ..SettingRule::default() };
        let allowed = table.take("one_of").map(|node| node.elements()).unwrap_or_default();
        let words = allowed.iter().filter_map(|node| node.text("texts", mistakes));
        rule.one_of = words.map(str::to_owned).collect();
        let default = table.take("default");
        if let Some(default) = default.as_ref().filter(|_| rule.required != Required::Never) {
            default.wrong("no default where a value is required", mistakes);
        }
        defaults.extend(default.map(|default| (name.to_owned(), default)));
        table.finish(&["required", "secret", "one_of", "default"], mistakes);
        rules.insert(name.to_owned(), rule);
    }
    let required = scope_of_settings(&rules, None).into_iter().filter(|(_, variable)| !variable.may_lack).collect();
    for (name, node) in defaults {
        let default = read_template(&node, &required, true, mistakes);
        if let Some(rule) = rules.get_mut(&name) {
            rule.default = default;
        }
    }
    rules
}

/// `true`, `false`, or a channel that is not carried without it.
fn read_required(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Required> {
    if let Some(flag) = node.value.as_bool() {
        return Some(if flag { Required::Always } else { Required::Never });
    }
    node.word("true, false, sms, voice, push", mistakes).map(Required::For)
}

/// The settings as they stand where `channel` is spoken, or where all are.
fn scope_of_settings(settings: &BTreeMap<String, SettingRule>, channel: Option<Channel>) -> Scope {
    let scoped = |(name, rule): (&String, &SettingRule)| {
        let variable = Variable { may_lack: !rule.is_always_there(channel), is_number: false };
        (format!("{}{name}", variables::SETTINGS), variable)
    };
    settings.iter().map(scoped).collect()
}

/// The same, and what a message of `channel` has.
fn scope_of_messages(
    settings: &BTreeMap<String, SettingRule>,
    channel: Channel,
    has_validity: bool,
    lookups: &Lookups,
) -> Scope {
    let mut scope = scope_of_settings(settings, Some(channel));
    let known = variables::of_channel(channel).filter(|(name, _)| has_validity || *name != variables::VALIDITY);
    scope.extend(
        known.map(|(name, may_lack)| (name.to_owned(), Variable { may_lack, is_number: name == variables::VALIDITY })),
    );
    scope.extend(lookups.columns().map(|(name, is_number)| (name, Variable { may_lack: false, is_number })));
    scope
}

const KEYS_OF_A_CHANNEL: [&str; 13] = [
    "base_url", "method", "path", "headers", "form", "json", "validity", "language", "encoding", "reply", "auth",
    "errors", "receipt",
];

fn read_dialect(
    mut section: Section<'_>,
    channel: Channel,
    shared: &Shared,
    settings: &BTreeMap<String, SettingRule>,
    mistakes: &Mistakes<'_>,
) -> Option<Dialect> {
    let validity = section.take("validity").map(|node| read_validity(&node, mistakes));
    let lookups = Lookups {
        language: section.take("language").map(|node| read_languages(&node, mistakes)).unwrap_or_default(),
        encoding: section.take("encoding").map(|node| read_encodings(&node, mistakes)).unwrap_or_default(),
    };
    let scope = scope_of_messages(settings, channel, validity.is_some(), &lookups);
    let base_url = section.take("base_url").and_then(|node| read_base_url(&node, mistakes));
    let method = section.need("method", "POST, PUT", mistakes).and_then(|n| n.word::<Method>("POST, PUT", mistakes));
    let path = section.need("path", "a path template", mistakes).and_then(|n| read_path(&n, &scope, mistakes));
    let headers = section.take("headers").and_then(|node| node.table(mistakes));
    let headers = headers.map(|table| read_headers(table, &scope, mistakes)).unwrap_or_default();
    let body = read_body(&mut section, &scope, mistakes);
    let reply = section.need("reply", "a table of JSON pointers", mistakes).and_then(|n| read_reply(&n, mistakes));
    let of_settings = scope_of_settings(settings, Some(channel));
    let receipt = section.take("receipt");
    let receipt = receipt.and_then(|node| read_receipt(&node, body.as_ref(), &scope, &of_settings, mistakes));
    let own_auth = Part::read(section.take("auth"), |node| read_auth(node, &of_settings, mistakes));
    let own_errors = Part::read(section.take("errors"), |node| read_errors(node, mistakes));
    let auth = own_auth.or_shared(&shared.auth, "auth", &section, mistakes);
    let errors = own_errors.or_shared(&shared.errors, "errors", &section, mistakes);
    if reply.as_ref().is_some_and(|reply| !reply.error.is_empty())
        && errors.as_ref().is_some_and(|errors| errors.other_error.is_none())
    {
        let why = "what an error within a 2xx means whose code has no row";
        mistakes.add(section.at, "errors.other_error", "nothing", format!("{why}: {RESULTS}"));
    }
    section.finish(&KEYS_OF_A_CHANNEL, mistakes);
    let validity = validity.unwrap_or_default();
    Some(Dialect {
        base_url,
        method: method?,
        path: path?,
        auth: auth?,
        headers,
        body: body?,
        validity,
        lookups,
        receipt,
        reply: reply?,
        errors: errors?,
    })
}

/// A template whose variables are all in `scope`; unless `optional`, none of them may lack a value.
fn read_template(node: &Node<'_>, scope: &Scope, optional: bool, mistakes: &Mistakes<'_>) -> Option<Template> {
    let template = match Template::parse(node.text("a text with {variable} places", mistakes)?) {
        Ok(template) => template,
        Err(why) => {
            mistakes.add(node.at, &node.path, why, "a text with {variable} places, {{ and }} for braces");
            return None;
        }
    };
    for name in template.names() {
        let is_setting = name.starts_with(variables::SETTINGS);
        match scope.get(name) {
            None => {
                let allowed = scope.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                mistakes.add(node.at, &node.path, format!("unknown variable `{{{name}}}`"), allowed);
            }
            Some(variable) if variable.may_lack && is_setting && !optional => {
                let allowed = "a setting that is required or has a default, or a key with `?` behind it";
                mistakes.add(node.at, &node.path, format!("`{{{name}}}`, which may be unset"), allowed);
            }
            Some(_) => {}
        }
    }
    Some(template)
}

fn read_path(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<PathTemplate> {
    let allowed = "`/` and segments with `/` between them; a query is not part of a path";
    let text = node.text(allowed, mistakes)?;
    let Some(path) = text.strip_prefix('/').filter(|path| !path.contains(['?', '#', '\\'])) else {
        node.wrong(allowed, mistakes);
        return None;
    };
    read_template(node, scope, false, mistakes)?;
    // The whole parsed, so does each part: a place holds no `/`.
    let segments = path.split('/').filter(|segment| !segment.is_empty()).map(Template::parse);
    segments.collect::<Result<_, _>>().ok().map(PathTemplate)
}

fn read_header_name(text: &str, node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<HeaderName> {
    const OURS: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|name| !OURS.contains(&name.as_str()));
    if name.is_none() {
        let allowed = format!("the name of a header other than {}", OURS.join(", "));
        mistakes.add(node.at, &node.path, format!("`{text}`"), allowed);
    }
    name
}

fn read_headers(mut table: Section<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Vec<Header> {
    let entries = table.entries();
    let header = |(key, node): (&str, Node<'_>)| {
        let (name, optional) = marked(key);
        let name = read_header_name(name, &node, mistakes);
        let value = read_template(&node, scope, optional, mistakes);
        Some(Header { name: name?, value: value?, optional })
    };
    entries.into_iter().filter_map(header).collect()
}

fn read_auth(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Auth> {
    const SCHEMES: &str = "none, basic, bearer, header, jwt, standard_webhooks";
    let mut table = node.table(mistakes)?;
    let scheme = table.need("scheme", SCHEMES, mistakes)?;
    let mut template = |key: &str, optional| {
        let node = table.need(key, "a template over the settings", mistakes)?;
        read_template(&node, scope, optional, mistakes)
    };
    let (auth, keys): (Option<Auth>, &[&str]) = match scheme.text(SCHEMES, mistakes)? {
        "none" => (Some(Auth::None), &["scheme"]),
        "basic" => {
            let (username, password) = (template("username", false), template("password", false));
            let auth = username.zip(password).map(|(username, password)| Auth::Basic { username, password });
            (auth, &["scheme", "username", "password"])
        }
        "bearer" => (template("token", false).map(|token| Auth::Bearer { token }), &["scheme", "token"]),
        "header" => {
            let value = template("value", false);
            let name = table.need("name", "the name of a header", mistakes);
            let name = name.and_then(|node| read_header_name(node.text("a name", mistakes)?, &node, mistakes));
            (name.zip(value).map(|(name, value)| Auth::Header { name, value }), &["scheme", "name", "value"])
        }
        "jwt" => {
            let key = template("key", false);
            let lifetime = table.need("lifetime", "a number of seconds", mistakes);
            let lifetime = lifetime.and_then(|node| node.number(60..86_401, mistakes));
            let claims = table.take("claims").map(|node| read_claims(&node, scope, mistakes)).unwrap_or_default();
            let auth = key.zip(lifetime).map(|(key, lifetime)| Auth::Jwt { key, claims, lifetime });
            (auth, &["scheme", "key", "claims", "lifetime"])
        }
        "standard_webhooks" => {
            (template("secret", true).map(|secret| Auth::StandardWebhooks { secret }), &["scheme", "secret"])
        }
        _ => {
            scheme.wrong(SCHEMES, mistakes);
            return None;
        }
    };
    table.finish(keys, mistakes);
    auth
}

/// What a token claims beside what every token of ours does.
fn read_claims(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Vec<(String, Template)> {
    let entries = node.table(mistakes).map(|mut table| table.entries()).unwrap_or_default();
    let claim = |(name, node): (&str, Node<'_>)| {
        if ["iat", "exp", "jti"].contains(&name) {
            mistakes.add(node.at, &node.path, format!("`{name}`"), "claims other than iat, exp and jti");
        }
        Some((name.to_owned(), read_template(&node, scope, false, mistakes)?))
    };
    entries.into_iter().filter_map(claim).collect()
}
