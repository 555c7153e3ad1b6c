//! `[[routes]]`: which providers carry what, in which order. The first that matches counts.

use std::sync::Arc;

use super::delivery::names;
use super::document::Value;
use super::kinds::NAME_FORM;
use super::origin::{Origin, closest};
use super::read::{Item, Section};
use crate::delivery::policy::{Destination, RouteRule};

/// One routing rule and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// What it says.
    pub rule: RouteRule,
    /// Where it was written.
    pub origin: Origin,
    /// Where each of its providers was written.
    pub provider_origins: Vec<Origin>,
}

/// The ways of choosing among a route's providers that this version knows.
const STRATEGIES: [(&str, ()); 1] = [("priority", ())];

pub(super) fn routes(item: Item<'_>, providers: &[Arc<str>]) -> Vec<RouteEntry> {
    let read = |item: Item<'_>| item.section().and_then(|section| route(section, providers));
    item.list("tables, each headed [[routes]]", read).unwrap_or_default()
}

fn route(mut section: Section<'_>, providers: &[Arc<str>]) -> Option<RouteEntry> {
    let channel = section.require("channel", "\"sms\", \"voice\", \"push\"").and_then(Item::channel);
    let to = section.take("to").map(|item| item.list(DESTINATIONS, destination));
    let tenants = section.take("tenants").map(names);
    let purposes = section.take("purposes").map(names);
    let names = section.require("providers", PROVIDERS).and_then(|item| provider_list(item, providers));
    section.take("strategy").and_then(|item| item.word(&STRATEGIES));
    section.later(&["weights"]);
    let origin = section.origin();
    section.finish();
    let (providers, provider_origins) = names?;
    Some(RouteEntry {
        rule: RouteRule {
            channel: channel?,
            to: to.unwrap_or(Some(Vec::new()))?,
            tenants: tenants.unwrap_or(Some(Vec::new()))?,
            purposes: purposes.unwrap_or(Some(Vec::new()))?,
            providers,
        },
        origin,
        provider_origins,
    })
}

const DESTINATIONS: &str = "an array of countries and prefixes, such as [\"CN\", \"+852\"]";
const PROVIDERS: &str = "an array of names of configured providers, at least one";

fn destination(item: Item<'_>) -> Option<Destination> {
    let Some(digits) = item.as_text().and_then(|text| text.strip_prefix('+')) else {
        return item.country().map(Destination::Country);
    };
    let usable =
        (1..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if !usable {
        return item.refuse("the ISO code of a country, or + and the first digits of numbers, such as \"+852\"");
    }
    item.parsed("", |prefix| Some(Destination::Prefix(prefix.into())))
}

fn provider_list(item: Item<'_>, providers: &[Arc<str>]) -> Option<(Vec<Arc<str>>, Vec<Origin>)> {
    let cx = item.cx;
    if matches!(&item.node.value, Value::List(items) if items.is_empty()) {
        return item.refuse_as("an empty array", PROVIDERS);
    }
    let named = item.list(PROVIDERS, |item| configured(&item, providers))?;
    for (nth, (name, origin)) in named.iter().enumerate() {
        if named[..nth].iter().any(|(earlier, _)| earlier == name) {
            cx.error(super::ConfigError::new(origin.clone(), format!("{name} again"), "each provider once"));
        }
    }
    Some(named.into_iter().unzip())
}

fn configured(item: &Item<'_>, providers: &[Arc<str>]) -> Option<(Arc<str>, Origin)> {
    let origin = item.origin();
    let Some(text) = item.as_text() else { return item.refuse(format!("a name, {NAME_FORM}")) };
    if let Some(name) = providers.iter().find(|name| name.as_ref() == text) {
        item.note(text);
        return Some((Arc::clone(name), origin));
    }
    let names: Vec<&str> = providers.iter().map(AsRef::as_ref).collect();
    let hint = closest(text, names.iter().copied()).map(|meant| format!("; did you mean {meant:?}?"));
    let allowed = if names.is_empty() { "a configured provider; there is none".to_owned() } else { names.join(", ") };
    item.refuse_as(format!("found {}, which is not configured{}", item.node.show(), hint.unwrap_or_default()), allowed)
}
