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

use super::params::Params;
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
    /// Whoever answers would hear the code in place of whom it is for.
    #[error("this provider can't dial an extension")]
    Extension,
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

impl Method {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
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
    /// Nothing: all that is said stands in the query.
    Empty,
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
    /// The places of an approved text, as JSON within it.
    Params(Params),
}

impl Text {
    fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Plain(template) => template.names().any(is_meant),
            Self::Xml(element) => element.asks_for(is_meant),
            Self::Params(_) => false,
        }
    }

    fn fill(&self, place: &str, values: &Values<'_>) -> Result<String, Unfit> {
        match self {
            Self::Plain(template) => fill(place, template, values),
            Self::Xml(element) => element.fill(values),
            Self::Params(params) => params.fill(place, values).map(|filled| filled.to_string()),
        }
    }
}

impl Field {
    /// Whether it can't be made without a variable that `is_meant`.
    pub(super) fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        !self.optional && self.values.iter().any(|text| text.asks_for(is_meant))
    }
}

/// What stands in the address behind a `?`: pairs, percent-encoded by RFC 3986 to the letter, as the clouds sign it. A
/// form would write a space as `+`.
pub fn fill_query<'f>(
    fields: impl IntoIterator<Item = &'f Field>,
    values: &Values<'_>,
) -> Result<Option<String>, Unfit> {
    let form = fill_form(fields, values)?;
    // Of what a form writes in its own way, only these differ; none of them can come from a value, which has them encoded.
    let query = String::from_utf8_lossy(&form).replace('+', "%20").replace('*', "%2A").replace("%7E", "~");
    Ok((!query.is_empty()).then_some(query))
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
    /// The places of an approved text.
    Params(Params),
    /// A variable that is a number, as a number.
    Number(String),
    /// A number or a boolean, as it stands.
    Literal(Value),
}

impl Body {
    /// The media type.
    #[must_use]
    pub const fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Empty => None,
        }
    }

    /// Whether it can't be made without a variable that `is_meant`.
    pub(super) fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Form(fields) => fields.iter().any(|field| field.asks_for(is_meant)),
            Self::Json(tree) => tree.asks_for(is_meant),
            Self::Empty => false,
        }
    }

    /// Whether a variable stands anywhere in it.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let in_text = |text: &Text| match text {
            Text::Plain(template) => template.names().any(|one| one == name),
            Text::Xml(_) | Text::Params(_) => false,
        };
        match self {
            Self::Form(fields) => fields.iter().flat_map(|field| &field.values).any(in_text),
            Self::Json(tree) => tree.mentions(&in_text),
            Self::Empty => false,
        }
    }

    /// The bytes for one message, with what `more` of the same form adds.
    pub fn fill(&self, more: Option<&Self>, values: &Values<'_>) -> Result<Bytes, Unfit> {
        match (self, more) {
            (Self::Form(fields), Some(Self::Form(more))) => fill_form(fields.iter().chain(more), values),
            (Self::Form(fields), _) => fill_form(fields, values),
            (Self::Empty, _) => Ok(Bytes::new()),
            (Self::Json(tree), more) => {
                let mut filled = tree.fill("json", values)?;
                if let Some(Self::Json(more)) = more {
                    merge(&mut filled, more.fill("json", values)?);
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

/// Lays `more` over `into`: objects entry by entry, arrays item by item, everything else in place of what is there.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(more)) => {
            let added = more.len().saturating_sub(into.len());
            into.extend(std::iter::repeat_n(Value::Null, added));
            into.iter_mut().zip(more).for_each(|(into, more)| merge(into, more));
        }
        (into, more) => *into = more,
    }
}

impl Tree {
    fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Object(entries) => entries.iter().any(|(_, optional, tree)| !optional && tree.asks_for(is_meant)),
            Self::Array(items) => items.iter().any(|item| item.asks_for(is_meant)),
            Self::Text(text) => text.asks_for(is_meant),
            Self::Number(name) => is_meant(name),
            Self::Params(_) | Self::Literal(_) => false,
        }
    }

    fn mentions(&self, in_text: &impl Fn(&Text) -> bool) -> bool {
        match self {
            Self::Object(entries) => entries.iter().any(|(_, _, tree)| tree.mentions(in_text)),
            Self::Array(items) => items.iter().any(|item| item.mentions(in_text)),
            Self::Text(text) => in_text(text),
            Self::Params(_) | Self::Number(_) | Self::Literal(_) => false,
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
            Self::Params(params) => params.fill(place, values),
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
    /// Minutes.
    #[serde(rename = "min")]
    Minutes,
}

impl Validity {
    /// `count` of its units.
    #[must_use]
    pub const fn span(self, count: u64) -> Duration {
        match self.unit {
            Unit::Seconds => Duration::from_secs(count),
            Unit::Millis => Duration::from_millis(count),
            Unit::Minutes => Duration::from_secs(count.saturating_mul(60)),
        }
    }

    /// `left`, rounded up to a whole unit and to the least that the provider takes, cut to the most.
    #[must_use]
    pub fn of(self, left: Duration) -> u64 {
        let unit = match self.unit {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
            Unit::Minutes => 60_000_000_000,
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
    fn more_is_laid_over_what_is_there() {
        let mut whole = serde_json::json!({"messages": [{"to": "1"}], "a": {"b": 1}});
        merge(&mut whole, serde_json::json!({"messages": [{"url": "u"}, 2], "a": {"b": 2, "c": 3}, "d": 4}));
        let expected = serde_json::json!({"messages": [{"to": "1", "url": "u"}, 2], "a": {"b": 2, "c": 3}, "d": 4});
        assert_eq!(whole, expected);
    }

    #[test]
    fn validity_is_rounded_up_and_kept_within_bounds() {
        let seconds = Validity { unit: Unit::Seconds, min: 1, max: 36_000 };
        let millis = Validity { unit: Unit::Millis, min: 20_000, max: 604_800_000 };
        let minutes = Validity { unit: Unit::Minutes, min: 1, max: 2_880 };
        for (left, as_minutes) in [(59, 1), (60, 1), (61, 2), (1_000_000, 2_880)] {
            assert_eq!(minutes.of(Duration::from_secs(left)), as_minutes, "{left}");
        }
        assert_eq!(minutes.span(2), Duration::from_mins(2));
        assert_eq!((seconds.span(2), millis.span(2)), (Duration::from_secs(2), Duration::from_millis(2)));
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
