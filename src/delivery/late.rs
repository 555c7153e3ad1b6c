//! Receipts after the end: told, but they change nothing.

use super::outcome::{ConfirmedBy, Outcome, Reason, ReceiptReport, ReceiptStatus, Status, late_id};
use crate::challenge::Note;
use crate::clock::Timestamp;

impl Outcome {
    /// The interim outcome for a receipt of attempt `attempt` (1 for the first) that came after this final one;
    /// `None` where it says nothing new.
    ///
    /// `self` stays the final word, so it does not know of receipts after it: `earlier` is the last of these
    /// for the same attempt.
    #[must_use]
    pub fn late(
        &self,
        attempt: u32,
        receipt: ReceiptReport,
        earlier: Option<ReceiptStatus>,
        now: Timestamp,
    ) -> Option<Self> {
        let index = self.attempts.iter().position(|report| report.n == attempt)?;
        let held = [self.attempts[index].receipt.as_ref().map(|held| held.status), earlier];
        let is_news = held.into_iter().flatten().all(|held| receipt.status.says_more_than(held));
        let (status, reason, confirmed_by) = match receipt.status {
            _ if !is_news => return None,
            ReceiptStatus::Delivered => (Status::Delivered, None, Some(ConfirmedBy::Receipt)),
            ReceiptStatus::Answered => (Status::Delivered, None, Some(ConfirmedBy::Answer)),
            other if other.is_failure() => (Status::Undelivered, Some(Reason::Undelivered), None),
            _ => return None,
        };
        let mut late = self.clone();
        late.id = late_id(&self.challenge_id, attempt, status);
        late.is_final = false;
        (late.status, late.reason, late.advice) = (status, reason, None);
        (late.confirmed_by, late.occurred_at) = (confirmed_by, now);
        late.attempts[index].receipt = Some(receipt);
        let report = &late.attempts[index];
        if !self.is_about(attempt) {
            (late.destination, late.country, late.receipt_by) = (None, None, None);
        }
        late.sent_at = Some(report.started_at + std::time::Duration::from_millis(report.duration_ms));
        late.channel = Some(report.channel);
        late.method_id.clone_from(&report.method_id);
        late.provider = Some(report.provider.clone());
        if !late.notes.contains(&Note::LateReceipt) {
            late.notes.push(Note::LateReceipt);
        }
        Some(late)
    }

    /// Whether attempt `attempt` went the way that this outcome is about.
    fn is_about(&self, attempt: u32) -> bool {
        self.attempts.iter().any(|report| {
            report.n == attempt
                && Some(report.channel) == self.channel
                && Some(&report.provider) == self.provider.as_ref()
                && report.method_id == self.method_id
        })
    }
}
