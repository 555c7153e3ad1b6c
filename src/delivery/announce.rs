//! Interim outcomes: what upstream is told while the courier goes on. Each is said once.

use super::outcome::{Outcome, Reason, Status, interim_id};
use super::{Closed, Delivery, HopState};
use crate::clock::Timestamp;

impl Delivery {
    /// Tells of each hop that changed since the last step, now that it is known that the courier goes on.
    pub(super) fn announce(&mut self, now: Timestamp) {
        for hop in std::mem::take(&mut self.unannounced) {
            let Some(attempt) = self.attempts.iter().rposition(|attempt| attempt.hop == hop) else { continue };
            let Some((status, reason)) = news_of(self.hops[hop].state) else { continue };
            if self.attempts[attempt].announced.contains(&status) {
                continue;
            }
            let interim = self.interim(status, reason, attempt, now);
            self.attempts[attempt].announced.push(status);
            self.interims.push(interim);
        }
    }

    /// Remembers that there is something to tell of `hop`, once it is known that the courier goes on.
    pub(super) fn remember_to_announce(&mut self, hop: usize) {
        if !self.unannounced.contains(&hop) {
            self.unannounced.push(hop);
        }
    }

    /// An interim outcome about attempt `about`.
    fn interim(&self, status: Status, reason: Option<Reason>, about: usize, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::about(&self.challenge, status, reason, now);
        self.point_at(&mut outcome, Some(about));
        outcome.id = interim_id(&self.challenge.id, self.attempts[about].report.n, status);
        outcome.is_final = false;
        outcome
    }
}

/// What there is to tell of a hop in this state.
const fn news_of(state: HopState) -> Option<(Status, Option<Reason>)> {
    match state {
        HopState::Awaiting { doubt: false, .. } => Some((Status::Sent, None)),
        HopState::Closed(Closed::Failed(failure)) => Some((Status::Retrying, Some(failure.reason()))),
        HopState::Closed(Closed::InDoubt { .. }) => Some((Status::Retrying, Some(Reason::InDoubt))),
        HopState::Closed(Closed::Silent { .. }) => Some((Status::Undelivered, Some(Reason::ReceiptTimeout))),
        HopState::Closed(Closed::Undelivered { .. }) => Some((Status::Undelivered, Some(Reason::Undelivered))),
        HopState::Fresh
        | HopState::Due { .. }
        | HopState::Awaiting { doubt: true, .. }
        | HopState::Closed(Closed::Accepted { .. } | Closed::Skipped(_)) => None,
    }
}
