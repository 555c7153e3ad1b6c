//! Outcomes that were published, as a person who answers a support case finds them: by challenge, session or user.
//!
//! [`super::recorder`] gives them to a ledger, [`crate::http`] asks for them. A ledger keeps whose a final outcome is
//! and reads its bytes from the record that holds them anyway; of interim ones it keeps the bytes too.
//!
//! Guarantee: what is found is the contract's body as it was published, and only what is about whom was asked for.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;

use bytes::Bytes;
use serde::Deserialize;

use super::{Phase, Record};
use crate::broker::wire::form;
use crate::challenge::ChallengeId;
use crate::clock::Timestamp;

/// The most interim outcomes that are kept of one challenge: each hop has three at most, and each receipt after the
/// end one; only conflicting contents under one id could be more.
pub const MOST_INTERIMS: usize = 64;

/// An outcome that was published, with what it is found by. Its `Debug` shows no user.
pub struct Published {
    /// Its own id.
    pub id: String,
    /// Whose it is.
    pub challenge: ChallengeId,
    /// The session it is about, where upstream named one.
    pub session: Option<String>,
    /// The user it is about, where upstream named one.
    pub user: Option<String>,
    /// Whether it is the last word on its challenge.
    pub is_final: bool,
    /// When it was decided.
    pub at: Timestamp,
    /// The contract's body, as published.
    pub body: Bytes,
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("id", &self.id).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What of an outcome tells where it belongs; the rest is passed over.
#[derive(Deserialize)]
struct Head<'b> {
    #[serde(borrow)]
    id: Cow<'b, str>,
    #[serde(borrow)]
    challenge_id: Cow<'b, str>,
    session_id: Option<String>,
    user_id: Option<String>,
    #[serde(rename = "final")]
    is_final: bool,
    occurred_at: Timestamp,
}

impl Published {
    /// Reads what was published with this content type; `None` where it is no outcome.
    #[must_use]
    pub fn read(content_type: Option<&str>, body: &Bytes) -> Option<Self> {
        Self::of_contract(form::contract_body(content_type, body)?)
    }

    fn of_contract(body: Bytes) -> Option<Self> {
        let head: Head<'_> = serde_json::from_slice(&body).ok()?;
        Some(Self {
            id: head.id.into_owned(),
            challenge: ChallengeId::parse(&head.challenge_id)?,
            session: head.session_id,
            user: head.user_id,
            is_final: head.is_final,
            at: head.occurred_at,
            body,
        })
    }
}

/// Whom or what outcomes are asked for by.
#[derive(Clone, PartialEq, Eq)]
pub enum About {
    /// One challenge.
    Challenge(ChallengeId),
    /// A session of upstream's.
    Session(String),
    /// A user of upstream's.
    User(String),
    /// Whatever came last.
    Anything,
}

impl About {
    fn is_met_by(&self, outcome: &Published) -> bool {
        match self {
            Self::Challenge(id) => outcome.challenge == *id,
            Self::Session(session) => outcome.session.as_ref() == Some(session),
            Self::User(user) => outcome.user.as_ref() == Some(user),
            Self::Anything => true,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The outcomes, newest first.
    pub outcomes: Vec<Published>,
    /// Whether there are more of them than were asked for.
    pub more: bool,
}

impl Found {
    /// Of these contract's bodies the newest `most` that are about whom was asked for, each once.
    #[must_use]
    pub fn among(bodies: impl IntoIterator<Item = Bytes>, about: &About, most: usize) -> Self {
        let mut seen = HashSet::new();
        let mut outcomes: Vec<_> = bodies.into_iter().filter_map(Published::of_contract).collect();
        outcomes.retain(|outcome| about.is_met_by(outcome) && seen.insert(outcome.id.clone()));
        // Of one instant, the last word comes last.
        outcomes.sort_by_key(|outcome| Reverse((outcome.at, outcome.is_final)));
        let more = outcomes.len() > most;
        outcomes.truncate(most);
        Self { outcomes, more }
    }
}

/// The contract's body of the final outcome that a record holds.
#[must_use]
pub fn final_body(record: Option<&Record>) -> Option<Bytes> {
    let Phase::Concluded(word) = &record?.phase else { return None };
    form::contract_body(word.last.properties.content_type.as_deref(), &word.last.body)
}
