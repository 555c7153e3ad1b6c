//! Signatures of single vendors over their receipts, beside those of [`super`]: each a few lines with the vectors that
//! its vendor, or its vendor's own library, has published.
//!
//! All of them are checked over the bytes as they came and the address as it is configured, and compared in constant
//! time.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::{Given, hex};
use crate::provider::definition::receipt::VendorScheme;
use crate::provider::http::jwt;
use crate::secret::Secret;

/// How far the clocks of a vendor and of ours may be apart, where the vendor says nothing else: Telnyx' own figure.
const TOLERANCE: Duration = Duration::from_mins(5);

/// A scheme with its settings.
pub enum VendorProof {
    /// The value of `Authorization`.
    Basic(Secret),
    /// A key for JSON web tokens that hold the hashes of the address and of the body.
    Messagebird(Secret),
    /// An auth token.
    Plivo(Box<hmac::Key>),
    /// The secret of a webhook.
    Sinch(Box<hmac::Key>),
    /// The account's public key.
    Telnyx([u8; 32]),
}

impl VendorProof {
    /// The scheme with `parts`, in the order of its keys; the `Err` says what they have to be.
    pub fn new(scheme: VendorScheme, parts: &[String]) -> Result<Self, &'static str> {
        let key = || Box::new(hmac::Key::new(hmac::HMAC_SHA256, parts.first().map_or(&[], String::as_bytes)));
        Ok(match scheme {
            VendorScheme::Basic => {
                Self::Basic(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(parts.join(":")))))
            }
            VendorScheme::Messagebird => Self::Messagebird(Secret::new(parts.concat())),
            VendorScheme::Plivo => Self::Plivo(key()),
            VendorScheme::Sinch => Self::Sinch(key()),
            VendorScheme::Telnyx => {
                let bytes = BASE64_STANDARD.decode(parts.concat()).ok().and_then(|bytes| bytes.try_into().ok());
                Self::Telnyx(bytes.ok_or("the account's public key: the base64 of 32 bytes")?)
            }
        })
    }

    /// Whether the vendor itself sent it.
    #[must_use]
    pub fn holds(&self, given: &Given<'_>) -> bool {
        match self {
            Self::Basic(expected) => {
                let header = given.header(&AUTHORIZATION).unwrap_or_default();
                verify_slices_are_equal(header.as_bytes(), expected.expose().as_bytes()).is_ok()
            }
            Self::Messagebird(secret) => is_messagebirds(secret, given),
            Self::Plivo(key) => is_plivos(key, given),
            Self::Sinch(key) => is_sinchs(key, given),
            Self::Telnyx(key) => is_telnyxs(key, given),
        }
    }
}

fn named<'g>(given: &Given<'g>, name: &str) -> Option<&'g str> {
    given.headers.get(name)?.to_str().ok()
}

/// Whether one of the signatures, parted by commas, is the key's over `signed`.
fn is_any(key: &hmac::Key, signed: &[u8], signatures: &str) -> bool {
    let decoded = signatures.split(',').filter_map(|one| BASE64_STANDARD.decode(one.trim()).ok());
    decoded.map(|signature| hmac::verify(key, signed, &signature).is_ok()).fold(false, |any, one| any | one)
}

/// <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks>
fn is_telnyxs(key: &[u8; 32], given: &Given<'_>) -> bool {
    let signature = named(given, "telnyx-signature-ed25519").and_then(|text| BASE64_STANDARD.decode(text).ok());
    let (Some(signature), Some(time)) = (signature, named(given, "telnyx-timestamp")) else { return false };
    let Ok(seconds) = time.parse() else { return false };
    let signed = [time.as_bytes(), b"|", given.body].concat();
    UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).is_ok() && given.is_recent(seconds, TOLERANCE)
}

/// <https://developers.sinch.com/docs/sms/api-reference/sms/webhooks>
fn is_sinchs(key: &hmac::Key, given: &Given<'_>) -> bool {
    let header = |name| named(given, name);
    let (Some(signature), Some(nonce), Some(time)) = (
        header("x-sinch-webhook-signature"),
        header("x-sinch-webhook-signature-nonce"),
        header("x-sinch-webhook-signature-timestamp"),
    ) else {
        return false;
    };
    let Ok(seconds) = time.parse() else { return false };
    let signed = [given.body, b".", nonce.as_bytes(), b".", time.as_bytes()].concat();
    // A repeat is signed anew, or with its first time: Sinch says neither.
    is_any(key, &signed, signature) && given.is_recent(seconds, super::OLDEST)
}

/// Version 3 for calls, <https://www.plivo.com/docs/voice/concepts/signature-validation>; of text messages the pages
/// speak of version 2.
fn is_plivos(key: &hmac::Key, given: &Given<'_>) -> bool {
    let any_of = |names: [&str; 2], signed: &str| {
        let signatures = names.into_iter().filter_map(|name| named(given, name));
        signatures.map(|one| is_any(key, signed.as_bytes(), one)).fold(false, |any, one| any | one)
    };
    let (bare, query) = given.url.split_once('?').unwrap_or((given.url, ""));
    let third = named(given, "x-plivo-signature-v3-nonce").is_some_and(|nonce| {
        let signed = format!("{}.{nonce}", signed_by_plivo(bare, query, given.body));
        any_of(["x-plivo-signature-v3", "x-plivo-signature-ma-v3"], &signed)
    });
    let second = named(given, "x-plivo-signature-v2-nonce")
        .is_some_and(|nonce| any_of(["x-plivo-signature-v2", "x-plivo-signature-ma-v2"], &format!("{bare}{nonce}")));
    third | second
}

/// The address with the fields of its query in order, and behind a point those of the form.
fn signed_by_plivo(bare: &str, query: &str, form: &[u8]) -> String {
    let fields = |encoded: &[u8]| {
        let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            sorted.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        for values in sorted.values_mut() {
            values.sort();
        }
        sorted.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)))
    };
    let query: Vec<_> = fields(query.as_bytes()).map(|(name, value)| format!("{name}={value}")).collect();
    let form: String = fields(form).flat_map(|(name, value)| [name, value]).collect();
    let (query, has_form) = (query.join("&"), !form.is_empty());
    let mark = if query.is_empty() && !has_form { "" } else { "?" };
    let point = if !query.is_empty() && has_form { "." } else { "" };
    format!("{bare}{mark}{query}{point}{form}")
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    nbf: i64,
    exp: i64,
    url_hash: String,
    payload_hash: Option<String>,
}

/// <https://developers.messagebird.com/api/#verifying-http-requests>
fn is_messagebirds(secret: &Secret, given: &Given<'_>) -> bool {
    let token = named(given, "messagebird-signature-jwt");
    let Some(claims) = token.and_then(|token| jwt::claims::<Claims>(token, secret)) else { return false };
    let is_hash_of = |claimed: &str, bytes: &[u8]| {
        let hash = hex(digest::digest(&digest::SHA256, bytes).as_ref());
        verify_slices_are_equal(hash.as_bytes(), claimed.as_bytes()).is_ok()
    };
    let body = match &claims.payload_hash {
        Some(hash) => !given.body.is_empty() & is_hash_of(hash, given.body),
        None => given.body.is_empty(),
    };
    // Their tokens hold for a minute; one second is what their libraries allow for the clocks.
    let now = given.now.as_millis().div_euclid(1_000);
    let in_time = claims.nbf - 1 <= now && now < claims.exp.saturating_add(1);
    is_hash_of(&claims.url_hash, given.url.as_bytes()) & body && claims.iss == "MessageBird" && in_time
}

#[cfg(test)]
mod tests;
