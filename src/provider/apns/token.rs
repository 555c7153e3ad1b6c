//! The token that proves us to Apple: signed here, shared by all connections, and renewed as often as Apple wants.
//!
//! Apple refuses a token that is older than an hour, and whoever shows it a new one more often than every 20 minutes.
//! So one is used for 50 minutes, and one that is refused is replaced only where it is old enough. Signing is done
//! under the lock: however many need a token, one is made. Ages are monotonic: a clock that is set back makes none.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Serialize;
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::provider::http::jwt::EcKey;

/// For how long a token is used.
const USED_FOR: Duration = Duration::from_mins(50);
/// How soon another may be shown.
const LEAST_AGE: Duration = Duration::from_mins(20);

/// Makes tokens, and keeps the latest.
#[derive(Debug)]
pub(super) struct Tokens {
    key: EcKey,
    key_id: String,
    team_id: String,
    latest: Mutex<Option<Token>>,
}

/// A token as it stands in the header.
#[derive(Clone)]
pub(super) struct Token {
    made: Instant,
    bearer: HeaderValue,
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    iat: i64,
}

impl Token {
    pub(super) const fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Tokens {
    pub(super) fn new(key: EcKey, key_id: String, team_id: String) -> Self {
        Self { key, key_id, team_id, latest: Mutex::default() }
    }

    /// The token to be shown at `now`; `None` where none can be signed, which the key's reading rules out.
    pub(super) fn get(&self, now: Timestamp) -> Option<Token> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = latest.as_ref().filter(|token| token.made.elapsed() < USED_FOR) {
            return Some(token.clone());
        }
        let token = self.sign(now)?;
        *latest = Some(token.clone());
        Some(token)
    }

    /// Forgets a token that was refused, if it may be replaced yet. Whether there is another to try with: many are
    /// refused with one token, and only the first of them changes anything.
    pub(super) fn refuse(&self, token: &Token) -> bool {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_latest = latest.as_ref().is_some_and(|held| held.made == token.made);
        if is_latest && token.made.elapsed() >= LEAST_AGE {
            *latest = None;
        }
        !is_latest || latest.is_none()
    }

    fn sign(&self, now: Timestamp) -> Option<Token> {
        let claims = Claims { iss: &self.team_id, iat: now.as_millis().div_euclid(1_000) };
        let token = self.key.sign_es256(Some(&self.key_id), &claims).ok()?;
        let mut bearer = HeaderValue::from_str(&format!("bearer {}", token.expose())).ok()?;
        bearer.set_sensitive(true);
        Some(Token { made: Clock::instant(), bearer })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tokens() -> Tokens {
        let key = EcKey::from_number(&[7; 32]).expect("a key");
        Tokens::new(key, "KEY1234567".into(), "TEAM123456".into())
    }

    fn shown(tokens: &Tokens) -> String {
        let token = tokens.get(Timestamp::EPOCH).expect("signs");
        assert!(token.bearer().is_sensitive());
        token.bearer().to_str().expect("text").to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_for_fifty_minutes_however_many_need_it() {
        let tokens = tokens();
        let first: BTreeSet<_> = (0..100).map(|_| shown(&tokens)).collect();
        assert_eq!(first.len(), 1);
        tokio::time::advance(USED_FOR.saturating_sub(Duration::from_millis(1))).await;
        assert!(first.contains(&shown(&tokens)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!first.contains(&shown(&tokens)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_replaced_once_and_not_too_soon() {
        let tokens = tokens();
        let first = tokens.get(Timestamp::EPOCH).expect("signs");
        tokio::time::advance(LEAST_AGE.saturating_sub(Duration::from_millis(1))).await;
        assert!(!tokens.refuse(&first), "another would be one too many");
        assert_eq!(tokens.get(Timestamp::EPOCH).expect("signs").made, first.made);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(tokens.refuse(&first));
        let second = tokens.get(Timestamp::EPOCH).expect("signs");
        assert!(second.made > first.made);
        assert!(tokens.refuse(&first), "there is another already");
        assert_eq!(tokens.get(Timestamp::EPOCH).expect("signs").made, second.made);
    }
}
