//! A browser and its push service: requests are checked as a service checks them, and opened as the browser would.
//!
//! The browser has one key; [`webpush_subscription`] gives what it subscribed with. An endpoint that ends in `:` and a
//! word answers so: an HTTP status, or `VapidPkHashMismatch` and other reasons of Apple's. Else its last digits decide
//! as a number's do.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Cord;
use super::{Incoming, Mode, Shared, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;

/// The private number of the browser's key, and its secret. Both are public: they guard nothing.
const BROWSER: [u8; 32] = [0x42; 32];
const AUTH: [u8; 16] = [0x17; 16];
/// The most bytes of a body, and the longest that a token may last.
const MAX_BYTES: usize = 4_096;
const LONGEST: Duration = Duration::from_hours(24);
const HEAD_LEN: usize = 86;

/// What the browser subscribed with at `endpoint`, as the JSON that a page sends on.
#[must_use]
pub fn webpush_subscription(endpoint: &str) -> String {
    let point = PrivateKey::from_private_key(&ECDH_P256, &BROWSER).and_then(|key| Ok(key.compute_public_key()?));
    let point = point.map(|point| BASE64_URL_SAFE_NO_PAD.encode(point)).unwrap_or_default();
    json!({ "endpoint": endpoint, "keys": { "p256dh": point, "auth": BASE64_URL_SAFE_NO_PAD.encode(AUTH) } })
        .to_string()
}

/// Every path is an endpoint.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/webpush/{entry}/{*endpoint}", post(to_endpoint))
}

async fn to_endpoint(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path((entry, endpoint)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: Some(endpoint), headers, body, now: shared.clock.now() };
    shared.serve(&Endpoint, format!("webpush/{entry}"), cord, request).await
}

struct Endpoint;

#[derive(Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
    sub: String,
}

impl Wire for Endpoint {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refuse = |code: &str| Mode::Refuse(code.to_owned());
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let proof = header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("vapid "));
        if !proof.is_some_and(|proof| proves(proof, request.now)) {
            return Err(refuse("BadJwtToken"));
        }
        let validity = header("ttl").and_then(|ttl| ttl.parse().ok()).ok_or_else(|| refuse("BadTtl"))?;
        if header("urgency").is_some_and(|word| !["very-low", "low", "normal", "high"].contains(&word)) {
            return Err(refuse("BadUrgency"));
        }
        if header("topic").is_some_and(|topic| topic.len() > 32) {
            return Err(refuse("BadWebPushTopic"));
        }
        if request.body.len() > MAX_BYTES {
            return Err(refuse("413"));
        }
        if header(CONTENT_ENCODING.as_str()) != Some("aes128gcm") || request.body.len() <= HEAD_LEN {
            return Err(refuse("BadWebPushRequest"));
        }
        let opened = webpush_opened(&request.body).ok_or_else(|| refuse("BadWebPushRequest"))?;
        let prompt: Value = serde_json::from_slice(&opened).map_err(|_| refuse("BadWebPushRequest"))?;
        let lines = ["title", "body"].into_iter().filter_map(|key| prompt[key].as_str());
        let text = lines.collect::<Vec<_>>().join("\n");
        let reference = prompt["data"]["challenge_id"].as_str().map(str::to_owned);
        let to = request.account.clone().unwrap_or_default();
        Ok(Told { to, from: None, text, reference, validity: Some(validity), callback: None })
    }

    fn mode_of(&self, endpoint: &str) -> Mode {
        match endpoint.rsplit_once(':') {
            Some((_, word)) => Mode::Refuse(word.to_owned()),
            None => Mode::of_number(endpoint),
        }
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        (StatusCode::CREATED, [("location", format!("/m/{id}"))]).into_response()
    }

    fn refused(&self, word: &str) -> Response {
        if let Some(status) = word.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()) {
            return status.into_response();
        }
        let status = if word == "BadJwtToken" { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        (status, Json(json!({ "reason": word }))).into_response()
    }

    fn failed_within(&self, _: u64, _: &str) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "code": 503, "errno": 201 }))).into_response()
    }
}

/// Whether `t=…, k=…` is a token that the key signed, which holds at `now` and not for too long.
fn proves(proof: &str, now: Timestamp) -> bool {
    let part = |name: &str| proof.split(',').find_map(|part| part.trim().strip_prefix(name));
    let verified = || {
        let (token, point) = (part("t=")?, BASE64_URL_SAFE_NO_PAD.decode(part("k=")?).ok()?);
        let (x, y) = point.get(1..65)?.split_at(32);
        let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        let mut rules = Validation::new(Algorithm::ES256);
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_aud) = (false, false);
        let key = DecodingKey::from_ec_components(&x, &y).ok()?;
        Some(jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims)
    };
    verified().is_some_and(|claims| {
        let until = Timestamp::from_millis(claims.exp.saturating_mul(1_000));
        let contact = claims.sub.starts_with("mailto:") || claims.sub.starts_with("https://");
        until > now && until.since(now) <= LONGEST && contact && claims.aud.starts_with("https://")
    })
}

/// What the browser reads of a body (RFC 8291); `None` where it was not sealed for it.
#[must_use]
pub fn webpush_opened(body: &[u8]) -> Option<Vec<u8>> {
    let (salt, key_len) = (body.get(..16)?, *body.get(20)?);
    let theirs = body.get(21..HEAD_LEN).filter(|_| key_len == 65)?;
    let own = PrivateKey::from_private_key(&ECDH_P256, &BROWSER).ok()?;
    let point = own.compute_public_key().ok()?;
    let info = [b"WebPush: info\0", point.as_ref(), theirs].concat();
    let ikm: [u8; 32] = agree(&own, UnparsedPublicKey::new(&ECDH_P256, theirs), (), |shared| {
        expand(&Salt::new(HKDF_SHA256, &AUTH).extract(shared), &info).ok_or(())
    })
    .ok()?;
    let prk = Salt::new(HKDF_SHA256, salt).extract(&ikm);
    let key: [u8; 16] = expand(&prk, b"Content-Encoding: aes128gcm\0")?;
    let nonce: [u8; 12] = expand(&prk, b"Content-Encoding: nonce\0")?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    let mut record = body.get(HEAD_LEN..)?.to_vec();
    let text = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
    let end = text.iter().rposition(|byte| *byte != 0).filter(|end| text[*end] == 2)?;
    Some(text[..end].to_vec())
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    prk.expand(&[info], Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}
