//! APNs as it answers: everything about a request is checked that Apple checks, and refused with Apple's reason.
//!
//! A device's token that ends in `:` and a reason is refused with that reason, as `device:Unregistered` is. Else its
//! last digits decide as a number's do. A token that Apple calls dead was known to be an hour before.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Cord;
use super::streams::Link;
use super::{Incoming, Mode, Shared, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// The team that it knows, its key's id, its key, and its app.
pub const APNS_TEAM_ID: &str = "SIMTEAM001";
/// The id of its key.
pub const APNS_KEY_ID: &str = "SIMKEY0001";
/// The key that its tokens are signed with.
pub const APNS_KEY: &str = include_str!("push_key.pem");
/// Its app.
pub const APNS_TOPIC: &str = "com.example.authenticator";
const PUBLIC_KEY: &str = include_str!("push_key.pub.pem");

/// How old a provider token may be, and how soon a connection may show another.
const OLDEST: Duration = Duration::from_hours(1);
const SOONEST: Duration = Duration::from_mins(20);
/// How far a token's time may be ahead of ours.
const TOLERANCE: Duration = Duration::from_mins(1);
const MAX_BYTES: usize = 4_096;
const LONGEST_COLLAPSE_ID: usize = 64;
const PUSH_TYPES: [&str; 4] = ["alert", "background", "voip", "location"];
const LEVELS: [&str; 4] = ["passive", "active", "time-sensitive", "critical"];

/// Apple's reasons and the status of each.
pub(super) const REASONS: [(&str, u16); 32] = [
    ("BadCollapseId", 400),
    ("BadDeviceToken", 400),
    ("BadExpirationDate", 400),
    ("BadMessageId", 400),
    ("BadPriority", 400),
    ("BadTopic", 400),
    ("DeviceTokenNotForTopic", 400),
    ("DuplicateHeaders", 400),
    ("IdleTimeout", 400),
    ("InvalidPushType", 400),
    ("MissingDeviceToken", 400),
    ("MissingTopic", 400),
    ("PayloadEmpty", 400),
    ("TopicDisallowed", 400),
    ("BadCertificate", 403),
    ("BadCertificateEnvironment", 403),
    ("BadEnvironmentKeyIdInToken", 403),
    ("ExpiredProviderToken", 403),
    ("Forbidden", 403),
    ("InvalidProviderToken", 403),
    ("MissingProviderToken", 403),
    ("UnrelatedKeyIdInToken", 403),
    ("BadPath", 404),
    ("MethodNotAllowed", 405),
    ("ExpiredToken", 410),
    ("Unregistered", 410),
    ("PayloadTooLarge", 413),
    ("TooManyProviderTokenUpdates", 429),
    ("TooManyRequests", 429),
    ("InternalServerError", 500),
    ("ServiceUnavailable", 503),
    ("Shutdown", 503),
];

/// The provider token that a connection showed last, and when for the first time.
#[derive(Default)]
pub(super) struct Shown(Mutex<Option<(Secret, Timestamp)>>);

/// One request to an entry.
struct Device<'s> {
    link: &'s Link,
    now: Timestamp,
    method: Method,
    apns_id: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

/// Checks, notes and answers one request.
pub(super) async fn serve(shared: &Shared, link: &Link, head: &Parts, body: Bytes, cord: &Cord) -> Response {
    let parts: Vec<_> = head.uri.path().split('/').skip(1).collect();
    let (entry, device) = match parts.as_slice() {
        ["apns", entry, "3", "device", device] => (*entry, Some((*device).to_owned())),
        ["apns", entry, "3", "device"] => (*entry, Some(String::new())),
        ["apns", entry, ..] => (*entry, None),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let now = shared.clock.now();
    let apns_id = text(&head.headers, "apns-id").map(str::to_owned);
    let wire = Device { link, now, method: head.method.clone(), apns_id };
    let request = Incoming { account: device, headers: head.headers.clone(), body, now };
    shared.serve(&wire, format!("apns/{entry}"), cord.clone(), request).await
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

impl Wire for Device<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        self.check(request).map_err(|reason| Mode::Refuse(reason.to_owned()))
    }

    fn mode_of(&self, token: &str) -> Mode {
        let reason = token.rsplit_once(':').map(|(_, reason)| reason);
        match reason.filter(|reason| REASONS.iter().any(|known| known.0 == *reason)) {
            Some(reason) => Mode::Refuse(reason.to_owned()),
            None => Mode::of_number(token),
        }
    }

    fn taken(&self, _: u64, _: &str) -> Response {
        let id = self.apns_id.clone().unwrap_or_default();
        (StatusCode::OK, [("apns-id", id)]).into_response()
    }

    fn refused(&self, reason: &str) -> Response {
        let status = REASONS.iter().find(|known| known.0 == reason).map_or(500, |known| known.1);
        let mut body = json!({ "reason": reason });
        if status == 410 {
            body["timestamp"] = (self.now - Duration::from_hours(1)).as_millis().into();
        }
        (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), Json(body)).into_response()
    }

    fn failed_within(&self, _: u64, _: &str) -> Response {
        self.refused("ServiceUnavailable")
    }
}

impl Device<'_> {
    /// What a right request says, or the reason that it is none.
    fn check(&self, request: &Incoming) -> Result<Told, &'static str> {
        let device = request.account.clone().ok_or("BadPath")?;
        if self.method != Method::POST {
            return Err("MethodNotAllowed");
        }
        self.check_token(&request.headers)?;
        if device.is_empty() {
            return Err("MissingDeviceToken");
        }
        let validity = self.check_headers(&request.headers)?;
        if request.body.is_empty() {
            return Err("PayloadEmpty");
        }
        if request.body.len() > MAX_BYTES {
            return Err("PayloadTooLarge");
        }
        let payload: Value = serde_json::from_slice(&request.body).map_err(|_| "PayloadEmpty")?;
        let aps = payload.get("aps").and_then(Value::as_object).ok_or("PayloadEmpty")?;
        let level = aps.get("interruption-level").map_or(Some("active"), Value::as_str);
        if level.is_none_or(|level| !LEVELS.contains(&level)) || !aps.contains_key("alert") {
            return Err("InvalidPushType");
        }
        let alert = |key: &str| payload.pointer(&format!("/aps/alert/{key}")).and_then(Value::as_str);
        let text = ["title", "body"].into_iter().filter_map(alert).collect::<Vec<_>>().join("\n");
        let reference = payload.pointer("/mfa/challenge_id").and_then(Value::as_str).map(str::to_owned);
        Ok(Told { to: device, from: None, text, reference, validity, callback: None })
    }

    /// That the request proves its sender, by a token that is neither too old nor too new.
    fn check_token(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let bearer = text(headers, "authorization").ok_or("MissingProviderToken")?;
        let token = bearer.strip_prefix("bearer ").ok_or("InvalidProviderToken")?;
        let claims = verified(token).filter(|claims| claims.iss == APNS_TEAM_ID).ok_or("InvalidProviderToken")?;
        let made = Timestamp::from_millis(claims.iat.saturating_mul(1_000));
        if made > self.now + TOLERANCE {
            return Err("InvalidProviderToken");
        }
        if self.now.since(made) > OLDEST {
            return Err("ExpiredProviderToken");
        }
        let mut shown = self.link.shown.0.lock().unwrap_or_else(PoisonError::into_inner);
        match shown.as_ref() {
            Some((before, _)) if before.expose() == token => {}
            Some((_, since)) if self.now.since(*since) < SOONEST => return Err("TooManyProviderTokenUpdates"),
            _ => *shown = Some((Secret::new(token), self.now)),
        }
        Ok(())
    }

    /// How long the prompt is worth showing, where its headers are right.
    fn check_headers(&self, headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
        if headers.keys_len() != headers.len() {
            return Err("DuplicateHeaders");
        }
        match text(headers, "apns-topic") {
            None => return Err("MissingTopic"),
            Some(topic) if topic != APNS_TOPIC => return Err("BadTopic"),
            Some(_) => {}
        }
        let priority = text(headers, "apns-priority").unwrap_or("10");
        let push_type = text(headers, "apns-push-type").unwrap_or_default();
        if !PUSH_TYPES.contains(&push_type) {
            return Err("InvalidPushType");
        }
        if !["1", "5", "10"].contains(&priority) || (push_type == "background" && priority != "5") {
            return Err("BadPriority");
        }
        if text(headers, "apns-id").is_some_and(|id| !is_uuid(id)) {
            return Err("BadMessageId");
        }
        if text(headers, "apns-collapse-id").is_some_and(|id| id.len() > LONGEST_COLLAPSE_ID) {
            return Err("BadCollapseId");
        }
        let Some(expiration) = text(headers, "apns-expiration") else { return Ok(None) };
        let until: i64 = expiration.parse().map_err(|_| "BadExpirationDate")?;
        Ok(Some(Timestamp::from_millis(until.saturating_mul(1_000)).since(self.now).as_secs()))
    }
}

fn is_uuid(id: &str) -> bool {
    let lengths: Vec<_> = id.split('-').map(str::len).collect();
    let allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    lengths == [8, 4, 4, 4, 12] && id.bytes().all(allowed)
}

/// The claims of a token that its team's key signed.
fn verified(token: &str) -> Option<Claims> {
    let key = DecodingKey::from_ec_pem(PUBLIC_KEY.as_bytes()).ok()?;
    let mut validation = Validation::new(Algorithm::ES256);
    // It has no end of its own, and its beginning is checked by our clock.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let token = jsonwebtoken::decode::<Claims>(token, &key, &validation).ok()?;
    (token.header.kid.as_deref() == Some(APNS_KEY_ID)).then_some(token.claims)
}
