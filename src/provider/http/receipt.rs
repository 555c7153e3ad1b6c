//! What comes to the addresses of [`crate::provider::callback`]: whether the provider itself sent it, by the scheme that its
//! definition names, and what it says.
//!
//! Signatures are checked over the bytes as they came and the address as it was configured, and compared in
//! constant time. Replays are harmless (a state never moves back), so a time within a receipt is held only
//! against the longest that a vendor repeats one.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use serde_json::{Map, Value};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

use self::md5::{md5_hash, md5_hmac};
use self::vendors::VendorProof;
use super::auth::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WebhookKey};
use super::jwt;
use crate::clock::Timestamp;
use crate::delivery::outcome::ReceiptStatus;
use crate::secret::Secret;

mod md5;
pub mod vendors;

/// Vonage repeats a receipt for a day, and clocks differ.
const OLDEST: Duration = Duration::from_hours(25);
/// What the Standard Webhooks specification allows.
const WEBHOOK_TOLERANCE: Duration = Duration::from_mins(5);

/// A request that says it is a receipt.
#[derive(Clone, Copy, Debug)]
pub struct Given<'g> {
    /// The whole address that it was sent to, with its query, as it is configured for the public.
    pub url: &'g str,
    /// Its headers.
    pub headers: &'g HeaderMap,
    /// Its body.
    pub body: &'g [u8],
    /// When it came.
    pub now: Timestamp,
}

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// `None`: nothing that matters here, such as that a message was queued.
    pub status: Option<ReceiptStatus>,
    /// The provider's own code.
    pub code: Option<String>,
}

/// How the receipts of one provider and channel prove who sends them, the settings filled in.
pub enum Proof {
    /// By nothing but the address, which nobody can guess.
    Address,
    /// Twilio: HMAC-SHA1 over the address and the form, or over an address that holds the hash of the body.
    Twilio(Box<hmac::Key>),
    /// Vonage's text messages: a parameter `sig` over all others.
    VonageSms(Secret, SigMethod),
    /// Vonage's calls: a JSON web token, HS256, that holds the hash of the body.
    VonageJwt(Secret),
    /// The Standard Webhooks specification.
    StandardWebhooks(Vec<WebhookKey>),
    /// One of [`vendors`].
    Vendor(VendorProof),
}

/// How an account at Vonage signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigMethod {
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-512.
    Sha512,
    /// HMAC with SHA-1.
    Sha1,
    /// HMAC with MD5.
    Md5Hmac,
    /// MD5 of what is signed and then the secret: what an account has that never chose.
    Md5Hash,
}

impl Proof {
    /// Twilio's scheme with the account's auth token.
    #[must_use]
    pub fn twilio(auth_token: &str) -> Self {
        Self::Twilio(Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes())))
    }

    /// Whether the provider itself sent it.
    #[must_use]
    pub fn holds(&self, given: &Given<'_>) -> bool {
        match self {
            Self::Address => true,
            Self::Twilio(key) => is_twilios(key, given),
            Self::VonageSms(secret, method) => is_vonages_sms(secret, *method, given),
            Self::VonageJwt(secret) => is_vonages_call(secret, given),
            Self::StandardWebhooks(keys) => is_webhook(keys, given),
            Self::Vendor(proof) => proof.holds(given),
        }
    }
}

impl Given<'_> {
    /// What it carries, as one object: of JSON the object itself, of a form or a query its fields as texts.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        if self.is_json() && !self.body.is_empty() {
            return serde_json::from_slice(self.body).unwrap_or_default();
        }
        let text = |(name, value): (String, String)| (name, Value::String(value));
        self.pairs().into_iter().map(text).collect()
    }

    /// The receipts that it carries: the items of an array, or the one that it is.
    #[must_use]
    pub fn items(&self) -> Vec<Value> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Array(items)) if self.is_json() => items,
            _ => vec![self.fields().into()],
        }
    }

    fn is_json(&self) -> bool {
        let media_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json") || media_type.ends_with("+json")
    }

    /// The fields of its form, or of its query where it has no body.
    fn pairs(&self) -> Vec<(String, String)> {
        let encoded = if self.body.is_empty() { self.query().as_bytes() } else { self.body };
        form_urlencoded::parse(encoded).into_owned().collect()
    }

    fn query(&self) -> &str {
        self.url.split_once('?').map_or("", |(_, query)| query)
    }

    fn header(&self, name: &reqwest::header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn is_recent(&self, seconds: i64, tolerance: Duration) -> bool {
        let now = self.now.as_millis().div_euclid(1_000);
        now.abs_diff(seconds) <= tolerance.as_secs()
    }
}

/// <https://www.twilio.com/docs/usage/security#validating-requests>
fn is_twilios(key: &hmac::Key, given: &Given<'_>) -> bool {
    let signature = given.headers.get("x-twilio-signature").map(|value| BASE64_STANDARD.decode(value.as_bytes()));
    let Some(Ok(signature)) = signature else { return false };
    let hash = form_urlencoded::parse(given.query().as_bytes()).find(|(name, _)| name == "bodySHA256");
    let (fields, whole) = if let Some((_, hash)) = hash {
        let body = hex(digest::digest(&digest::SHA256, given.body).as_ref());
        let same = verify_slices_are_equal(body.as_bytes(), hash.to_ascii_lowercase().as_bytes()).is_ok();
        (String::new(), same)
    } else {
        let mut pairs: Vec<_> = form_urlencoded::parse(given.body).collect();
        pairs.sort();
        pairs.dedup();
        (pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect(), true)
    };
    let signed = addresses(given.url).map(|url| hmac::verify(key, format!("{url}{fields}").as_bytes(), &signature));
    // All of them, so that the time does not tell which it was.
    signed.map(|checked| checked.is_ok()).fold(false, |any, one| any | one) && whole
}

/// An address as it is, with the port of its scheme, and without a port: which of them Twilio signs differs.
fn addresses(url: &str) -> impl Iterator<Item = String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    };
    let port = if scheme == "http" { 80 } else { 443 };
    let with_port = if bare == host { format!("{host}:{port}") } else { host.to_owned() };
    [host.to_owned(), with_port, bare.to_owned()].map(|host| format!("{scheme}://{host}{path}")).into_iter()
}

/// <https://developer.vonage.com/en/getting-started/concepts/signing-messages>
fn is_vonages_sms(secret: &Secret, method: SigMethod, given: &Given<'_>) -> bool {
    let mut fields = given.fields();
    let Some(signature) = fields.remove("sig").and_then(|sig| unhex(sig.as_str()?)) else { return false };
    let time = fields.get("timestamp").map(plain).and_then(|text| text.parse().ok());
    let in_time = time.is_some_and(|seconds| given.is_recent(seconds, OLDEST));
    method.holds(secret.expose().as_bytes(), signed_by_vonage(&fields).as_bytes(), &signature) && in_time
}

/// `&name=value` of every field in the order of the names, with `&` and `=` in values as `_`.
fn signed_by_vonage(fields: &Map<String, Value>) -> String {
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name, plain(value).replace(['&', '='], "_"))).collect();
    fields.sort();
    fields.iter().flat_map(|(name, value)| ["&", name.as_str(), "=", value.as_str()]).collect()
}

/// A value of JSON as it stands in a form.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl SigMethod {
    fn holds(self, secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm| hmac::verify(&hmac::Key::new(algorithm, secret), signed, signature).is_ok();
        match self {
            Self::Sha256 => by(hmac::HMAC_SHA256),
            Self::Sha512 => by(hmac::HMAC_SHA512),
            Self::Sha1 => by(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::Md5Hmac => verify_slices_are_equal(&md5_hmac(secret, signed), signature).is_ok(),
            Self::Md5Hash => verify_slices_are_equal(&md5_hash(secret, signed), signature).is_ok(),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    payload_hash: String,
}

/// <https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks>
fn is_vonages_call(secret: &Secret, given: &Given<'_>) -> bool {
    let Some(token) = given.header(&AUTHORIZATION).and_then(|header| header.strip_prefix("Bearer ")) else {
        return false;
    };
    let Some(claims) = jwt::claims::<Claims>(token.trim(), secret) else { return false };
    let body = hex(digest::digest(&digest::SHA256, given.body).as_ref());
    let claimed = claims.payload_hash.to_ascii_lowercase();
    let same = verify_slices_are_equal(body.as_bytes(), claimed.as_bytes()).is_ok();
    same && given.is_recent(claims.iat, OLDEST)
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn is_webhook(keys: &[WebhookKey], given: &Given<'_>) -> bool {
    let header = |name| given.header(name);
    let (Some(id), Some(time), Some(signature)) =
        (header(&WEBHOOK_ID), header(&WEBHOOK_TIMESTAMP), header(&WEBHOOK_SIGNATURE))
    else {
        return false;
    };
    let Ok(seconds) = time.parse() else { return false };
    let by = |key: &WebhookKey| key.verify(id, seconds, given.body, signature);
    keys.iter().map(by).fold(false, |any, one| any | one) && given.is_recent(seconds, WEBHOOK_TOLERANCE)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    if text.len().is_multiple_of(2) { (0..text.len()).step_by(2).map(digit).collect() } else { None }
}

#[cfg(test)]
mod tests;
