//! The two forms of a message: plain JSON, or the same JSON as the `data` of a `CloudEvents` 1.0 event
//! (structured mode, <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! Whoever asks in one form is answered in it. The envelope is checked here; what it holds is read by the
//! same code in either form.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{APP_ID, OUTCOME_TYPE, strict, to_json};
use crate::challenge::{Form, Origin};
use crate::clock::Timestamp;
use crate::delivery::outcome::Outcome;

/// The media type of a structured event.
const CLOUD_EVENT: &str = "application/cloudevents+json";
const JSON: &str = "application/json";

/// What a message holds, whichever form it came in.
pub(super) struct Opened {
    /// The contract's own object.
    pub fields: Map<String, Value>,
    pub form: Form,
    /// The trace context of the event itself, by `CloudEvents`' extension for tracing.
    pub traceparent: Option<String>,
}

/// Opens a message that is about `kind`, the event type.
///
/// # Errors
/// What is wrong, without any of the content.
pub(super) fn open(content_type: Option<&str>, body: &[u8], kind: &str) -> Result<Opened, String> {
    let media_type = media_type(content_type).ok_or("`content_type` has a charset that is not UTF-8")?;
    if media_type.is_empty() || media_type.eq_ignore_ascii_case(JSON) {
        return Ok(Opened { fields: strict::object(body)?, form: Form::Json, traceparent: None });
    }
    if !media_type.eq_ignore_ascii_case(CLOUD_EVENT) {
        return Err(format!("`content_type` is neither {JSON} nor {CLOUD_EVENT}"));
    }
    let mut event = strict::object(body)?;
    let text = |name: &str| event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("specversion") != Some("1.0") {
        return Err("the event's `specversion` is not 1.0".to_owned());
    }
    for required in ["id", "source"] {
        text(required).ok_or_else(|| format!("the event has no `{required}`"))?;
    }
    if text("type") != Some(kind) {
        return Err(format!("the event's `type` is not {kind}"));
    }
    let of_data = text("datacontenttype").map_or(Some(JSON), |of_data| self::media_type(Some(of_data)));
    if !of_data.is_some_and(|of_data| of_data.eq_ignore_ascii_case(JSON)) {
        return Err(format!("the event's `datacontenttype` is not {JSON}"));
    }
    let traceparent = text("traceparent").map(str::to_owned);
    match event.remove("data") {
        Some(Value::Object(fields)) => Ok(Opened { fields, form: Form::CloudEvents, traceparent }),
        _ => Err("the event's `data` is not an object".to_owned()),
    }
}

/// The media type alone; `None` where its charset is one that JSON can't have.
fn media_type(content_type: Option<&str>) -> Option<&str> {
    let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let is_utf8 = parts.all(|part| match part.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    is_utf8.then_some(media_type)
}

/// An outcome as an event.
#[derive(Serialize)]
struct Event<'o> {
    specversion: &'static str,
    id: &'o str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'o str,
    time: Timestamp,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'o str>,
    data: &'o Outcome,
}

/// An outcome in the form that its challenge had: content type and body.
pub(super) fn write(outcome: &Outcome, origin: &Origin) -> (&'static str, Bytes) {
    match origin.form {
        Form::Json => (JSON, to_json(outcome)),
        Form::CloudEvents => {
            let event = Event {
                specversion: "1.0",
                id: &outcome.id,
                source: APP_ID,
                kind: OUTCOME_TYPE,
                subject: outcome.challenge_id.as_str(),
                time: outcome.occurred_at,
                datacontenttype: JSON,
                traceparent: origin.traceparent.as_deref(),
                data: outcome,
            };
            (CLOUD_EVENT, to_json(&event))
        }
    }
}

/// The form that a content type of [`write()`]'s says.
#[must_use]
pub fn form_of(content_type: Option<&str>) -> Form {
    if content_type == Some(CLOUD_EVENT) { Form::CloudEvents } else { Form::Json }
}

/// The contract's own object of an outcome that [`write()`] wrote, byte for byte; unread but for an event's envelope.
#[must_use]
pub fn contract_body(content_type: Option<&str>, body: &Bytes) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Data<'b> {
        #[serde(borrow)]
        data: &'b RawValue,
    }
    match form_of(content_type) {
        Form::Json => Some(body.clone()),
        Form::CloudEvents => {
            let Data { data } = serde_json::from_slice(body).ok()?;
            Some(body.slice_ref(data.get().as_bytes()))
        }
    }
}

/// Reads an outcome back that [`write()`] wrote.
#[must_use]
pub fn outcome(content_type: Option<&str>, body: &[u8]) -> Option<Outcome> {
    let fields = open(content_type, body, OUTCOME_TYPE).ok()?.fields;
    serde_json::from_value(Value::Object(fields)).ok()
}
