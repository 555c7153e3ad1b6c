//! Access tokens of OAuth 2.0 (RFC 6749, section 5): fetched before they lapse, by one request however
//! many need one.
//!
//! For providers in code that first ask a token endpoint. A fetch is a task of its own: whoever waits for
//! it may give up at its own deadline, and it still ends for the others. What can't be had says how far
//! things came: [`Reply::Refused`] where the endpoint says no, else [`Reply::NotSent`], since nothing of a
//! message was written.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use form_urlencoded::Serializer;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::exchange::Caller;
use super::{Reply, Request};
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;

/// How long one request for a token may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long before its end a token is fetched anew, if it lives at least twice as long.
const AHEAD: Duration = Duration::from_mins(5);
/// What a token lives whose endpoint does not say.
const UNSAID: Duration = Duration::from_mins(5);
/// The shortest and the longest life that is believed. One that ends at once would be fetched for ever.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_hours(24);
/// How long a failure holds: so that of many messages each does not ask again. Shorter than the first retry.
const HOLD: Duration = Duration::from_millis(100);
/// The longest that an endpoint's own `Retry-After` is heeded.
const LONGEST_HOLD: Duration = Duration::from_mins(1);

/// What a token is asked for with, at the time of asking.
pub(in crate::provider) type Ask = dyn Fn(Timestamp) -> Option<Request> + Send + Sync;

/// Asks `endpoint` as RFC 6749, section 4.4, has it: by an id, a secret, and what else the endpoint wants to know.
pub(in crate::provider) fn client_credentials(endpoint: &Url, fields: &[(&str, &str)]) -> Request {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").extend_pairs(fields);
    Request::post(endpoint.clone(), "application/x-www-form-urlencoded", form.finish())
}

/// The tokens of one account. Cloning shares them.
#[derive(Clone)]
pub(in crate::provider) struct AccessTokens(Arc<Inner>);

struct Inner {
    ask: Box<Ask>,
    caller: Caller,
    /// What a service says in headers ([`Caller::exchange_heads`]); its token endpoint does not.
    heads: &'static [&'static str],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<AccessToken>,
    /// The latest failure, and until when it holds.
    failure: Option<(Reply, Instant)>,
    /// Closed when the fetch in flight has ended, however it did.
    flight: Option<watch::Receiver<()>>,
    fetched: u64,
}

/// A token that was valid when it was given.
#[derive(Clone)]
struct AccessToken {
    header: HeaderValue,
    refresh_at: Instant,
    lapses_at: Instant,
    number: u64,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    /// A number; some write it as a text.
    expires_in: Option<Value>,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl AccessTokens {
    pub(in crate::provider) fn new(ask: Box<Ask>, caller: Caller) -> Self {
        Self::with_heads(ask, caller, &[])
    }

    /// The same for a service that says in these headers what others say in a body.
    pub(in crate::provider) fn with_heads(ask: Box<Ask>, caller: Caller, heads: &'static [&'static str]) -> Self {
        Self(Arc::new(Inner { ask, caller, heads, state: Mutex::default() }))
    }

    /// What comes of the request that `write` makes, with a token; once more with a new one where `is_refused` says
    /// that the answer was about the token, and so nothing was taken. Waits until `deadline` at most.
    pub(in crate::provider) async fn exchange(
        &self,
        write: impl Fn() -> Result<Request, Reply>,
        is_refused: impl Fn(&Reply) -> bool,
        deadline: Instant,
    ) -> Reply {
        let first = if let Some(token) = self.at_hand() {
            token
        } else {
            // What can't be written needs no token.
            if let Err(unfit) = write() {
                return unfit;
            }
            match self.get(deadline).await {
                Ok(token) => token,
                Err(failure) => return failure,
            }
        };
        let reply = self.with(&first, &write, deadline).await;
        if !is_refused(&reply) {
            return reply;
        }
        self.refuse(&first);
        match self.get(deadline).await {
            Ok(second) => self.with(&second, &write, deadline).await,
            Err(failure) => failure,
        }
    }

    /// Whether a token is to be had by `deadline`, or why not.
    pub(in crate::provider) async fn try_out(&self, deadline: Instant) -> Result<(), String> {
        let refused = |failure| match failure {
            Reply::Answered { status, .. } | Reply::Torn { status, .. } | Reply::Refused { status, .. } => {
                format!("no access token: answered with status {status}")
            }
            Reply::Unfit { why } | Reply::NotSent { why } | Reply::InDoubt { why } => why,
        };
        self.get(deadline).await.map(drop).map_err(refused)
    }

    async fn with(&self, token: &AccessToken, write: impl Fn() -> Result<Request, Reply>, deadline: Instant) -> Reply {
        match write() {
            Ok(mut request) => {
                request.headers.insert(AUTHORIZATION, token.header.clone());
                self.0.caller.exchange_heads(request, deadline, self.0.heads).await
            }
            Err(unfit) => unfit,
        }
    }

    /// A token for which nothing has to be asked.
    fn at_hand(&self) -> Option<AccessToken> {
        self.state().token.clone().filter(|token| Clock::instant() < token.refresh_at)
    }

    /// A token that has not lapsed, or what its endpoint came to. Waits until `deadline` at most.
    async fn get(&self, deadline: Instant) -> Result<AccessToken, Reply> {
        loop {
            let mut flight = {
                let mut state = self.state();
                let now = Clock::instant();
                let held = state.failure.as_ref().filter(|(_, until)| now < *until).map(|(reply, _)| reply.clone());
                match (state.token.clone().filter(|token| now < token.lapses_at), held) {
                    (Some(token), held) => {
                        if held.is_none() && now >= token.refresh_at {
                            self.fetch(&mut state);
                        }
                        return Ok(token);
                    }
                    (None, Some(failure)) => return Err(failure),
                    (None, None) => self.fetch(&mut state),
                }
            };
            // It never changes: an error says that the fetch has ended.
            if timeout_at(deadline, flight.changed()).await.is_err() {
                return Err(Reply::NotSent { why: "no access token came in time".to_owned() });
            }
        }
    }

    /// Forgets a token that was refused, unless a later one is there already.
    fn refuse(&self, token: &AccessToken) {
        self.state().refuse(token);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a fetch unless one is in flight; gives what ends with it.
    fn fetch(&self, state: &mut State) -> watch::Receiver<()> {
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return flight.clone();
        }
        let (ending, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let fetched = this.ask().await;
            this.state().learn(fetched);
            drop(ending);
        });
        flight
    }

    async fn ask(&self) -> Result<(HeaderValue, Duration), (Reply, Duration)> {
        let inner = &self.0;
        let Some(request) = (inner.ask)(inner.caller.clock.now()) else {
            return Err((not_sent("the request for it can't be made"), HOLD));
        };
        let reply = inner.caller.exchange(request, Clock::instant() + FETCH_TIMEOUT).await;
        granted(reply)
    }
}

impl State {
    /// Many were sent with one token, and each is told: only the first of them changes anything.
    fn refuse(&mut self, token: &AccessToken) {
        if self.token.as_ref().is_some_and(|held| held.number == token.number) {
            self.token = None;
        }
    }

    fn learn(&mut self, fetched: Result<(HeaderValue, Duration), (Reply, Duration)>) {
        let now = Clock::instant();
        match fetched {
            Ok((header, life)) => {
                self.fetched += 1;
                let refresh_at = now + life - AHEAD.min(life / 2);
                self.token = Some(AccessToken { header, refresh_at, lapses_at: now + life, number: self.fetched });
                self.failure = None;
            }
            Err((reply, hold)) => self.failure = Some((reply, now + hold)),
        }
    }
}

/// The token in an answer and how long it lives, or what the answer comes to and how long that holds.
fn granted(reply: Reply) -> Result<(HeaderValue, Duration), (Reply, Duration)> {
    match reply {
        Reply::Answered { status: 200..300, body, .. } => {
            read(&body).ok_or_else(|| (not_sent("the token endpoint's answer holds none"), HOLD))
        }
        // These say that nothing was decided.
        Reply::Answered { status: status @ (408 | 425 | 500..), retry_after, .. } => {
            let hold = retry_after.unwrap_or(HOLD).clamp(HOLD, LONGEST_HOLD);
            Err((not_sent(&format!("the token endpoint answered with status {status}")), hold))
        }
        Reply::Answered { status, retry_after, body } => {
            let hold = retry_after.unwrap_or(HOLD).clamp(HOLD, LONGEST_HOLD);
            Err((Reply::Refused { status, retry_after, body }, hold))
        }
        Reply::Torn { why, .. } | Reply::NotSent { why } | Reply::InDoubt { why } | Reply::Unfit { why } => {
            Err((not_sent(&why), HOLD))
        }
        refused @ Reply::Refused { .. } => Err((refused, HOLD)),
    }
}

fn read(body: &[u8]) -> Option<(HeaderValue, Duration)> {
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token.expose())).ok()?;
    header.set_sensitive(true);
    let said = granted.expires_in.and_then(|said| said.as_u64().or_else(|| said.as_str()?.parse().ok()));
    let life = said.map_or(UNSAID, Duration::from_secs).clamp(SHORTEST, LONGEST);
    (!granted.access_token.is_empty()).then_some((header, life))
}

fn not_sent(why: &str) -> Reply {
    Reply::NotSent { why: format!("no access token: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Reply {
        Reply::Answered { status, retry_after: None, body: body.to_owned().into() }
    }

    #[test]
    fn a_refusal_of_an_earlier_token_leaves_the_later_one() {
        let mut state = State::default();
        let mut fetched = || {
            state.learn(granted(answer(200, r#"{"access_token":"a","expires_in":3599}"#)));
            state.token.clone().expect("a token")
        };
        let (first, second) = (fetched(), fetched());
        state.refuse(&first);
        assert!(state.token.is_some());
        state.refuse(&second);
        assert!(state.token.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_anew_before_its_end_and_a_short_one_halfway() {
        for (seconds, ahead) in [(3_599, 300), (600, 300), (60, 30), (10, 5)] {
            let mut state = State::default();
            let body = format!(r#"{{"access_token":"a","expires_in":{seconds}}}"#);
            state.learn(granted(answer(200, &body)));
            let token = state.token.expect("a token");
            let lasts = (token.lapses_at - Clock::instant(), token.lapses_at - token.refresh_at);
            assert_eq!(lasts, (Duration::from_secs(seconds), Duration::from_secs(ahead)));
        }
    }

    #[test]
    fn the_life_of_a_token_is_bounded() {
        for (said, seconds) in [
            (r#","expires_in":3599"#, 3_599),
            ("", 300),
            (r#","expires_in":null"#, 300),
            (r#","expires_in":"3599""#, 3_599),
            (r#","expires_in":"soon""#, 300),
            (r#","expires_in":-1"#, 300),
            (r#","expires_in":0"#, 10),
            (r#","expires_in":18446744073709551615"#, 86_400),
        ] {
            let (header, life) = granted(answer(200, &format!(r#"{{"access_token":"a.b"{said}}}"#))).expect("a token");
            assert_eq!((header.as_bytes(), life.as_secs()), (&b"Bearer a.b"[..], seconds), "{said}");
            assert!(header.is_sensitive());
        }
    }

    #[test]
    fn what_holds_no_token_is_not_sent() {
        for body in
            ["", "<html>", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"access_token":"a\nb"}"#]
        {
            let (reply, _) = granted(answer(200, body)).expect_err("no token");
            assert!(matches!(reply, Reply::NotSent { .. }), "{body}: {reply:?}");
        }
        let (reply, _) = granted(Reply::InDoubt { why: "no answer in time".into() }).expect_err("no token");
        assert_eq!(reply, Reply::NotSent { why: "no access token: no answer in time".into() });
    }

    #[test]
    fn a_refusal_is_handed_on_and_a_fault_is_not() {
        for status in [301, 400, 401, 403, 404, 429] {
            let (reply, _) = granted(answer(status, "{}")).expect_err("no token");
            assert!(matches!(reply, Reply::Refused { status: told, .. } if told == status), "{reply:?}");
        }
        for status in [408, 425, 500, 503, 599] {
            let (reply, _) = granted(answer(status, "{}")).expect_err("no token");
            assert!(matches!(reply, Reply::NotSent { .. }), "{status}: {reply:?}");
        }
    }
}
