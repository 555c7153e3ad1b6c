//! Twilio's Messages and Calls APIs as they answer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use aws_lc_rs::hmac;
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::receipts::{Line, Says, Teller, Written};
use super::{Incoming, Mode, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;

/// The media type of what it sends.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// The account that it knows.
pub const ACCOUNT_SID: &str = "AC5133000000000000000000000000000a";
/// That account's token.
pub const AUTH_TOKEN: &str = "simulated-auth-token";

/// The longest text it takes, in characters.
const LONGEST_TEXT: usize = 1_600;
/// The longest validity period, in seconds.
const LONGEST_VALIDITY: u64 = 36_000;

/// The longest instructions of a call, in characters.
const LONGEST_TWIML: usize = 4_000;
/// The longest that a phone may ring, in seconds.
const LONGEST_RINGING: u64 = 600;

/// The Messages API.
pub(super) struct Messages;

/// The Calls API.
pub(super) struct Calls;

impl Wire for Messages {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let mut form = Form::read(request)?;
        let to = form.take("To").ok_or_else(|| refusal(21_604))?;
        let text = form.take("Body").ok_or_else(|| refusal(21_602))?;
        let from = form.take("From").or_else(|| form.take("MessagingServiceSid")).ok_or_else(|| refusal(21_603))?;
        let validity = form.number("ValidityPeriod", 1..=LONGEST_VALIDITY, 90_007)?;
        if !is_e164(&to) {
            return Err(refusal(21_211));
        }
        if text.chars().count() > LONGEST_TEXT {
            return Err(refusal(21_617));
        }
        let callback = form.take("StatusCallback");
        Ok(Told { to, from: Some(from), text, reference: None, validity, callback })
    }

    fn taken(&self, id: u64, to: &str) -> Response {
        (StatusCode::CREATED, Json(resource(id, to, "accepted", &Value::Null))).into_response()
    }

    fn refused(&self, code: &str) -> Response {
        error(code.parse().unwrap_or(20_001))
    }

    fn failed_within(&self, id: u64, code: &str) -> Response {
        let code = code.parse::<u32>().unwrap_or(30_008);
        (StatusCode::CREATED, Json(resource(id, "", "failed", &code.into()))).into_response()
    }

    fn teller(&self) -> Option<Teller> {
        Some(Self::receipt)
    }
}

impl Messages {
    fn receipt(id: u64, line: &Line, address: &str, _: Timestamp) -> Option<Written> {
        let status = match line.says {
            Says::Sent => "sent",
            Says::Delivered => "delivered",
            Says::Undelivered | Says::NoAnswer | Says::Machine => "undelivered",
        };
        let sid = format!("SM{id:032x}");
        let mut fields = vec![("AccountSid", ACCOUNT_SID), ("MessageSid", &sid), ("MessageStatus", status)];
        fields.extend(line.code.as_deref().map(|code| ("ErrorCode", code)));
        signed(fields, address, line.is_signed_by_a_stranger())
    }
}

impl Wire for Calls {
    fn channel(&self) -> Channel {
        Channel::Voice
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let mut form = Form::read(request)?;
        let to = form.take("To").ok_or_else(|| refusal(21_201))?;
        let from = form.take("From").ok_or_else(|| refusal(21_213))?;
        let twiml = form.take("Twiml").ok_or_else(|| refusal(21_205))?;
        let ringing = form.number("Timeout", 1..=LONGEST_RINGING, 20_001)?;
        form.number("TimeLimit", 1..=86_400, 20_001)?;
        if !is_e164(&to) {
            return Err(refusal(21_211));
        }
        if !is_e164(&from) {
            return Err(refusal(21_212));
        }
        let digits = form.take("SendDigits").unwrap_or_default();
        let sound = digits.len() <= 32 && digits.bytes().all(|b| b.is_ascii_digit() || b"wW#*".contains(&b));
        if !sound || twiml.chars().count() > LONGEST_TWIML {
            return Err(refusal(20_001));
        }
        let callback = form.take("StatusCallback");
        Ok(Told { to, from: Some(from), text: twiml, reference: None, validity: ringing, callback })
    }

    fn mode_of(&self, to: &str) -> Mode {
        Mode::of_called(to)
    }

    fn taken(&self, id: u64, to: &str) -> Response {
        let call = json!({
            "sid": format!("CA{id:032x}"), "status": "queued", "to": to, "direction": "outbound-api", "queue_time": "0",
            "answered_by": null, "price": null,
        });
        (StatusCode::CREATED, Json(call)).into_response()
    }

    fn refused(&self, code: &str) -> Response {
        error(code.parse().unwrap_or(20_001))
    }

    /// A call has no error within its success.
    fn failed_within(&self, _: u64, _: &str) -> Response {
        error(13_224)
    }

    fn teller(&self) -> Option<Teller> {
        Some(Self::receipt)
    }
}

impl Calls {
    fn receipt(id: u64, line: &Line, address: &str, _: Timestamp) -> Option<Written> {
        let status = match line.says {
            Says::Sent => "ringing",
            // It is not asked whether that is a machine.
            Says::Delivered | Says::Machine => "in-progress",
            Says::Undelivered => "busy",
            Says::NoAnswer => "no-answer",
        };
        let sid = format!("CA{id:032x}");
        let mut fields = vec![("AccountSid", ACCOUNT_SID), ("CallSid", &sid), ("CallStatus", status)];
        fields.extend(line.code.as_deref().map(|code| ("SipResponseCode", code)));
        signed(fields, address, line.is_signed_by_a_stranger())
    }
}

/// The fields of a request that is signed in and for the right account.
struct Form(BTreeMap<String, String>);

impl Form {
    fn read(request: &Incoming) -> Result<Self, Mode> {
        if !request.is_basic(ACCOUNT_SID, AUTH_TOKEN) {
            return Err(refusal(20_003));
        }
        if request.account.as_deref() != Some(ACCOUNT_SID) {
            return Err(refusal(20_404));
        }
        if !request.is_form() {
            return Err(Mode::Error(415));
        }
        Ok(Self(form_urlencoded::parse(&request.body).into_owned().collect()))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// The number of a field, if it is there; refused with `code` where it is none within `bounds`.
    fn number(&mut self, name: &str, bounds: RangeInclusive<u64>, code: u32) -> Result<Option<u64>, Mode> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.map(Some).ok_or_else(|| refusal(code))
    }
}

/// A request that Twilio refuses.
fn refusal(code: u32) -> Mode {
    Mode::Refuse(code.to_string())
}

fn is_e164(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn resource(id: u64, to: &str, status: &str, error: &Value) -> Value {
    json!({
        "sid": format!("SM{id:032x}"), "status": status, "error_code": error, "error_message": null,
        "num_segments": "1", "to": to, "direction": "outbound-api", "price": null,
    })
}

/// An error as Twilio tells it.
fn error(code: u32) -> Response {
    let status = match code {
        20_003 => StatusCode::UNAUTHORIZED,
        20_404 => StatusCode::NOT_FOUND,
        20_429 => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    };
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({"code": code, "message": "simulated", "more_info": more_info, "status": status.as_u16()});
    (status, Json(body)).into_response()
}

/// A status callback, signed with the account's token over the address and the fields.
fn signed(mut fields: Vec<(&str, &str)>, address: &str, forged: bool) -> Option<Written> {
    fields.sort_unstable();
    let text: String = fields.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let token = if forged { "another-token" } else { AUTH_TOKEN };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let tag = BASE64_STANDARD.encode(hmac::sign(&key, format!("{address}{text}").as_bytes()));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let signature = (HeaderName::from_static("x-twilio-signature"), HeaderValue::from_str(&tag).ok()?);
    Some(Written { headers: HeaderMap::from_iter([(CONTENT_TYPE, FORM), signature]), body })
}
