//! What a run came to, held against its schedule and the promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mfa_courier::clock::Timestamp;
use mfa_courier::simulator::Simulator;
use serde_json::Value;

use super::crowd::{Crowd, Told};
use super::schedule::Kind;

/// How long after its deadline an outcome may come.
const GRACE: Duration = Duration::from_secs(2);

/// Everything that is known of a run.
pub(super) struct Run {
    kinds: Vec<Kind>,
    told: BTreeMap<usize, Told>,
    /// How many more messages than it takes each challenge got, where it got more.
    pub(super) copies: BTreeMap<usize, usize>,
}

impl Run {
    pub(super) fn of(crowd: &Crowd, simulator: &Simulator) -> Self {
        let mut messages = BTreeMap::<usize, usize>::new();
        for received in simulator.received().iter().filter(|received| received.taken) {
            let code = received.text.expose().split(' ').next().and_then(|code| code.parse().ok());
            *messages.entry(code.expect("the text begins with the code")).or_default() += 1;
        }
        let kinds = crowd.schedule.kinds.clone();
        let surplus = messages.into_iter().map(|(n, count)| (n, count.saturating_sub(kinds[n].messages())));
        Self { copies: surplus.filter(|(_, count)| *count > 0).collect(), told: crowd.told(), kinds }
    }

    /// What holds whatever is killed or lost: each has its final outcome, in time, and no lie is believed.
    #[track_caller]
    pub(super) fn keeps_the_promise(&self) {
        for (n, kind) in self.kinds.iter().enumerate() {
            let told = self.told.get(&n).unwrap_or_else(|| panic!("x{n} ({kind:?}) is lost"));
            let first = told.first.unwrap_or_else(|| panic!("x{n} ({kind:?}) is lost"));
            let expires_at = told.outcome()["expires_at"].as_str().and_then(Timestamp::parse_rfc3339);
            let late = first.since(expires_at.expect("a deadline"));
            assert!(late <= GRACE, "x{n} ({kind:?}) ended {late:?} after its deadline");
            if kind.is_forged() {
                let outcome = told.outcome();
                let attempts = outcome["attempts"].as_array().expect("attempts");
                let heard = attempts.iter().any(|attempt| !attempt["receipt"].is_null());
                assert!(outcome["status"] != "delivered" && !heard && told.late.is_empty(), "x{n} believed {kind:?}");
            }
        }
    }

    /// What holds of the challenges from `first` on while the ledger is whole: one final outcome each, whose bytes
    /// never change, and which says what became of the message.
    #[track_caller]
    pub(super) fn speaks_once(&self, first: usize) {
        for (n, told) in self.told.range(first..) {
            let kind = self.kinds[*n];
            assert_eq!(told.finals.len(), 1, "distinct final outcomes of x{n} ({kind:?})");
            let outcome = told.outcome();
            let end = (outcome["status"].as_str().expect("a status"), outcome["reason"].as_str());
            // On a machine so busy that a receipt comes after the end, it is told as what it is.
            let late = end == ("sent", Some("receipt_timeout")) && !told.late.is_empty();
            // The copy of a worker that was killed while it sent may have arrived, whatever became of the next one.
            let mut attempts = outcome["attempts"].as_array().expect("attempts").iter();
            let doubtful = attempts.any(|attempt| attempt["result"] == "unknown");
            let in_doubt = end == ("unknown", Some("in_doubt")) && kind.end().0 == "failed" && doubtful;
            assert!(end == kind.end() || late || in_doubt, "x{n} ({kind:?}): {outcome}");
        }
    }

    /// Which have a second final outcome of another content.
    pub(super) fn contradicted(&self) -> BTreeSet<usize> {
        self.told.iter().filter(|(_, told)| told.finals.len() > 1).map(|(n, _)| *n).collect()
    }

    /// That what was lost is to blame for each of these: one of the two says so, or it was sent again.
    #[track_caller]
    pub(super) fn blames_the_loss(&self) {
        for n in self.contradicted() {
            let told = &self.told[&n];
            let bodies = told.finals.iter().map(|body| String::from_utf8_lossy(body));
            let says_so = bodies.into_iter().any(|body| body.contains("ledger_lost"));
            assert!(says_so || self.copies.contains_key(&n), "x{n} ({:?}) has two ends: {told:?}", self.kinds[n]);
        }
    }

    /// Second copies in all.
    pub(super) fn second_copies(&self) -> usize {
        self.copies.values().sum()
    }

    /// Which outcomes came first, and how often; and how many challenges of each kind there were.
    pub(super) fn print(&self) {
        let mut ends = BTreeMap::<String, usize>::new();
        for told in self.told.values() {
            let outcome = told.outcome();
            let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let notes = outcome["notes"].as_array().is_some_and(|notes| notes.contains(&"ledger_lost".into()));
            let lost = if notes { " ledger_lost" } else { "" };
            *ends.entry(format!("{} {}{lost}", word(&outcome["status"]), word(&outcome["reason"]))).or_default() += 1;
        }
        let mut kinds = BTreeMap::<Kind, usize>::new();
        self.kinds.iter().for_each(|kind| *kinds.entry(*kind).or_default() += 1);
        let late = self.told.values().filter(|told| !told.late.is_empty()).count();
        println!("of {} challenges: {kinds:?}", self.kinds.len());
        println!("first final outcomes: {ends:?}; told after the end: {late}");
        let repeats: usize = self.told.values().map(|told| told.times - told.finals.len()).sum();
        println!("the same final outcome again: {repeats} times");
    }
}
