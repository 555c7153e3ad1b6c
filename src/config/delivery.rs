//! What the operator decided about delivering: `[delivery]`, `[guard]`, `[tenants]`, `[health]`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConfigError;
use super::kinds::{NAME_FORM, is_name};
use super::messages::{self, TenantMessages};
use super::read::{Item, Section, show_duration};
use crate::challenge::{Channel, PerChannel};
use crate::delivery::policy::{CountryRule, OnSilence, OnUnknown, RetryPolicy, TenantPolicy, UnknownTenant};
use crate::guard::health::HealthPolicy;
use crate::phone::Country;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// How challenges are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// When a challenge names no deadline.
    pub default_ttl: Duration,
    /// No deadline is later than arrival plus this.
    pub max_ttl: Duration,
    /// How long after its deadline an outcome may come.
    pub grace: Duration,
    /// How long a stopping worker finishes what it began.
    pub drain: Duration,
    /// How long one request may take.
    pub attempt_timeout: PerChannel<Duration>,
    /// How long news of an accepted message is awaited.
    pub receipt_timeout: PerChannel<Duration>,
    /// After silence.
    pub on_silence: OnSilence,
    /// After a request in doubt.
    pub on_unknown: PerChannel<OnUnknown>,
    /// Whether upstream publishes `challenge.verified`.
    pub await_verification: bool,
    /// Trying one hop again.
    pub retry: RetryPolicy,
    /// For a tenant that is not configured.
    pub unknown_tenant: UnknownTenant,
}

/// Whom the courier refuses to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// Where a number without `+` belongs; absent: such numbers are refused.
    pub default_region: Option<Country>,
    /// Which countries may be reached.
    pub countries: CountryRule,
    /// Whether numbers reserved for fiction are refused.
    pub refuse_fiction: bool,
}

pub(super) fn delivery(mut section: Section<'_>) -> Option<DeliverySettings> {
    let lasting = |section: &mut Section<'_>, key, most| section.take(key).and_then(|item| item.duration(MS, most));
    let default_ttl = lasting(&mut section, "default_ttl", DAY);
    let max_ttl = lasting(&mut section, "max_ttl", DAY);
    let grace = lasting(&mut section, "grace", HOUR);
    let drain = lasting(&mut section, "drain", HOUR);
    let default_ttl = yielding_to_max(&section, "default_ttl", default_ttl, max_ttl);
    let attempt_timeout = attempt_timeout(section.section("attempt_timeout"), max_ttl);
    let receipt_timeout = per_channel(section.section("receipt_timeout"), |item| item.duration(MS, DAY));
    let on_silence = section.take("on_silence").and_then(|item| {
        item.word(&[
            ("next_channel", OnSilence::NextChannel),
            ("next_hop", OnSilence::NextHop),
            ("conclude", OnSilence::Conclude),
        ])
    });
    let on_unknown = per_channel(section.section("on_unknown"), |item| {
        item.word(&[
            ("next_hop", OnUnknown::NextHop),
            ("wait_receipt", OnUnknown::WaitReceipt),
            ("conclude", OnUnknown::Conclude),
        ])
    });
    let await_verification = section.take("await_verification").and_then(Item::flag);
    let retry = retry(section.section("retry"));
    let unknown_tenant = section
        .take("unknown_tenant")
        .and_then(|item| item.word(&[("default", UnknownTenant::Default), ("reject", UnknownTenant::Reject)]));
    section.finish();
    Some(DeliverySettings {
        default_ttl: default_ttl?,
        max_ttl: max_ttl?,
        grace: grace?,
        drain: drain?,
        attempt_timeout: attempt_timeout?,
        receipt_timeout: receipt_timeout?,
        on_silence: on_silence?,
        on_unknown: on_unknown?,
        await_verification: await_verification?,
        retry: retry?,
        unknown_tenant: unknown_tenant?,
    })
}

/// Holds `value` to `delivery.max_ttl`: a built-in default gives way, what the operator wrote is an error.
fn yielding_to_max(
    section: &Section<'_>,
    key: &str,
    value: Option<Duration>,
    max_ttl: Option<Duration>,
) -> Option<Duration> {
    let (value, max_ttl) = (value?, max_ttl?);
    if value > max_ttl && section.is_own(key) {
        let (found, most) = (show_duration(value), show_duration(max_ttl));
        section.refuse(key, format!("found \"{found}\""), format!("at most delivery.max_ttl, which is \"{most}\""));
    }
    Some(value.min(max_ttl))
}

fn attempt_timeout(mut section: Section<'_>, max_ttl: Option<Duration>) -> Option<PerChannel<Duration>> {
    let [sms, voice, push] = Channel::ALL.map(|channel| {
        let timeout = section.take(channel.as_str()).and_then(|item| item.duration(MS, HOUR));
        yielding_to_max(&section, channel.as_str(), timeout, max_ttl)
    });
    section.finish();
    Some(PerChannel { sms: sms?, voice: voice?, push: push? })
}

fn per_channel<T>(mut section: Section<'_>, read: impl Fn(Item<'_>) -> Option<T>) -> Option<PerChannel<T>> {
    let [sms, voice, push] = Channel::ALL.map(|channel| section.take(channel.as_str()).and_then(&read));
    section.finish();
    Some(PerChannel { sms: sms?, voice: voice?, push: push? })
}

fn retry(mut section: Section<'_>) -> Option<RetryPolicy> {
    let max = section.take("max").and_then(|item| item.integer(0, 100));
    let initial = section.take("initial").and_then(|item| item.duration(MS, HOUR));
    let max_delay = section.take("max_delay").and_then(|item| item.duration(MS, HOUR));
    refuse_less(&section, "max_delay", max_delay, "initial", initial);
    section.finish();
    Some(RetryPolicy { max: max?, initial: initial?, max_delay: max_delay? })
}

/// Records that the longer of two durations is the shorter one.
fn refuse_less(section: &Section<'_>, key: &str, value: Option<Duration>, floor_key: &str, floor: Option<Duration>) {
    let (Some(value), Some(floor)) = (value, floor) else { return };
    if value >= floor {
        return;
    }
    let at = if section.is_own(key) { key } else { floor_key };
    let found = format!("{key} \"{}\" is less than {floor_key} \"{}\"", show_duration(value), show_duration(floor));
    section.refuse(at, found, format!("{key} at least as long as {floor_key}"));
}

pub(super) fn guard(mut section: Section<'_>) -> Option<GuardSettings> {
    let default_region = section.take("default_region").and_then(region);
    let countries = match section.take("countries") {
        Some(item) => countries(item),
        None => Some(CountryRule::All),
    };
    let refuse_fiction = section.take("test_numbers").and_then(|item| item.word(&[("allow", false), ("refuse", true)]));
    section.later(&["per_destination", "per_prefix", "on_ledger_loss"]);
    section.finish();
    Some(GuardSettings { default_region, countries: countries?, refuse_fiction: refuse_fiction? })
}

/// A country whose numbers can be written without its calling code.
fn region(item: Item<'_>) -> Option<Country> {
    if item.as_text() == Some("001") {
        return item.refuse("the ISO code of a country, such as \"US\"");
    }
    item.country()
}

fn countries(item: Item<'_>) -> Option<CountryRule> {
    const LIST: &str = "an array of ISO codes of countries, such as [\"US\", \"CN\"]";
    let mut section = item.section()?;
    let (allow, deny) = (section.take("allow"), section.take("deny"));
    section.later(&["monitor"]);
    let (cx, origin) = (section.cx, section.origin());
    section.finish();
    match (allow, deny) {
        (Some(list), None) => list.list(LIST, Item::country).map(CountryRule::Allow),
        (None, Some(list)) => list.list(LIST, Item::country).map(CountryRule::Deny),
        (allow, _) => {
            let found = if allow.is_some() { "found both allow and deny" } else { "found neither allow nor deny" };
            cx.error(ConfigError::new(origin, found, "{ allow = [...] } or { deny = [...] }"));
            None
        }
    }
}

/// What the administrator of each tenant decided, and how its messages are made.
pub(super) fn tenants(mut section: Section<'_>) -> (BTreeMap<String, TenantPolicy>, BTreeMap<String, TenantMessages>) {
    let (mut tenants, mut texts) = (BTreeMap::new(), BTreeMap::new());
    for (name, item) in section.rest() {
        if !is_name(&name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
            let found = format!("{name:?} can't name a tenant");
            section.cx.error(ConfigError::new(item.key_origin(), found, "1 to 64 of a-z, 0-9, `.`, `_` and `-`"));
        } else if let Some((policy, messages)) = item.section().map(tenant) {
            tenants.insert(name.clone(), policy);
            texts.insert(name, messages);
        }
    }
    (tenants, texts)
}

fn tenant(mut section: Section<'_>) -> (TenantPolicy, TenantMessages) {
    let methods =
        section.take("methods").and_then(|item| item.list("an array of \"sms\", \"voice\", \"push\"", Item::channel));
    let locale = section.take("locale").and_then(locale);
    let messages = messages::of_tenant(&mut section);
    section.later(&["limits", "publishers"]);
    section.finish();
    (TenantPolicy { methods, locale }, messages)
}

/// The shape of a language tag: parts of 1 to 8 letters and digits, the first of letters.
pub(super) fn locale(item: Item<'_>) -> Option<String> {
    let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let first = |tag: &str| tag.bytes().take_while(|b| *b != b'-').all(|b| b.is_ascii_alphabetic());
    item.parsed("a language tag such as \"en\" or \"zh-Hans-CN\"", |tag| {
        (tag.len() <= 35 && first(tag) && tag.split('-').all(part)).then(|| tag.to_owned())
    })
}

/// An array of names: tenants, purposes.
pub(super) fn names(item: Item<'_>) -> Option<Vec<String>> {
    item.list(&format!("an array of names, each {NAME_FORM}"), Item::name)
}

pub(super) fn health(mut section: Section<'_>) -> Option<HealthPolicy> {
    let window = section.take("window").and_then(|item| item.duration(MS, HOUR));
    let min_sample = section.take("min_sample").and_then(|item| item.integer(1, 1_000_000));
    let failure_ratio = section.take("failure_ratio").and_then(|item| item.positive(1.0));
    let open = section.take("open").and_then(|item| item.duration(MS, DAY));
    let max_open = section.take("max_open").and_then(|item| item.duration(MS, DAY));
    let probes = section.take("probes").and_then(|item| item.integer(1, 1_000));
    refuse_less(&section, "max_open", max_open, "open", open);
    section.finish();
    Some(HealthPolicy {
        window: window?,
        min_sample: min_sample?,
        failure_ratio: failure_ratio?,
        open: open?,
        max_open: max_open?,
        probes: probes?,
    })
}
