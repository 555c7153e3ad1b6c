//! The contract's table of reasons, as data: which statuses and which advice each goes with.

use mfa_courier::delivery::outcome::{Advice, Outcome, Reason, Status};

/// One row: where `advice` gives way to the app's codes, it does so for a challenge with a push method.
pub(crate) struct Row {
    pub(crate) reason: Reason,
    pub(crate) statuses: &'static [Status],
    pub(crate) advice: Option<Advice>,
}

const fn row(reason: Reason, statuses: &'static [Status], advice: Option<Advice>) -> Row {
    Row { reason, statuses, advice }
}

const REJECTED: &[Status] = &[Status::Rejected];
const FAILED: &[Status] = &[Status::Failed];
const EXPIRED: &[Status] = &[Status::Expired];
const CANCELLED: &[Status] = &[Status::Cancelled];

pub(crate) const TABLE: [Row; 27] = [
    row(Reason::Malformed, REJECTED, None),
    row(Reason::NoMethod, REJECTED, Some(Advice::RegisterMethod)),
    row(Reason::NoSupportedMethod, REJECTED, Some(Advice::RegisterMethod)),
    row(Reason::MethodDisabled, REJECTED, Some(Advice::RegisterMethod)),
    row(Reason::InvalidDestination, REJECTED, Some(Advice::RegisterMethod)),
    row(Reason::DestinationBlocked, REJECTED, Some(Advice::ContactAdmin)),
    row(Reason::UnknownTenant, REJECTED, Some(Advice::ContactAdmin)),
    row(Reason::NoRoute, REJECTED, Some(Advice::ContactAdmin)),
    row(Reason::VelocityExceeded, REJECTED, Some(Advice::Wait)),
    row(Reason::TenantLimit, REJECTED, Some(Advice::Wait)),
    row(Reason::DuplicateId, REJECTED, None),
    row(Reason::DeviceNotActivated, FAILED, Some(Advice::ReactivateApp)),
    row(Reason::RecipientUnreachable, FAILED, Some(Advice::UseAnotherMethod)),
    row(Reason::RecipientOptedOut, FAILED, Some(Advice::UseAnotherMethod)),
    row(Reason::ContentRejected, FAILED, Some(Advice::ContactAdmin)),
    row(Reason::ProviderUnavailable, &[Status::Failed, Status::Expired], Some(Advice::TryAgain)),
    row(Reason::RateLimited, &[Status::Failed, Status::Expired], Some(Advice::Wait)),
    row(Reason::AllHopsFailed, FAILED, Some(Advice::UseAnotherMethod)),
    row(Reason::Undelivered, FAILED, Some(Advice::UseAnotherMethod)),
    row(Reason::InDoubt, &[Status::Unknown], Some(Advice::TryAgain)),
    row(Reason::ReceiptTimeout, &[Status::Sent], Some(Advice::UseAnotherMethod)),
    row(Reason::NoReceipts, &[Status::Sent], None),
    row(Reason::ExpiredOnArrival, EXPIRED, Some(Advice::TryAgain)),
    row(Reason::ExpiredInFlight, EXPIRED, Some(Advice::TryAgain)),
    row(Reason::Cancelled, CANCELLED, None),
    row(Reason::Verified, CANCELLED, None),
    row(Reason::Internal, FAILED, Some(Advice::TryAgain)),
];

impl Row {
    /// The row of `reason`.
    pub(crate) fn of(reason: Reason) -> &'static Self {
        TABLE.iter().find(|row| row.reason == reason).expect("the table has every reason")
    }

    /// Whether the advice is another where the person has the app.
    pub(crate) const fn gives_way_to_the_app(&self) -> bool {
        matches!(self.advice, Some(Advice::TryAgain | Advice::UseAnotherMethod))
    }

    /// The advice for a person who has the app, or has not.
    pub(crate) const fn advice(&self, has_push: bool) -> Option<Advice> {
        if has_push && self.gives_way_to_the_app() { Some(Advice::UseAppCode) } else { self.advice }
    }
}

/// What is wrong with status, reason and advice of a final outcome, if anything.
pub(crate) fn objection_to_final(outcome: &Outcome, has_push: bool) -> Option<String> {
    let Some(reason) = outcome.reason else {
        let without = outcome.status == Status::Delivered && outcome.advice.is_none();
        return (!without).then(|| format!("{:?} without a reason", outcome.status));
    };
    let row = Row::of(reason);
    let right = row.statuses.contains(&outcome.status) && row.advice(has_push) == outcome.advice;
    (!right).then(|| format!("{:?} for {reason:?} with {:?}", outcome.status, outcome.advice))
}
