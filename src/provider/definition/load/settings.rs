//! The settings that a definition declares, and the addresses that may depend on them.

use super::{Scope, read_template, scope_of_settings};
use crate::delivery::message::Template;
use crate::phone::Country;
use crate::provider::definition::reader::{Mistakes, Node, Section};
use crate::provider::definition::settings::{Required, Rules, SettingRule};

const KEYS: [&str; 7] = ["required", "secret", "one_of", "default", "by_message", "params", "countries"];

pub(super) fn read_settings(mut section: Section<'_>, mistakes: &Mistakes<'_>) -> Rules {
    let entries = section.entries();
    let mut rules = Rules::new();
    let mut defaults = Vec::new();
    for (name, node) in entries {
        let named_well = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named_well || crate::provider::http::RESERVED_SETTINGS.contains(&name) {
            let allowed = "a name of a-z, 0-9 and _ that every provider has not";
            mistakes.add(node.at, &node.path, format!("`{name}`"), allowed);
        }
        let Some(table) = node.table(mistakes) else { continue };
        let (rule, default) = read_rule(table, mistakes);
        defaults.extend(default.map(|default| (name.to_owned(), default)));
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

/// One rule, and what stands there as its default: a template over the rules that are read with it.
fn read_rule<'t>(mut table: Section<'t>, mistakes: &Mistakes<'_>) -> (SettingRule, Option<Node<'t>>) {
    let mut flag = |key| table.take(key).and_then(|node| node.flag(mistakes)).unwrap_or_default();
    let (secret, by_message, params) = (flag("secret"), flag("by_message"), flag("params"));
    let required = table.take("required").and_then(|node| read_required(&node, mistakes)).unwrap_or_default();
    let words = table.take("one_of").map(|node| node.elements()).unwrap_or_default();
    let one_of = words.iter().filter_map(|node| node.text("texts", mistakes)).map(str::to_owned).collect();
    let countries = table.take("countries").map(|node| node.elements()).unwrap_or_default();
    let countries = countries.iter().filter_map(|node| read_country(node, mistakes)).collect();
    let default = table.take("default");
    if let Some(default) = default.as_ref().filter(|_| required != Required::Never) {
        default.wrong("no default where a value is required", mistakes);
    }
    table.finish(&KEYS, mistakes);
    (SettingRule { required, secret, one_of, default: None, by_message, params, countries }, default)
}

fn read_country(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Country> {
    let allowed = "ISO codes of countries, such as [\"IN\"]";
    let country = Country::parse(node.text(allowed, mistakes)?).filter(|country| country.is_known());
    if country.is_none() {
        node.wrong(allowed, mistakes);
    }
    country
}

/// `true`, `false`, or a channel that is not carried without it.
fn read_required(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Required> {
    if let Some(flag) = node.value.as_bool() {
        return Some(if flag { Required::Always } else { Required::Never });
    }
    node.word("true, false, sms, voice, push", mistakes).map(Required::For)
}

/// An address, in which a setting may be a part of the host: `https://{settings.region}.example.com`.
pub(super) fn read_base_url(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Template> {
    let allowed = "an http or https address without a query, with settings only in its host";
    let template = read_template(node, scope, false, mistakes)?;
    // With a letter in place of each setting it is an address, and each of them is in its host.
    let filled = template.fill(|_| Some("x".into())).unwrap_or_default();
    let other = template.fill(|_| Some("y".into())).unwrap_or_default();
    let parsed = crate::provider::http::base_url(&filled).zip(crate::provider::http::base_url(&other));
    if !parsed.is_some_and(|(url, other)| url.path() == other.path() && url.port() == other.port()) {
        node.wrong(allowed, mistakes);
        return None;
    }
    Some(template)
}
