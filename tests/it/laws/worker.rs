//! Drives a delivery as the worker does, from the first look to the end, by what the world does.

use std::time::Duration;

use mfa_courier::challenge::Channel;
use mfa_courier::clock::{Dice, Timestamp};
use mfa_courier::delivery::outcome::{ReceiptStatus, Status};
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::delivery::{Blocked, Condition, Delivery, Event, Fact, Facts, LEAST_TIME, Step};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::checks::{self, Attempted};
use super::given::{Blow, Fate, Move, START, Signal, Waking, Weather, World};

/// What should be met in some of the runs.
pub(super) const KINDS: &[&str] = &[
    "rejected",
    "delivered",
    "sent",
    "unknown",
    "failed",
    "expired",
    "cancelled",
    "throttled",
    "retried",
    "in_doubt",
    "second_hop",
    "third_hop",
    "parked_slot",
    "gone_on_after_loss",
];

pub(super) type Checked<T = ()> = Result<T, TestCaseError>;

/// One run under way, and all that a witness knows of it.
pub(super) struct Run<'w> {
    pub(super) world: &'w World,
    pub(super) delivery: Delivery,
    pub(super) now: Timestamp,
    pub(super) signals: Vec<Fact>,
    pub(super) attempted: Vec<Attempted>,
    /// For each hop, how often it could not be written.
    pub(super) not_written: Vec<u32>,
    /// The ledger was lost, and what it held was not known.
    pub(super) lost_in_doubt: bool,
    /// The broker gave it up, as expired or not.
    pub(super) dead: Option<bool>,
    pub(super) interim_ids: Vec<String>,
    lost: bool,
    kinds: Vec<&'static str>,
}

/// Runs one world to its end; says what kinds of things were met.
pub(super) fn run(world: &World) -> Checked<Vec<&'static str>> {
    let delivery = match Delivery::open(world.challenge.clone(), &world.policy) {
        Ok(delivery) => delivery,
        Err(refused) => {
            checks::rejection(&refused.1.outcome(&refused.0, START), &refused.0)?;
            return Ok(vec!["rejected"]);
        }
    };
    let hops = delivery.plan().len();
    let mut run = Run {
        world,
        delivery,
        now: START,
        signals: Vec::new(),
        attempted: Vec::new(),
        not_written: vec![0; hops],
        lost_in_doubt: false,
        dead: None,
        interim_ids: Vec::new(),
        lost: false,
        kinds: Vec::new(),
    };
    run.go_on_to_the_end()?;
    Ok(run.kinds)
}

impl Run<'_> {
    fn go_on_to_the_end(&mut self) -> Checked {
        let time = self.world.challenge.expires_at.since(START).as_millis();
        // A hop that is asked for in vain, for its slot and its circuit, comes back after a tenth of a second, and
        // a wait may be looked in on every 20 ms.
        let each_tenth = 6 + 2 * self.delivery.plan().len();
        let bound = each_tenth * (2 + usize::try_from(time / 100).unwrap_or(usize::MAX));
        let mut step = self.advance(&self.world.moves[0], Event::Look)?;
        for next in self.world.moves.iter().cycle().take(bound) {
            let event = match step {
                Step::Attempt(hop) => self.attempt(hop, next),
                Step::Wait(until) => self.wait(until, next),
                Step::Conclude(outcome) => {
                    self.kinds.push(outcome.status.as_str());
                    return checks::end(self, &outcome);
                }
            };
            step = self.advance(next, event)?;
        }
        Err(TestCaseError::fail(format!("no end within {bound} steps")))
    }

    /// Gathers the facts and asks what is next, twice: also a copy that travelled.
    fn advance(&mut self, next: &Move, event: Event) -> Checked<Step> {
        self.signals.extend(next.signal.as_ref().map(|signal| fact(signal, self.now)));
        let seen = next.conditions.iter().cycle().take(self.delivery.plan().len());
        let conditions = seen.map(|weather| condition(*weather, self.now)).collect();
        let facts = Facts { signals: &self.signals, conditions };
        let mut copy = self.travelled()?;
        let dice = || Dice::seeded(self.world.seed ^ self.now.as_millis().unsigned_abs());
        let there = copy.advance(event.clone(), &facts, &self.world.policy, self.now, &mut dice());
        let here = self.delivery.advance(event, &facts, &self.world.policy, self.now, &mut dice());
        prop_assert_eq!(&here, &there, "a copy goes on otherwise");
        prop_assert_eq!(&self.delivery, &copy);
        self.delivery = copy;
        checks::step(self, &here)?;
        if self.lost && !matches!(here, Step::Conclude(_)) {
            self.kinds.push("gone_on_after_loss");
        }
        self.delivery.interims_published();
        Ok(here)
    }

    /// The delivery after it was parked and came back.
    fn travelled(&self) -> Checked<Delivery> {
        let text = serde_json::to_string(&self.delivery).expect("a delivery can be written");
        let copy: Delivery = serde_json::from_str(&text).map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert_eq!(&copy, &self.delivery);
        Ok(copy)
    }

    fn attempt(&mut self, hop: usize, next: &Move) -> Event {
        let later = |by: Duration, over: bool| if over { self.now } else { self.now + by };
        let blocked = |why| Event::Blocked { hop, why };
        let latest = self.world.challenge.expires_at - LEAST_TIME;
        match &next.attempt {
            Fate::Answered(verdict) => self.answer(hop, verdict.clone(), next.takes),
            Fate::NotWritten => {
                self.now = self.now + next.takes;
                self.not_written[hop] += 1;
                blocked(Blocked::NotWritten)
            }
            // Who holds a slot does not ask for one.
            Fate::SlotReserved(by) if !self.delivery.holds_slot(hop, self.now) && self.now + *by <= latest => {
                self.kinds.push("parked_slot");
                blocked(Blocked::SlotReserved(self.now + *by))
            }
            Fate::SlotAt(by, over) if !self.delivery.holds_slot(hop, self.now) => {
                blocked(Blocked::SlotAt(later(*by, *over)))
            }
            Fate::SlotReserved(by) => blocked(Blocked::CircuitOpen(later(*by, false))),
            Fate::SlotAt(by, over) | Fate::CircuitOpen(by, over) => blocked(Blocked::CircuitOpen(later(*by, *over))),
            Fate::Interrupted { begun, by } => {
                // Nobody takes over before the right to send lapsed.
                let since = self.now;
                self.now = self.now + Duration::from_secs(1) + next.takes;
                if *begun {
                    self.delivery.begin(hop, since);
                    self.record(hop, since, Verdict::of(AttemptResult::Unknown));
                }
                self.blow(*by)
            }
        }
    }

    fn answer(&mut self, hop: usize, verdict: Verdict, takes: Duration) -> Event {
        let begun = self.now;
        self.delivery.begin(hop, begun);
        self.now = (self.now + takes).min(self.world.challenge.expires_at);
        self.record(hop, begun, verdict.clone());
        Event::Answered { verdict, at: self.now, segments: None }
    }

    fn record(&mut self, hop: usize, begun: Timestamp, verdict: Verdict) {
        self.kinds.extend(match verdict.result {
            AttemptResult::Throttled => Some("throttled"),
            AttemptResult::Unknown => Some("in_doubt"),
            _ => None,
        });
        if self.attempted.iter().any(|earlier| earlier.hop == hop) {
            self.kinds.push("retried");
        }
        self.attempted.push(Attempted { hop, begun, answered: self.now, verdict });
        let mut hops: Vec<usize> = self.attempted.iter().map(|attempted| attempted.hop).collect();
        hops.sort_unstable();
        hops.dedup();
        self.kinds.extend((hops.len() == 2).then_some("second_hop"));
        self.kinds.extend((hops.len() == 3).then_some("third_hop"));
    }

    fn wait(&mut self, until: Timestamp, next: &Move) -> Event {
        match next.wait {
            Waking::Due(late) => {
                self.now = until + late;
                Event::Look
            }
            Waking::Early(share) => {
                let some = until.since(self.now).mul_f64(share).max(Duration::from_millis(20));
                self.now = (self.now + some).min(until);
                Event::Look
            }
            Waking::Blow(blow) => {
                self.now = until;
                self.blow(blow)
            }
        }
    }

    fn blow(&mut self, blow: Blow) -> Event {
        match blow {
            Blow::TakenOver => Event::TakenOver,
            Blow::Lost { in_doubt } => {
                self.lost = true;
                self.lost_in_doubt |= in_doubt;
                Event::Lost { in_doubt }
            }
            Blow::Dead { expired } => {
                self.dead = Some(expired);
                Event::Dead { expired }
            }
        }
    }

    /// Whether a receipt of attempt `index` says that it arrived, or did not.
    pub(super) fn heard(&self, index: usize, says: fn(ReceiptStatus) -> bool) -> bool {
        self.signals.iter().any(|fact| match fact {
            Fact::Receipt { attempt, status, .. } => usize::try_from(*attempt) == Ok(index + 1) && says(*status),
            _ => false,
        })
    }

    /// Whether news can come of what was accepted on `channel` by `provider`.
    pub(super) fn hears(&self, channel: Channel, provider: &str) -> bool {
        let policy = &self.world.policy;
        policy.provider(provider, channel).is_some_and(|p| p.receipts) || policy.await_verification
    }

    /// The status that the end has to have, by what was seen from outside.
    pub(super) fn right_statuses(&self) -> Vec<Status> {
        let taken = |wanted: AttemptResult| {
            let failed = |i| self.heard(i, ReceiptStatus::is_failure);
            self.attempted.iter().enumerate().any(move |(i, a)| a.verdict.result == wanted && !failed(i))
        };
        let may_have_been_taken =
            self.attempted.iter().any(|a| matches!(a.verdict.result, AttemptResult::Accepted | AttemptResult::Unknown));
        let word = self.signals.iter().find(|fact| !matches!(fact, Fact::Receipt { .. }));
        match word {
            _ if (0..self.attempted.len()).any(|i| self.heard(i, ReceiptStatus::is_arrival)) => vec![Status::Delivered],
            Some(Fact::Verified { .. }) if may_have_been_taken => vec![Status::Delivered],
            Some(_) => vec![Status::Cancelled],
            None if taken(AttemptResult::Accepted) => vec![Status::Sent],
            None if taken(AttemptResult::Unknown) || self.lost_in_doubt => vec![Status::Unknown],
            None if self.dead == Some(true) => vec![Status::Expired],
            None if self.dead.is_none() => self.right_by_the_clock(),
            None => vec![Status::Failed],
        }
    }

    /// Where nothing was taken: it expired or failed. In the last moment it depends on whether anything was left.
    fn right_by_the_clock(&self) -> Vec<Status> {
        let left = self.world.challenge.expires_at.since(self.now);
        match left {
            Duration::ZERO => vec![Status::Expired],
            _ if left < LEAST_TIME => vec![Status::Expired, Status::Failed],
            _ => vec![Status::Failed],
        }
    }
}

fn fact(signal: &Signal, at: Timestamp) -> Fact {
    match signal {
        Signal::Cancelled => Fact::Cancelled,
        Signal::Verified(channel, provider) => {
            Fact::Verified { channel: *channel, provider: provider.map(str::to_owned) }
        }
        Signal::Receipt(attempt, status) => {
            Fact::Receipt { attempt: *attempt, status: *status, code: Some(super::given::CODE.to_owned()), at }
        }
    }
}

fn condition(weather: Weather, now: Timestamp) -> Condition {
    match weather {
        Weather::Fair => Condition::Ready,
        Weather::SlotIn(by) => Condition::SlotAt(now + by),
        Weather::OpenFor(by) => Condition::OpenUntil(now + by),
        Weather::Paused => Condition::Barred(mfa_courier::delivery::outcome::UnusedWhy::Paused),
    }
}
