//! A gateway of one's own, as `config/providers/webhook.toml` describes it.

use std::time::Duration;

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::receipts::{Line, Says, Teller, Written};
use super::{Incoming, Mode, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;
use crate::provider::http::auth::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookKey};

/// The secret that requests must be signed with.
pub const SIGNING_SECRET: &str = "whsec_c2ltdWxhdGVkLXNpZ25pbmctc2VjcmV0";

/// How far a signature's time may be from now.
const TOLERANCE: Duration = Duration::from_mins(5);

#[derive(Deserialize)]
struct Body {
    reference: String,
    to: String,
    from: Option<String>,
    text: String,
    expires_in: Option<u64>,
    callback_url: Option<String>,
}

pub(super) struct Webhook;

impl Wire for Webhook {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        if !is_signed(request) {
            return Err(Mode::Error(401));
        }
        let body: Body = serde_json::from_slice(&request.body).map_err(|_| Mode::Error(400))?;
        let Body { reference, to, from, text, expires_in, callback_url: callback } = body;
        Ok(Told { to, from, text, reference: Some(reference), validity: expires_in, callback })
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        (StatusCode::ACCEPTED, Json(json!({"id": format!("gateway-{id}")}))).into_response()
    }

    fn refused(&self, code: &str) -> Response {
        let body = json!({"code": code, "result": word(code), "message": "simulated"});
        (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
    }

    fn failed_within(&self, id: u64, code: &str) -> Response {
        Json(json!({"id": format!("gateway-{id}"), "result": word(code)})).into_response()
    }

    fn teller(&self) -> Option<Teller> {
        Some(Self::receipt)
    }
}

impl Webhook {
    fn receipt(id: u64, line: &Line, _: &str, now: Timestamp) -> Option<Written> {
        let status = match line.says {
            Says::Sent => "sent",
            Says::Delivered => "delivered",
            Says::Undelivered | Says::NoAnswer | Says::Machine => "undelivered",
        };
        let body = json!({"status": status, "code": line.code}).to_string();
        let secret =
            if line.is_signed_by_a_stranger() { "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=" } else { SIGNING_SECRET };
        let (id, seconds) = (format!("gateway-{id}"), now.as_millis() / 1_000);
        let signature = WebhookKey::parse(secret)?.sign(&id, seconds, body.as_bytes());
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let headers = [
            (CONTENT_TYPE, text("application/json")?),
            (WEBHOOK_ID, text(&id)?),
            (WEBHOOK_TIMESTAMP, text(&seconds.to_string())?),
            (WEBHOOK_SIGNATURE, text(&signature)?),
        ];
        Some(Written { headers: HeaderMap::from_iter(headers), body })
    }
}

/// What a Twilio code stands for, so that one number means the same with every provider.
pub(super) fn word(code: &str) -> &str {
    match code {
        "21211" | "21614" | "30004" | "30005" | "30006" => "recipient",
        "21610" => "opted_out",
        "21408" | "21612" => "country",
        "21606" | "30034" => "sender",
        "21617" | "30007" => "content",
        "20429" | "21611" | "30001" | "63017" => "throttled",
        _ if code.bytes().all(|byte| byte.is_ascii_digit()) => "provider",
        word => word,
    }
}

fn is_signed(request: &Incoming) -> bool {
    let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let fields = text(WEBHOOK_ID).zip(text(WEBHOOK_TIMESTAMP)).zip(text(WEBHOOK_SIGNATURE));
    let Some(((id, seconds), signature)) = fields else { return false };
    let Ok(seconds) = seconds.parse::<i64>() else { return false };
    let at = Timestamp::from_millis(seconds.saturating_mul(1_000));
    let is_fresh = request.now.since(at) <= TOLERANCE && at.since(request.now) <= TOLERANCE;
    is_fresh && WebhookKey::parse(SIGNING_SECRET).is_some_and(|key| key.verify(id, seconds, &request.body, signature))
}
