//! The settings that a definition declares: where one has to be set, what it may hold, and which value one
//! message sees.
//!
//! An operator writes most of them as one value. Where the vendor approves texts beforehand, what stands for a text
//! (its template) differs with what the person is doing and with the language: such a setting may be a table. And what
//! one country's law asks for is nobody else's business: such a setting has no value for other countries, so a leaf
//! with `?` is left out there. Read by [`mod@super::load`], resolved by [`crate::provider::http`].

use std::collections::BTreeMap;

use crate::challenge::{Address, Channel};
use crate::delivery::message::Template;
use crate::phone::Country;
use crate::provider::Message;
use crate::secret::Secret;

/// What a definition asks of one of its settings.
#[derive(Clone, Debug, Default)]
pub struct SettingRule {
    /// Where it must be set.
    pub required: Required,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// The only values it may have; empty where any will do.
    pub one_of: Vec<String>,
    /// Its value where it is not set: a template over the required settings.
    pub default: Option<Template>,
    /// Whether it may be a table by purpose and language.
    pub by_message: bool,
    /// Whether it names variables, for [`super::params`].
    pub params: bool,
    /// The countries whose numbers it is for; empty: all.
    pub countries: Vec<Country>,
}

/// Where a setting must be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required {
    /// Nowhere.
    #[default]
    Never,
    /// Wherever the provider is configured.
    Always,
    /// For this channel, which the provider carries only where what it requires is set.
    For(Channel),
}

/// The rules by the names of the settings.
pub type Rules = BTreeMap<String, SettingRule>;

/// The row of a table for what has none of its own.
const OTHER: &str = "default";

impl SettingRule {
    /// Whether it has a value whatever the operator sets: on `channel`, or on all of them.
    #[must_use]
    pub fn is_always_there(&self, channel: Option<Channel>) -> bool {
        let required = match self.required {
            Required::Never => false,
            Required::Always => true,
            Required::For(one) => channel == Some(one),
        };
        self.countries.is_empty() && (required || self.default.is_some())
    }
}

/// The name of the setting that `key` of a configuration is a part of: `template` of `template.sign_in.zh`.
#[must_use]
pub fn name_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(name, _)| name)
}

/// Whether `given` has a value of the setting `name` for every message.
#[must_use]
pub fn serves_all(given: &BTreeMap<String, Secret>, name: &str) -> bool {
    let rows = [String::new(), format!(".{OTHER}"), format!(".{OTHER}.{OTHER}")];
    rows.iter().any(|row| given.contains_key(&format!("{name}{row}")))
}

/// The value that `message` sees of the setting `name`; `None` where it has none.
///
/// In a table, what the person is doing counts first, then the language, nearest first.
#[must_use]
pub fn value<'s>(
    rules: &Rules,
    given: &'s BTreeMap<String, Secret>,
    name: &str,
    message: &Message,
) -> Option<&'s Secret> {
    let rule = rules.get(name)?;
    let is_there = |country| rule.countries.contains(&country);
    if !rule.countries.is_empty() && !country(message).is_some_and(is_there) {
        return None;
    }
    if !rule.by_message {
        return given.get(name);
    }
    let language = message.language.to_ascii_lowercase();
    let tags = || std::iter::successors(Some(language.as_str()), |tag| Some(tag.rsplit_once('-')?.0)).chain([OTHER]);
    let purpose = message.purpose.to_ascii_lowercase();
    for purpose in [purpose.as_str(), OTHER] {
        let by_language = tags().find_map(|tag| given.get(&format!("{name}.{purpose}.{tag}")));
        if let Some(value) = by_language.or_else(|| given.get(&format!("{name}.{purpose}"))) {
            return Some(value);
        }
    }
    given.get(name)
}

fn country(message: &Message) -> Option<Country> {
    match &message.address {
        Address::Sms { to } | Address::Voice { to, .. } => Some(to.country()),
        Address::Push(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::challenge::ChallengeId;
    use crate::phone::PhoneNumber;

    fn message(to: &str, purpose: &str, language: &str) -> Message {
        Message {
            reference: "r-1".into(),
            challenge: ChallengeId::parse("c-1").expect("valid"),
            address: Address::Sms { to: PhoneNumber::parse(to, None).expect("valid") },
            sender: None,
            title: None,
            text: Secret::new("481516"),
            code: None,
            language: language.into(),
            purpose: purpose.into(),
            tenant: "default".into(),
            validity: Duration::from_mins(1),
            callback_url: None,
        }
    }

    fn rules(rule: SettingRule) -> Rules {
        Rules::from([("template".to_owned(), rule)])
    }

    #[test]
    fn a_table_is_looked_up_by_purpose_and_then_by_language() {
        let rules = rules(SettingRule { by_message: true, ..SettingRule::default() });
        let rows = ["default", "sign_in.default", "sign_in.zh", "sign_in.zh-hant", "transaction"];
        let given: BTreeMap<_, _> = rows.map(|row| (format!("template.{row}"), Secret::new(row))).into_iter().collect();
        for (purpose, language, expected) in [
            ("sign_in", "zh-Hant-TW", "sign_in.zh-hant"),
            ("sign_in", "zh-CN", "sign_in.zh"),
            ("sign_in", "de", "sign_in.default"),
            ("Sign_In", "", "sign_in.default"),
            ("transaction", "zh", "transaction"),
            ("password_reset", "zh", "default"),
            ("", "zh", "default"),
        ] {
            let found = value(&rules, &given, "template", &message("+8613800138000", purpose, language));
            assert_eq!(found.map(Secret::expose), Some(expected), "{purpose} {language}");
        }
        assert!(serves_all(&given, "template") && !serves_all(&given, "other"));
        let one = BTreeMap::from([("template".to_owned(), Secret::new("all"))]);
        let found = value(&rules, &one, "template", &message("+8613800138000", "sign_in", "zh"));
        assert_eq!(found.map(Secret::expose), Some("all"), "one value for all of them");
    }

    #[test]
    fn what_is_for_one_country_is_not_there_for_others() {
        let india = Country::parse("IN").expect("a country");
        let rules = rules(SettingRule { countries: vec![india], ..SettingRule::default() });
        let given = BTreeMap::from([("template".to_owned(), Secret::new("1107"))]);
        let found = |to| value(&rules, &given, "template", &message(to, "sign_in", "en")).map(Secret::expose);
        assert_eq!((found("+919812345678"), found("+14155552671")), (Some("1107"), None));
        assert!(!rules["template"].is_always_there(Some(Channel::Sms)), "so its leaf has to be optional");
    }
}
