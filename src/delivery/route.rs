//! The plan: methods × rules → hops in order, and why others were left out.
//!
//! Fixed when a delivery opens; what is well at the moment ([`crate::guard`]) decides later which hop is
//! next, so a plan can be explained without knowing the weather.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outcome::UnusedWhy;
use super::policy::{Destination, Policy, ProviderPolicy, RouteRule};
use crate::challenge::{Challenge, Channel, Fallback, Method};

/// One (method, provider) pair of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The method, by its position in the challenge.
    pub method: usize,
    /// Its channel.
    pub channel: Channel,
    /// Who carries it.
    pub provider: Arc<str>,
    /// From whom; `None` lets the provider choose.
    pub sender: Option<Arc<str>>,
}

/// A hop of the plan and, where it must not be used, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The hop.
    pub hop: Hop,
    /// Why it is out, if it is.
    pub out: Option<UnusedWhy>,
}

/// The hops of the methods that are not in `admitted`, which are out, put where they belong in `planned`: so
/// that an outcome says what was not allowed.
pub(super) fn with_refused(
    mut planned: Vec<Planned>,
    challenge: &Challenge,
    admitted: &[usize],
    policy: &Policy,
) -> Vec<Planned> {
    let refused: Vec<usize> = (0..challenge.methods.len()).filter(|i| !admitted.contains(i)).collect();
    let out = plan(challenge, &refused, policy).into_iter();
    planned.extend(out.map(|p| Planned { out: Some(UnusedWhy::NotAllowed), ..p }));
    planned.sort_by_key(|p| p.hop.method);
    planned
}

/// Every hop for `methods` (positions in the challenge) in the order of trying; empty where no provider
/// serves any of them.
#[must_use]
pub fn plan(challenge: &Challenge, methods: &[usize], policy: &Policy) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    for &position in methods {
        let method = &challenge.methods[position];
        for provider in providers(challenge, method, policy) {
            // The same way to the same address twice is one hop: what may have arrived is not sent again.
            let repeats = |p: &Planned| {
                p.hop.provider == provider.name && challenge.methods[p.hop.method].address == method.address
            };
            if !planned.iter().any(repeats) {
                planned.push(hop(position, method, provider));
            }
        }
    }
    limit_fallback(&mut planned, challenge.fallback);
    planned
}

/// The providers for one method in order, without those that don't reach it.
fn providers<'p>(challenge: &Challenge, method: &Method, policy: &'p Policy) -> Vec<&'p ProviderPolicy> {
    let mut providers = routed(challenge, method, policy);
    providers.retain(|provider| provider.reach.covers(method));
    providers
}

/// Those of the first rule that matches, or, for a channel without any rule, all of its providers in the
/// file's order.
fn routed<'p>(challenge: &Challenge, method: &Method, policy: &'p Policy) -> Vec<&'p ProviderPolicy> {
    let channel = method.channel();
    let names = match rule(challenge, method, policy) {
        Ruled::Nothing => return policy.providers.iter().filter(|provider| provider.channel == channel).collect(),
        Ruled::By(position) => policy.routes[position].providers.as_slice(),
        Ruled::Out => &[],
    };
    names.iter().filter_map(|name| policy.provider(name, channel)).collect()
}

/// What the routes say about a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruled {
    /// Its channel has no route.
    Nothing,
    /// This route, by its position in the file.
    By(usize),
    /// Its channel has routes, and none matches.
    Out,
}

/// The first route that matches.
pub(super) fn rule(challenge: &Challenge, method: &Method, policy: &Policy) -> Ruled {
    let channel = method.channel();
    let mut rules = policy.routes.iter().enumerate().filter(|(_, rule)| rule.channel == channel).peekable();
    if rules.peek().is_none() {
        return Ruled::Nothing;
    }
    rules.find(|(_, rule)| matches(rule, challenge, method)).map_or(Ruled::Out, |(position, _)| Ruled::By(position))
}

fn matches(rule: &RouteRule, challenge: &Challenge, method: &Method) -> bool {
    let any_or = |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
    any_or(&rule.tenants, &challenge.tenant)
        && any_or(&rule.purposes, &challenge.purpose)
        && (rule.to.is_empty() || rule.to.iter().any(|to| covers(to, method)))
}

fn covers(to: &Destination, method: &Method) -> bool {
    let Some(number) = method.number() else { return false };
    match to {
        Destination::Country(country) => number.country() == *country,
        Destination::Prefix(prefix) => number.expose().starts_with(prefix.as_ref()),
    }
}

fn hop(position: usize, method: &Method, provider: &ProviderPolicy) -> Planned {
    let sender = sender(method, provider);
    let out = (sender.is_none() && !provider.senders.is_empty()).then_some(UnusedWhy::NotAllowed);
    let hop = Hop { method: position, channel: provider.channel, provider: Arc::clone(&provider.name), sender };
    Planned { hop, out }
}

/// The first sender made for the destination's country, else the first made for all.
fn sender(method: &Method, provider: &ProviderPolicy) -> Option<Arc<str>> {
    let country = method.country();
    let made_for = provider.senders.iter().find(|s| country.is_some_and(|c| s.countries.contains(&c)));
    let sender = made_for.or_else(|| provider.senders.iter().find(|s| s.countries.is_empty()))?;
    Some(Arc::clone(&sender.from))
}

/// Marks what upstream's `fallback` puts out of reach.
fn limit_fallback(planned: &mut [Planned], fallback: Fallback) {
    let Some(first) = planned.iter().position(|p| p.out.is_none()) else { return };
    let channel = planned[first].hop.channel;
    for (i, planned) in planned.iter_mut().enumerate() {
        let allowed = match fallback {
            Fallback::Auto => true,
            Fallback::SameChannel => planned.hop.channel == channel,
            Fallback::None => i == first,
        };
        if !allowed && planned.out.is_none() {
            planned.out = Some(UnusedWhy::FallbackLimit);
        }
    }
}
