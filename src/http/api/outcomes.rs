//! `GET /api/v1/outcomes`: what was said of a challenge, a session or a user, or what was said last.
//!
//! Each outcome is the contract's body, byte for byte as it was published: masked by whoever wrote it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::error;
use crate::challenge::ChallengeId;
use crate::ledger::Ledger;
use crate::ledger::outcomes::{About, Found};
use crate::telemetry::metrics;

/// How many outcomes are told where nobody says how many, and the most.
const USUAL: usize = 50;
const MOST: usize = 500;
/// The longest session or user: the contract's.
const LONGEST_NAME: usize = 256;

/// What can be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    challenge_id: Option<String>,
    session_id: Option<String>,
    user_id: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn about(self) -> Result<About, &'static str> {
        const NAME: &str = "session_id and user_id have 1 to 256 characters";
        let name = |text: String| Some(text).filter(|text| (1..=LONGEST_NAME).contains(&text.chars().count()));
        match (self.challenge_id, self.session_id, self.user_id) {
            (Some(id), None, None) => {
                let id = ChallengeId::parse(&id).ok_or("challenge_id has 1 to 128 characters of [A-Za-z0-9._:-]")?;
                Ok(About::Challenge(id))
            }
            (None, Some(session), None) => name(session).map(About::Session).ok_or(NAME),
            (None, None, Some(user)) => name(user).map(About::User).ok_or(NAME),
            (None, None, None) => Ok(About::Anything),
            _ => Err("give one of challenge_id, session_id and user_id"),
        }
    }
}

/// What is answered.
#[derive(Serialize)]
struct Told {
    outcomes: Vec<Box<RawValue>>,
    /// Whether there are more than `limit`.
    more: bool,
}

pub(super) async fn list(
    State(ledger): State<watch::Receiver<Option<Arc<dyn Ledger>>>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let wrong = |why: &str| error(StatusCode::BAD_REQUEST, "bad_request", why);
    let Ok(Query(asked)) = asked else {
        return wrong("challenge_id, session_id or user_id, and limit, a number; each once, and nothing else");
    };
    let limit = asked.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return wrong("limit is 1 to 500");
    }
    let about = match asked.about() {
        Ok(about) => about,
        Err(why) => return wrong(why),
    };
    let ledger = ledger.borrow().clone();
    let Some(ledger) = ledger else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "ledger_unavailable", "the ledger is not connected yet");
    };
    match ledger.outcomes(&about, limit).await {
        Ok(found) => Json(told(found)).into_response(),
        Err(why) => {
            metrics::ledger_error();
            error(StatusCode::SERVICE_UNAVAILABLE, "ledger_unavailable", &why.to_string())
        }
    }
}

fn told(found: Found) -> Told {
    let raw = |outcome: crate::ledger::outcomes::Published| serde_json::from_slice(&outcome.body).ok();
    Told { outcomes: found.outcomes.into_iter().filter_map(raw).collect(), more: found.more }
}
