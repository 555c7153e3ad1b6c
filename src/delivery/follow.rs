//! Follow-up: verdict + hops left + time left → wait, next hop, or the end.

use super::outcome::{AttemptReport, Outcome, UnusedWhy};
use super::policy::{OnUnknown, Policy};
use super::verdict::{self, AttemptResult, Scope, Verdict};
use super::{
    Attempt, Begun, Blocked, Closed, Delivery, DueWhy, Event, Facts, Failure, HopState, LEAST_TIME, Step, backoff,
};
use crate::challenge::{Address, Method, Note};
use crate::clock::{Dice, Timestamp};
use crate::secret::Secret;

impl Delivery {
    pub(super) fn follow(
        &mut self,
        event: &Event,
        facts: &Facts<'_>,
        policy: &Policy,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Step {
        match event {
            Event::Blocked { hop, why } => self.blocked(*hop, *why, policy, now),
            Event::Answered { verdict, at, segments } => self.answered(verdict, *segments, *at, policy, dice),
            // What began and was not answered is in doubt, whoever looks.
            Event::Look | Event::TakenOver | Event::Lost { .. } | Event::Dead { .. } => {
                self.abandon_begun(now, policy, dice);
            }
        }
        if matches!(event, Event::Lost { .. }) {
            self.note(Note::LedgerLost);
        }
        self.take_receipts(facts.signals, policy);
        if let Some(outcome) = self.ended_by_signal(facts.signals, now) {
            return conclude(outcome);
        }
        match event {
            Event::Lost { in_doubt } if *in_doubt || self.may_have_arrived() => conclude(self.as_it_stood(now)),
            Event::Dead { expired } => conclude(self.given_up(*expired, now)),
            _ => {
                let step = self.decide(facts, policy, now);
                if !matches!(step, Step::Conclude(_)) {
                    self.announce(now);
                }
                step
            }
        }
    }

    fn decide(&mut self, facts: &Facts<'_>, policy: &Policy, now: Timestamp) -> Step {
        let conditions = &facts.conditions;
        if now >= self.challenge.expires_at {
            return conclude(self.out_of_time(conditions, now));
        }
        if let Some(until) = self.news_awaited(policy, now) {
            return Step::Wait(until.min(self.challenge.expires_at));
        }
        if self.hops.iter().any(|track| matches!(track.state, HopState::Closed(Closed::Accepted { .. }))) {
            return conclude(self.no_more_hops(conditions, now));
        }
        match self.choose(conditions, now) {
            Some(step) => step,
            None if self.has_open_hop() && now + LEAST_TIME > self.challenge.expires_at => {
                conclude(self.out_of_time(conditions, now))
            }
            None => conclude(self.no_more_hops(conditions, now)),
        }
    }

    fn blocked(&mut self, hop: usize, why: Blocked, policy: &Policy, now: Timestamp) {
        self.begun = None;
        // Whatever is said to be free already was not: asking again at once could go on for ever.
        let later = |at: Timestamp| at.max(now + LEAST_TIME);
        match why {
            Blocked::SlotReserved(at) => self.hops[hop].state = HopState::Due { at, why: DueWhy::Slot },
            Blocked::SlotAt(at) => self.hops[hop].state = HopState::Due { at: later(at), why: DueWhy::Throttled },
            Blocked::CircuitOpen(at) => self.hops[hop].state = HopState::Due { at: later(at), why: DueWhy::Circuit },
            Blocked::NotWritten => {
                if self.count_try(hop) <= policy.retry.max {
                    self.hops[hop].state = HopState::Due { at: later(now), why: DueWhy::Retry };
                } else {
                    self.close(hop, Closed::Failed(Failure::Unavailable));
                }
            }
        }
    }

    fn count_try(&mut self, hop: usize) -> u32 {
        let tries = &mut self.hops[hop].tries;
        *tries = tries.saturating_add(1);
        *tries
    }

    /// What had begun and will never be answered may have been taken.
    fn abandon_begun(&mut self, now: Timestamp, policy: &Policy, dice: &mut Dice) {
        let verdict = Verdict::of(AttemptResult::Unknown).because("the worker that sent it is gone");
        self.answered(&verdict, None, now, policy, dice);
    }

    fn answered(&mut self, verdict: &Verdict, segments: Option<u32>, at: Timestamp, policy: &Policy, dice: &mut Dice) {
        let Some(begun) = self.begun.take() else { return };
        let attempt = self.report(&begun, verdict, segments, at);
        let hop = begun.hop;
        let news_by = self.news_by(hop, policy, at);
        let tries = self.count_try(hop);
        match verdict.result {
            AttemptResult::Accepted => match news_by {
                Some(until) => {
                    self.await_news(hop, attempt, until, false);
                    self.remember_to_announce(hop);
                }
                None => self.hops[hop].state = HopState::Closed(Closed::Accepted { attempt }),
            },
            AttemptResult::Transient if tries <= policy.retry.max => {
                let wait = backoff::after_transient(&policy.retry, tries, verdict.retry_after, dice);
                self.retry_or_close(hop, at + wait, DueWhy::Retry, Failure::Unavailable);
            }
            AttemptResult::Transient => self.close(hop, Closed::Failed(Failure::Unavailable)),
            AttemptResult::Throttled => {
                // The lane's pause has its limit; this challenge does not come back before it is told to.
                let pause = backoff::after_throttled(&policy.retry, tries, verdict.retry_after, dice);
                let wait = verdict.retry_after.map_or(pause, |hint| hint.max(pause));
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
    fn report(&mut self, begun: &Begun, verdict: &Verdict, segments: Option<u32>, at: Timestamp) -> usize {
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
            code: self.cleaned(verdict.code.as_deref()),
            detail: self.cleaned(verdict.detail.as_deref()).map(|detail| verdict::clean(&detail)),
            message_id: self.cleaned(verdict.message_id.as_deref()),
            segments: verdict.segments.or(segments),
            receipt: None,
            cost: None,
        };
        self.attempts.push(Attempt { hop: begun.hop, report, receipt_by: None, announced: Vec::new() });
        self.attempts.len() - 1
    }

    /// Until when news of a message that hop accepts at `at` is awaited; `None` where none can come.
    pub(super) fn news_by(&self, hop: usize, policy: &Policy, at: Timestamp) -> Option<Timestamp> {
        let hop = &self.hops[hop].hop;
        let provider = policy.provider(&hop.provider, hop.channel)?;
        let country = self.challenge.methods[hop.method].country();
        let hears = provider.receipts || policy.await_verification;
        hears.then(|| (at + policy.news_timeout(provider, country)).min(self.challenge.expires_at))
    }

    pub(super) fn await_news(&mut self, hop: usize, attempt: usize, until: Timestamp, doubt: bool) {
        self.hops[hop].state = HopState::Awaiting { attempt, until, doubt };
        self.attempts[attempt].receipt_by = Some(until);
    }

    fn in_doubt(&mut self, hop: usize, attempt: usize, news_by: Option<Timestamp>, policy: &Policy) {
        match (policy.on_unknown.get(self.hops[hop].hop.channel), news_by) {
            (OnUnknown::WaitReceipt, Some(until)) => self.await_news(hop, attempt, until, true),
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

    pub(super) fn close(&mut self, hop: usize, how: Closed) {
        self.hops[hop].state = HopState::Closed(how);
        self.remember_to_announce(hop);
    }

    /// The address can't be reached: no other provider will do better.
    fn fail_method(&mut self, hop: usize, failure: Failure) {
        self.close(hop, Closed::Failed(failure));
        let method = self.hops[hop].hop.method;
        self.skip(UnusedWhy::AddressFailed, |other| other.method == method);
    }

    /// The provider can't be used: not for another method either, as far as its answer reaches.
    fn fail_provider(&mut self, hop: usize, scope: Scope) {
        self.close(hop, Closed::Failed(Failure::Unavailable));
        let failed = self.hops[hop].hop.clone();
        let countries: Vec<_> = self.challenge.methods.iter().map(Method::country).collect();
        self.skip(UnusedWhy::ProviderFailed, |other| {
            other.provider == failed.provider
                && match scope {
                    Scope::Provider => true,
                    Scope::Country => countries[other.method] == countries[failed.method],
                    Scope::Sender => other.channel == failed.channel && other.sender == failed.sender,
                }
        });
    }

    pub(super) fn skip(&mut self, why: UnusedWhy, which: impl Fn(&super::route::Hop) -> bool) {
        for track in &mut self.hops {
            if track.state.is_open() && which(&track.hop) {
                track.state = HopState::Closed(Closed::Skipped(why));
            }
        }
    }

    /// A word from outside, without anything that must not be shown.
    pub(super) fn cleaned(&self, text: Option<&str>) -> Option<String> {
        let mut cleaned = verdict::shorten(text?);
        let secrets = self.challenge.methods.iter().map(|method| match &method.address {
            Address::Sms { to } | Address::Voice { to, .. } => to.expose().trim_start_matches('+'),
            Address::Push(target) => target.token.expose(),
        });
        let code = self.challenge.code.as_ref().map(Secret::expose);
        for secret in secrets.chain(code).filter(|secret| secret.len() >= SHORTEST_SECRET) {
            if cleaned.contains(secret) {
                cleaned = cleaned.replace(secret, "#");
            }
        }
        Some(cleaned)
    }
}

/// Anything shorter is part of too many innocent words to be worth hiding.
const SHORTEST_SECRET: usize = 4;

fn conclude(outcome: Outcome) -> Step {
    Step::Conclude(Box::new(outcome))
}
