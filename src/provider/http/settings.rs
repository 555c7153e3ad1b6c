//! What an operator wrote for a provider, held against what its definition declares.

use std::collections::BTreeMap;

use super::{Mistakes, RESERVED_SETTINGS, fill_from_settings};
use crate::delivery::message::Template;
use crate::provider::definition::Definition;
use crate::provider::definition::params;
use crate::provider::definition::settings::{Required, SettingRule, name_of, serves_all};
use crate::provider::definition::variables::SETTINGS;
use crate::secret::Secret;

/// Every value that there is, defaults among them; what is wrong goes into `mistakes`.
pub(super) fn resolve_settings(
    definition: &Definition,
    given: &BTreeMap<String, Secret>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, Secret> {
    let rules = definition.settings();
    let carried: Vec<_> = definition.channels_with(|key| serves_all(given, key)).collect();
    let mut settings = BTreeMap::new();
    for (key, value) in given {
        let name = name_of(key);
        match rules.get(name).filter(|rule| rule.by_message || name == key) {
            None => {
                let allowed = rules.keys().map(String::as_str).chain(RESERVED_SETTINGS).collect::<Vec<_>>().join(", ");
                mistakes.add(key, format!("unknown key `{key}`"), allowed);
            }
            Some(rule) => {
                if is_right(key, rule, value, mistakes) {
                    let rows = key.strip_prefix(name).unwrap_or_default().to_ascii_lowercase();
                    settings.insert(format!("{name}{rows}"), value.clone());
                }
            }
        }
    }
    for (key, rule) in rules.iter().filter(|(key, _)| !serves_all(given, key)) {
        let has_rows = given.keys().any(|other| name_of(other) == key);
        match rule.required {
            Required::Always if has_rows => mistakes.add(key, "no `default`", "a value for all that has no row"),
            Required::Always => mistakes.add(key, "nothing", "a value: it is required"),
            Required::For(channel) if carried.contains(&channel) => {
                mistakes.add(key, "nothing", format!("a value: {channel} requires it"));
            }
            Required::For(channel) if carried.is_empty() => {
                mistakes.add(key, "nothing", format!("a value, for {channel}; one channel has to be there"));
            }
            Required::For(_) | Required::Never => {}
        }
        if let Some(value) = rule.default.as_ref().and_then(|default| fill_from_settings(default, &settings)) {
            settings.insert(key.clone(), Secret::new(value));
        }
    }
    settings
}

/// The address of a definition, in whose host a setting may be a part: then it is one label, and can't lead elsewhere.
pub(super) fn address(base: &Template, settings: &BTreeMap<String, Secret>, mistakes: &mut Mistakes) -> Option<String> {
    let is_label = |value: &Secret| value.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    for key in base.names().filter_map(|name| name.strip_prefix(SETTINGS)) {
        if settings.get(key).is_some_and(|value| !is_label(value)) {
            mistakes.add(key, "what can't be a part of a host", "letters, digits and hyphens");
        }
    }
    fill_from_settings(base, settings)
}

/// Whether a value is one that its rule allows.
fn is_right(key: &str, rule: &SettingRule, value: &Secret, mistakes: &mut Mistakes) -> bool {
    let shown = || if rule.secret { "another value".to_owned() } else { format!("`{}`", value.expose()) };
    if value.is_empty() {
        mistakes.add(key, "an empty text", "a value, or no such key");
    } else if !rule.one_of.is_empty() && !rule.one_of.iter().any(|word| word == value.expose()) {
        mistakes.add(key, shown(), rule.one_of.join(", "));
    } else if rule.params && params::parse(value.expose()).is_none() {
        let allowed = format!("names of {}, parted by commas, each at most once", params::VARIABLES.join(", "));
        mistakes.add(key, shown(), allowed);
    } else {
        return true;
    }
    false
}
