//! What the person gets on each channel, in their language.
//!
//! Texts are data (`config/messages/*.toml`), read once by [`crate::config`]; a template is a text with
//! `{name}` places and nothing else, so a value can never become a template.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::challenge::{Challenge, Channel};

/// A text with `{name}` places. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                literal.push_str(brace);
                rest = &after[1..];
                continue;
            }
            let offset = text.len() - rest.len() + at;
            let end = after.find('}').filter(|_| brace == "{");
            let Some(end) = end else { return Err(format!("`{brace}` at byte {offset} has no partner")) };
            let name = &after[..end];
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
                return Err(format!("`{{{name}}}` at byte {offset} is not a name"));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Place(name.to_owned()));
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// The names it asks for, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills each place by `value`; `None` when one has no value.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<std::borrow::Cow<'v, str>>) -> Option<String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(name) => filled.push_str(&value(name)?),
            }
        }
        Some(filled)
    }
}

/// Every text, by channel, language and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    by_key: BTreeMap<(Channel, String, String), Template>,
}

/// The language that every text exists in.
pub const DEFAULT_LANGUAGE: &str = "en";
/// The text used when no other matches.
pub const DEFAULT_TEXT: &str = "default";

/// A text chosen for a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// What the person reads or hears.
    pub text: String,
    /// The language it is in.
    pub language: String,
    /// Whether the default was used because what was asked for does not exist.
    pub by_default: bool,
}

impl Texts {
    /// Adds or replaces one text.
    pub fn insert(&mut self, channel: Channel, language: &str, name: &str, template: Template) {
        self.by_key.insert((channel, language.to_ascii_lowercase(), name.to_owned()), template);
    }

    /// The text for `challenge` on `channel`; `tenant_locale` serves when the challenge names none.
    ///
    /// `None` only where a text asks for a variable that the challenge has not.
    #[must_use]
    pub fn render(&self, challenge: &Challenge, channel: Channel, tenant_locale: Option<&str>) -> Option<Rendered> {
        let locale = challenge.locale.as_deref().or(tenant_locale).unwrap_or(DEFAULT_LANGUAGE);
        let wanted = challenge.template.as_deref().unwrap_or(&challenge.purpose);
        for (language, asked) in fallback_chain(locale) {
            for name in [wanted, DEFAULT_TEXT] {
                let key = (channel, language.clone(), name.to_owned());
                let Some(text) = self.by_key.get(&key).and_then(|template| fill(template, challenge)) else { continue };
                let by_default = !asked || (name != wanted && challenge.template.is_some());
                return Some(Rendered { text, language, by_default });
            }
        }
        None
    }
}

fn fill(template: &Template, challenge: &Challenge) -> Option<String> {
    template.fill(|name| match name {
        "code" => challenge.code.as_ref().map(|code| code.expose().into()),
        _ => challenge.vars.get(name).map(|value| printable(value).into()),
    })
}

/// A variable's value as one printable line.
fn printable(value: &str) -> String {
    value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `zh-Hans-CN` → `zh-hans-cn`, `zh-hans`, `zh`, then the default; says which were asked for.
fn fallback_chain(locale: &str) -> Vec<(String, bool)> {
    let mut chain = Vec::new();
    let mut rest = locale.to_ascii_lowercase();
    loop {
        chain.push((rest.clone(), true));
        let Some(cut) = rest.rfind('-') else { break };
        rest.truncate(cut);
    }
    let asked = chain.iter().any(|(language, _)| language == DEFAULT_LANGUAGE);
    chain.push((DEFAULT_LANGUAGE.to_owned(), asked));
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_strictly() {
        let template = Template::parse("{{{code}}} for {app}").expect("valid");
        assert_eq!(template.names().collect::<Vec<_>>(), ["code", "app"]);
        let filled = template.fill(|name| Some(if name == "code" { "{app}".into() } else { "x".into() }));
        assert_eq!(filled.as_deref(), Some("{{app}} for x"), "a value is never a template");
        for bad in ["{", "}", "{}", "{a b}", "{code", "a } b", "{{code}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn languages_fall_back_step_by_step() {
        let chain: Vec<_> = fallback_chain("zh-Hans-CN").into_iter().map(|(language, _)| language).collect();
        assert_eq!(chain, ["zh-hans-cn", "zh-hans", "zh", "en"]);
    }
}
