//! The address at which a vendor fetches what a call says: made here ahead of the call, opened here when somebody has
//! answered it.
//!
//! `<public url>/voice/<provider>/<token>`. The token *is* the instructions, sealed, with the time until which they are
//! served. They could have stood in the ledger instead, found by a short token; but whoever has picked up hears
//! silence while a slow ledger is asked, or for good where it was lost, and pays for it: sealed, any worker answers, and
//! at once. What that costs: a challenge that is cancelled while its phone rings is still read out, as it is with vendors
//! that take the instructions along with the request.
//!
//! Guarantee: nothing of the instructions can be read or changed in an address (AES-256-GCM-SIV, under a key that is
//! used for nothing else), none serves another provider, and none is served after its time.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use url::Url;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// The longest address that is made, in characters: what every server and proxy on the way takes.
pub const LONGEST_ADDRESS: usize = 2_000;

/// The key that seals is made of the callback key and this, so that neither can stand for the other.
const FOR_FLOW: &[u8] = b"courier flow 1\0";
/// How many bytes the time takes, seconds since the Unix epoch.
const TIME: usize = 4;

/// What makes and opens the addresses of instructions.
#[derive(Clone)]
pub struct Flows {
    /// Without a slash at its end.
    base: Arc<str>,
    /// The first seals; all open.
    keys: Arc<[RandomizedNonceKey]>,
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flows({} keys)", self.keys.len())
    }
}

impl Flows {
    /// Addresses below `public_url`, sealed under `key`; those that `previous` sealed stay good.
    #[must_use]
    pub fn new(public_url: &Url, key: &Secret, previous: Option<&Secret>) -> Self {
        let derived = |secret: &Secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
            RandomizedNonceKey::new(&AES_256_GCM_SIV, hmac::sign(&key, FOR_FLOW).as_ref()).ok()
        };
        Self {
            base: public_url.as_str().trim_end_matches('/').into(),
            keys: [Some(key), previous].into_iter().flatten().filter_map(derived).collect(),
        }
    }

    /// The address at which `provider` fetches `instructions` until `until`; `None` where that would be too long.
    #[must_use]
    pub fn address(&self, provider: &str, instructions: &str, until: Timestamp) -> Option<Secret> {
        // Rounded up: what is written as seconds must not end before it does.
        let until = u32::try_from(until.as_millis().div_euclid(1_000).saturating_add(1)).unwrap_or(u32::MAX);
        let mut content = [&until.to_be_bytes(), instructions.as_bytes()].concat();
        let nonce = self.keys.first()?.seal_in_place_append_tag(Aad::from(provider.as_bytes()), &mut content).ok()?;
        let token = BASE64_URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &content].concat());
        let address = format!("{}/voice/{provider}/{token}", self.base);
        (address.len() <= LONGEST_ADDRESS).then(|| Secret::new(address))
    }

    /// The instructions that an address of `provider` holds, where it is one of ours and good at `now`.
    #[must_use]
    pub fn open(&self, provider: &str, token: &str, now: Timestamp) -> Option<Secret> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut content = rest.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = key.open_in_place(nonce, Aad::from(provider.as_bytes()), &mut content).ok()?;
            let (until, instructions) = opened.split_first_chunk::<TIME>()?;
            let in_time = now.as_millis().div_euclid(1_000) < i64::from(u32::from_be_bytes(*until));
            in_time.then(|| std::str::from_utf8(instructions).ok().map(Secret::new))?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SAID: &str = "<Response><Speak>4, 8, 1, 5, 1, 6</Speak></Response>";

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_521_600_123)
    }

    fn later() -> Timestamp {
        now() + Duration::from_mins(1)
    }

    fn flows(key: &str, previous: Option<&str>) -> Flows {
        let url = Url::parse("https://courier.example.com/").expect("an address");
        Flows::new(&url, &Secret::new(key), previous.map(Secret::new).as_ref())
    }

    fn token(by: &Flows, provider: &str) -> String {
        let address = by.address(provider, SAID, later()).expect("short enough");
        let token = address.expose().strip_prefix(&format!("https://courier.example.com/voice/{provider}/"));
        token.expect("below the public address").to_owned()
    }

    fn opened(by: &Flows, provider: &str, token: &str, at: Timestamp) -> Option<String> {
        by.open(provider, token, at).map(|said| said.expose().to_owned())
    }

    #[test]
    fn an_address_holds_what_is_said_and_shows_nothing_of_it() {
        let ours = flows("k1", None);
        let token = token(&ours, "plivo");
        assert_eq!(opened(&ours, "plivo", &token, now()).as_deref(), Some(SAID));
        assert_eq!(opened(&ours, "plivo", &token, later()).as_deref(), Some(SAID), "to the last moment");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("base64url");
        for part in [b"Respo".as_slice(), b"4, 8", b"481516"] {
            assert!(!bytes.windows(part.len()).any(|window| window == part));
        }
        assert_ne!(self::token(&ours, "plivo"), token, "two that say the same can't be told to");
    }

    #[test]
    fn nothing_else_is_served() {
        let ours = flows("k1", None);
        let good = token(&ours, "plivo");
        assert_eq!(opened(&ours, "plivo", &good, later() + Duration::from_secs(1)), None, "over its time");
        assert_eq!(opened(&ours, "telnyx", &good, now()), None, "another provider's");
        assert_eq!(opened(&flows("k2", None), "plivo", &good, now()), None, "another key");
        for wrong in ["", "x", "AAAA", &good[1..], &good[..good.len() - 4], &format!("{good}AAAA"), &"A".repeat(64)] {
            assert_eq!(opened(&ours, "plivo", wrong, now()), None, "{wrong}");
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&good).expect("base64url");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&ours, "plivo", &BASE64_URL_SAFE_NO_PAD.encode(changed), now()), None, "bit {bit}");
        }
    }

    #[test]
    fn the_previous_key_opens_while_keys_rotate_and_seals_nothing() {
        let (before, after) = (flows("k1", None), flows("k2", Some("k1")));
        let (old, new) = (token(&before, "plivo"), token(&after, "plivo"));
        assert!(opened(&after, "plivo", &old, now()).is_some() && opened(&after, "plivo", &new, now()).is_some());
        assert_eq!(opened(&before, "plivo", &new, now()), None);
    }

    #[test]
    fn what_makes_an_address_too_long_is_refused() {
        let ours = flows("k1", None);
        assert!(ours.address("plivo", &"a".repeat(1_300), later()).is_some());
        assert!(ours.address("plivo", &"a".repeat(1_500), later()).is_none());
    }
}
