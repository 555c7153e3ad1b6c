//! News of what was accepted: receipts, and their absence.

use super::outcome::{ReceiptReport, ReceiptStatus, UnusedWhy};
use super::policy::{OnSilence, Policy};
use super::{Closed, Delivery, Fact, HopState};
use crate::challenge::Channel;
use crate::clock::Timestamp;

impl Delivery {
    /// Takes in what receipts say. Unordered, repeated and false ones never move a state backwards.
    pub(super) fn take_receipts(&mut self, signals: &[Fact], policy: &Policy) {
        for fact in signals {
            let Fact::Receipt { attempt, status, code, at } = fact else { continue };
            let Some(index) = usize::try_from(*attempt).ok().and_then(|n| n.checked_sub(1)) else { continue };
            // One that comes before its attempt is recorded is looked at again then: facts are never dropped.
            let Some(entry) = self.attempts.get(index) else { continue };
            if entry.report.receipt.as_ref().is_some_and(|held| !status.says_more_than(held.status)) {
                continue;
            }
            let hop = entry.hop;
            let code = self.cleaned(code.as_deref());
            self.attempts[index].report.receipt = Some(ReceiptReport { status: *status, code, at: *at });
            if *status == ReceiptStatus::Sent {
                self.ringing(hop, index, policy, *at);
            }
            if status.is_failure() && self.hops[hop].state.rests_on() == Some(index) {
                self.close(hop, Closed::Undelivered { attempt: index });
            }
        }
    }

    /// A phone that rings may still be answered: the wait for news of a call in progress starts anew.
    fn ringing(&mut self, hop: usize, index: usize, policy: &Policy, at: Timestamp) {
        let HopState::Awaiting { attempt, until, doubt } = self.hops[hop].state else { return };
        if attempt != index || self.hops[hop].hop.channel != Channel::Voice {
            return;
        }
        if let Some(later) = self.news_by(hop, policy, at).filter(|later| *later > until) {
            self.await_news(hop, attempt, later, doubt);
        }
    }

    /// Until when news is awaited; a hop whose time for news is over is silent from now on.
    pub(super) fn news_awaited(&mut self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
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
}
