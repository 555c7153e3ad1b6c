//! Which of a challenge's methods may be used at all: late, disabled, blocked, unknown tenant.
//!
//! Runs once, when a delivery opens. What it refuses never reaches a provider.

use super::outcome::{Outcome, Reason, Status, conflict_id};
use super::policy::{CountryRule, Policy, TenantPolicy, UnknownTenant};
use crate::challenge::{Challenge, Channel, Method, Note};
use crate::clock::Timestamp;
use crate::phone::{NumberKind, PhoneNumber};

/// Why a challenge is not deliverable as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// Which field is to blame, where one is.
    pub field: Option<String>,
}

impl Rejection {
    /// A rejection for `reason`, with no field to blame.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self { reason, field: None }
    }

    /// What upstream is told: final, but for a second content under one id, whose first goes its own way.
    #[must_use]
    pub fn outcome(&self, challenge: &Challenge, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::about(challenge, Status::Rejected, Some(self.reason), now);
        outcome.field.clone_from(&self.field);
        if self.reason == Reason::DuplicateId {
            outcome.id = conflict_id(&challenge.id, challenge.content);
            outcome.is_final = false;
        }
        outcome
    }
}

/// The methods that may be used, by their position in the challenge; never empty.
///
/// # Errors
/// The first reason that applies where none may.
pub fn admit(challenge: &Challenge, policy: &Policy) -> Result<Vec<usize>, Rejection> {
    if challenge.methods.is_empty() {
        let skipped = challenge.notes.contains(&Note::MethodSkipped);
        return Err(Rejection::new(if skipped { Reason::NoSupportedMethod } else { Reason::NoMethod }));
    }
    let tenant = tenant_of(challenge, policy)?;
    let allowed: Vec<usize> =
        (0..challenge.methods.len()).filter(|&i| allows(tenant, challenge.methods[i].channel())).collect();
    if allowed.is_empty() {
        return Err(Rejection::new(Reason::MethodDisabled));
    }
    let mut first_refusal = None;
    let usable: Vec<usize> = allowed
        .into_iter()
        .filter(|&i| {
            let Some(reason) = refusal(&challenge.methods[i], policy) else { return true };
            first_refusal.get_or_insert_with(|| Rejection { reason, field: Some(format!("methods[{i}].to")) });
            false
        })
        .collect();
    match first_refusal {
        Some(rejection) if usable.is_empty() => Err(rejection),
        _ => Ok(usable),
    }
}

pub(super) fn tenant_of<'p>(challenge: &Challenge, policy: &'p Policy) -> Result<Option<&'p TenantPolicy>, Rejection> {
    let known = challenge.tenant == "default" || policy.tenants.contains_key(&challenge.tenant);
    match policy.unknown_tenant {
        UnknownTenant::Reject if !known => {
            Err(Rejection { reason: Reason::UnknownTenant, field: Some("tenant".to_owned()) })
        }
        UnknownTenant::Reject | UnknownTenant::Default => Ok(policy.tenant(&challenge.tenant)),
    }
}

pub(super) fn allows(tenant: Option<&TenantPolicy>, channel: Channel) -> bool {
    tenant.and_then(|t| t.methods.as_ref()).is_none_or(|methods| methods.contains(&channel))
}

/// Why this method can't be used, if it can't.
pub(super) fn refusal(method: &Method, policy: &Policy) -> Option<Reason> {
    let number = method.number()?;
    match number.kind() {
        NumberKind::Costly => return Some(Reason::DestinationBlocked),
        NumberKind::TollFree if method.channel() == Channel::Sms => return Some(Reason::DestinationBlocked),
        NumberKind::Fiction if policy.refuse_fiction => return Some(Reason::InvalidDestination),
        NumberKind::TollFree | NumberKind::Fiction | NumberKind::Ordinary => {}
    }
    let country_allowed = match &policy.countries {
        CountryRule::All => true,
        CountryRule::Allow(allowed) => allowed.contains(&number.country()),
        CountryRule::Deny(denied) => !denied.contains(&number.country()),
    };
    (!country_allowed || is_own_sender(number, policy)).then_some(Reason::DestinationBlocked)
}

/// A message to one of our own senders would at best come back to us.
fn is_own_sender(number: &PhoneNumber, policy: &Policy) -> bool {
    let senders = policy.providers.iter().flat_map(|provider| &provider.senders);
    senders.into_iter().any(|sender| sender.from.as_ref() == number.expose())
}
