//! What is drawn at random: a policy, a challenge, and what the world will do.

use std::collections::BTreeMap;
use std::time::Duration;

use mfa_courier::challenge::{
    Address, Challenge, ChallengeId, Channel, ContentHash, Fallback, Method, Origin, PerChannel, Platform, PushTarget,
};
use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::outcome::ReceiptStatus;
use mfa_courier::delivery::policy::{
    CountryRule, OnSilence, OnUnknown, Policy, ProviderPolicy, Reach, RetryPolicy, RouteRule, SenderPolicy,
    TenantPolicy,
};
use mfa_courier::delivery::verdict::{AttemptResult, Scope, Verdict};
use mfa_courier::phone::{Country, PhoneNumber};
use mfa_courier::secret::Secret;
use proptest::prelude::*;
use proptest::sample::select;

pub(super) const CODE: &str = "Zq7-481516";
const TOKEN: &str = "device-token-9f8e7d";
const NUMBERS: [&str; 3] = ["+14155552671", "+14165552672", "+8613812345678"];
pub(super) const START: Timestamp = Timestamp::EPOCH;

/// All that is drawn.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) challenge: Challenge,
    /// What happens, over and over.
    pub(super) moves: Vec<Move>,
    pub(super) seed: u64,
}

/// What the world does at one step.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) conditions: Vec<Weather>,
    pub(super) attempt: Fate,
    pub(super) wait: Waking,
    pub(super) takes: Duration,
    pub(super) signal: Option<Signal>,
}

/// How it stands with one hop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weather {
    Fair,
    SlotIn(Duration),
    OpenFor(Duration),
    Paused,
}

/// What becomes of an attempt that is asked for.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Answered(Verdict),
    SlotReserved(Duration),
    /// The second says that the named moment is already over.
    SlotAt(Duration, bool),
    CircuitOpen(Duration, bool),
    NotWritten,
    Interrupted {
        begun: bool,
        by: Blow,
    },
}

/// What ends a wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waking {
    /// Its time came, and a little more.
    Due(Duration),
    /// Something came earlier, after this share of it.
    Early(f64),
    Blow(Blow),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    TakenOver,
    Lost { in_doubt: bool },
    Dead { expired: bool },
}

#[derive(Clone, Debug)]
pub(super) enum Signal {
    Cancelled,
    Verified(Option<Channel>, Option<&'static str>),
    Receipt(u32, ReceiptStatus),
}

pub(super) fn worlds() -> impl Strategy<Value = World> {
    (policies(), challenges(), prop::collection::vec(moves(), 1..12), any::<u64>())
        .prop_map(|(policy, challenge, moves, seed)| World { policy, challenge, moves, seed })
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> + Clone {
    range.prop_map(Duration::from_millis)
}

fn per_channel<T: std::fmt::Debug>(of: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = PerChannel<T>> {
    (of.clone(), of.clone(), of).prop_map(|(sms, voice, push)| PerChannel { sms, voice, push })
}

fn policies() -> impl Strategy<Value = Policy> {
    let on_silence = select(vec![OnSilence::NextChannel, OnSilence::NextHop, OnSilence::Conclude]);
    let on_unknown = select(vec![OnUnknown::NextHop, OnUnknown::WaitReceipt, OnUnknown::Conclude]);
    let retry = (0u32..4, millis(0..3_000), millis(0..4_000)).prop_map(|(max, initial, max_delay)| RetryPolicy {
        max,
        initial,
        max_delay: max_delay.max(initial),
    });
    let timeouts = per_channel(millis(0..40_000));
    let rules =
        (any::<bool>(), select(vec![None, Some(vec![Channel::Sms]), Some(vec![Channel::Push, Channel::Voice])]));
    let behaviour = (on_silence, per_channel(on_unknown), any::<bool>(), retry, timeouts);
    (providers(), routes(), rules, behaviour).prop_map(|(providers, routes, (deny, methods), behaviour)| {
        let (on_silence, on_unknown, await_verification, retry, receipt_timeout) = behaviour;
        let denied = Country::parse("CN").into_iter().collect();
        Policy {
            providers,
            routes,
            on_silence,
            on_unknown,
            await_verification,
            retry,
            receipt_timeout,
            countries: if deny { CountryRule::Deny(denied) } else { CountryRule::All },
            tenants: BTreeMap::from([("default".to_owned(), TenantPolicy { methods, locale: None })]),
            ..Policy::default()
        }
    })
}

fn providers() -> impl Strategy<Value = Vec<ProviderPolicy>> {
    let senders = select(vec![
        vec![],
        vec![sender("Contoso", &[])],
        vec![sender("+14155550000", &["US"]), sender("Contoso", &["CN"])],
    ]);
    let provider = (select(vec!["a", "b", "c"]), select(Channel::ALL.to_vec()), senders, any::<bool>());
    let provider = provider.prop_map(|(name, channel, senders, receipts)| ProviderPolicy {
        name: name.into(),
        channel,
        senders,
        receipts,
        receipt_timeout: None,
        reach: Reach::default(),
        receipt_timeout_by_country: BTreeMap::new(),
    });
    prop::collection::vec(provider, 1..9).prop_map(|mut providers| {
        providers.sort_by_key(|p| (p.channel, p.name.clone()));
        providers.dedup_by_key(|p| (p.channel, p.name.clone()));
        providers
    })
}

fn sender(from: &str, countries: &[&str]) -> SenderPolicy {
    let countries = countries.iter().filter_map(|text| Country::parse(text)).collect();
    SenderPolicy { from: from.into(), countries, per_second: None }
}

fn routes() -> impl Strategy<Value = Vec<RouteRule>> {
    let names = prop::collection::vec(select(vec!["a", "b", "c"]), 1..5);
    let rule = (select(Channel::ALL.to_vec()), names).prop_map(|(channel, names)| RouteRule {
        channel,
        to: Vec::new(),
        tenants: Vec::new(),
        purposes: Vec::new(),
        providers: names.into_iter().map(Into::into).collect(),
    });
    prop::collection::vec(rule, 0..2)
}

fn challenges() -> impl Strategy<Value = Challenge> {
    let ttl = prop_oneof![1 => -500i64..300, 4 => 300i64..60_000];
    let fallback = prop_oneof![3 => Just(Fallback::Auto), 1 => Just(Fallback::SameChannel), 1 => Just(Fallback::None)];
    (ttl, prop::collection::vec(addresses(), 1..5), fallback).prop_map(|(ttl, addresses, fallback)| Challenge {
        id: ChallengeId::parse("c1").expect("an id"),
        session_id: None,
        user_id: None,
        tenant: "default".to_owned(),
        purpose: "sign_in".to_owned(),
        code: Some(Secret::new(CODE)),
        issued_at: START,
        arrived_at: START,
        expires_at: Timestamp::from_millis(ttl),
        locale: None,
        template: None,
        vars: BTreeMap::new(),
        methods: addresses
            .into_iter()
            .enumerate()
            .map(|(i, address)| Method { id: Some(format!("m{i}")), address })
            .collect(),
        fallback,
        origin: Origin::default(),
        notes: Vec::new(),
        content: ContentHash(1),
    })
}

fn addresses() -> impl Strategy<Value = Address> {
    let number = select(NUMBERS.to_vec()).prop_map(|text| PhoneNumber::parse(text, None).expect("a number"));
    let push = Address::Push(PushTarget {
        platform: Platform::Android,
        token: Secret::new(TOKEN),
        app: None,
        registered_at: None,
        number_match: None,
        context: BTreeMap::new(),
    });
    prop_oneof![
        3 => number.clone().prop_map(|to| Address::Sms { to }),
        2 => number.prop_map(|to| Address::Voice { to, extension: None }),
        1 => Just(push),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let weather = prop_oneof![
        6 => Just(Weather::Fair),
        // Not sooner: it is asked for anew at each look, and would never come.
        1 => millis(100..20_000).prop_map(Weather::SlotIn),
        1 => millis(100..20_000).prop_map(Weather::OpenFor),
        1 => Just(Weather::Paused),
    ];
    let waking = prop_oneof![
        6 => millis(0..1_500).prop_map(Waking::Due),
        3 => (0.2f64..1.0).prop_map(Waking::Early),
        1 => blows().prop_map(Waking::Blow),
    ];
    let signal = prop_oneof![5 => Just(None), 2 => signals().prop_map(Some)];
    (prop::collection::vec(weather, 1..5), fates(), waking, millis(0..6_000), signal)
        .prop_map(|(conditions, attempt, wait, takes, signal)| Move { conditions, attempt, wait, takes, signal })
}

fn fates() -> impl Strategy<Value = Fate> {
    let soon = || prop_oneof![millis(0..2_500), millis(0..90_000)];
    prop_oneof![
        12 => verdicts().prop_map(Fate::Answered),
        1 => soon().prop_map(Fate::SlotReserved),
        1 => (soon(), any::<bool>()).prop_map(|(by, over)| Fate::SlotAt(by, over)),
        1 => (soon(), any::<bool>()).prop_map(|(by, over)| Fate::CircuitOpen(by, over)),
        1 => Just(Fate::NotWritten),
        2 => (any::<bool>(), blows()).prop_map(|(begun, by)| Fate::Interrupted { begun, by }),
    ]
}

fn blows() -> impl Strategy<Value = Blow> {
    prop_oneof![
        4 => Just(Blow::TakenOver),
        1 => any::<bool>().prop_map(|in_doubt| Blow::Lost { in_doubt }),
        1 => any::<bool>().prop_map(|expired| Blow::Dead { expired }),
    ]
}

/// Answers that repeat what must not be shown.
fn verdicts() -> impl Strategy<Value = Verdict> {
    let leaks = select(vec![None, Some(CODE), Some(TOKEN), Some(NUMBERS[0]), Some(NUMBERS[2]), Some("30003")]);
    let result = select(AttemptResult::ALL.to_vec());
    let scope = select(vec![Scope::Provider, Scope::Country, Scope::Sender]);
    let hint = prop::option::of(prop_oneof![millis(0..3_000), millis(0..900_000)]);
    (result, scope, hint, any::<bool>(), leaks).prop_map(|(result, scope, retry_after, opted_out, leak)| Verdict {
        result,
        scope,
        retry_after,
        opted_out,
        code: leak.map(str::to_owned),
        detail: leak.map(|leak| format!("can't send {leak} to {leak}")),
        message_id: leak.map(|leak| format!("id-{leak}")),
        segments: None,
    })
}

fn signals() -> impl Strategy<Value = Signal> {
    let verified = (prop::option::of(select(Channel::ALL.to_vec())), prop::option::of(select(vec!["a", "b"])));
    prop_oneof![
        1 => Just(Signal::Cancelled),
        1 => verified.prop_map(|(channel, provider)| Signal::Verified(channel, provider)),
        8 => (0u32..5, select(ReceiptStatus::ALL.to_vec())).prop_map(|(n, status)| Signal::Receipt(n, status)),
    ]
}
