//! The laws themselves: what each step and the end are held to.

use mfa_courier::challenge::{Address, Challenge, Channel, Fallback};
use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::outcome::{Outcome, ReceiptStatus, Status, interim_id};
use mfa_courier::delivery::policy::{CountryRule, OnSilence, OnUnknown};
use mfa_courier::delivery::verdict::{AttemptResult, Scope, Verdict};
use mfa_courier::delivery::{Fact, LEAST_TIME, Step};
use proptest::prelude::*;

use super::given::CODE;
use super::worker::{Checked, Run};
use crate::contract::objection_to_final;

/// An attempt, as seen from outside.
pub(super) struct Attempted {
    pub(super) hop: usize,
    pub(super) begun: Timestamp,
    pub(super) answered: Timestamp,
    pub(super) verdict: Verdict,
}

pub(super) fn step(run: &mut Run<'_>, step: &Step) -> Checked {
    let expires_at = run.world.challenge.expires_at;
    interims(run)?;
    match step {
        Step::Conclude(_) => return Ok(()),
        Step::Wait(until) => {
            prop_assert!(*until > run.now, "a wait until the past");
            prop_assert!(*until <= expires_at, "a wait beyond the deadline");
        }
        Step::Attempt(hop) => {
            prop_assert!(run.now + LEAST_TIME <= expires_at, "an attempt that nobody could answer in time");
            attempt(run, *hop)?;
        }
    }
    prop_assert!(run.now < expires_at, "it goes on after the deadline");
    prop_assert!(run.signals.iter().all(|fact| matches!(fact, Fact::Receipt { .. })), "it goes on after the last word");
    let arrived = (0..run.attempted.len()).any(|i| run.heard(i, ReceiptStatus::is_arrival));
    prop_assert!(!arrived && run.dead.is_none(), "it goes on after it arrived, or was given up");
    Ok(())
}

/// Whether `hop` may be asked for, by everything that came before.
fn attempt(run: &Run<'_>, hop: usize) -> Checked {
    let (policy, challenge) = (&run.world.policy, &run.world.challenge);
    let this = run.delivery.hop(hop);
    let method = &challenge.methods[this.method];
    let allowed = policy.tenant("default").and_then(|tenant| tenant.methods.as_ref());
    prop_assert!(allowed.is_none_or(|allowed| allowed.contains(&this.channel)), "a method that is not allowed");
    if let (CountryRule::Deny(denied), Some(country)) = (&policy.countries, method.country()) {
        prop_assert!(!denied.contains(&country), "a country that is denied");
    }
    for (i, earlier) in run.attempted.iter().enumerate() {
        let that = run.delivery.hop(earlier.hop);
        match challenge.fallback {
            Fallback::Auto => {}
            Fallback::SameChannel => prop_assert_eq!(that.channel, this.channel),
            Fallback::None => prop_assert_eq!(earlier.hop, hop),
        }
        let same_address = challenge.methods[that.method].address == method.address;
        let same_way = same_address && that.provider == this.provider;
        let country = challenge.methods[that.method].country();
        let blamed = match earlier.verdict.result {
            AttemptResult::Transient => {
                let max = usize::try_from(policy.retry.max).unwrap_or(usize::MAX);
                let tries = run.attempted[..=i].iter().filter(|earlier| earlier.hop == hop).count();
                earlier.hop == hop && tries > max
            }
            AttemptResult::Throttled => {
                let hint = earlier.verdict.retry_after.unwrap_or_default();
                earlier.hop == hop && run.now < earlier.answered + hint
            }
            AttemptResult::Content => same_way,
            AttemptResult::Recipient | AttemptResult::DeviceGone => that.method == this.method,
            AttemptResult::Provider => {
                that.provider == this.provider
                    && match earlier.verdict.scope {
                        Scope::Provider => true,
                        Scope::Country => country == method.country(),
                        Scope::Sender => that.channel == this.channel && that.sender == this.sender,
                    }
            }
            AttemptResult::Unknown => {
                same_way || *policy.on_unknown.get(that.channel) == OnUnknown::Conclude || still_awaited(run, i)
            }
            AttemptResult::Accepted => {
                let refuted = run.heard(i, ReceiptStatus::is_failure);
                let last = still_awaited(run, i) || silenced(run, i, this.channel);
                same_way || last || !(refuted || run.hears(that.channel, &that.provider))
            }
        };
        prop_assert!(!blamed, "hop {hop} after {:?} on hop {}", earlier.verdict.result, earlier.hop);
    }
    prop_assert!(run.not_written[hop] <= policy.retry.max, "asked for again after it could not be written");
    Ok(())
}

/// News of attempt `index` is awaited, by policy, and none came.
fn still_awaited(run: &Run<'_>, index: usize) -> bool {
    let attempted = &run.attempted[index];
    let (policy, hop) = (&run.world.policy, run.delivery.hop(attempted.hop));
    let waits = match attempted.verdict.result {
        AttemptResult::Unknown => *policy.on_unknown.get(hop.channel) == OnUnknown::WaitReceipt,
        _ => true,
    };
    let until = attempted.answered + *policy.receipt_timeout.get(hop.channel);
    waits && run.hears(hop.channel, &hop.provider) && run.now < until && !run.heard(index, ReceiptStatus::is_failure)
}

/// Attempt `index` stayed silent, and policy does not go on to `channel` then.
fn silenced(run: &Run<'_>, index: usize, channel: Channel) -> bool {
    if run.heard(index, ReceiptStatus::is_failure) {
        return false;
    }
    match run.world.policy.on_silence {
        OnSilence::NextHop => false,
        OnSilence::NextChannel => run.delivery.hop(run.attempted[index].hop).channel == channel,
        OnSilence::Conclude => true,
    }
}

fn interims(run: &mut Run<'_>) -> Checked {
    for interim in run.delivery.interims() {
        let id = |n| interim_id(&run.world.challenge.id, n, interim.status);
        prop_assert!(!interim.is_final && interim.attempts.iter().any(|attempt| id(attempt.n) == interim.id));
        prop_assert!(matches!(interim.status, Status::Sent | Status::Retrying | Status::Undelivered));
        prop_assert!(!run.interim_ids.contains(&interim.id), "{} is said twice", interim.id);
        shows_no_secret(interim, &run.world.challenge)?;
        run.interim_ids.push(interim.id.clone());
    }
    Ok(())
}

/// The final outcome, held against what was seen from outside.
pub(super) fn end(run: &Run<'_>, outcome: &Outcome) -> Checked {
    let has_push = run.world.challenge.methods.iter().any(|method| method.channel() == Channel::Push);
    prop_assert_eq!(objection_to_final(outcome, has_push), None);
    prop_assert!(outcome.is_final && outcome.id == "c1:final" && outcome.occurred_at == run.now);
    let right = run.right_statuses();
    prop_assert!(right.contains(&outcome.status), "{:?} where {right:?} is right", outcome.status);
    prop_assert_eq!(outcome.attempts.len(), run.attempted.len());
    for (n, (report, attempted)) in (1u32..).zip(outcome.attempts.iter().zip(&run.attempted)) {
        let hop = run.delivery.hop(attempted.hop);
        let method = &run.world.challenge.methods[hop.method];
        prop_assert_eq!((report.n, report.result), (n, attempted.verdict.result));
        prop_assert_eq!((report.channel, report.provider.as_str()), (hop.channel, hop.provider.as_ref()));
        prop_assert_eq!((&report.method_id, report.started_at), (&method.id, attempted.begun));
    }
    let untried = (0..run.delivery.plan().len()).filter(|i| run.attempted.iter().all(|attempted| attempted.hop != *i));
    let untried: Vec<_> =
        untried.map(|i| run.delivery.hop(i)).map(|hop| (hop.channel, hop.provider.as_ref())).collect();
    let unused: Vec<_> = outcome.unused.iter().map(|unused| (unused.channel, unused.provider.as_str())).collect();
    prop_assert_eq!(unused, untried, "each hop was tried or says why not");
    shows_no_secret(outcome, &run.world.challenge)
}

pub(super) fn rejection(outcome: &Outcome, challenge: &Challenge) -> Checked {
    prop_assert!(outcome.is_final && outcome.status == Status::Rejected && outcome.attempts.is_empty());
    shows_no_secret(outcome, challenge)
}

fn shows_no_secret(outcome: &Outcome, challenge: &Challenge) -> Checked {
    let text = serde_json::to_string(outcome).expect("an outcome can be written");
    let addresses = challenge.methods.iter().map(|method| match &method.address {
        Address::Sms { to } | Address::Voice { to, .. } => to.expose().trim_start_matches('+'),
        Address::Push(target) => target.token.expose(),
    });
    for secret in addresses.chain([CODE]) {
        prop_assert!(!text.contains(secret), "{secret} in {text}");
    }
    let back: Outcome = serde_json::from_str(&text).expect("an outcome can be read");
    prop_assert_eq!(&back, outcome);
    Ok(())
}
