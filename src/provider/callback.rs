//! The address at which a provider tells its news of one attempt: made here ahead of the send, read here when
//! it comes back.
//!
//! `<public url>/receipts/<provider>/<token>`. A token is 32 characters, since Vonage takes an address of 100 in
//! all: what the ledger finds the challenge by, the channel, the attempt, an expiry, and a tag over all of it and
//! the provider's name. Guarantee: without the key none can be made, none serves another provider, and whether
//! one is good takes the same time to tell whatever is wrong with it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use url::Url;

use crate::challenge::{ChallengeId, Channel, Handle};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// How long a token is, in characters.
pub const TOKEN_LENGTH: usize = 32;

const TAG: usize = 9;
/// Handle, channel, attempt, expiry.
const SIGNED: usize = Handle::BYTES + 1 + 1 + 4;
/// What is signed begins with what it is for, so that nothing made by the same key can stand for another thing.
const FOR_HANDLE: &[u8] = b"courier handle 1\0";
const FOR_MESSAGE: &[u8] = b"courier message 1\0";
const FOR_TOKEN: &[u8] = b"courier receipt 1\0";

/// What makes and reads addresses for receipts.
#[derive(Clone)]
pub struct Callbacks {
    /// Scheme, host and port.
    origin: String,
    /// The path that they are below, without a slash at its end.
    path: String,
    /// The first signs; all are good.
    keys: Vec<hmac::Key>,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback {
    /// What the ledger finds the challenge by.
    pub handle: Handle,
    /// The channel of the attempt.
    pub channel: Channel,
    /// Which attempt, 1 for the first.
    pub attempt: u32,
}

impl Callbacks {
    /// Addresses below `public_url`, signed with `key`; those that `previous` signed stay good.
    #[must_use]
    pub fn new(public_url: &Url, key: &Secret, previous: Option<&Secret>) -> Self {
        let key_of = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let path = public_url.path().trim_end_matches('/');
        Self {
            origin: public_url[..url::Position::BeforePath].to_owned(),
            path: path.to_owned(),
            keys: [Some(key), previous].into_iter().flatten().map(key_of).collect(),
        }
    }

    /// The address for news of attempt `attempt` by `provider`, good until `until`, and what the ledger has to
    /// remember for it. `None` for an attempt whose number no token holds: above 255.
    #[must_use]
    pub fn address(
        &self,
        provider: &str,
        id: &ChallengeId,
        channel: Channel,
        attempt: u32,
        until: Timestamp,
    ) -> Option<(Handle, Secret)> {
        let key = self.keys.first()?;
        let attempt = u8::try_from(attempt).ok()?;
        let until = u32::try_from(until.as_millis().div_euclid(1_000)).unwrap_or(u32::MAX);
        let mut handle = Handle([0; Handle::BYTES]);
        handle.0.copy_from_slice(&keyed(key, &[FOR_HANDLE, id.as_str().as_bytes()])[..Handle::BYTES]);
        let mut token = Vec::with_capacity(SIGNED + TAG);
        token.extend(handle.0);
        token.extend([byte_of(channel), attempt]);
        token.extend(until.to_be_bytes());
        let tag = tag_of(key, provider, &token);
        token.extend(tag);
        let token = BASE64_URL_SAFE_NO_PAD.encode(token);
        Some((handle, Secret::new(format!("{}{}/receipts/{provider}/{token}", self.origin, self.path))))
    }

    /// What the token of an address of `provider` stands for, where it is one of ours and holds at `now`.
    #[must_use]
    pub fn read(&self, provider: &str, token: &str, now: Timestamp) -> Option<Callback> {
        let mut bytes = [0; SIGNED + TAG];
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(token, &mut bytes);
        let whole = decoded.is_ok_and(|length| length == bytes.len());
        let (signed, tag) = bytes.split_at(SIGNED);
        let of_key = |key| verify_slices_are_equal(&tag_of(key, provider, signed), tag).is_ok();
        let ours = self.keys.iter().map(of_key).fold(false, |good, this| good | this);
        let (handle, rest) = signed.split_first_chunk()?;
        let (&[channel, attempt], until) = rest.split_first_chunk()?;
        let until = i64::from(u32::from_be_bytes(until.try_into().ok()?));
        let in_time = now.as_millis().div_euclid(1_000) < until;
        let channel = Channel::ALL.into_iter().find(|one| byte_of(*one) == channel)?;
        let read = Callback { handle: Handle(*handle), channel, attempt: u32::from(attempt) };
        (whole && ours && in_time).then_some(read)
    }

    /// The address that a request was sent to, by its own path and query, whether or not a proxy left `public_url`'s
    /// path at the beginning: what providers sign is never taken from what a proxy or a header says.
    #[must_use]
    pub fn requested(&self, path_and_query: &str) -> String {
        let below = path_and_query.strip_prefix(&self.path).filter(|below| below.starts_with("/receipts/"));
        format!("{}{}{}", self.origin, self.path, below.unwrap_or(path_and_query))
    }

    /// The path that all addresses are below; empty where they have none but their own.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// What a receipt finds its challenge by that names only its message: for providers that tell receipts by a session of
/// their own, where nobody else can. `message_id` is written in one way only. All workers agree on it without a key.
#[must_use]
pub fn of_message(provider: &str, message_id: &str) -> Handle {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [FOR_MESSAGE, provider.as_bytes(), b"\0", message_id.as_bytes()] {
        context.update(part);
    }
    let mut handle = Handle([0; Handle::BYTES]);
    handle.0.copy_from_slice(&context.finish().as_ref()[..Handle::BYTES]);
    handle
}

/// How long the addresses below `public_url` for `provider` are.
#[must_use]
pub fn length_of_address(public_url: &Url, provider: &str) -> usize {
    public_url.as_str().trim_end_matches('/').len() + "/receipts//".len() + provider.len() + TOKEN_LENGTH
}

const fn byte_of(channel: Channel) -> u8 {
    match channel {
        Channel::Sms => 0,
        Channel::Voice => 1,
        Channel::Push => 2,
    }
}

fn tag_of(key: &hmac::Key, provider: &str, signed: &[u8]) -> [u8; TAG] {
    let whole = keyed(key, &[FOR_TOKEN, provider.as_bytes(), b"\0", signed]);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&whole[..TAG]);
    tag
}

fn keyed(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.sign().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_521_600_000)
    }

    fn later() -> Timestamp {
        now() + std::time::Duration::from_mins(1)
    }

    fn callbacks(key: &str, previous: Option<&str>) -> Callbacks {
        let url = Url::parse("https://courier.example.com/").expect("an address");
        Callbacks::new(&url, &Secret::new(key), previous.map(Secret::new).as_ref())
    }

    fn id(text: &str) -> ChallengeId {
        ChallengeId::parse(text).expect("an id")
    }

    fn token(by: &Callbacks, provider: &str) -> (Handle, String) {
        let (handle, address) = by.address(provider, &id("c-1"), Channel::Voice, 3, later()).expect("an address");
        let token = address.expose().rsplit('/').next().expect("a path").to_owned();
        (handle, token)
    }

    #[test]
    fn an_address_leads_back_to_its_attempt() {
        let ours = callbacks("k1", None);
        let (handle, token) = token(&ours, "vonage");
        let expected = Callback { handle, channel: Channel::Voice, attempt: 3 };
        assert_eq!(ours.read("vonage", &token, now()), Some(expected));
        assert_eq!(ours.requested("/receipts/a?b=%20c"), "https://courier.example.com/receipts/a?b=%20c");
        let other = ours.address("vonage", &id("c-2"), Channel::Voice, 3, later()).expect("an address").0;
        assert_ne!(handle, other, "another challenge");
        let again = ours.address("twilio", &id("c-1"), Channel::Sms, 4, later()).expect("an address").0;
        assert_eq!(handle, again, "the same challenge");
        assert!(ours.address("vonage", &id("c-1"), Channel::Sms, 256, later()).is_none());
    }

    #[test]
    fn what_a_provider_signed_is_known_behind_any_proxy() {
        for (public, came, signed) in [
            ("https://a.example", "/receipts/p/t?x=%20y", "https://a.example/receipts/p/t?x=%20y"),
            ("https://a.example:8443/", "/receipts/p/t", "https://a.example:8443/receipts/p/t"),
            ("https://a.example/mfa/", "/receipts/p/t", "https://a.example/mfa/receipts/p/t"),
            ("https://a.example/mfa", "/mfa/receipts/p/t", "https://a.example/mfa/receipts/p/t"),
            ("https://a.example/receipts", "/receipts/p/t", "https://a.example/receipts/receipts/p/t"),
        ] {
            let url = Url::parse(public).expect("an address");
            let ours = Callbacks::new(&url, &Secret::new("k1"), None);
            assert_eq!(ours.requested(came), signed, "{public} {came}");
            let (_, address) = ours.address("p", &id("c-1"), Channel::Sms, 1, later()).expect("an address");
            let below = signed.split_once("/p/").expect("a provider").0;
            assert!(address.expose().starts_with(&format!("{below}/p/")), "{}", address.expose());
        }
    }

    #[test]
    fn nothing_else_leads_anywhere() {
        let ours = callbacks("k1", None);
        let (_, token) = token(&ours, "vonage");
        assert!(ours.read("vonage", &token, later()).is_none(), "over its time");
        assert!(ours.read("twilio", &token, now()).is_none(), "another provider's");
        assert!(callbacks("k2", None).read("vonage", &token, now()).is_none(), "another key");
        for wrong in ["", "x", &token[1..], &format!("{token}AAAA"), &format!("{token}="), &"A".repeat(TOKEN_LENGTH)] {
            assert!(ours.read("vonage", wrong, now()).is_none(), "{wrong}");
        }
        for at in 0..token.len() {
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("base64url");
            bytes[at * 3 / 4] ^= 1;
            assert!(ours.read("vonage", &BASE64_URL_SAFE_NO_PAD.encode(bytes), now()).is_none(), "byte {}", at * 3 / 4);
        }
    }

    #[test]
    fn the_previous_key_is_good_while_keys_rotate_and_signs_nothing() {
        let (before, after) = (callbacks("k1", None), callbacks("k2", Some("k1")));
        let (_, old) = token(&before, "twilio");
        let (_, new) = token(&after, "twilio");
        assert!(after.read("twilio", &old, now()).is_some() && after.read("twilio", &new, now()).is_some());
        assert!(before.read("twilio", &new, now()).is_none());
        assert!(callbacks("k2", None).read("twilio", &old, now()).is_none(), "once it has rotated");
    }

    #[test]
    fn an_address_has_the_length_that_is_said_and_leaves_half_of_what_vonage_takes() {
        let url = Url::parse("https://courier.example.com/").expect("an address");
        let ours = callbacks("k1", None);
        let (_, address) = ours.address("vonage", &id(&"c".repeat(128)), Channel::Sms, 255, later()).expect("one");
        assert_eq!(address.expose().len(), length_of_address(&url, "vonage"));
        // 100 in all; what is ours of it leaves this much for the host and the path before it.
        assert_eq!(100 - length_of_address(&url, "vonage") + url.as_str().len() - 1, 51);
    }
}
