//! Follow-up: verdict + hops left + time left → wait, next hop, or the end.

use super::outcome::{AttemptReport, Reason, ReceiptReport, ReceiptStatus, Status, UnusedWhy};
use super::policy::{OnSilence, OnUnknown, Policy};
use super::verdict::{AttemptResult, Scope, Verdict};
use super::{
    Attempt, Blocked, Closed, Condition, Delivery, DueWhy, Event, Fact, Facts, Failure, HopState, LEAST_TIME, PATIENCE,
    Step, backoff,
};
use crate::challenge::Note;
use crate::clock::{Dice, Timestamp};

impl Delivery {
    pub(super) fn follow(
        &mut self,
        event: Event,
        facts: &Facts<'_>,
        policy: &Policy,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Step {
        match event {
            Event::Look => {}
            Event::Blocked { hop, why } => self.blocked(hop, why),
            Event::Answered { verdict, at, segments } => self.answered(verdict, segments, at, policy, dice),
            Event::TakenOver => self.abandon_begun(now, policy, dice),
            Event::Lost { in_doubt } => {
                self.abandon_begun(now, policy, dice);
                self.note(Note::LedgerLost);
                self.take_receipts(facts.signals);
                let end = self.ended_by_signal(facts.signals, now);
                return Step::Conclude(Box::new(end.unwrap_or_else(|| self.as_it_stood(in_doubt, now))));
            }
            Event::Dead { expired } => {
                self.abandon_begun(now, policy, dice);
                self.take_receipts(facts.signals);
                let end = self.ended_by_signal(facts.signals, now);
                return Step::Conclude(Box::new(end.unwrap_or_else(|| self.given_up(expired, now))));
            }
        }
        self.decide(facts, policy, now)
    }

    fn decide(&mut self, facts: &Facts<'_>, policy: &Policy, now: Timestamp) -> Step {
        self.take_receipts(facts.signals);
        if let Some(outcome) = self.ended_by_signal(facts.signals, now) {
            return Step::Conclude(Box::new(outcome));
        }
        let expires_at = self.challenge.expires_at;
        if now >= expires_at {
            return Step::Conclude(Box::new(self.out_of_time(&facts.conditions, now)));
        }
        if let Some(until) = self.news_awaited(policy, now) {
            return Step::Wait(until.min(expires_at));
        }
        if self.hops.iter().any(|track| matches!(track.state, HopState::Closed(Closed::Accepted { .. }))) {
            return Step::Conclude(Box::new(self.no_more_hops(&facts.conditions, now)));
        }
        let step = match self.choose(&facts.conditions, now) {
            Some(step) => step,
            None if now + LEAST_TIME > expires_at => Step::Conclude(Box::new(self.out_of_time(&facts.conditions, now))),
            None => Step::Conclude(Box::new(self.no_more_hops(&facts.conditions, now))),
        };
        match &step {
            Step::Conclude(_) => {}
            Step::Attempt(_) | Step::Wait(_) => self.announce(now),
        }
        step
    }

    /// The next hop to try or to wait for; `None` when none is left that could still be answered in time.
    fn choose(&self, conditions: &[Condition], now: Timestamp) -> Option<Step> {
        let mut soonest: Option<(Timestamp, Step)> = None;
        for (i, track) in self.hops.iter().enumerate() {
            let condition = conditions.get(i).copied().unwrap_or(Condition::Ready);
            let Some((at, committed)) = track.state.ready_at(condition, now) else { continue };
            if at + LEAST_TIME > self.challenge.expires_at {
                continue;
            }
            // A slot is the worker's to reserve, so it is asked for at once; everything else is waited for.
            let reserved = matches!(track.state, HopState::Due { why: DueWhy::Slot, .. });
            let by_slot = !reserved && condition == Condition::SlotAt(at);
            let step = if at <= now || by_slot { Step::Attempt(i) } else { Step::Wait(at) };
            if committed || at <= now || (by_slot && at <= now + PATIENCE) {
                return Some(step);
            }
            if soonest.as_ref().is_none_or(|(other, _)| at < *other) {
                soonest = Some((at, step));
            }
        }
        soonest.map(|(_, step)| step)
    }

    fn blocked(&mut self, hop: usize, why: Blocked) {
        self.begun = None;
        self.hops[hop].state = match why {
            Blocked::SlotReserved(at) => HopState::Due { at, why: DueWhy::Slot },
            Blocked::SlotAt(at) => HopState::Due { at, why: DueWhy::Throttled },
            Blocked::CircuitOpen(at) => HopState::Due { at, why: DueWhy::Circuit },
            Blocked::NotWritten => HopState::Fresh,
        };
    }

    /// What had begun and will never be answered may have been taken.
    fn abandon_begun(&mut self, now: Timestamp, policy: &Policy, dice: &mut Dice) {
        let verdict = Verdict::of(AttemptResult::Unknown).because("the worker that sent it is gone");
        self.answered(verdict, None, now, policy, dice);
    }

    fn answered(&mut self, verdict: Verdict, segments: Option<u32>, at: Timestamp, policy: &Policy, dice: &mut Dice) {
        let Some(begun) = self.begun.take() else { return };
        let attempt = self.report(&begun, &verdict, segments, at);
        let hop = begun.hop;
        let news_by = self.news_by(hop, policy, at);
        self.hops[hop].tries = self.hops[hop].tries.saturating_add(1);
        let tries = self.hops[hop].tries;
        match verdict.result {
            AttemptResult::Accepted => match news_by {
                Some(until) => self.await_news(hop, attempt, until, at),
                None => self.hops[hop].state = HopState::Closed(Closed::Accepted { attempt }),
            },
            AttemptResult::Transient if tries <= policy.retry.max => {
                let wait = backoff::after_transient(&policy.retry, tries, verdict.retry_after, dice);
                self.retry_or_close(hop, at + wait, DueWhy::Retry, Failure::Unavailable);
            }
            AttemptResult::Transient => self.close(hop, Closed::Failed(Failure::Unavailable)),
            AttemptResult::Throttled => {
                let wait = backoff::after_throttled(&policy.retry, tries, verdict.retry_after, dice);
                self.retry_or_close(hop, at + wait, DueWhy::Throttled, Failure::Throttled);
            }
            AttemptResult::Recipient => {
                let failure = if verdict.opted_out { Failure::OptedOut } else { Failure::Recipient };
                self.fail_method(hop, failure);
            }
            AttemptResult::DeviceGone => self.fail_method(hop, Failure::DeviceGone),
            AttemptResult::Content => self.close(hop, Closed::Failed(Failure::Content)),
            AttemptResult::Provider => self.fail_provider(hop, verdict.scope),
            AttemptResult::Unknown => self.in_doubt(hop, attempt, news_by, policy),
        }
    }

    /// Adds the attempt to the report and gives its position.
    fn report(&mut self, begun: &super::Begun, verdict: &Verdict, segments: Option<u32>, at: Timestamp) -> usize {
        let hop = &self.hops[begun.hop].hop;
        let report = AttemptReport {
            n: self.next_attempt(),
            channel: hop.channel,
            method_id: self.challenge.methods[hop.method].id.clone(),
            provider: hop.provider.as_ref().to_owned(),
            sender: hop.sender.as_deref().map(str::to_owned),
            started_at: begun.at,
            duration_ms: u64::try_from(at.since(begun.at).as_millis()).unwrap_or(u64::MAX),
            result: verdict.result,
            code: verdict.code.clone(),
            detail: verdict.detail.clone(),
            message_id: verdict.message_id.clone(),
            segments: verdict.segments.or(segments),
            receipt: None,
            cost: None,
        };
        self.attempts.push(Attempt { hop: begun.hop, report, receipt_by: None });
        self.attempts.len() - 1
    }

    /// Until when news of a message that hop accepts at `at` is awaited; `None` where none can come.
    fn news_by(&self, hop: usize, policy: &Policy, at: Timestamp) -> Option<Timestamp> {
        let hop = &self.hops[hop].hop;
        let provider = policy.provider(&hop.provider, hop.channel)?;
        let country = self.challenge.methods[hop.method].country();
        let hears = provider.receipts || policy.await_verification;
        hears.then(|| (at + policy.news_timeout(provider, country)).min(self.challenge.expires_at))
    }

    fn await_news(&mut self, hop: usize, attempt: usize, until: Timestamp, now: Timestamp) {
        self.hops[hop].state = HopState::Awaiting { attempt, until, doubt: false };
        self.attempts[attempt].receipt_by = Some(until);
        let interim = self.interim(Status::Sent, None, attempt, now);
        self.interims.push(interim);
    }

    fn in_doubt(&mut self, hop: usize, attempt: usize, news_by: Option<Timestamp>, policy: &Policy) {
        match (policy.on_unknown.get(self.hops[hop].hop.channel), news_by) {
            (OnUnknown::WaitReceipt, Some(until)) => {
                self.attempts[attempt].receipt_by = Some(until);
                self.hops[hop].state = HopState::Awaiting { attempt, until, doubt: true };
            }
            (OnUnknown::NextHop, _) | (OnUnknown::WaitReceipt, None) => self.close(hop, Closed::InDoubt { attempt }),
            (OnUnknown::Conclude, _) => {
                self.close(hop, Closed::InDoubt { attempt });
                self.skip(UnusedWhy::NotNeeded, |_| true);
            }
        }
    }

    /// Tries the hop again at `at`, or gives it up now where that would come too late.
    fn retry_or_close(&mut self, hop: usize, at: Timestamp, why: DueWhy, failure: Failure) {
        if at + LEAST_TIME > self.challenge.expires_at {
            self.close(hop, Closed::Failed(failure));
        } else {
            self.hops[hop].state = HopState::Due { at, why };
        }
    }

    fn close(&mut self, hop: usize, how: Closed) {
        self.hops[hop].state = HopState::Closed(how);
        self.unannounced.push(hop);
    }

    /// The address can't be reached: no other provider will do better.
    fn fail_method(&mut self, hop: usize, failure: Failure) {
        self.close(hop, Closed::Failed(failure));
        let method = self.hops[hop].hop.method;
        self.skip(UnusedWhy::AddressFailed, |other| other.method == method);
    }

    /// The provider can't be used: not for another method either.
    fn fail_provider(&mut self, hop: usize, scope: Scope) {
        self.close(hop, Closed::Failed(Failure::Unavailable));
        let failed = self.hops[hop].hop.clone();
        self.skip(UnusedWhy::ProviderFailed, |other| {
            other.provider == failed.provider
                && match scope {
                    Scope::Provider | Scope::Country => true,
                    Scope::Sender => other.channel == failed.channel && other.sender == failed.sender,
                }
        });
    }

    fn skip(&mut self, why: UnusedWhy, which: impl Fn(&super::route::Hop) -> bool) {
        for track in &mut self.hops {
            if matches!(track.state, HopState::Fresh | HopState::Due { .. }) && which(&track.hop) {
                track.state = HopState::Closed(Closed::Skipped(why));
            }
        }
    }

    /// Until when news is awaited; a hop whose time for news is over is silent from now on.
    fn news_awaited(&mut self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        for i in 0..self.hops.len() {
            let HopState::Awaiting { attempt, until, doubt } = self.hops[i].state else { continue };
            if now < until {
                return Some(until);
            }
            if doubt {
                self.close(i, Closed::InDoubt { attempt });
                continue;
            }
            self.close(i, Closed::Silent { attempt });
            let channel = self.hops[i].hop.channel;
            match policy.on_silence {
                OnSilence::NextChannel => self.skip(UnusedWhy::NotNeeded, |other| other.channel == channel),
                OnSilence::NextHop => {}
                OnSilence::Conclude => self.skip(UnusedWhy::NotNeeded, |_| true),
            }
        }
        None
    }

    /// Takes in what receipts say. Unordered, repeated and false ones never move a state backwards.
    fn take_receipts(&mut self, signals: &[Fact]) {
        for fact in signals {
            let Fact::Receipt { attempt, status, code, at } = fact else { continue };
            let Some(index) = usize::try_from(*attempt).ok().and_then(|n| n.checked_sub(1)) else { continue };
            let Some(entry) = self.attempts.get_mut(index) else { continue };
            let known = entry.report.receipt.as_ref().map_or(0, |receipt| rank(receipt.status));
            if rank(*status) <= known {
                continue;
            }
            entry.report.receipt = Some(ReceiptReport { status: *status, code: code.clone(), at: *at });
            let hop = entry.hop;
            let is_of_this = match self.hops[hop].state {
                HopState::Awaiting { attempt, .. }
                | HopState::Closed(
                    Closed::Accepted { attempt } | Closed::Silent { attempt } | Closed::InDoubt { attempt },
                ) => attempt == index,
                _ => false,
            };
            if rank(*status) == UNDELIVERED_RANK && is_of_this {
                self.close(hop, Closed::Undelivered { attempt: index });
            }
        }
    }

    /// Says once for each hop that ended without success that the courier goes on.
    fn announce(&mut self, now: Timestamp) {
        for hop in std::mem::take(&mut self.unannounced) {
            let Some(attempt) = self.attempts.iter().rposition(|attempt| attempt.hop == hop) else { continue };
            let HopState::Closed(closed) = self.hops[hop].state else { continue };
            let (status, reason) = match closed {
                Closed::Failed(failure) => (Status::Retrying, Some(failure.reason())),
                Closed::InDoubt { .. } => (Status::Retrying, Some(Reason::InDoubt)),
                Closed::Silent { .. } => (Status::Undelivered, Some(Reason::ReceiptTimeout)),
                Closed::Undelivered { .. } => (Status::Undelivered, Some(Reason::Undelivered)),
                Closed::Accepted { .. } | Closed::Skipped(_) => continue,
            };
            let interim = self.interim(status, reason, attempt, now);
            self.interims.push(interim);
        }
    }
}

impl HopState {
    /// When the hop can be tried, and whether the delivery is committed to it; `None` when it is over.
    fn ready_at(self, condition: Condition, now: Timestamp) -> Option<(Timestamp, bool)> {
        let (due, committed) = match self {
            Self::Fresh => (now, false),
            // A slot that is reserved is used; the circuit is asked when the time comes.
            Self::Due { at, why: DueWhy::Slot } => return Some((at.max(now), true)),
            Self::Due { at, why: DueWhy::Retry } => (at.max(now), true),
            Self::Due { at, why: DueWhy::Throttled | DueWhy::Circuit } => (at.max(now), false),
            Self::Awaiting { .. } | Self::Closed(_) => return None,
        };
        Some(match condition {
            Condition::Ready => (due, committed),
            Condition::SlotAt(slot) => (due.max(slot), committed && slot <= now + PATIENCE),
            Condition::OpenUntil(until) => (due.max(until), false),
        })
    }
}

const UNDELIVERED_RANK: u8 = 2;

/// How much a receipt says: a later one counts only where it says more.
const fn rank(status: ReceiptStatus) -> u8 {
    match status {
        ReceiptStatus::Unknown => 0,
        ReceiptStatus::Sent => 1,
        ReceiptStatus::Undelivered
        | ReceiptStatus::Failed
        | ReceiptStatus::Expired
        | ReceiptStatus::Rejected
        | ReceiptStatus::Busy
        | ReceiptStatus::NoAnswer
        | ReceiptStatus::Machine
        | ReceiptStatus::Cancelled => UNDELIVERED_RANK,
        ReceiptStatus::Delivered | ReceiptStatus::Answered => 3,
    }
}
