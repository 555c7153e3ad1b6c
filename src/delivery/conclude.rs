//! The final word: which status, reason and advice, by the contract's tables.

use super::outcome::{ConfirmedBy, Outcome, Reason, ReceiptStatus, Status, Unused, UnusedWhy};
use super::verdict::AttemptResult;
use super::{Closed, Condition, Delivery, DueWhy, Fact, Failure, HopState, LEAST_TIME, Track};
use crate::challenge::Channel;
use crate::clock::Timestamp;

impl Failure {
    /// The reason it stands for when every hop ended so.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Unavailable => Reason::ProviderUnavailable,
            Self::Throttled => Reason::RateLimited,
            Self::Recipient => Reason::RecipientUnreachable,
            Self::OptedOut => Reason::RecipientOptedOut,
            Self::DeviceGone => Reason::DeviceNotActivated,
            Self::Content => Reason::ContentRejected,
        }
    }
}

impl Delivery {
    /// The end that a receipt, a cancellation or a verification brings, if one does.
    pub(super) fn ended_by_signal(&self, signals: &[Fact], now: Timestamp) -> Option<Outcome> {
        for (index, attempt) in self.attempts.iter().enumerate().rev() {
            let by = match attempt.report.receipt.as_ref().map(|receipt| receipt.status) {
                Some(ReceiptStatus::Delivered) => ConfirmedBy::Receipt,
                Some(ReceiptStatus::Answered) => ConfirmedBy::Answer,
                _ => continue,
            };
            return Some(self.delivered(index, by, now));
        }
        let cancelled = |reason| Some(self.closing(Status::Cancelled, Some(reason), self.last(), &[], now));
        signals.iter().find_map(|fact| match fact {
            Fact::Verified { channel, provider } => match self.arrived_by(*channel, provider.as_deref()) {
                Some(index) => Some(self.delivered(index, ConfirmedBy::Verification, now)),
                None => cancelled(Reason::Verified),
            },
            Fact::Cancelled => cancelled(Reason::Cancelled),
            Fact::Receipt { .. } => None,
        })
    }

    /// The attempt that a verification speaks of: of those that were taken or may have been, one that it
    /// names, then one that no receipt spoke against (which may be false), then the latest.
    fn arrived_by(&self, channel: Option<Channel>, provider: Option<&str>) -> Option<usize> {
        let taken =
            self.attempts.iter().enumerate().filter(|(_, attempt)| {
                matches!(attempt.report.result, AttemptResult::Accepted | AttemptResult::Unknown)
            });
        let (index, _) = taken.max_by_key(|(index, attempt)| {
            let report = &attempt.report;
            let named = channel.is_none_or(|c| c == report.channel) && provider.is_none_or(|p| p == report.provider);
            (named, self.hops[attempt.hop].state.rests_on() == Some(*index), *index)
        })?;
        Some(index)
    }

    /// The latest attempt.
    const fn last(&self) -> Option<usize> {
        self.attempts.len().checked_sub(1)
    }

    fn delivered(&self, attempt: usize, by: ConfirmedBy, now: Timestamp) -> Outcome {
        let outcome = self.closing(Status::Delivered, None, Some(attempt), &[], now);
        Outcome { confirmed_by: Some(by), ..outcome }
    }

    /// The deadline has come.
    pub(super) fn out_of_time(&self, conditions: &[Condition], now: Timestamp) -> Outcome {
        if let Some(outcome) = self.accepted_or_in_doubt(conditions, now) {
            return outcome;
        }
        let (expires_at, arrived_at) = (self.challenge.expires_at, self.challenge.arrived_at);
        let reason = if self.attempts.is_empty() && expires_at < arrived_at + LEAST_TIME {
            Reason::ExpiredOnArrival
        } else {
            match self.common_failure(conditions) {
                Some(Failure::Unavailable) => Reason::ProviderUnavailable,
                Some(Failure::Throttled) => Reason::RateLimited,
                None if self.attempts.is_empty() && self.untouched() => Reason::ExpiredOnArrival,
                _ => Reason::ExpiredInFlight,
            }
        };
        self.closing(Status::Expired, Some(reason), self.last(), conditions, now)
    }

    /// Nothing is left that could be tried.
    pub(super) fn no_more_hops(&self, conditions: &[Condition], now: Timestamp) -> Outcome {
        if let Some(outcome) = self.accepted_or_in_doubt(conditions, now) {
            return outcome;
        }
        let last = self.last();
        let last_failure = last.and_then(|index| self.hops[self.attempts[index].hop].failure(None));
        let reason = if last_failure == Some(Why::Failure(Failure::DeviceGone)) {
            Reason::DeviceNotActivated
        } else {
            self.common_reason(conditions)
        };
        self.closing(Status::Failed, Some(reason), last, conditions, now)
    }

    /// The ledger had lost this challenge: what was accepted is all that is known; the rest is in doubt.
    pub(super) fn as_it_stood(&mut self, now: Timestamp) -> Outcome {
        self.skip(UnusedWhy::NotAllowed, |_| true);
        self.accepted_or_in_doubt(&[], now)
            .unwrap_or_else(|| self.closing(Status::Unknown, Some(Reason::InDoubt), self.last(), &[], now))
    }

    /// The broker took it out of its queue.
    pub(super) fn given_up(&mut self, expired: bool, now: Timestamp) -> Outcome {
        if !expired {
            self.skip(UnusedWhy::NotAllowed, |_| true);
        }
        if let Some(outcome) = self.accepted_or_in_doubt(&[], now) {
            return outcome;
        }
        let (status, reason) = match (expired, self.attempts.is_empty()) {
            (true, true) => (Status::Expired, Reason::ExpiredOnArrival),
            (true, false) => (Status::Expired, Reason::ExpiredInFlight),
            (false, _) => (Status::Failed, Reason::Internal),
        };
        self.closing(status, Some(reason), self.last(), &[], now)
    }

    /// `sent` where anything was accepted, else `unknown` where anything is in doubt.
    fn accepted_or_in_doubt(&self, conditions: &[Condition], now: Timestamp) -> Option<Outcome> {
        let mut best: Option<(Status, Reason, usize)> = None;
        for track in &self.hops {
            let (status, reason, attempt) = match track.state {
                HopState::Closed(Closed::Accepted { attempt }) => (Status::Sent, Reason::NoReceipts, attempt),
                HopState::Closed(Closed::Silent { attempt }) | HopState::Awaiting { attempt, doubt: false, .. } => {
                    (Status::Sent, Reason::ReceiptTimeout, attempt)
                }
                HopState::Closed(Closed::InDoubt { attempt }) | HopState::Awaiting { attempt, doubt: true, .. } => {
                    (Status::Unknown, Reason::InDoubt, attempt)
                }
                _ => continue,
            };
            let stronger = best.is_none_or(|(held, _, at)| match (held, status) {
                (Status::Unknown, Status::Sent) => true,
                (Status::Sent, Status::Unknown) => false,
                _ => attempt > at,
            });
            if stronger {
                best = Some((status, reason, attempt));
            }
        }
        let (status, reason, attempt) = best?;
        Some(self.closing(status, Some(reason), Some(attempt), conditions, now))
    }

    /// Nothing ever happened to it but waiting in the queue.
    fn untouched(&self) -> bool {
        self.hops.iter().all(|track| !matches!(track.state, HopState::Due { .. }))
    }

    /// What all hops that could not be used have in common, if anything.
    fn common_failure(&self, conditions: &[Condition]) -> Option<Failure> {
        let mut whys = self.whys(conditions);
        let first = whys.next()?;
        match first {
            Why::Failure(failure) if whys.all(|why| why == first) => Some(failure),
            Why::Failure(_) | Why::Undelivered => None,
        }
    }

    fn common_reason(&self, conditions: &[Condition]) -> Reason {
        let mut whys = self.whys(conditions);
        let Some(first) = whys.next() else { return Reason::ProviderUnavailable };
        if !whys.all(|why| why == first) {
            return Reason::AllHopsFailed;
        }
        match first {
            Why::Failure(failure) => failure.reason(),
            Why::Undelivered => Reason::Undelivered,
        }
    }

    fn whys(&self, conditions: &[Condition]) -> impl Iterator<Item = Why> {
        self.hops.iter().enumerate().filter_map(|(i, track)| track.failure(conditions.get(i).copied()))
    }

    /// A final outcome about attempt `about`, or about the challenge as a whole.
    fn closing(
        &self,
        status: Status,
        reason: Option<Reason>,
        about: Option<usize>,
        conditions: &[Condition],
        now: Timestamp,
    ) -> Outcome {
        let mut outcome = Outcome::about(&self.challenge, status, reason, now);
        self.point_at(&mut outcome, about);
        let satisfied = matches!(status, Status::Delivered | Status::Cancelled) || reason == Some(Reason::NoReceipts);
        outcome.unused = self.unused(satisfied, conditions);
        outcome
    }

    /// Fills in the attempts so far and, as what the status is about, attempt `about`.
    pub(super) fn point_at(&self, outcome: &mut Outcome, about: Option<usize>) {
        outcome.attempts = self.attempts.iter().map(|attempt| attempt.report.clone()).collect();
        outcome.notes.clone_from(&self.notes);
        let Some(attempt) = about.map(|index| &self.attempts[index]) else { return };
        let hop = &self.hops[attempt.hop].hop;
        let method = &self.challenge.methods[hop.method];
        outcome.channel = Some(hop.channel);
        outcome.method_id.clone_from(&method.id);
        outcome.provider = Some(hop.provider.as_ref().to_owned());
        outcome.destination = Some(method.masked());
        outcome.country = method.country();
        outcome.receipt_by = attempt.receipt_by;
        outcome.sent_at = match attempt.report.result {
            AttemptResult::Accepted => {
                Some(attempt.report.started_at + std::time::Duration::from_millis(attempt.report.duration_ms))
            }
            AttemptResult::Unknown => Some(attempt.report.started_at),
            _ => None,
        };
    }

    /// The hops that were not tried, and why; `satisfied` where no more were wanted.
    fn unused(&self, satisfied: bool, conditions: &[Condition]) -> Vec<Unused> {
        let never_tried = |i: usize| self.attempts.iter().all(|attempt| attempt.hop != i);
        let untried = self.hops.iter().enumerate().filter(|(i, _)| never_tried(*i));
        untried
            .map(|(i, track)| Unused {
                channel: track.hop.channel,
                method_id: self.challenge.methods[track.hop.method].id.clone(),
                provider: track.hop.provider.as_ref().to_owned(),
                why: track.unused_why(satisfied, conditions.get(i).copied()),
            })
            .collect()
    }
}

/// Why a hop did not deliver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Failure(Failure),
    Undelivered,
}

impl Track {
    /// Why this hop did not deliver, where it can be told.
    fn failure(&self, condition: Option<Condition>) -> Option<Why> {
        match (self.state, condition) {
            (HopState::Closed(Closed::Failed(failure)), _) => Some(Why::Failure(failure)),
            (HopState::Closed(Closed::Undelivered { .. }), _) => Some(Why::Undelivered),
            (HopState::Due { why: DueWhy::Retry | DueWhy::Circuit, .. }, _) => Some(Why::Failure(Failure::Unavailable)),
            (HopState::Due { why: DueWhy::Throttled | DueWhy::Slot, .. }, _) => Some(Why::Failure(Failure::Throttled)),
            (HopState::Fresh, Some(Condition::SlotAt(_) | Condition::Barred(UnusedWhy::CostCap))) => {
                Some(Why::Failure(Failure::Throttled))
            }
            (HopState::Fresh, Some(Condition::OpenUntil(_) | Condition::Barred(_))) => {
                Some(Why::Failure(Failure::Unavailable))
            }
            (HopState::Closed(_) | HopState::Awaiting { .. }, _) | (HopState::Fresh, Some(Condition::Ready) | None) => {
                None
            }
        }
    }

    fn unused_why(&self, satisfied: bool, condition: Option<Condition>) -> UnusedWhy {
        let why = match self.state {
            HopState::Closed(Closed::Skipped(why)) => return why,
            _ if satisfied => self.passed_over,
            _ => condition.and_then(|condition| self.hindrance(condition)).or(self.passed_over),
        };
        why.unwrap_or(if satisfied { UnusedWhy::NotNeeded } else { UnusedWhy::TooLate })
    }
}
