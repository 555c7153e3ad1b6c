//! From the text of a definition to its checked form: what it says of itself and of its channels. [`settings`] reads
//! what an operator sets, [`auth`] how requests sign in, [`body`] what they carry, [`answers`] what an answer means,
//! [`receipt`] how receipts are asked for and read; together they are the only files that know the keys.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};
use toml::de::DeTable;

use self::answers::{RESULTS, read_errors, read_reply};
use self::auth::read_auth;
use self::body::{marked, read_body, read_element, read_encodings, read_languages, read_query, read_validity};
use self::receipt::read_receipt;
use self::settings::{read_base_url, read_settings};
use super::auth::Auth;
use super::flow::FlowRule;
use super::lookup::Lookups;
use super::reader::{Mistakes, Node, Section};
use super::reply::ErrorTable;
use super::request::{Header, Method, PathTemplate};
use super::settings::Rules;
use super::{Definition, DefinitionError, Dialect, variables};
use crate::challenge::Channel;
use crate::delivery::message::Template;

mod answers;
mod auth;
mod body;
mod receipt;
mod settings;

/// A variable, where a template may use it.
#[derive(Clone, Copy)]
struct Variable {
    /// Whether a message may have no value for it.
    may_lack: bool,
    /// Whether it is a number to those who speak JSON.
    is_number: bool,
    /// Whether it is a setting that names variables.
    is_params: bool,
}

impl Variable {
    /// A text that is always there.
    const TEXT: Self = Self { may_lack: false, is_number: false, is_params: false };
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
    let base_url = root.take("base_url");
    let settings = root.take("settings").and_then(|node| node.table(mistakes));
    let settings = settings.map(|section| read_settings(section, mistakes)).unwrap_or_default();
    let everywhere = scope_of_settings(&settings, None);
    let base_url = base_url.and_then(|node| read_base_url(&node, &everywhere, mistakes));
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

/// The settings as they stand where `channel` is spoken, or where all are.
fn scope_of_settings(settings: &Rules, channel: Option<Channel>) -> Scope {
    let scoped = |name: &String| {
        let rule = &settings[name];
        let variable = Variable { may_lack: !rule.is_always_there(channel), is_params: rule.params, ..Variable::TEXT };
        (format!("{}{name}", variables::SETTINGS), variable)
    };
    settings.keys().map(scoped).collect()
}

/// The same, and what a message of `channel` has.
fn scope_of_messages(settings: &Rules, channel: Channel, has_validity: bool, lookups: &Lookups) -> Scope {
    let mut scope = scope_of_settings(settings, Some(channel));
    let is_of_validity = |name| [variables::VALIDITY, variables::EXPIRES_AT].contains(&name);
    let known = variables::of_channel(channel).filter(|(name, _)| has_validity || !is_of_validity(*name));
    let variable = |name, may_lack| Variable { may_lack, is_number: name == variables::VALIDITY, ..Variable::TEXT };
    scope.extend(known.map(|(name, may_lack)| (name.to_owned(), variable(name, may_lack))));
    scope.extend(lookups.columns().map(|(name, is_number)| (name, Variable { is_number, ..Variable::TEXT })));
    scope
}

const KEYS_OF_A_CHANNEL: [&str; 16] = [
    "base_url",
    "method",
    "path",
    "query",
    "headers",
    "media_type",
    "form",
    "json",
    "validity",
    "language",
    "encoding",
    "reply",
    "auth",
    "errors",
    "receipt",
    "flow",
];

fn read_dialect(
    mut section: Section<'_>,
    channel: Channel,
    shared: &Shared,
    settings: &Rules,
    mistakes: &Mistakes<'_>,
) -> Option<Dialect> {
    let validity = section.take("validity").map(|node| read_validity(&node, mistakes));
    let lookups = Lookups {
        language: section.take("language").map(|node| read_languages(&node, mistakes)).unwrap_or_default(),
        encoding: section.take("encoding").map(|node| read_encodings(&node, mistakes)).unwrap_or_default(),
    };
    let mut scope = scope_of_messages(settings, channel, validity.is_some(), &lookups);
    let of_settings = scope_of_settings(settings, Some(channel));
    let flow = section.take("flow").map(|node| read_flow(&node, &scope, mistakes));
    if flow.is_some() {
        scope.insert(variables::FLOW_URL.to_owned(), Variable::TEXT);
    }
    let base_url = section.take("base_url").and_then(|node| read_base_url(&node, &of_settings, mistakes));
    let method = section.need("method", "POST, PUT", mistakes).and_then(|n| n.word::<Method>("POST, PUT", mistakes));
    let path = section.need("path", "a path template", mistakes).and_then(|n| read_path(&n, &scope, mistakes));
    let headers = section.take("headers").and_then(|node| node.table(mistakes));
    let headers = headers.map(|table| read_headers(table, &scope, mistakes)).unwrap_or_default();
    let query = section.take("query").map(|node| read_query(&node, &scope, mistakes));
    let body = read_body(&mut section, query.is_some(), &scope, mistakes);
    let media_type = section.take("media_type").map(|node| read_media_type(&node, mistakes));
    let reply = section.need("reply", "a table of JSON pointers", mistakes).and_then(|n| read_reply(&n, mistakes));
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
        query: query.unwrap_or_else(|| Some(Vec::new()))?,
        auth: auth?,
        headers,
        body: body?,
        media_type: media_type.unwrap_or_default(),
        validity,
        lookups,
        receipt,
        flow: flow.unwrap_or_default(),
        reply: reply?,
        errors: errors?,
    })
}

/// What the vendor fetches when somebody answers.
fn read_flow(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<FlowRule> {
    let mut table = node.table(mistakes)?;
    let xml = table.need("xml", "the instructions, as a tree", mistakes);
    let xml = xml.and_then(|node| read_element(&node, scope, false, mistakes));
    let signed = table.need("signed", "true, false", mistakes).and_then(|node| node.flag(mistakes));
    table.finish(&["xml", "signed"], mistakes);
    Some(FlowRule { xml: xml?, signed: signed? })
}

fn read_media_type(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<String> {
    let allowed = "a media type such as application/json";
    let text = node.text(allowed, mistakes)?;
    let is_one = |text: &str| text.contains('/') && HeaderValue::from_str(text).is_ok() && text.is_ascii();
    if !is_one(text) {
        node.wrong(allowed, mistakes);
    }
    Some(text.to_owned())
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
