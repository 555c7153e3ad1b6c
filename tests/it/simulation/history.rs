//! What happened in a world, as anyone outside of the worker could have written it down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mfa_courier::broker::memory::Doing;
use mfa_courier::broker::wire::PARKED_TYPE;
use mfa_courier::broker::{Properties, Route, Source};
use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::outcome::Outcome;
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::guard::quota::Rate;
use mfa_courier::worker::Ended;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What was asked under one id.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub at: Timestamp,
    /// The deadline, where every copy asks for the same moment.
    pub expires_at: Option<Timestamp>,
}

/// A request that a provider got.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub id: String,
    pub worker: usize,
    pub provider: String,
    pub to: String,
    pub code: Option<String>,
    pub at: Timestamp,
    pub validity: Duration,
    /// What it comes to; `None`: no answer in time.
    pub result: Option<AttemptResult>,
    /// When the answer comes, or the worker stops waiting for it.
    pub until: Timestamp,
}

/// An outcome that the broker took.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub at: Timestamp,
    pub outcome: Outcome,
    pub body: bytes::Bytes,
}

/// One worker, from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub from: Timestamp,
    /// When it stopped consuming.
    pub until: Option<Timestamp>,
    /// When it ended with work in hand.
    pub killed: Option<Timestamp>,
    pub ended: Option<Ended>,
}

/// What is left of a world when all is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Messages in the broker.
    pub messages: usize,
    /// Records that are not concluded.
    pub unfinished: usize,
    /// Tasks that still run.
    pub tasks: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub grace: Duration,
    pub send_right: Duration,
    /// How far two clocks are apart at most.
    pub skew: Duration,
    /// The limited lane, and how long a request may take from its slot to the provider.
    pub lane: Option<(String, Rate, Duration)>,
    /// Whether all workers together keep to that rate; else each life of a worker does by itself.
    pub is_lane_shared: bool,
    pub asked: BTreeMap<String, Asked>,
    pub requests: Vec<Request>,
    pub heard: Vec<Heard>,
    pub lives: Vec<Life>,
    pub losses: Vec<Timestamp>,
    /// Ids that a loss of the ledger may have touched: in flight then, concluded just before, or asked for again later.
    pub exposed: BTreeSet<String>,
    /// Ids whose last message was acked while no final outcome was published.
    pub abandoned: Vec<(String, Timestamp)>,
    /// How often publishing for an id failed, and how often the ledger failed it.
    pub refused: BTreeMap<String, u32>,
    pub ledger_failed: BTreeMap<String, u32>,
    pub rest: Rest,
    /// Every message that came or went, where somebody wants to read it.
    pub is_traced: bool,
    pub trace: Vec<String>,
    pub alive: BTreeMap<String, u32>,
    pub final_ids: BTreeSet<String>,
}

impl History {
    /// Takes in what the broker did.
    pub(crate) fn take(&mut self, doing: Doing<'_>, at: Timestamp) {
        if self.is_traced {
            self.trace.push(format!("{at} {doing:?}"));
        }
        match doing {
            Doing::Stored(publication) => match &publication.route {
                Route::Outcome(_) => {
                    let outcome: Outcome = serde_json::from_slice(&publication.body).unwrap();
                    self.hear(Heard { at, outcome, body: publication.body.clone() });
                }
                Route::Challenge(_) | Route::Signals | Route::Followups | Route::Delay(_) => {
                    if let Some(id) = work_of(&publication.properties, &publication.body) {
                        *self.alive.entry(id).or_default() += 1;
                    }
                }
                Route::Quarantine | Route::Reply(_) => {}
            },
            Doing::Left { source: Source::Signals, .. } => {}
            Doing::Left { properties, body, .. } => {
                if let Some(id) = work_of(properties, body) {
                    self.leave(id, at);
                }
            }
        }
    }

    /// An outcome was published.
    pub(crate) fn hear(&mut self, heard: Heard) {
        if heard.outcome.is_final {
            self.final_ids.insert(heard.outcome.challenge_id.to_string());
        }
        self.heard.push(heard);
    }

    fn leave(&mut self, id: String, at: Timestamp) {
        let left = self.alive.get_mut(&id).unwrap();
        *left -= 1;
        if *left == 0 && !self.final_ids.contains(&id) {
            self.abandoned.push((id, at));
        }
    }

    /// Something is asked under `id`.
    pub(crate) fn ask(&mut self, id: &str, at: Timestamp, expires_at: Option<Timestamp>) {
        match self.asked.get(id) {
            None => drop(self.asked.insert(id.to_owned(), Asked { at, expires_at })),
            Some(asked) if self.losses.iter().any(|lost| *lost >= asked.at) => {
                self.exposed.insert(id.to_owned());
            }
            Some(_) => {}
        }
    }

    /// The ledger is lost now. A task that was overtaken looks again within a send right, and finds nothing.
    pub(crate) fn lose(&mut self, at: Timestamp) {
        self.losses.push(at);
        let just_before = self.heard.iter().filter(|heard| at.since(heard.at) <= self.send_right);
        self.exposed.extend(just_before.map(|heard| heard.outcome.challenge_id.to_string()));
        let alive = self.alive.iter().filter(|(_, messages)| **messages > 0);
        self.exposed.extend(alive.map(|(id, _)| id.clone()));
    }

    /// Whether the ledger may have forgotten what was known of `id`.
    pub(crate) fn may_have_lost(&self, id: &str) -> bool {
        self.exposed.contains(id)
    }

    /// Prints all that is known of `id`.
    pub(crate) fn tell_of(&self, id: &str) {
        println!("{:?} {:?}", self.asked.get(id), self.lane);
        println!(
            "losses {:?} exposed {} refused {:?} ledger failed {:?}",
            self.losses,
            self.may_have_lost(id),
            self.refused.get(id),
            self.ledger_failed.get(id)
        );
        for (n, life) in self.lives.iter().enumerate() {
            println!("worker {n}: {life:?}");
        }
        for line in self.trace.iter().filter(|line| line.contains(id)) {
            println!("{line}");
        }
        for request in self.requests.iter().filter(|request| request.id == id) {
            println!("{} {request:?}", request.at);
        }
        for heard in self.heard.iter().filter(|heard| heard.outcome.challenge_id.as_str() == id) {
            println!("{} heard {} {:?}", heard.at, heard.outcome.id, heard.body);
        }
    }
}

/// The id of the challenge that a message carries on; `None` for a signal, and for what can't be read.
fn work_of(properties: &Properties, body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Parked {
        work: Option<IgnoredAny>,
    }
    if properties.kind.as_deref() == Some(PARKED_TYPE) {
        serde_json::from_slice::<Parked>(body).unwrap().work?;
    }
    properties.message_id.clone()
}
