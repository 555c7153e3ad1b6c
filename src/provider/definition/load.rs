//! From the text of a definition to its checked form. The only file that knows the keys.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::HeaderName;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::reader::{Mistakes, Node, Section};
use super::reply::{ErrorTable, Meaning, ReplyShape};
use super::request::{Auth, Body, Field, Header, Method, PathTemplate, Tree, Validity};
use super::{Definition, DefinitionError, Dialect, SettingRule, variables};
use crate::challenge::Channel;
use crate::delivery::message::Template;
use crate::delivery::verdict::AttemptResult;

const RESULTS: &str = "accepted, transient, throttled, recipient, device_gone, content, provider, unknown";

/// Every variable that a template may use where it stands, and whether it may have no value.
type Scope<'s> = BTreeMap<String, bool>;

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
    let shared = Shared {
        auth: Part::read(root.take("auth"), |node| read_auth(node, &settings, mistakes)),
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
        let mut flag = |key| table.take(key).and_then(|node| node.flag(mistakes)).unwrap_or_default();
        let mut rule = SettingRule { required: flag("required"), secret: flag("secret"), ..SettingRule::default() };
        let allowed = table.take("one_of").map(|node| node.elements()).unwrap_or_default();
        let words = allowed.iter().filter_map(|node| node.text("texts", mistakes));
        rule.one_of = words.map(str::to_owned).collect();
        let default = table.take("default");
        if let Some(default) = default.as_ref().filter(|_| rule.required) {
            default.wrong("no default where a value is required", mistakes);
        }
        defaults.extend(default.map(|default| (name.to_owned(), default)));
        table.finish(&["required", "secret", "one_of", "default"], mistakes);
        rules.insert(name.to_owned(), rule);
    }
    let required: Scope<'_> = scope_of_settings(&rules).into_iter().filter(|(_, may_lack)| !may_lack).collect();
    for (name, node) in defaults {
        let default = read_template(&node, &required, true, mistakes);
        if let Some(rule) = rules.get_mut(&name) {
            rule.default = default;
        }
    }
    rules
}

fn scope_of_settings(settings: &BTreeMap<String, SettingRule>) -> Scope<'static> {
    let scoped =
        |(name, rule): (&String, &SettingRule)| (format!("{}{name}", variables::SETTINGS), !rule.is_always_there());
    settings.iter().map(scoped).collect()
}

fn read_dialect(
    mut section: Section<'_>,
    channel: Channel,
    shared: &Shared,
    settings: &BTreeMap<String, SettingRule>,
    mistakes: &Mistakes<'_>,
) -> Option<Dialect> {
    let validity = section.take("validity").map(|node| read_validity(&node, mistakes));
    let mut scope = scope_of_settings(settings);
    scope.extend(variables::of_channel(channel).map(|(name, may_lack)| (name.to_owned(), may_lack)));
    if validity.is_none() {
        scope.remove("validity");
    }
    let method = section.need("method", "POST, PUT", mistakes).and_then(|n| n.word::<Method>("POST, PUT", mistakes));
    let path = section.need("path", "a path template", mistakes).and_then(|n| read_path(&n, &scope, mistakes));
    let headers = section.take("headers").and_then(|node| node.table(mistakes));
    let headers = headers.map(|table| read_headers(table, &scope, mistakes)).unwrap_or_default();
    let body = read_body(&mut section, &scope, mistakes);
    let reply = section.need("reply", "a table of JSON pointers", mistakes).and_then(|n| read_reply(&n, mistakes));
    let own_auth = Part::read(section.take("auth"), |node| read_auth(node, settings, mistakes));
    let own_errors = Part::read(section.take("errors"), |node| read_errors(node, mistakes));
    let auth = own_auth.or_shared(&shared.auth, "auth", &section, mistakes);
    let errors = own_errors.or_shared(&shared.errors, "errors", &section, mistakes);
    if let (Some(reply), Some(errors)) = (&reply, &errors)
        && !reply.error.is_empty()
        && errors.other_error.is_none()
    {
        let why = "what an error within a 2xx means whose code has no row";
        mistakes.add(section.at, "errors.other_error", "nothing", format!("{why}: {RESULTS}"));
    }
    section.finish(&["method", "path", "headers", "form", "json", "validity", "reply", "auth", "errors"], mistakes);
    let validity = validity.unwrap_or_default();
    Some(Dialect {
        method: method?,
        path: path?,
        auth: auth?,
        headers,
        body: body?,
        validity,
        reply: reply?,
        errors: errors?,
    })
}

/// A template whose variables are all in `scope`; unless `optional`, none of them may lack a value.
fn read_template(node: &Node<'_>, scope: &Scope<'_>, optional: bool, mistakes: &Mistakes<'_>) -> Option<Template> {
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
            Some(true) if is_setting && !optional => {
                let allowed = "a setting that is required or has a default, or a key with `?` behind it";
                mistakes.add(node.at, &node.path, format!("`{{{name}}}`, which may be unset"), allowed);
            }
            Some(_) => {}
        }
    }
    Some(template)
}

fn read_path(node: &Node<'_>, scope: &Scope<'_>, mistakes: &Mistakes<'_>) -> Option<PathTemplate> {
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

fn read_headers(mut table: Section<'_>, scope: &Scope<'_>, mistakes: &Mistakes<'_>) -> Vec<Header> {
    let entries = table.entries();
    let header = |(key, node): (&str, Node<'_>)| {
        let (name, optional) = marked(key);
        let name = read_header_name(name, &node, mistakes);
        let value = read_template(&node, scope, optional, mistakes);
        Some(Header { name: name?, value: value?, optional })
    };
    entries.into_iter().filter_map(header).collect()
}

/// `"From?"` is `From`, left out where its variable has no value.
fn marked(key: &str) -> (&str, bool) {
    key.strip_suffix('?').map_or((key, false), |name| (name, true))
}

fn read_body(section: &mut Section<'_>, scope: &Scope<'_>, mistakes: &Mistakes<'_>) -> Option<Body> {
    match (section.take("form"), section.take("json")) {
        (Some(node), None) => read_form(node.table(mistakes)?, scope, mistakes).map(Body::Form),
        (None, Some(node)) => read_object(node.table(mistakes)?, scope, false, mistakes).map(Body::Json),
        (found, _) => {
            let found = if found.is_some() { "both `form` and `json`" } else { "nothing" };
            mistakes.add(section.at, &section.path_of("form"), found, "one table: `form` or `json`");
            None
        }
    }
}

/// The entries of a table that must have some, with no name twice (`a` and `a?` are one name).
fn read_entries<'t>(mut table: Section<'t>, mistakes: &Mistakes<'_>) -> Vec<(&'t str, bool, Node<'t>)> {
    if table.is_empty() {
        mistakes.add(table.at, &table.path, "an empty table", "at least one entry");
    }
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for (key, node) in table.entries() {
        let (name, optional) = marked(key);
        if !names.insert(name) {
            mistakes.add(node.at, &node.path, format!("`{name}` a second time"), "each name once");
        }
        entries.push((name, optional, node));
    }
    entries
}

fn read_form(table: Section<'_>, scope: &Scope<'_>, mistakes: &Mistakes<'_>) -> Option<Vec<Field>> {
    let field = |(name, optional, node): (&str, bool, Node<'_>)| {
        let templates = node.elements().into_iter().map(|item| read_template(&item, scope, optional, mistakes));
        Some(Field { name: name.to_owned(), optional, values: templates.collect::<Option<_>>()? })
    };
    read_entries(table, mistakes).into_iter().map(field).collect()
}

fn read_object(table: Section<'_>, scope: &Scope<'_>, optional: bool, mistakes: &Mistakes<'_>) -> Option<Tree> {
    let entry = |(name, mark, node): (&str, bool, Node<'_>)| {
        Some((name.to_owned(), mark, read_tree(&node, scope, optional || mark, mistakes)?))
    };
    read_entries(table, mistakes).into_iter().map(entry).collect::<Option<_>>().map(Tree::Object)
}

fn read_tree(node: &Node<'_>, scope: &Scope<'_>, optional: bool, mistakes: &Mistakes<'_>) -> Option<Tree> {
    match node.value {
        DeValue::Table(_) => read_object(node.table(mistakes)?, scope, optional, mistakes),
        DeValue::Array(_) => {
            let items = node.elements().into_iter().map(|item| read_tree(&item, scope, optional, mistakes));
            items.collect::<Option<_>>().map(Tree::Array)
        }
        DeValue::Boolean(flag) => Some(Tree::Literal(Value::Bool(*flag))),
        DeValue::Integer(_) => node.number(0..u64::from(u32::MAX), mistakes).map(|n| Tree::Literal(n.into())),
        DeValue::String(_) => {
            let template = read_template(node, scope, optional, mistakes)?;
            // A number to those who speak JSON; with a text around it, a text.
            Some(if node.value.as_str() == Some("{validity}") { Tree::Validity } else { Tree::Text(template) })
        }
        DeValue::Float(_) | DeValue::Datetime(_) => {
            node.wrong("a text, a whole number, true, false, an array or a table", mistakes);
            None
        }
    }
}

fn read_validity(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Validity> {
    let mut table = node.table(mistakes)?;
    let unit = table.need("unit", "s, ms", mistakes).and_then(|node| node.word("s, ms", mistakes));
    let most = 0..u64::from(u32::MAX) + 1;
    let mut bound = |key| {
        let node = table.need(key, "a whole number of units", mistakes)?;
        Some((node.number(most.clone(), mistakes)?, node))
    };
    let (min, max) = (bound("min"), bound("max"));
    table.finish(&["unit", "min", "max"], mistakes);
    let ((min, _), (max, at_max)) = (min?, max?);
    if max < min {
        at_max.wrong("at least `min`", mistakes);
    }
    Some(Validity { unit: unit?, min, max })
}

fn read_auth(node: &Node<'_>, settings: &BTreeMap<String, SettingRule>, mistakes: &Mistakes<'_>) -> Option<Auth> {
    const SCHEMES: &str = "none, basic, bearer, header, standard_webhooks";
    let mut table = node.table(mistakes)?;
    let scheme = table.need("scheme", SCHEMES, mistakes)?;
    let scope = scope_of_settings(settings);
    let mut template = |key: &str, optional| {
        let node = table.need(key, "a template over the settings", mistakes)?;
        read_template(&node, &scope, optional, mistakes)
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

fn read_reply(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<ReplyShape> {
    let mut table = node.table(mistakes)?;
    let mut pointers = |key: &str| {
        let nodes = table.take(key).map(|node| node.elements()).unwrap_or_default();
        nodes.iter().filter_map(|node| read_pointer(node, mistakes)).collect()
    };
    let mut shape = ReplyShape {
        id: pointers("id"),
        code: pointers("code"),
        error: pointers("error"),
        segments: pointers("segments"),
        detail: pointers("detail"),
        proof: BTreeSet::new(),
    };
    let proof = table.take("proof").map(|node| node.elements()).unwrap_or_default();
    let statuses = proof.iter().filter_map(|node| node.number(200..300, mistakes));
    shape.proof = statuses.filter_map(|status| u16::try_from(status).ok()).collect();
    if shape.id.is_empty() && shape.proof.is_empty() {
        let path = table.path_of("proof");
        mistakes.add(
            table.at,
            &path,
            "neither `id` nor `proof`",
            "what proves acceptance: where the id is, or statuses",
        );
    }
    table.finish(&["id", "code", "error", "segments", "detail", "proof"], mistakes);
    Some(shape)
}

fn read_pointer(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<String> {
    let allowed = "a JSON pointer such as `/messages/0/id`";
    let text = node.text(allowed, mistakes)?;
    if !text.starts_with('/') {
        node.wrong(allowed, mistakes);
    }
    Some(text.to_owned())
}

fn read_errors(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<ErrorTable> {
    let mut table = node.table(mistakes)?;
    let mut row = |key: &str, required: bool| {
        let node = if required { table.need(key, RESULTS, mistakes) } else { table.take(key) };
        node.and_then(|node| read_meaning(&node, true, mistakes))
    };
    let (other_4xx, server_error) = (row("other_4xx", true), row("server_error", true));
    let (unavailable, other_error) = (row("unavailable", false), row("other_error", false));
    let (mut codes, mut families, mut statuses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (code, node) in rows(&mut table, "codes", mistakes) {
        let Some(meaning) = read_meaning(&node, false, mistakes) else { continue };
        if is_family(code) { &mut families } else { &mut codes }.insert(code.to_owned(), meaning);
    }
    for (key, node) in rows(&mut table, "statuses", mistakes) {
        let status = key.parse().ok().filter(|status| (400..600).contains(status) && key.len() == 3);
        if status.is_none() {
            mistakes.add(node.at, &node.path, format!("`{key}`"), "a status from 400 to 599");
        }
        let meaning = read_meaning(&node, status.is_none_or(|status| status >= 500), mistakes);
        statuses.extend(status.zip(meaning));
    }
    let keys = ["other_4xx", "server_error", "unavailable", "other_error", "codes", "statuses"];
    table.finish(&keys, mistakes);
    let (other_4xx, server_error) = (other_4xx?, server_error?);
    Some(ErrorTable { codes, families, statuses, other_4xx, server_error, unavailable, other_error })
}

fn rows<'t>(errors: &mut Section<'t>, key: &str, mistakes: &Mistakes<'_>) -> Vec<(&'t str, Node<'t>)> {
    let Some(mut table) = errors.take(key).and_then(|node| node.table(mistakes)) else { return Vec::new() };
    if table.is_empty() {
        mistakes.add(table.at, &table.path, "an empty table", "at least one row");
    }
    table.entries()
}

/// `21xxx`: as vendors write the family of all codes from 21000 to 21999.
fn is_family(code: &str) -> bool {
    let digits = code.trim_end_matches('x');
    digits.len() < code.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `"recipient"`, or a table that says more. `refused`: acceptance can't stand here.
fn read_meaning(node: &Node<'_>, refused: bool, mistakes: &Mistakes<'_>) -> Option<Meaning> {
    let (result, mut table) = if node.value.is_table() {
        let mut table = node.table(mistakes)?;
        let result = table.need("result", RESULTS, mistakes).and_then(|node| node.word(RESULTS, mistakes));
        (result, Some(table))
    } else {
        (node.word(RESULTS, mistakes), None)
    };
    let scopes = "provider, country, sender";
    let mut take = |key| table.as_mut().and_then(|table| table.take(key));
    let scope = take("scope").map(|node| (node.word(scopes, mistakes), node));
    let opted_out = take("opted_out").map(|node| (node.flag(mistakes), node));
    if let Some(table) = table {
        table.finish(&["result", "scope", "opted_out"], mistakes);
    }
    let result: AttemptResult = result?;
    if refused && result == AttemptResult::Accepted {
        node.wrong("any result but `accepted`", mistakes);
    }
    if let Some((_, node)) =
        scope.as_ref().filter(|_| !matches!(result, AttemptResult::Provider | AttemptResult::Throttled))
    {
        node.wrong("a scope only with `provider` and `throttled`", mistakes);
    }
    if let Some((_, node)) = opted_out.as_ref().filter(|_| result != AttemptResult::Recipient) {
        node.wrong("`opted_out` only with `recipient`", mistakes);
    }
    Some(Meaning {
        result,
        scope: scope.and_then(|(scope, _)| scope).unwrap_or_default(),
        opted_out: opted_out.and_then(|(flag, _)| flag).unwrap_or_default(),
    })
}
