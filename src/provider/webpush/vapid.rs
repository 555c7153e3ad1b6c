//! VAPID (RFC 8292): who we are to browsers' push services, by a token for each of them.
//!
//! A service takes a token for its own origin alone, and for a day at most; Apple asks not to renew it more than
//! hourly. So one is kept for each origin, and used for half of what it lasts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::header::HeaderValue;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::provider::http::jwt::EcKey;

/// How long a token lasts, and how long it is used.
const LASTS: Duration = Duration::from_hours(12);
const USED_FOR: Duration = Duration::from_hours(6);
/// More origins than this are not remembered: their services have a host for each region at most.
const MOST_ORIGINS: usize = 64;

/// The key of our server, and who is behind it.
pub(super) struct Vapid {
    key: EcKey,
    subject: String,
    tokens: Mutex<BTreeMap<String, (Instant, HeaderValue)>>,
}

#[derive(Serialize)]
struct Claims<'c> {
    aud: &'c str,
    exp: i64,
    sub: &'c str,
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Vapid {
    pub(super) fn new(key: EcKey, subject: String) -> Self {
        Self { key, subject, tokens: Mutex::default() }
    }

    /// What proves us to the service of `endpoint`, at `now`.
    pub(super) fn authorization(&self, endpoint: &Url, now: Timestamp) -> Option<HeaderValue> {
        let origin = endpoint.origin().ascii_serialization();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = tokens.get(&origin).filter(|(made, _)| made.elapsed() < USED_FOR) {
            return Some(value.clone());
        }
        let claims = Claims { aud: &origin, exp: (now + LASTS).as_millis().div_euclid(1_000), sub: &self.subject };
        let token = self.key.sign_es256(None, &claims).ok()?;
        let key = BASE64_URL_SAFE_NO_PAD.encode(self.key.public());
        let mut value = HeaderValue::from_str(&format!("vapid t={}, k={key}", token.expose())).ok()?;
        value.set_sensitive(true);
        if tokens.len() >= MOST_ORIGINS {
            tokens.clear();
        }
        tokens.insert(origin, (Clock::instant(), value.clone()));
        Some(value)
    }
}

/// A private key as it is mostly written for Web Push (32 bytes in base64url), or in PEM.
pub(super) fn key(text: &str) -> Option<EcKey> {
    let number = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    number.ok().and_then(|number| EcKey::from_number(&number)).or_else(|| EcKey::parse(text))
}

/// Whom services write to when something is wrong: an address of mail, or of a page.
pub(super) fn subject(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    let reachable = match text.split_once(':')? {
        ("mailto", mail) => mail.split_once('@').is_some_and(|(who, host)| !who.is_empty() && is_host(host)),
        ("https", _) => Url::parse(text).ok()?.host_str().is_some_and(is_host),
        _ => false,
    };
    (plain && reachable).then(|| text.to_owned())
}

fn is_host(text: &str) -> bool {
    text.contains('.') && !text.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_for_hours_by_its_own_service_alone() {
        let vapid = Vapid::new(EcKey::from_number(&[7; 32]).expect("a key"), "mailto:a@example.com".into());
        let at = |url: &str| {
            let url: Url = url.parse().expect("an address");
            let value = vapid.authorization(&url, Timestamp::EPOCH).expect("signed");
            assert!(value.is_sensitive());
            value
        };
        let first = at("https://a.example/x");
        assert_eq!(at("https://a.example/y"), first);
        assert_ne!(at("https://b.example/x"), first);
        tokio::time::advance(USED_FOR.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(at("https://a.example/x"), first);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_ne!(at("https://a.example/x"), first);
        for n in 0..1_000 {
            at(&format!("https://{n}.example/"));
        }
        assert!(vapid.tokens.lock().expect("whole").len() <= MOST_ORIGINS);
    }

    #[test]
    fn a_contact_is_one_that_can_be_written_to() {
        for good in ["mailto:ops@example.com", "https://example.com/contact"] {
            assert!(subject(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ops@example.com",
            "mailto: ops@example.com",
            "mailto:<ops@example.com>",
            "mailto:ops@localhost",
            "https://localhost",
            "http://example.com",
            "mailto:@example.com",
        ] {
            assert!(subject(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_read_in_both_ways() {
        let number = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for good in [number.as_str(), &format!("{number}=\n"), &pem] {
            assert!(key(good).is_some(), "{good}");
        }
        for bad in ["", "hunter2", &number[1..]] {
            assert!(key(bad).is_none(), "{bad}");
        }
    }
}
