//! The final word: which status, reason and advice, by the contract's tables.

use super::outcome::{ConfirmedBy, Outcome, Reason, ReceiptStatus, Status, Unused, UnusedWhy, interim_id};
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
        let confirmed = self.attempts.iter().rposition(|attempt| {
            let status = attempt.report.receipt.as_ref().map(|receipt| receipt.status);
            matches!(status, Some(ReceiptStatus::Delivered | ReceiptStatus::Answered))
        });
        if let Some(index) = confirmed {
            let answered =
                self.attempts[index].report.receipt.as_ref().map(|r| r.status) == Some(ReceiptStatus::Answered);
            let by = if answered { ConfirmedBy::Answer } else { ConfirmedBy::Receipt };
            return Some(self.delivered(index, by, now));
        }
        let word = signals.iter().find(|fact| matches!(fact, Fact::Cancelled | Fact::Verified { .. }))?;
        match word {
            Fact::Verified { channel, provider } => match self.arrived_by(*channel, provider.as_deref()) {
                Some(index) => Some(self.delivered(index, ConfirmedBy::Verification, now)),
                None => Some(self.closing(Status::Cancelled, Some(Reason::Verified), None, &[], now)),
            },
            Fact::Cancelled | Fact::Receipt { .. } => {
                Some(self.closing(Status::Cancelled, Some(Reason::Cancelled), None, &[], now))
            }
        }
    }

    /// The attempt that a verification speaks of: the one it names, else the latest that may have arrived.
    fn arrived_by(&self, channel: Option<Channel>, provider: Option<&str>) -> Option<usize> {
        let may_have = |index: &usize| self.position_of(*index).is_some();
        let named = |index: &usize| {
            let report = &self.attempts[*index].report;
            channel.is_none_or(|c| c == report.channel) && provider.is_none_or(|p| p == report.provider)
        };
        let latest_first = || (0..self.attempts.len()).rev().filter(may_have);
        latest_first().find(named).or_else(|| latest_first().next())
    }

    /// The hop whose state rests on attempt `index`, where that may have arrived.
    fn position_of(&self, index: usize) -> Option<usize> {
        let track = &self.hops[self.attempts[index].hop];
        let rests_on = match track.state {
            HopState::Awaiting { attempt, .. }
            | HopState::Closed(
                Closed::Accepted { attempt } | Closed::Silent { attempt } | Closed::InDoubt { attempt },
            ) => attempt,
            _ => return None,
        };
        (rests_on == index).then_some(self.attempts[index].hop)
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
        self.closing(Status::Expired, Some(reason), self.attempts.len().checked_sub(1), conditions, now)
    }

    /// Nothing is left that could be tried.
    pub(super) fn no_more_hops(&self, conditions: &[Condition], now: Timestamp) -> Outcome {
        if let Some(outcome) = self.accepted_or_in_doubt(conditions, now) {
            return outcome;
        }
        let last = self.attempts.len().checked_sub(1);
        let last_failure = last.and_then(|index| self.hops[self.attempts[index].hop].failure(None));
        let reason = if last_failure == Some(Why::Failure(Failure::DeviceGone)) {
            Reason::DeviceNotActivated
        } else {
            self.common_reason(conditions)
        };
        self.closing(Status::Failed, Some(reason), last, conditions, now)
    }

    /// The ledger had lost this challenge: what it holds is all that is known.
    pub(super) fn as_it_stood(&self, in_doubt: bool, now: Timestamp) -> Outcome {
        let last = self.attempts.len().checked_sub(1);
        match self.accepted_or_in_doubt(&[], now) {
            Some(outcome) => outcome,
            None if in_doubt => self.closing(Status::Unknown, Some(Reason::InDoubt), last, &[], now),
            None => self.closing(Status::Failed, Some(Reason::Internal), last, &[], now),
        }
    }

    /// The broker took it out of its queue.
    pub(super) fn given_up(&self, expired: bool, now: Timestamp) -> Outcome {
        let last = self.attempts.len().checked_sub(1);
        match self.accepted_or_in_doubt(&[], now) {
            Some(outcome) => outcome,
            None if expired => {
                let reason = if last.is_none() { Reason::ExpiredOnArrival } else { Reason::ExpiredInFlight };
                self.closing(Status::Expired, Some(reason), last, &[], now)
            }
            None => self.closing(Status::Failed, Some(Reason::Internal), last, &[], now),
        }
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
        outcome.unused = self.unused(status, conditions);
        outcome
    }

    /// An interim outcome about attempt `about`.
    pub(super) fn interim(&self, status: Status, reason: Option<Reason>, about: usize, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::about(&self.challenge, status, reason, now);
        self.point_at(&mut outcome, Some(about));
        outcome.id = interim_id(&self.challenge.id, self.attempts[about].report.n, status);
        outcome.is_final = false;
        outcome
    }

    fn point_at(&self, outcome: &mut Outcome, about: Option<usize>) {
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
            super::verdict::AttemptResult::Accepted => {
                Some(attempt.report.started_at + std::time::Duration::from_millis(attempt.report.duration_ms))
            }
            super::verdict::AttemptResult::Unknown => Some(attempt.report.started_at),
            _ => None,
        };
    }

    fn unused(&self, status: Status, conditions: &[Condition]) -> Vec<Unused> {
        let never_tried = |i: usize| self.attempts.iter().all(|attempt| attempt.hop != i);
        let untried = self.hops.iter().enumerate().filter(|(i, _)| never_tried(*i));
        untried
            .map(|(i, track)| Unused {
                channel: track.hop.channel,
                method_id: self.challenge.methods[track.hop.method].id.clone(),
                provider: track.hop.provider.as_ref().to_owned(),
                why: track.unused_why(status, conditions.get(i).copied()),
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
            (HopState::Closed(_) | HopState::Awaiting { .. }, _) => None,
            (HopState::Due { why: DueWhy::Retry | DueWhy::Circuit, .. }, _) => Some(Why::Failure(Failure::Unavailable)),
            (HopState::Due { why: DueWhy::Throttled | DueWhy::Slot, .. }, _) => Some(Why::Failure(Failure::Throttled)),
            (HopState::Fresh, Some(Condition::OpenUntil(_))) => Some(Why::Failure(Failure::Unavailable)),
            (HopState::Fresh, Some(Condition::SlotAt(_))) => Some(Why::Failure(Failure::Throttled)),
            (HopState::Fresh, Some(Condition::Ready) | None) => None,
        }
    }

    fn unused_why(&self, status: Status, condition: Option<Condition>) -> UnusedWhy {
        if let HopState::Closed(Closed::Skipped(why)) = self.state {
            return why;
        }
        match status {
            Status::Delivered | Status::Sent | Status::Cancelled => return UnusedWhy::NotNeeded,
            _ => {}
        }
        match (self.state, condition) {
            (HopState::Due { why: DueWhy::Circuit, .. }, _) | (_, Some(Condition::OpenUntil(_))) => {
                UnusedWhy::CircuitOpen
            }
            (HopState::Due { .. }, _) | (_, Some(Condition::SlotAt(_))) => UnusedWhy::RateLimited,
            _ => UnusedWhy::TooLate,
        }
    }
}
