//! Twilio's Messages API as it answers.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Incoming, Mode, Told, Wire};

/// The account that it knows.
pub const ACCOUNT_SID: &str = "AC5133000000000000000000000000000a";
/// That account's token.
pub const AUTH_TOKEN: &str = "simulated-auth-token";

/// The longest text it takes, in characters.
const LONGEST_TEXT: usize = 1_600;
/// The longest validity period, in seconds.
const LONGEST_VALIDITY: u64 = 36_000;

pub(super) struct Twilio;

impl Wire for Twilio {
    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        if !is_signed_in(request) {
            return Err(refusal(20_003));
        }
        if request.account.as_deref() != Some(ACCOUNT_SID) {
            return Err(refusal(20_404));
        }
        let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if media_type != Some("application/x-www-form-urlencoded") {
            return Err(Mode::Error(415));
        }
        let mut form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        let mut field = |name: &str| form.remove(name).filter(|value| !value.is_empty());
        let to = field("To").ok_or_else(|| refusal(21_604))?;
        let text = field("Body").ok_or_else(|| refusal(21_602))?;
        let from = field("From").or_else(|| field("MessagingServiceSid")).ok_or_else(|| refusal(21_603))?;
        let validity = field("ValidityPeriod").map(|text| text.parse().map_err(|_| refusal(90_007))).transpose()?;
        if !is_e164(&to) {
            return Err(refusal(21_211));
        }
        if text.chars().count() > LONGEST_TEXT {
            return Err(refusal(21_617));
        }
        if validity.is_some_and(|seconds| !(1..=LONGEST_VALIDITY).contains(&seconds)) {
            return Err(refusal(90_007));
        }
        Ok(Told { to, from: Some(from), text, reference: None, validity })
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
}

/// A request that Twilio refuses.
fn refusal(code: u32) -> Mode {
    Mode::Refuse(code.to_string())
}

fn is_signed_in(request: &Incoming) -> bool {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}")));
    let given = request.headers.get(AUTHORIZATION);
    given.is_some_and(|given| verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok())
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
