//! Vonage's SMS and Voice APIs as they answer.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use axum::Json;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::receipts::{Line, Says, Teller, Written};
use super::webhook::word;
use super::{Incoming, Mode, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;

/// The key of the account that it knows.
pub const API_KEY: &str = "5133000a";
/// That account's secret.
pub const API_SECRET: &str = "simulated-api-secret";
/// What that account's receipts are signed with, by SHA-256.
pub const SIGNATURE_SECRET: &str = "simulated-signature-secret-of-32-bytes";
/// The application that it knows.
pub const APPLICATION_ID: &str = "51330000-0000-4000-8000-00000000000a";
/// That application's private key: published here, and so no secret.
pub const VONAGE_PRIVATE_KEY: &str = include_str!("vonage.pem");
/// What verifies that application's tokens.
pub const VONAGE_PUBLIC_KEY: &str = include_str!("vonage.pub.pem");

/// The shortest and the longest time that a text message may be worth delivering, in milliseconds.
const TTL: std::ops::RangeInclusive<u64> = 20_000..=604_800_000;
const LONGEST_REFERENCE: usize = 40;
const LONGEST_CALLBACK: usize = 100;
/// The longest text of a talk, in characters.
const LONGEST_TALK: usize = 1_500;
/// The longest that a token may hold, and how far clocks may differ, in seconds.
const LONGEST_TOKEN: i64 = 86_400;
const CLOCK_SKEW: i64 = 60;

/// The SMS API.
pub(super) struct Messages;

/// The Voice API.
pub(super) struct Calls;

impl Wire for Messages {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refusal = |status: &str| Mode::Refuse(status.to_owned());
        if !request.is_form() {
            return Err(Mode::Error(415));
        }
        if !request.is_basic(API_KEY, API_SECRET) {
            return Err(refusal("4"));
        }
        let mut form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        let mut field = |name: &str| form.remove(name).filter(|value| !value.is_empty());
        let needed = field("to").zip(field("from")).zip(field("text"));
        let ((to, from), text) = needed.ok_or_else(|| refusal("2"))?;
        let ttl =
            field("ttl").map(|text| text.parse().ok().filter(|ttl| TTL.contains(ttl)).ok_or_else(|| refusal("3")));
        let ttl: Option<u64> = ttl.transpose()?;
        let reference = field("client-ref");
        let alphabet = field("type").unwrap_or_else(|| "text".to_owned());
        let sound = is_number(&to)
            && is_sender(&from)
            && ["text", "unicode"].contains(&alphabet.as_str())
            && reference.as_ref().is_none_or(|reference| reference.len() <= LONGEST_REFERENCE);
        if !sound {
            return Err(refusal("3"));
        }
        let callback = field("callback").filter(|address| address.len() <= LONGEST_CALLBACK);
        let validity = ttl.map(|ttl| ttl / 1_000);
        Ok(Told { to: format!("+{to}"), from: Some(from), text, reference, validity, callback })
    }

    fn taken(&self, id: u64, to: &str) -> Response {
        let part = json!({
            "to": to.trim_start_matches('+'), "message-id": format!("{id:016X}"), "status": "0",
            "remaining-balance": "9.90000000", "message-price": "0.05000000", "network": "00000",
        });
        Json(json!({"message-count": "1", "messages": [part]})).into_response()
    }

    /// Nearly every refusal is a success that says otherwise.
    fn refused(&self, code: &str) -> Response {
        let part = json!({"status": status(code), "error-text": "simulated"});
        Json(json!({"message-count": "1", "messages": [part]})).into_response()
    }

    fn failed_within(&self, _: u64, code: &str) -> Response {
        self.refused(code)
    }

    fn teller(&self) -> Option<Teller> {
        Some(|id, line, _, now| Some(Self::receipt(id, line, now)))
    }
}

impl Messages {
    fn receipt(id: u64, line: &Line, now: Timestamp) -> Written {
        let status = match line.says {
            Says::Sent => "buffered",
            Says::Delivered => "delivered",
            Says::Undelivered | Says::NoAnswer | Says::Machine => "failed",
        };
        let (id, seconds) = (format!("{id:016X}"), (now.as_millis() / 1_000).to_string());
        let code = line.code.as_deref().unwrap_or("0");
        // In the order of their names, as the signature wants them.
        let fields = [("err-code", code), ("messageId", &id), ("status", status), ("timestamp", &seconds)];
        let text: String = fields.iter().flat_map(|(name, value)| ["&", *name, "=", *value]).collect();
        let secret = if line.is_signed_by_a_stranger() { "another-secret" } else { SIGNATURE_SECRET };
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).append_pair("sig", &hex(tag.as_ref()));
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]);
        Written { headers, body: form.finish() }
    }
}

impl Wire for Calls {
    fn channel(&self) -> Channel {
        Channel::Voice
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        if !is_signed(request) {
            return Err(Mode::Refuse("401".to_owned()));
        }
        let refusal = || Mode::Refuse("400".to_owned());
        let call: Call = serde_json::from_slice(&request.body).map_err(|_| refusal())?;
        let ([to], [talk]) = (call.to.as_slice(), call.ncco.as_slice()) else { return Err(refusal()) };
        let sound = to.is_callable()
            && call.from.is_callable()
            && talk.is_sound()
            && call.ringing_timer.is_none_or(|seconds| (1..=120).contains(&seconds))
            && call.length_timer.is_none_or(|seconds| (1..=7_200).contains(&seconds))
            && call.machine_detection.as_ref().is_none_or(|what| ["continue", "hangup"].contains(&what.as_str()));
        if !sound {
            return Err(refusal());
        }
        let (to, from) = (format!("+{}", to.number), Some(call.from.number));
        let callback = call.event_url.and_then(|urls| urls.into_iter().next());
        Ok(Told { to, from, text: talk.text.clone(), reference: None, validity: call.ringing_timer, callback })
    }

    fn mode_of(&self, to: &str) -> Mode {
        Mode::of_called(to)
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        let call = json!({
            "uuid": format!("51330000-0000-4000-8000-{id:012x}"), "status": "started", "direction": "outbound",
            "conversation_uuid": format!("CON-51330000-0000-4000-9000-{id:012x}"),
        });
        (StatusCode::CREATED, Json(call)).into_response()
    }

    /// There are no codes, so a code is the status that comes nearest.
    fn refused(&self, code: &str) -> Response {
        let own = code.parse().ok().filter(|status| (400..600).contains(status));
        let status = own.unwrap_or(if word(code) == "throttled" { 429 } else { 400 });
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let title = status.canonical_reason().unwrap_or_default();
        (status, Json(json!({"type": "simulated", "title": title, "detail": "simulated"}))).into_response()
    }

    /// A call has no error within its success.
    fn failed_within(&self, _: u64, code: &str) -> Response {
        self.refused(code)
    }

    fn teller(&self) -> Option<Teller> {
        Some(Self::receipt)
    }
}

impl Calls {
    fn receipt(id: u64, line: &Line, _: &str, now: Timestamp) -> Option<Written> {
        let status = match line.says {
            Says::Sent => "ringing",
            Says::Delivered => "human",
            Says::Undelivered => "busy",
            Says::NoAnswer => "unanswered",
            Says::Machine => "machine",
        };
        let uuid = format!("51330000-0000-4000-8000-{id:012x}");
        let body = json!({"call_uuid": uuid, "status": status, "direction": "outbound"}).to_string();
        let hash = hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref());
        let claims = json!({
            "iat": now.as_millis() / 1_000, "jti": uuid, "iss": "Vonage", "payload_hash": hash, "api_key": API_KEY,
            "application_id": APPLICATION_ID,
        });
        let secret = if line.is_signed_by_a_stranger() { "another-secret" } else { SIGNATURE_SECRET };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).ok()?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        let json = HeaderValue::from_static("application/json");
        Some(Written { headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (AUTHORIZATION, bearer)]), body })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    to: Vec<Phone>,
    from: Phone,
    ncco: Vec<Talk>,
    ringing_timer: Option<u64>,
    length_timer: Option<u64>,
    machine_detection: Option<String>,
    event_url: Option<Vec<String>>,
    #[serde(rename = "event_method")]
    _event_method: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phone {
    #[serde(rename = "type")]
    kind: String,
    number: String,
    #[serde(rename = "dtmfAnswer", default)]
    digits: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Talk {
    action: String,
    text: String,
    #[serde(rename = "language")]
    _language: Option<String>,
    #[serde(rename = "style")]
    _style: Option<u32>,
    #[serde(rename = "loop")]
    _times: Option<u32>,
}

impl Phone {
    fn is_callable(&self) -> bool {
        let dials = self.digits.bytes().all(|b| b.is_ascii_digit() || b"p#*".contains(&b));
        self.kind == "phone" && is_number(&self.number) && dials
    }
}

impl Talk {
    fn is_sound(&self) -> bool {
        self.action == "talk" && (1..=LONGEST_TALK).contains(&self.text.chars().count())
    }
}

/// 7 to 15 digits, without a plus.
fn is_number(text: &str) -> bool {
    (7..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number, or a name of at most 11 characters.
fn is_sender(text: &str) -> bool {
    is_number(text) || (text.chars().count() <= 11 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' '))
}

/// The status of the SMS API that a code is, or that a Twilio code stands for.
fn status(code: &str) -> String {
    let own = code.parse::<u32>().ok().filter(|status| *status < 100);
    let stands_for = || match word(code) {
        "recipient" | "opted_out" => 6,
        "content" => 12,
        "throttled" => 1,
        "sender" => 15,
        "transient" => 5,
        _ => 11,
    };
    own.unwrap_or_else(stands_for).to_string()
}

/// Whether the request has a token that the application's key signed and that holds now.
fn is_signed(request: &Incoming) -> bool {
    let header = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) else { return false };
    // Times are checked below, by the simulator's own clock.
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_required_spec_claims(&["exp"]);
    let Ok(key) = DecodingKey::from_rsa_pem(VONAGE_PUBLIC_KEY.as_bytes()) else { return false };
    decode::<Value>(token, &key, &rules).is_ok_and(|token| holds(&token.claims, request.now))
}

fn holds(claims: &Value, now: Timestamp) -> bool {
    let (text, time) = (|name: &str| claims[name].as_str(), |name: &str| claims[name].as_i64());
    let Some((iat, exp)) = time("iat").zip(time("exp")) else { return false };
    let now = now.as_millis().div_euclid(1_000);
    let in_time = iat <= now + CLOCK_SKEW && now < exp && exp - iat <= LONGEST_TOKEN;
    in_time && text("application_id") == Some(APPLICATION_ID) && text("jti").is_some_and(|id| !id.is_empty())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}
