//! What the person gets on each channel, in their language.
//!
//! Texts are data (`config/messages/*.toml`), read once by [`crate::config`]; a template is a text with
//! `{name}` places and nothing else, so a value can never become a template. [`super::language`] says which
//! languages serve a person, [`super::compose`] puts a text message together. Pure.
//!
//! Guarantees: the code is in every text message and call as it was given, and in no prompt; a value from
//! outside is one printable line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::compose::{Piece, Style, printable};
use super::language;
use crate::challenge::{Address, Challenge, Channel, Method};
use crate::secret::Secret;

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
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Option<Cow<'v, str>>) -> Option<String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(name) => filled.push_str(&value(name)?),
            }
        }
        Some(filled)
    }

    /// The pieces of a text message: the code stays fixed, any other value may be cut.
    fn pieces(&self, code: &str, value: &Value<'_>) -> Option<Vec<Piece>> {
        let piece = |part: &Part| match part {
            Part::Text(text) => Some(Piece::Fixed(text.clone())),
            Part::Place(name) if name == CODE => Some(Piece::Fixed(code.to_owned())),
            Part::Place(name) => value(name).map(Piece::Value),
        };
        self.0.iter().map(piece).collect()
    }
}

/// The place of the code in a text.
pub const CODE: &str = "code";
/// The language that every text exists in.
pub const DEFAULT_LANGUAGE: &str = "en";
/// The text used when no other matches.
pub const DEFAULT_TEXT: &str = "default";

/// The value of a place by its name, printable.
pub type Value<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// One way to say something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// What heads a prompt.
    pub title: Option<Template>,
    /// The text itself.
    pub body: Template,
}

impl Wording {
    /// The names it asks for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.title.iter().chain([&self.body]).flat_map(Template::names)
    }

    /// Fills it for `channel`; `None` where a place has no value.
    #[must_use]
    pub fn said(&self, channel: Channel, style: &Style, code: Option<&str>, value: &Value<'_>) -> Option<Said> {
        let plain = |template: &Template, code: Option<&str>| {
            template.fill(|name| if name == CODE { code.map(Cow::Borrowed) } else { value(name).map(Cow::Owned) })
        };
        let title = match &self.title {
            Some(title) => Some(plain(title, None)?),
            None => None,
        };
        let (text, segments) = match channel {
            Channel::Sms => {
                let code = code?;
                let (text, size) = style.text_message(self.body.pieces(code, value)?, code);
                (text, Some(size.segments))
            }
            Channel::Voice => (plain(&self.body, code.map(spoken).as_deref())?, None),
            Channel::Push => (plain(&self.body, None)?, None),
        };
        Some(Said { title, text: Secret::new(text), segments })
    }
}

/// A text: the first wording counts whose places all have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The language it is in, BCP 47.
    pub language: String,
    /// At least one.
    pub wordings: Vec<Wording>,
}

/// What a wording says to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What heads a prompt.
    pub title: Option<String>,
    /// What the person reads, or hears once.
    pub text: Secret,
    /// How many segments, of a text message.
    pub segments: Option<u32>,
}

/// A code as it is spoken: each character for itself, with a pause behind it. A hyphen is the pause alone, and
/// a letter is a capital, since a lone `a` would be read as the word.
fn spoken(code: &str) -> String {
    let said = code.chars().filter(|c| *c != '-').map(|c| c.to_ascii_uppercase().to_string());
    said.collect::<Vec<_>>().join(", ")
}

/// Texts by channel, language and name, and how text messages are made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextSet {
    by_key: BTreeMap<(Channel, String, String), Text>,
    style: Style,
}

impl TextSet {
    /// A set without texts.
    #[must_use]
    pub const fn new(style: Style) -> Self {
        Self { by_key: BTreeMap::new(), style }
    }

    /// Adds or replaces one text.
    pub fn insert(&mut self, channel: Channel, language: &language::Language, name: &str, wordings: Vec<Wording>) {
        let text = Text { language: language.tag.clone(), wordings };
        self.by_key.insert((channel, language.key.clone(), name.to_owned()), text);
    }

    /// Takes out every text of `channel` in `language`.
    pub fn clear(&mut self, channel: Channel, language: &language::Language) {
        self.by_key.retain(|(on, key, _), _| (*on, key) != (channel, &language.key));
    }

    /// Every text with its channel and its name, by channel and language.
    pub fn iter(&self) -> impl Iterator<Item = (Channel, &str, &Text)> {
        self.by_key.iter().map(|((channel, _, name), text)| (*channel, name.as_str(), text))
    }

    /// How text messages are made of it.
    #[must_use]
    pub const fn style(&self) -> &Style {
        &self.style
    }

    fn get(&self, channel: Channel, key: &str, name: &str) -> Option<&Text> {
        self.by_key.get(&(channel, key.to_owned(), name.to_owned()))
    }
}

/// All texts: those that everybody may get, and those of single tenants, which go before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// For everybody.
    pub general: TextSet,
    /// By the name of a tenant that is configured; one without texts of its own has its style here.
    pub tenants: BTreeMap<String, TextSet>,
}

/// A text chosen for a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What it says.
    pub said: Said,
    /// The language it is in, BCP 47.
    pub language: String,
    /// Whether the default was used because what was asked for does not exist.
    pub by_default: bool,
}

impl Texts {
    /// The text for `challenge` by `method`; `tenant_locale` serves when the challenge names none.
    ///
    /// The nearest language counts first, then whose text it is, then its name: somebody who reads German gets
    /// the general German text rather than the tenant's English one. `None` only where a text asks for a
    /// variable that the challenge has not.
    #[must_use]
    pub fn render(&self, challenge: &Challenge, method: &Method, tenant_locale: Option<&str>) -> Option<Rendered> {
        let (channel, own) = (method.channel(), self.of_tenant(&challenge.tenant));
        let style = own.map_or(self.general.style(), TextSet::style);
        let locale = challenge.locale.as_deref().or(tenant_locale).unwrap_or(DEFAULT_LANGUAGE);
        let wanted = challenge.template.as_deref().unwrap_or(&challenge.purpose);
        let code = challenge.code.as_ref().map(Secret::expose);
        let value = |name: &str| value_of(name, challenge, method);
        for (key, asked) in languages(locale) {
            for set in own.into_iter().chain([&self.general]) {
                for name in [wanted, DEFAULT_TEXT] {
                    let Some(text) = set.get(channel, &key, name) else { continue };
                    let mut wordings = text.wordings.iter();
                    let Some(said) = wordings.find_map(|wording| wording.said(channel, style, code, &value)) else {
                        continue;
                    };
                    let by_default = !asked || (name != wanted && challenge.template.is_some());
                    return Some(Rendered { said, language: text.language.clone(), by_default });
                }
            }
        }
        None
    }

    /// The texts of `tenant`, or of `default` where that one is not configured.
    fn of_tenant(&self, tenant: &str) -> Option<&TextSet> {
        self.tenants.get(tenant).or_else(|| self.tenants.get("default"))
    }
}

/// Variables first; a prompt may also say what its method's context knows.
fn value_of(name: &str, challenge: &Challenge, method: &Method) -> Option<String> {
    let context = || match &method.address {
        Address::Push(target) => target.context.get(name),
        Address::Sms { .. } | Address::Voice { .. } => None,
    };
    challenge.vars.get(name).or_else(context).and_then(|value| printable(value))
}

/// The languages that serve `locale`, nearest first, then the default; says which were asked for.
fn languages(locale: &str) -> Vec<(String, bool)> {
    let mut languages: Vec<_> = language::chain(locale).into_iter().map(|key| (key, true)).collect();
    let asked = languages.iter().any(|(key, _)| key == DEFAULT_LANGUAGE);
    languages.push((DEFAULT_LANGUAGE.to_owned(), asked));
    languages
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
    fn a_code_is_spoken_character_by_character() {
        assert_eq!(spoken("481516"), "4, 8, 1, 5, 1, 6");
        assert_eq!(spoken("ab-0C"), "A, B, 0, C");
        assert_eq!(spoken("7"), "7");
    }
}
