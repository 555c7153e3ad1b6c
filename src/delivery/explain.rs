//! What would be done with a challenge, and why not otherwise; nothing is sent, and nobody's weather counts.
//!
//! The same rules as [`super::Delivery::open`] goes by ([`super::admission`], [`super::route`]), asked for their
//! reasons.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::admission::{self, Rejection};
use super::outcome::{Reason, UnusedWhy};
use super::policy::{Policy, ProviderPolicy};
use super::route::{self, Ruled};
use super::{LEAST_TIME, backoff};
use crate::challenge::{Challenge, Channel, Method};

/// A challenge's plan, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What would be tried, in order.
    pub hops: Vec<Expected>,
    /// What would not.
    pub skipped: Vec<Skipped>,
    /// Why there is nothing to try, where there is nothing.
    pub rejection: Option<Rejection>,
}

/// A hop that would be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The method, by its position in the challenge.
    pub method: usize,
    /// Its channel.
    pub channel: Channel,
    /// Who carries it.
    pub provider: Arc<str>,
    /// From whom; `None` lets the provider choose.
    pub sender: Option<Arc<str>>,
    /// Which route chose it, by its position in the file; `None` where the channel has no route.
    pub route: Option<usize>,
    /// How long it can take until it begins, if everything before it takes as long as it can.
    pub begins_within: Duration,
    /// How long it can take until the next one begins.
    pub takes_at_most: Duration,
    /// Whether the challenge may expire before it begins.
    pub may_be_too_late: bool,
}

/// A way that would not be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The method, by its position in the challenge.
    pub method: usize,
    /// Its channel.
    pub channel: Channel,
    /// Who would carry it; `None` where it is not about one provider.
    pub provider: Option<Arc<str>>,
    /// Why.
    pub why: SkippedWhy,
}

/// Why a way would not be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkippedWhy {
    /// The tenant does not allow the channel.
    MethodDisabled,
    /// The number may not be reached.
    DestinationBlocked,
    /// It is not a number that anybody has.
    InvalidDestination,
    /// None of the provider's senders is for the country.
    NoSender,
    /// The route that matches does not name the provider.
    NotInRoute,
    /// No route of the channel matches.
    NoRoute,
    /// Nobody carries the channel.
    NoProvider,
    /// It is the same way to the same address as an earlier one.
    Repeated,
    /// It reaches no devices of this platform, or none of this app.
    OtherDevice,
    /// Upstream's `fallback` does not reach so far.
    FallbackLimit,
}

/// Explains what would be done with `challenge`.
#[must_use]
pub fn explain(challenge: &Challenge, policy: &Policy) -> Explanation {
    let admitted = admission::admit(challenge, policy);
    let methods = admitted.as_deref().unwrap_or_default();
    let mut explanation = Explanation { hops: Vec::new(), skipped: Vec::new(), rejection: None };
    let planned = route::plan(challenge, methods, policy);
    let mut begins_within = Duration::ZERO;
    let lasts = challenge.expires_at.since(challenge.arrived_at);
    for planned in &planned {
        let (hop, method) = (&planned.hop, &challenge.methods[planned.hop.method]);
        if let Some(why) = planned.out {
            let why = if why == UnusedWhy::FallbackLimit { SkippedWhy::FallbackLimit } else { SkippedWhy::NoSender };
            let provider = Some(Arc::clone(&hop.provider));
            explanation.skipped.push(Skipped { method: hop.method, channel: hop.channel, provider, why });
            continue;
        }
        let Some(provider) = policy.provider(&hop.provider, hop.channel) else { continue };
        let takes_at_most = longest(provider, method, policy);
        explanation.hops.push(Expected {
            method: hop.method,
            channel: hop.channel,
            provider: Arc::clone(&hop.provider),
            sender: hop.sender.clone(),
            route: match route::rule(challenge, method, policy) {
                Ruled::By(position) => Some(position),
                Ruled::Nothing | Ruled::Out => None,
            },
            begins_within,
            takes_at_most,
            may_be_too_late: begins_within + LEAST_TIME > lasts,
        });
        begins_within += takes_at_most;
    }
    for (position, method) in challenge.methods.iter().enumerate() {
        let skipped = without(challenge, position, method, policy);
        let is_planned = |s: &Skipped| {
            planned.iter().any(|p| p.hop.method == position && Some(&p.hop.provider) == s.provider.as_ref())
        };
        explanation.skipped.extend(skipped.into_iter().filter(|skipped| !is_planned(skipped)));
    }
    explanation.skipped.sort_by_key(|skipped| skipped.method);
    explanation.rejection = match admitted {
        Err(rejection) => Some(rejection),
        Ok(_) if explanation.hops.is_empty() => Some(Rejection::new(Reason::NoRoute)),
        Ok(_) => None,
    };
    explanation
}

/// Everyone who could carry a method, and why they would not if they are not in the plan.
fn without(challenge: &Challenge, position: usize, method: &Method, policy: &Policy) -> Vec<Skipped> {
    let channel = method.channel();
    let skipped = |provider: Option<&ProviderPolicy>, why| Skipped {
        method: position,
        channel,
        provider: provider.map(|provider| Arc::clone(&provider.name)),
        why,
    };
    let tenant = admission::tenant_of(challenge, policy).unwrap_or_default();
    if !admission::allows(tenant, channel) {
        return vec![skipped(None, SkippedWhy::MethodDisabled)];
    }
    match admission::refusal(method, policy) {
        Some(Reason::InvalidDestination) => return vec![skipped(None, SkippedWhy::InvalidDestination)],
        Some(_) => return vec![skipped(None, SkippedWhy::DestinationBlocked)],
        None => {}
    }
    let mut carriers = policy.providers.iter().filter(|provider| provider.channel == channel).peekable();
    if carriers.peek().is_none() {
        return vec![skipped(None, SkippedWhy::NoProvider)];
    }
    let ruled = route::rule(challenge, method, policy);
    let why = |provider: &ProviderPolicy| match ruled {
        _ if !provider.reach.covers(method) => SkippedWhy::OtherDevice,
        Ruled::Out => SkippedWhy::NoRoute,
        Ruled::By(rule) if !policy.routes[rule].providers.contains(&provider.name) => SkippedWhy::NotInRoute,
        Ruled::By(_) | Ruled::Nothing => SkippedWhy::Repeated,
    };
    carriers.map(|provider| skipped(Some(provider), why(provider))).collect()
}

/// How long a hop can take until the next one begins: every try times out or waits for its retry, and the last is
/// accepted, or in doubt, and its news stays away.
fn longest(provider: &ProviderPolicy, method: &Method, policy: &Policy) -> Duration {
    let tries = *policy.attempt_timeout.get(provider.channel) * (policy.retry.max + 1);
    let awaits = provider.receipts || policy.await_verification;
    let silent = if awaits { policy.news_timeout(provider, method.country()) } else { Duration::ZERO };
    tries + backoff::longest(&policy.retry) + silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge::{Address, ContentHash, Fallback, Form, Origin};
    use crate::clock::Timestamp;
    use crate::delivery::policy::{Destination, RouteRule, TenantPolicy};
    use crate::phone::PhoneNumber;

    fn provider(name: &str, channel: Channel) -> ProviderPolicy {
        ProviderPolicy {
            name: name.into(),
            channel,
            senders: Vec::new(),
            reach: crate::delivery::policy::Reach::default(),
            receipts: channel == Channel::Voice,
            receipt_timeout: None,
            receipt_timeout_by_country: std::collections::BTreeMap::new(),
        }
    }

    fn policy() -> Policy {
        let providers =
            vec![provider("a", Channel::Sms), provider("b", Channel::Sms), provider("call", Channel::Voice)];
        Policy { providers, ..Policy::default() }
    }

    fn challenge(to: &str) -> Challenge {
        let to = PhoneNumber::parse(to, None).expect("a number");
        let address = [Address::Sms { to: to.clone() }, Address::Voice { to, extension: None }];
        let now = Timestamp::from_millis(1_000_000);
        Challenge {
            id: crate::challenge::ChallengeId::parse("c").expect("valid"),
            session_id: None,
            user_id: None,
            tenant: "default".into(),
            purpose: "sign_in".into(),
            code: None,
            issued_at: now,
            arrived_at: now,
            expires_at: now + Duration::from_mins(1),
            locale: None,
            template: None,
            vars: std::collections::BTreeMap::new(),
            methods: address.map(|address| Method { id: None, address }).into(),
            fallback: Fallback::Auto,
            origin: Origin { form: Form::Json, ..Origin::default() },
            notes: Vec::new(),
            content: ContentHash(0),
        }
    }

    fn names(explanation: &Explanation) -> Vec<&str> {
        explanation.hops.iter().map(|hop| hop.provider.as_ref()).collect()
    }

    fn whys(explanation: &Explanation) -> Vec<(Option<&str>, SkippedWhy)> {
        explanation.skipped.iter().map(|skipped| (skipped.provider.as_deref(), skipped.why)).collect()
    }

    #[test]
    fn each_hop_begins_when_those_before_it_have_taken_their_longest() {
        let explained = explain(&challenge("+14155552671"), &policy());
        assert_eq!((names(&explained), whys(&explained)), (vec!["a", "b", "call"], vec![]));
        let begin: Vec<u64> = explained.hops.iter().map(|hop| hop.begins_within.as_secs()).collect();
        assert_eq!(begin, [0, 12, 24], "two tries of 5 s, and 2 s between them");
        assert_eq!(explained.hops[2].takes_at_most, Duration::from_secs(8 + 2 + 8 + 75));
        let short = Challenge { expires_at: Timestamp::from_millis(1_020_000), ..challenge("+14155552671") };
        let late: Vec<bool> = explain(&short, &policy()).hops.iter().map(|hop| hop.may_be_too_late).collect();
        assert_eq!(late, [false, false, true]);
    }

    #[test]
    fn every_way_that_is_not_in_the_plan_has_its_reason() {
        let rule = RouteRule {
            channel: Channel::Sms,
            to: vec![Destination::Prefix("+1".into())],
            tenants: Vec::new(),
            purposes: Vec::new(),
            providers: vec!["b".into()],
        };
        let routed = Policy { routes: vec![rule], ..policy() };
        let explained = explain(&challenge("+14155552671"), &routed);
        assert_eq!(names(&explained), ["b", "call"]);
        assert_eq!((explained.hops[0].route, explained.hops[1].route), (Some(0), None));
        assert_eq!(whys(&explained), [(Some("a"), SkippedWhy::NotInRoute)]);
        let elsewhere = explain(&challenge("+447400123456"), &routed);
        assert_eq!(whys(&elsewhere), [(Some("a"), SkippedWhy::NoRoute), (Some("b"), SkippedWhy::NoRoute)]);
        let one = Challenge { fallback: Fallback::None, ..challenge("+14155552671") };
        assert_eq!(
            whys(&explain(&one, &policy())),
            [(Some("b"), SkippedWhy::FallbackLimit), (Some("call"), SkippedWhy::FallbackLimit)]
        );
    }

    #[test]
    fn a_refusal_is_explained_by_the_word_that_upstream_gets() {
        let mut disabled = policy();
        let voice_only = TenantPolicy { methods: Some(vec![Channel::Voice]), ..TenantPolicy::default() };
        disabled.tenants.insert("default".into(), voice_only);
        let explained = explain(&challenge("+14155552671"), &disabled);
        assert_eq!((names(&explained), whys(&explained)), (vec!["call"], vec![(None, SkippedWhy::MethodDisabled)]));
        let costly = explain(&challenge("+19005551234"), &policy());
        assert_eq!(costly.rejection.map(|rejection| rejection.reason), Some(Reason::DestinationBlocked));
        let nobody = explain(&challenge("+14155552671"), &Policy::default());
        assert_eq!(nobody.rejection.as_ref().map(|rejection| rejection.reason), Some(Reason::NoRoute));
        assert_eq!(whys(&nobody), [(None, SkippedWhy::NoProvider), (None, SkippedWhy::NoProvider)]);
    }
}
