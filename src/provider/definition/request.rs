//! The request side of a definition: templates that are filled for one message.
//!
//! A value never becomes syntax. Each is encoded by the library of its place (`url`, `form_urlencoded`,
//! `serde_json`, `HeaderValue`), so whatever it holds, the other side decodes exactly that value.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::variables::Values;
use super::xml::Element;
use crate::delivery::message::Template;

/// Why a request can't be made for a message. Shows names, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A leaf that must be there has no value.
    #[error("`{place}` asks for `{variable}`, which this message has not")]
    Missing {
        /// The leaf.
        place: String,
        /// Its variable.
        variable: String,
    },
    /// A value can't stand in a header.
    #[error("the value of header `{0}` can't stand in a header")]
    Header(String),
    /// A value has a character that XML can't hold.
    #[error("`{0}` has a character that can't stand in XML")]
    Xml(String),
    /// What a value makes is longer than the vendor takes.
    #[error("`{place}` has more than {longest} characters")]
    TooLong {
        /// The element.
        place: String,
        /// How many it may have.
        longest: usize,
    },
    /// A value can't stand in the path.
    #[error("a segment of the path is empty, made of dots, or has control characters")]
    Segment,
    /// The channel isn't one of this provider's.
    #[error("this provider carries no {0}")]
    Channel(crate::challenge::Channel),
}

/// The methods that carry a body: a request without one could be repeated by what stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
}

/// The path behind the base URL, by segment.
#[derive(Clone, Debug)]
pub struct PathTemplate(pub(super) Vec<Template>);

impl PathTemplate {
    /// `base` with this path behind its own. Each segment stays one segment.
    pub fn fill(&self, base: &Url, values: &Values<'_>) -> Result<Url, Unfit> {
        let mut url = base.clone();
        if self.0.is_empty() {
            return Ok(url);
        }
        let mut segments = url.path_segments_mut().map_err(|()| Unfit::Segment)?;
        segments.pop_if_empty();
        for template in &self.0 {
            let segment = fill("path", template, values)?;
            // Dots would climb, and the library drops line ends instead of encoding them.
            if segment.bytes().all(|byte| byte == b'.') || segment.contains(|c: char| c.is_ascii_control()) {
                return Err(Unfit::Segment);
            }
            segments.push(&segment);
        }
        drop(segments);
        Ok(url)
    }
}

/// How a request proves who sends it. The templates know only settings.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Not at all, or in a header or a leaf of its own.
    None,
    /// `Authorization: Basic`.
    Basic {
        /// Before the colon.
        username: Template,
        /// After it.
        password: Template,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: Template,
    },
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Template,
    },
    /// A signature by the Standard Webhooks specification.
    StandardWebhooks {
        /// `whsec_` and base64; two of them, parted by a space, while they rotate.
        secret: Template,
    },
    /// `Authorization: Bearer` with a JSON web token of our own making, signed with RS256.
    Jwt {
        /// An RSA private key in PEM.
        key: Template,
        /// What it claims beside `iat`, `exp` and `jti`.
        claims: Vec<(String, Template)>,
        /// How long one token is used, in seconds.
        lifetime: u64,
    },
}

/// A header beside those of the encoding and the authentication.
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) name: HeaderName,
    pub(super) value: Template,
    pub(super) optional: bool,
}

impl Header {
    /// Its name and value; `None` where it is left out.
    pub fn fill(&self, values: &Values<'_>) -> Result<Option<(HeaderName, HeaderValue)>, Unfit> {
        let filled = leave_out(fill(self.name.as_str(), &self.value, values), self.optional)?;
        let header = |text: String| Some((self.name.clone(), header_value(&text)?));
        match filled {
            None => Ok(None),
            Some(text) => header(text).map(Some).ok_or_else(|| Unfit::Header(self.name.to_string())),
        }
    }
}

/// A text as the value of a header that nothing logs.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    // Beyond ASCII each server reads its own thing.
    let mut value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii())?;
    value.set_sensitive(true);
    Some(value)
}

/// What the request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// `application/x-www-form-urlencoded`.
    Form(Vec<Field>),
    /// `application/json`.
    Json(Tree),
}

/// One field of a form; of several values it becomes several fields of one name.
#[derive(Clone, Debug)]
pub struct Field {
    pub(super) name: String,
    pub(super) optional: bool,
    pub(super) values: Vec<Text>,
}

/// What is a text to those who carry it.
#[derive(Clone, Debug)]
pub enum Text {
    /// A text.
    Plain(Template),
    /// XML within it.
    Xml(Element),
}

impl Text {
    fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Plain(template) => template.names().any(is_meant),
            Self::Xml(element) => element.asks_for(is_meant),
        }
    }

    fn fill(&self, place: &str, values: &Values<'_>) -> Result<String, Unfit> {
        match self {
            Self::Plain(template) => fill(place, template, values),
            Self::Xml(element) => element.fill(values),
        }
    }
}

/// A JSON value whose strings are filled.
#[derive(Clone, Debug)]
pub enum Tree {
    /// An object: key, whether it may be left out, value.
    Object(Vec<(String, bool, Tree)>),
    /// An array.
    Array(Vec<Tree>),
    /// A string.
    Text(Text),
    /// A variable that is a number, as a number.
    Number(String),
    /// A number or a boolean, as it stands.
    Literal(Value),
}

impl Body {
    /// The media type.
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Json(_) => "application/json",
        }
    }

    /// Whether it can't be made without a variable that `is_meant`.
    pub(super) fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Form(fields) => {
                let mut needed = fields.iter().filter(|field| !field.optional).flat_map(|field| &field.values);
                needed.any(|text| text.asks_for(is_meant))
            }
            Self::Json(tree) => tree.asks_for(is_meant),
        }
    }

    /// The bytes for one message, with what `more` of the same form adds.
    pub fn fill(&self, more: Option<&Self>, values: &Values<'_>) -> Result<Bytes, Unfit> {
        match (self, more) {
            (Self::Form(fields), Some(Self::Form(more))) => fill_form(fields.iter().chain(more), values),
            (Self::Form(fields), _) => fill_form(fields, values),
            (Self::Json(tree), more) => {
                let mut filled = tree.fill("json", values)?;
                if let (Value::Object(object), Some(Self::Json(more))) = (&mut filled, more)
                    && let Value::Object(added) = more.fill("json", values)?
                {
                    object.extend(added);
                }
                Ok(filled.to_string().into())
            }
        }
    }
}

fn fill_form<'f>(fields: impl IntoIterator<Item = &'f Field>, values: &Values<'_>) -> Result<Bytes, Unfit> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for field in fields {
        for text in &field.values {
            if let Some(value) = leave_out(text.fill(&field.name, values), field.optional)? {
                form.append_pair(&field.name, &value);
            }
        }
    }
    Ok(form.finish().into())
}

impl Tree {
    fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Object(entries) => entries.iter().any(|(_, optional, tree)| !optional && tree.asks_for(is_meant)),
            Self::Array(items) => items.iter().any(|item| item.asks_for(is_meant)),
            Self::Text(text) => text.asks_for(is_meant),
            Self::Number(name) => is_meant(name),
            Self::Literal(_) => false,
        }
    }

    fn fill(&self, place: &str, values: &Values<'_>) -> Result<Value, Unfit> {
        match self {
            Self::Object(entries) => {
                let mut object = Map::new();
                for (key, optional, tree) in entries {
                    if let Some(value) = leave_out(tree.fill(key, values), *optional)? {
                        object.insert(key.clone(), value);
                    }
                }
                Ok(Value::Object(object))
            }
            Self::Array(items) => items.iter().map(|item| item.fill(place, values)).collect(),
            Self::Text(text) => text.fill(place, values).map(Value::String),
            Self::Number(name) => values.number(name).map(Value::from).ok_or_else(|| missing(place, name)),
            Self::Literal(value) => Ok(value.clone()),
        }
    }
}

/// The time left as a provider takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub(super) unit: Unit,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// What a provider counts time in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Unit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
}

impl Validity {
    /// `left`, rounded up to a whole unit and to the least that the provider takes, cut to the most.
    #[must_use]
    pub fn of(self, left: Duration) -> u64 {
        let unit = match self.unit {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
        };
        u64::try_from(left.as_nanos().div_ceil(unit)).unwrap_or(u64::MAX).clamp(self.min, self.max)
    }
}

pub(super) fn fill(place: &str, template: &Template, values: &Values<'_>) -> Result<String, Unfit> {
    let lacking = || template.names().find(|name| values.get(name).is_none()).unwrap_or_default();
    template.fill(|name| values.get(name)).ok_or_else(|| missing(place, lacking()))
}

fn missing(place: &str, variable: &str) -> Unfit {
    Unfit::Missing { place: place.to_owned(), variable: variable.to_owned() }
}

/// An optional place whose variable has no value is left out.
pub(super) fn leave_out<T>(filled: Result<T, Unfit>, optional: bool) -> Result<Option<T>, Unfit> {
    match filled {
        Err(Unfit::Missing { .. }) if optional => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_rounded_up_and_kept_within_bounds() {
        let seconds = Validity { unit: Unit::Seconds, min: 1, max: 36_000 };
        let millis = Validity { unit: Unit::Millis, min: 20_000, max: 604_800_000 };
        for (left, as_seconds, as_millis) in [
            (Duration::ZERO, 1, 20_000),
            (Duration::from_nanos(1), 1, 20_000),
            (Duration::from_millis(1_001), 2, 20_000),
            (Duration::from_micros(20_000_001), 21, 20_001),
            (Duration::from_mins(2), 120, 120_000),
            (Duration::MAX, 36_000, 604_800_000),
        ] {
            assert_eq!((seconds.of(left), millis.of(left)), (as_seconds, as_millis), "{left:?}");
        }
    }
}
