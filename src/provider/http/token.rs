//! Bearer tokens that we sign ourselves ([`super::jwt`]): what Vonage's newer services ask for.
//!
//! A token is made once and used until it is nearly over, so that a burst of calls costs one signature.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Serialize;

use super::jwt::RsaKey;
use crate::clock::{Dice, Timestamp};
use crate::provider::definition::request::header_value;

/// The share of a token's lifetime that is left when the next one is made: more than a request takes, and room for
/// clocks that differ. One in four.
const SPARE: u32 = 4;

/// Makes tokens, and keeps the latest.
pub(super) struct TokenMaker {
    key: RsaKey,
    claims: BTreeMap<String, String>,
    lifetime: Duration,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    latest: Option<Token>,
}

/// A token as it stands in the header.
struct Token {
    made: Timestamp,
    bearer: HeaderValue,
}

#[derive(Serialize)]
struct Claims<'c> {
    #[serde(flatten)]
    own: &'c BTreeMap<String, String>,
    iat: i64,
    exp: i64,
    jti: String,
}

impl TokenMaker {
    /// Tokens with these claims, each for this long; `None` where `pem` is no key that can sign.
    pub(super) fn new(pem: &str, claims: BTreeMap<String, String>, lifetime: Duration) -> Option<Self> {
        let state = Mutex::new(State { dice: Dice::system(), latest: None });
        Some(Self { key: RsaKey::parse(pem)?, claims, lifetime, state })
    }

    /// `Bearer` and a token that holds at `now` and a while longer.
    pub(super) fn bearer(&self, now: Timestamp) -> Option<HeaderValue> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = self.lifetime / SPARE * (SPARE - 1);
        // A clock that was set back must not keep a token of the future.
        let holds = |token: &&Token| token.made <= now && now < token.made + lasts;
        if let Some(token) = state.latest.as_ref().filter(holds) {
            return Some(token.bearer.clone());
        }
        let jti = token_id(&mut state.dice);
        let bearer = self.sign(now, jti)?;
        state.latest = Some(Token { made: now, bearer: bearer.clone() });
        Some(bearer)
    }

    fn sign(&self, now: Timestamp, jti: String) -> Option<HeaderValue> {
        let iat = now.as_millis().div_euclid(1_000);
        let exp = iat.saturating_add(i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX));
        let claims = Claims { own: &self.claims, iat, exp, jti };
        let token = self.key.sign_rs256(None, &claims).ok()?;
        header_value(&format!("Bearer {}", token.expose()))
    }
}

/// A version 4 UUID (RFC 9562), which no other token of any worker has.
fn token_id(dice: &mut Dice) -> String {
    let number = u128::from(dice.number()) << 64 | u128::from(dice.number());
    let number = number & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let mut id = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        let dash = if [8, 12, 16, 20].contains(&at) { "-" } else { "" };
        let _ = write!(id, "{dash}{digit}");
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::simulator::VONAGE_PRIVATE_KEY;

    const LIFETIME: Duration = Duration::from_mins(15);

    fn maker() -> TokenMaker {
        let claims = BTreeMap::from([("application_id".to_owned(), "a-1".to_owned())]);
        TokenMaker::new(VONAGE_PRIVATE_KEY, claims, LIFETIME).expect("a key")
    }

    #[test]
    fn a_token_is_used_again_until_it_is_nearly_over() {
        let (maker, start) = (maker(), Timestamp::from_millis(1_790_000_000_123));
        let at = |now: Timestamp| maker.bearer(now).expect("signs");
        let first = at(start);
        assert!(first.is_sensitive());
        assert_eq!(at(start + Duration::from_secs(674)), first);
        let second = at(start + Duration::from_secs(675));
        assert_ne!(second, first);
        assert_eq!(at(start + Duration::from_secs(676)), second);
        assert_ne!(at(start), second, "a clock that was set back");
    }

    #[test]
    fn ids_are_uuids_that_differ() {
        let mut dice = Dice::seeded(7);
        let ids: BTreeSet<_> = (0..1_000).map(|_| token_id(&mut dice)).collect();
        assert_eq!(ids.len(), 1_000);
        for id in ids {
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert!(id[14..].starts_with('4') && id[19..].starts_with(['8', '9', 'a', 'b']), "{id}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_when_it_is_read() {
        let public = include_str!("../../simulator/vonage.pub.pem");
        let cut = VONAGE_PRIVATE_KEY.replacen("MII", "MIJ", 1);
        let elliptic = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for bad in ["", "hunter2", public, cut.as_str(), elliptic.as_str()] {
            assert!(TokenMaker::new(bad, BTreeMap::new(), LIFETIME).is_none(), "{bad}");
        }
    }
}
