//! THE CORE: what to do about one challenge.
//!
//! Gather, decide, do: [`Delivery::open`] and [`Delivery::advance`] take plain data, `now` and dice and
//! return the next [`Step`]; [`crate::worker`] gathers the [`Facts`] and carries the steps out. No
//! `async`, no I/O, no clock and no logging in here, so the whole behaviour is tested on virtual time by
//! stories written as data (`tests/scenarios`).
//!
//! Guarantees: one final outcome, never after the deadline has been noticed; never the same hop again
//! after a request in doubt; no attempt that could not be answered before the deadline.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::challenge::{Challenge, Channel, Note};
use crate::clock::{Dice, Timestamp};

pub mod admission;
mod announce;
pub mod backoff;
mod choose;
pub mod compose;
mod conclude;
pub mod explain;
mod follow;
pub mod language;
mod late;
pub mod message;
mod news;
pub mod outcome;
mod plain;
pub mod policy;
mod receipt;
pub mod route;
pub mod segments;
pub mod verdict;
pub mod version;

use admission::Rejection;
use outcome::{AttemptReport, Outcome, ReceiptStatus, Status, UnusedWhy};
use policy::Policy;
use route::Hop;
use verdict::Verdict;

/// One challenge on its way: everything needed to go on with it anywhere. Travels when parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Shared with every copy: it never changes, and copies are made at each step.
    challenge: Arc<Challenge>,
    hops: Vec<Track>,
    attempts: Vec<Attempt>,
    begun: Option<Begun>,
    notes: Vec<Note>,
    /// Interim outcomes not yet known to be published.
    interims: Vec<Outcome>,
    /// Hops whose state upstream was not told of yet.
    unannounced: Vec<usize>,
}

/// A hop and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Track {
    hop: Hop,
    state: HopState,
    tries: u32,
    /// What kept it from being tried when a later hop was tried in its place.
    passed_over: Option<UnusedWhy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HopState {
    /// Not tried.
    Fresh,
    /// To be tried at this time.
    Due { at: Timestamp, why: DueWhy },
    /// Accepted or in doubt, and news is awaited until this time.
    Awaiting { attempt: usize, until: Timestamp, doubt: bool },
    /// Over.
    Closed(Closed),
}

/// Why a hop waits for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DueWhy {
    /// After a `transient` answer.
    Retry,
    /// After a `throttled` answer.
    Throttled,
    /// A slot is reserved for it then.
    Slot,
    /// Its circuit was found open.
    Circuit,
}

/// How a hop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Closed {
    /// Accepted, and no news can come.
    Accepted { attempt: usize },
    /// Accepted, and no news came in time.
    Silent { attempt: usize },
    /// It may have been taken.
    InDoubt { attempt: usize },
    /// A receipt said no.
    Undelivered { attempt: usize },
    /// Not taken.
    Failed(Failure),
    /// Never tried.
    Skipped(UnusedWhy),
}

/// Why a hop was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Unavailable,
    Throttled,
    Recipient,
    OptedOut,
    DeviceGone,
    Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Attempt {
    hop: usize,
    report: AttemptReport,
    receipt_by: Option<Timestamp>,
    /// The statuses of the interim outcomes about it so far: each is said once.
    announced: Vec<Status>,
}

/// An attempt that began and is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    hop: usize,
    at: Timestamp,
}

/// What upstream or a provider said about a challenge in flight. Recorded in the ledger, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Upstream no longer wants it.
    Cancelled,
    /// The person entered the code.
    Verified {
        /// On which channel it arrived, where upstream knows.
        channel: Option<Channel>,
        /// By which provider, where upstream knows.
        provider: Option<String>,
    },
    /// A provider's news of attempt `attempt` (1 for the first).
    Receipt {
        /// Which attempt.
        attempt: u32,
        /// What it says.
        status: ReceiptStatus,
        /// The provider's own code.
        code: Option<String>,
        /// When it came.
        at: Timestamp,
    },
}

/// How it stands with one hop's way out, at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can be tried now.
    Ready,
    /// Its lane has its next slot then.
    SlotAt(Timestamp),
    /// Its circuit lets nothing pass before then.
    OpenUntil(Timestamp),
    /// It can't be used, and nobody knows until when: paused by an operator, beyond a cost cap.
    Barred(UnusedWhy),
}

/// What a decision needs to know beside the delivery itself.
#[derive(Clone, Debug, Default)]
pub struct Facts<'r> {
    /// Everything that the record holds, in order.
    pub signals: &'r [Fact],
    /// For each hop of the plan, in order; a missing one counts as ready.
    pub conditions: Vec<Condition>,
}

/// Why an attempt that was asked for did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Its slot is reserved, but too far away to be slept for.
    SlotReserved(Timestamp),
    /// It has no slot before then, and none is reserved: too late, or too many wait here already.
    SlotAt(Timestamp),
    /// Its circuit lets nothing pass before then.
    CircuitOpen(Timestamp),
    /// The right to send lapsed, or the deadline came, before anything was written.
    NotWritten,
}

/// What happened since the last decision.
#[derive(Clone, Debug)]
pub enum Event {
    /// Nothing but time and signals: look again.
    Look,
    /// The attempt on `hop` that was asked for did not begin.
    Blocked {
        /// Which hop of the plan.
        hop: usize,
        /// Why.
        why: Blocked,
    },
    /// The attempt that began was answered.
    Answered {
        /// What the answer means.
        verdict: Verdict,
        /// When it came.
        at: Timestamp,
        /// How many segments the text has, where they can be counted.
        segments: Option<u32>,
    },
    /// Another owner was working on it and is gone: what it had begun is in doubt.
    TakenOver,
    /// The ledger had lost it: where anything was accepted or is in doubt, it ends as it stands; else it goes
    /// on. `in_doubt` where how far it had come is not known.
    Lost {
        /// Whether something unknown may have been sent.
        in_doubt: bool,
    },
    /// The broker gave it up: it ends as it stands.
    Dead {
        /// Whether its time in the queue ran out (else it was delivered too often).
        expired: bool,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this hop of the plan; answer with [`Event::Blocked`] or [`Event::Answered`].
    Attempt(usize),
    /// Nothing until then, or until a signal comes.
    Wait(Timestamp),
    /// The final outcome.
    Conclude(Box<Outcome>),
}

/// An attempt with less time than this left is not begun: no provider would answer.
pub const LEAST_TIME: std::time::Duration = std::time::Duration::from_millis(100);
/// A slot that was missed by more than this is lost: were it kept, all that waited while no worker ran would go at once.
pub const SLOT_KEEPS: std::time::Duration = std::time::Duration::from_secs(1);
/// A slot that comes within this is worth waiting for, however many other hops are free.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

impl Delivery {
    /// Admits a challenge and makes its plan.
    ///
    /// # Errors
    /// Why it is not deliverable as asked.
    pub fn open(
        challenge: impl Into<Arc<Challenge>>,
        policy: &Policy,
    ) -> Result<Self, Box<(Arc<Challenge>, Rejection)>> {
        let challenge = challenge.into();
        let methods = match admission::admit(&challenge, policy) {
            Ok(methods) => methods,
            Err(rejection) => return Err(Box::new((challenge, rejection))),
        };
        let planned = route::plan(&challenge, &methods, policy);
        if planned.iter().all(|p| p.out.is_some()) {
            return Err(Box::new((challenge, Rejection::new(outcome::Reason::NoRoute))));
        }
        let planned = route::with_refused(planned, &challenge, &methods, policy);
        let hops = planned.into_iter().map(|planned| Track {
            hop: planned.hop,
            state: planned.out.map_or(HopState::Fresh, |why| HopState::Closed(Closed::Skipped(why))),
            tries: 0,
            passed_over: None,
        });
        Ok(Self {
            hops: hops.collect(),
            notes: challenge.notes.clone(),
            challenge,
            attempts: Vec::new(),
            begun: None,
            interims: Vec::new(),
            unannounced: Vec::new(),
        })
    }

    /// Takes in what happened and says what is next. Nothing may follow on [`Step::Conclude`].
    #[expect(clippy::needless_pass_by_value, reason = "an event is used up: nothing is answered twice")]
    pub fn advance(
        &mut self,
        event: Event,
        facts: &Facts<'_>,
        policy: &Policy,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Step {
        self.follow(&event, facts, policy, now, dice)
    }

    /// Marks that the attempt on `hop` begins; it is in doubt from now until it is answered.
    pub fn begin(&mut self, hop: usize, now: Timestamp) {
        self.begun = Some(Begun { hop, at: now });
    }

    /// The challenge.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The hops of the plan, in order.
    #[must_use]
    pub fn plan(&self) -> impl ExactSizeIterator<Item = &Hop> {
        self.hops.iter().map(|track| &track.hop)
    }

    /// Hop `index` of the plan.
    #[must_use]
    pub fn hop(&self, index: usize) -> &Hop {
        &self.hops[index].hop
    }

    /// Whether a slot is reserved for hop `index` that still counts at `now`.
    #[must_use]
    pub fn holds_slot(&self, index: usize, now: Timestamp) -> bool {
        matches!(self.hops[index].state, HopState::Due { at, why: DueWhy::Slot } if now.since(at) <= SLOT_KEEPS)
    }

    /// The number of the next attempt, 1 for the first.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Which hops were tried, oldest first, and what each came to.
    #[must_use]
    pub fn attempts(&self) -> impl DoubleEndedIterator<Item = (&Hop, &AttemptReport)> {
        self.attempts.iter().map(|attempt| (&self.hops[attempt.hop].hop, &attempt.report))
    }

    /// Adds a note, once.
    pub fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Interim outcomes that are not known to be published, oldest first.
    #[must_use]
    pub fn interims(&self) -> &[Outcome] {
        &self.interims
    }

    /// The interim outcomes so far are published.
    pub fn interims_published(&mut self) {
        self.interims.clear();
    }

    /// Hop `index` was tried before: what goes out next is a repeat for its provider.
    #[must_use]
    pub fn was_tried(&self, index: usize) -> bool {
        self.attempts.iter().any(|attempt| attempt.hop == index)
    }

    /// Whether anything was accepted or may have been: a second start could mean a second copy.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.begun.is_some() || self.hops.iter().any(|track| track.state.may_have_arrived())
    }
}

impl HopState {
    const fn may_have_arrived(self) -> bool {
        self.rests_on().is_some()
    }

    /// The attempt that may have arrived by this hop.
    const fn rests_on(self) -> Option<usize> {
        match self {
            Self::Awaiting { attempt, .. }
            | Self::Closed(Closed::Accepted { attempt } | Closed::Silent { attempt } | Closed::InDoubt { attempt }) => {
                Some(attempt)
            }
            Self::Fresh
            | Self::Due { .. }
            | Self::Closed(Closed::Undelivered { .. } | Closed::Failed(_) | Closed::Skipped(_)) => None,
        }
    }

    /// Whether it is still to be tried.
    const fn is_open(self) -> bool {
        matches!(self, Self::Fresh | Self::Due { .. })
    }
}
