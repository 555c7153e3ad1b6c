//! What must hold of every history, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::verdict::AttemptResult;

use super::history::{Heard, History, Request};
use crate::world::CODE;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// By what.
    pub by: String,
}

/// An attempt with less time than this is not begun; a clock has whole milliseconds.
const TICK: Duration = Duration::from_millis(1);
/// Whoever is killed within this after an answer may not have written it down.
const WRITTEN_BY: Duration = Duration::from_secs(12);
/// The first and the longest wait before something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Every promise that the history breaks.
pub(crate) fn check(history: &History) -> Vec<Broken> {
    let mut check = Check { history, finals: BTreeMap::new(), requests: BTreeMap::new(), broken: Vec::new() };
    for heard in history.heard.iter().filter(|heard| heard.outcome.is_final) {
        check.finals.entry(heard.outcome.challenge_id.as_str()).or_default().push(heard);
    }
    for request in &history.requests {
        check.requests.entry(request.id.as_str()).or_default().push(request);
    }
    check.everyone_is_told_once();
    check.nobody_else_is_told();
    check.nothing_secret_is_told();
    check.nothing_is_acked_away();
    check.nothing_is_sent_late();
    check.every_request_has_its_reason();
    check.nothing_is_sent_after_the_end();
    check.nobody_waits_beyond_the_deadline();
    check.lanes_hold();
    check.nothing_is_left();
    check.broken
}

struct Check<'h> {
    history: &'h History,
    finals: BTreeMap<&'h str, Vec<&'h Heard>>,
    requests: BTreeMap<&'h str, Vec<&'h Request>>,
    broken: Vec<Broken>,
}

impl Check<'_> {
    fn broke(&mut self, promise: &'static str, by: impl Into<String>) {
        self.broken.push(Broken { promise, by: by.into() });
    }

    fn everyone_is_told_once(&mut self) {
        let history = self.history;
        for id in history.asked.keys() {
            let finals = self.finals.get(id.as_str()).cloned().unwrap_or_default();
            let different: BTreeSet<_> = finals.iter().map(|heard| &heard.body).collect();
            match different.len() {
                0 => self.broke("I1 everyone is told", id),
                1 => {}
                _ if history.may_have_lost(id) => {}
                n => self.broke("I2 told once", format!("{id}: {n} different final outcomes: {different:?}")),
            }
            if finals.iter().any(|heard| heard.outcome.id != format!("{id}:final")) {
                self.broke("I2 told once", format!("{id}: a final outcome under another id"));
            }
        }
    }

    fn nobody_else_is_told(&mut self) {
        for heard in &self.history.heard {
            if !self.history.asked.contains_key(heard.outcome.challenge_id.as_str()) {
                self.broke("I3 nobody else is told", heard.outcome.id.clone());
            }
        }
    }

    fn nothing_secret_is_told(&mut self) {
        for heard in &self.history.heard {
            let told = std::str::from_utf8(&heard.body).unwrap();
            if [CODE, "271828", "+1415555", "+447400", "token-"].iter().any(|secret| told.contains(secret)) {
                self.broke("I12 nothing secret is told", told);
            }
        }
    }

    fn nothing_is_acked_away(&mut self) {
        for (id, at) in &self.history.abandoned {
            self.broke("I4 nothing is acked away", format!("{id}: no message of it and no outcome at {at}"));
        }
    }

    /// The deadline that the challenge had, by its own final outcomes.
    fn deadline(&self, id: &str) -> Option<Timestamp> {
        self.finals.get(id)?.iter().filter_map(|heard| heard.outcome.expires_at).max()
    }

    fn nothing_is_sent_late(&mut self) {
        for request in &self.history.requests {
            let Some(deadline) = self.deadline(&request.id) else { continue };
            if request.at >= deadline + self.history.skew {
                self.broke("I5 nothing is sent late", format!("{deadline}: {request:?}"));
            }
            let told = request.at + request.validity;
            let off = told.since(deadline).max(deadline.since(told));
            if off > self.history.skew + TICK && !self.history.may_have_lost(&request.id) {
                self.broke("I5 providers know what remains", format!("{deadline}: {request:?}"));
            }
        }
    }

    /// Whether what the request came to may never have been written down.
    fn is_in_doubt(&self, request: &Request) -> bool {
        let life = self.history.lives.get(request.worker);
        let killed = life.and_then(|life| life.killed).is_some_and(|killed| killed <= request.until + WRITTEN_BY);
        killed || self.history.ledger_failed.contains_key(&request.id)
    }

    fn every_request_has_its_reason(&mut self) {
        for (id, requests) in std::mem::take(&mut self.requests) {
            if self.history.may_have_lost(id) {
                continue;
            }
            for (n, later) in requests.iter().enumerate() {
                let without_reason = requests[..n].iter().find(|earlier| self.rules_out(earlier, later));
                if let Some(earlier) = without_reason {
                    self.broke("I6 every request has its reason", format!("{later:?} after {earlier:?}"));
                }
                if later.code != requests[0].code {
                    self.broke("I6 every request has its reason", format!("{id}: two codes under one id"));
                }
            }
            self.requests.insert(id, requests);
        }
    }

    /// Whether `later` must not be made because of what `earlier` came to.
    fn rules_out(&self, earlier: &Request, later: &Request) -> bool {
        use AttemptResult::{Accepted, Content, DeviceGone, Provider, Recipient, Throttled, Transient, Unknown};
        let same_hop = earlier.provider == later.provider && earlier.to == later.to;
        if self.is_in_doubt(earlier) {
            return same_hop && !matches!(earlier.result, Some(Transient | Throttled));
        }
        let same_method = earlier.to == later.to && is_sms(earlier) == is_sms(later);
        later.at < earlier.until
            || match earlier.result {
                Some(Accepted) => same_hop || is_sms(earlier) && is_sms(later),
                Some(Recipient | DeviceGone) => same_method,
                Some(Provider) => earlier.provider == later.provider,
                Some(Content | Unknown) | None => same_hop,
                Some(Transient | Throttled) => false,
            }
    }

    fn nothing_is_sent_after_the_end(&mut self) {
        let history = self.history;
        for request in &history.requests {
            let Some(first) = self.finals.get(request.id.as_str()).map(|finals| finals[0]) else { continue };
            // Another worker's clock may have passed the deadline already.
            let skewed =
                !history.skew.is_zero() && first.outcome.expires_at.is_some_and(|at| request.at + history.skew >= at);
            if request.at > first.at && !history.may_have_lost(&request.id) && !skewed {
                self.broke("I7 nothing is sent after the end", format!("{request:?} after {first:?}"));
            }
        }
    }

    fn nobody_waits_beyond_the_deadline(&mut self) {
        let history = self.history;
        for (id, finals) in &self.finals.clone() {
            let (first, asked) = (finals[0], history.asked.get(*id));
            let deadline = first.outcome.expires_at.unwrap();
            let due = self.excused(id, deadline) + history.grace + history.skew;
            if first.at > due {
                self.broke("I8 nobody waits beyond the deadline", format!("{id}: {} instead of {due}", first.at));
            }
            let asked_for = asked.and_then(|asked| asked.expires_at);
            let unspoilt = first.outcome.status != mfa_courier::delivery::outcome::Status::Rejected;
            if unspoilt && asked_for.is_some_and(|asked_for| asked_for != deadline) {
                self.broke("I8 nobody waits beyond the deadline", format!("{id}: {deadline} is not what was asked"));
            }
        }
    }

    /// The deadline, moved by the time for which nobody worked, and by what was refused meanwhile.
    fn excused(&self, id: &str, deadline: Timestamp) -> Timestamp {
        let mut due = deadline;
        for (from, until) in self.gaps() {
            if from <= due + self.history.grace && until > due {
                due = until;
            }
        }
        let failed = |counts: &BTreeMap<String, u32>| counts.get(id).copied().unwrap_or_default();
        let waits = |times: u32| (0..times).map(|n| (RETRY.0 * 2_u32.pow(n.min(6))).min(RETRY.1)).sum::<Duration>();
        due + waits(failed(&self.history.refused) + failed(&self.history.ledger_failed))
    }

    /// When no worker consumed.
    fn gaps(&self) -> Vec<(Timestamp, Timestamp)> {
        let lives = &self.history.lives;
        let ends = lives.iter().filter_map(|life| life.until);
        let idle = ends
            .filter(|end| lives.iter().all(|life| life.from > *end || life.until.is_some_and(|until| until <= *end)));
        let next = |end: Timestamp| lives.iter().map(|life| life.from).filter(|from| *from > end).min();
        let mut gaps: Vec<_> = idle.map(|end| (end, next(end).unwrap_or(Timestamp::MAX))).collect();
        gaps.sort_unstable();
        gaps
    }

    fn lanes_hold(&mut self) {
        let Some((provider, rate, jitter)) = &self.history.lane else { return };
        let mut at: Vec<_> =
            self.history.requests.iter().filter(|r| r.provider == *provider).map(|request| request.at).collect();
        at.sort_unstable();
        let window = Duration::from_secs(1);
        for (n, from) in at.iter().enumerate() {
            let sent = at[n..].iter().take_while(|later| later.since(*from) < window).count();
            let lives = self.history.lives.iter().filter(|life| life.from <= *from + window).count();
            let lanes = if self.history.is_lane_shared { 1 } else { lives };
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let most =
                (f64::from(rate.burst) + rate.per_second * (window + *jitter).as_secs_f64()).ceil() * lanes as f64;
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            if sent as f64 > most {
                return self.broke("I9 lanes hold", format!("{sent} requests instead of {most} after {from}"));
            }
        }
    }

    fn nothing_is_left(&mut self) {
        let rest = self.history.rest;
        let unfinished = if self.history.losses.is_empty() { rest.unfinished } else { 0 };
        if rest.messages > 0 || rest.tasks > 0 || unfinished > 0 {
            self.broke("I13 nothing is left", format!("{rest:?}"));
        }
        let last = self.history.lives.iter().filter(|life| life.until.is_none());
        let cut_off = last.filter_map(|life| life.ended).find(|ended| *ended != mfa_courier::worker::Ended::Drained);
        if let Some(ended) = cut_off {
            self.broke("I13 nothing is left", format!("a worker with nothing to do ended with {ended:?}"));
        }
    }
}

fn is_sms(request: &Request) -> bool {
    matches!(request.provider.as_str(), "a" | "b")
}
