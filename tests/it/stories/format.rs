//! How a story is written: `tests/scenarios/README.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use mfa_courier::challenge::{
    Address, Challenge, ChallengeId, Channel, ContentHash, Fallback, Method, Note, PerChannel, Platform, PushTarget,
};
use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::outcome::{Advice, ConfirmedBy, Reason, Status};
use mfa_courier::delivery::policy::{
    CountryRule, Destination, OnSilence, OnUnknown, Policy, ProviderPolicy, Reach, RetryPolicy, RouteRule,
    SenderPolicy, TenantPolicy, UnknownTenant,
};
use mfa_courier::delivery::verdict::{AttemptResult, Scope};
use mfa_courier::phone::{Country, PhoneNumber};
use mfa_courier::secret::Secret;
use serde::{Deserialize, Deserializer};

/// Every story begins here.
pub(crate) const START: Timestamp = Timestamp::EPOCH;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    policy: toml::Table,
    #[serde(default)]
    challenge: toml::Table,
    pub(crate) story: Vec<Story>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Story {
    pub(crate) tells: String,
    #[serde(default)]
    policy: toml::Table,
    #[serde(default)]
    challenge: toml::Table,
    /// What something outside of the core refuses it for.
    pub(crate) refused: Option<Reason>,
    #[serde(default)]
    pub(crate) steps: Vec<Moment>,
    #[serde(rename = "final")]
    pub(crate) end: End,
}

/// One moment: what happens, and what the courier says and does next.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word that a writer of stories may use")]
pub(crate) struct Moment {
    pub(crate) at: Span,
    pub(crate) conditions: BTreeMap<String, String>,
    pub(crate) begun: bool,
    pub(crate) answer: Option<AttemptResult>,
    pub(crate) retry_after: Option<Span>,
    pub(crate) scope: Scope,
    pub(crate) opted_out: bool,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) blocked: Option<String>,
    pub(crate) taken_over: bool,
    pub(crate) lost: Option<Lost>,
    pub(crate) dead: Option<Dead>,
    pub(crate) receipt: Option<String>,
    pub(crate) cancelled: bool,
    pub(crate) verified: Option<String>,
    pub(crate) says: Vec<String>,
    pub(crate) then: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lost {
    InDoubt,
    Known,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dead {
    Expired,
    DeliveryLimit,
}

/// The final outcome; what is left out is null or empty.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub(crate) advice: Option<Advice>,
    pub(crate) about: Option<String>,
    pub(crate) confirmed_by: Option<ConfirmedBy>,
    pub(crate) field: Option<String>,
    #[serde(default)]
    pub(crate) attempts: Vec<String>,
    #[serde(default)]
    pub(crate) unused: Vec<String>,
    #[serde(default)]
    pub(crate) notes: Vec<Note>,
}

/// `250ms`, `1.2s`, `5m`, `-1s`: in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(i64);

impl Span {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            _ => return None,
        };
        let number: f64 = digits.parse().ok()?;
        let millis = format!("{:.0}", number * unit).parse().ok()?;
        Some(Self(millis))
    }

    pub(crate) fn moment(self) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + self.0)
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no time such as 1.5s")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyText {
    providers: Vec<ProviderText>,
    routes: Vec<RouteText>,
    tenants: BTreeMap<String, TenantText>,
    countries: Option<CountriesText>,
    on_silence: OnSilence,
    on_unknown: BTreeMap<Channel, OnUnknown>,
    await_verification: bool,
    retry: Option<RetryText>,
    receipt_timeout: BTreeMap<Channel, Span>,
    unknown_tenant: UnknownTenant,
    refuse_fiction: bool,
}

impl Default for PolicyText {
    fn default() -> Self {
        let policy = Policy::default();
        let providers = ["sms/a", "sms/b", "voice/v", "push/p"];
        Self {
            providers: providers.into_iter().map(|on| ProviderText::Short(on.to_owned())).collect(),
            routes: Vec::new(),
            tenants: BTreeMap::new(),
            countries: None,
            on_silence: policy.on_silence,
            on_unknown: BTreeMap::new(),
            await_verification: false,
            retry: None,
            receipt_timeout: BTreeMap::new(),
            unknown_tenant: policy.unknown_tenant,
            refuse_fiction: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ProviderText {
    Short(String),
    Long(ProviderTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderTable {
    on: String,
    receipts: Option<bool>,
    receipt_timeout: Option<Span>,
    #[serde(default)]
    receipt_timeout_by_country: BTreeMap<Country, Span>,
    #[serde(default)]
    senders: Vec<SenderText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderText {
    from: String,
    #[serde(default)]
    countries: Vec<Country>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    channel: Channel,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    purposes: Vec<String>,
    providers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantText {
    methods: Option<Vec<Channel>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryText {
    max: u32,
    initial: Span,
    max_delay: Span,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CountriesText {
    Allow(Vec<Country>),
    Deny(Vec<Country>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChallengeText {
    ttl: Span,
    methods: Vec<String>,
    fallback: Fallback,
    tenant: String,
    purpose: String,
    notes: Vec<Note>,
}

impl Default for ChallengeText {
    fn default() -> Self {
        Self {
            ttl: Span(300_000),
            methods: vec!["sms +14155552671".to_owned()],
            fallback: Fallback::Auto,
            tenant: "default".to_owned(),
            purpose: "sign_in".to_owned(),
            notes: Vec::new(),
        }
    }
}

impl File {
    /// The policy of `story`: its own keys over those of the file over the built-in ones.
    pub(crate) fn policy(&self, story: &Story) -> Result<Policy, String> {
        let text: PolicyText = merged(&self.policy, &story.policy)?;
        text.build()
    }

    /// The challenge of `story`, likewise.
    pub(crate) fn challenge(&self, story: &Story) -> Result<Challenge, String> {
        let text: ChallengeText = merged(&self.challenge, &story.challenge)?;
        text.build()
    }
}

fn merged<T: serde::de::DeserializeOwned>(below: &toml::Table, above: &toml::Table) -> Result<T, String> {
    let mut table = below.clone();
    table.extend(above.clone());
    table.try_into().map_err(|why: toml::de::Error| why.to_string())
}

impl PolicyText {
    fn build(self) -> Result<Policy, String> {
        let mut policy = Policy::default();
        for provider in self.providers {
            policy.providers.push(provider.build()?);
        }
        for route in self.routes {
            policy.routes.push(route.build());
        }
        for (name, tenant) in self.tenants {
            policy.tenants.insert(name, TenantPolicy { methods: tenant.methods, locale: None });
        }
        policy.countries = match self.countries {
            None => CountryRule::All,
            Some(CountriesText::Allow(countries)) => CountryRule::Allow(countries),
            Some(CountriesText::Deny(countries)) => CountryRule::Deny(countries),
        };
        if let Some(RetryText { max, initial, max_delay }) = self.retry {
            policy.retry = RetryPolicy { max, initial: initial.duration(), max_delay: max_delay.duration() };
        }
        for (channel, what) in self.on_unknown {
            *of(&mut policy.on_unknown, channel) = what;
        }
        for (channel, span) in self.receipt_timeout {
            *of(&mut policy.receipt_timeout, channel) = span.duration();
        }
        policy.on_silence = self.on_silence;
        policy.await_verification = self.await_verification;
        policy.unknown_tenant = self.unknown_tenant;
        policy.refuse_fiction = self.refuse_fiction;
        Ok(policy)
    }
}

const fn of<T>(each: &mut PerChannel<T>, channel: Channel) -> &mut T {
    match channel {
        Channel::Sms => &mut each.sms,
        Channel::Voice => &mut each.voice,
        Channel::Push => &mut each.push,
    }
}

impl ProviderText {
    fn build(self) -> Result<ProviderPolicy, String> {
        let table = match self {
            Self::Long(table) => table,
            Self::Short(text) => ProviderTable {
                on: text.trim_end_matches(" without receipts").to_owned(),
                receipts: Some(!text.ends_with(" without receipts")),
                receipt_timeout: None,
                receipt_timeout_by_country: BTreeMap::new(),
                senders: Vec::new(),
            },
        };
        let (channel, name) = table.on.split_once('/').ok_or_else(|| format!("`{}` is no provider", table.on))?;
        let senders = table.senders.into_iter();
        let by_country = table.receipt_timeout_by_country.into_iter();
        Ok(ProviderPolicy {
            name: name.into(),
            channel: word(channel)?,
            senders: senders
                .map(|s| SenderPolicy { from: s.from.into(), countries: s.countries, per_second: None })
                .collect(),
            receipts: table.receipts.unwrap_or(true),
            receipt_timeout: table.receipt_timeout.map(Span::duration),
            reach: Reach::default(),
            receipt_timeout_by_country: by_country.map(|(country, span)| (country, span.duration())).collect(),
        })
    }
}

impl RouteText {
    fn build(self) -> RouteRule {
        let destination = |text: String| match Country::parse(&text) {
            Some(country) => Destination::Country(country),
            None => Destination::Prefix(text.into()),
        };
        RouteRule {
            channel: self.channel,
            to: self.to.into_iter().map(destination).collect(),
            tenants: self.tenants,
            purposes: self.purposes,
            providers: self.providers.into_iter().map(Into::into).collect(),
        }
    }
}

impl ChallengeText {
    fn build(self) -> Result<Challenge, String> {
        let methods: Result<Vec<Method>, String> = self.methods.iter().map(|text| method(text)).collect();
        Ok(Challenge {
            id: ChallengeId::parse("c1").ok_or("no id")?,
            session_id: None,
            user_id: None,
            tenant: self.tenant,
            purpose: self.purpose,
            code: Some(Secret::new("481516")),
            issued_at: START,
            arrived_at: START,
            expires_at: self.ttl.moment(),
            locale: None,
            template: None,
            vars: BTreeMap::new(),
            methods: methods?,
            fallback: self.fallback,
            origin: mfa_courier::challenge::Origin::default(),
            notes: self.notes,
            content: ContentHash(0x00c0_ffee),
        })
    }
}

/// `sms +14155552671`, `push android as phone`.
fn method(text: &str) -> Result<Method, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let (channel, address, id) = match words[..] {
        [channel, address] => (channel, address, None),
        [channel, address, "as", id] => (channel, address, Some(id.to_owned())),
        _ => return Err(format!("`{text}` is no method")),
    };
    let number = || PhoneNumber::parse(address, None).map_err(|why| format!("{address} {why}"));
    let address = match word::<Channel>(channel)? {
        Channel::Sms => Address::Sms { to: number()? },
        Channel::Voice => Address::Voice { to: number()?, extension: None },
        Channel::Push => Address::Push(PushTarget {
            platform: word::<Platform>(address)?,
            token: Secret::new(format!("token-of-{text}")),
            app: None,
            registered_at: None,
            number_match: None,
            context: BTreeMap::new(),
        }),
    };
    Ok(Method { id, address })
}

/// Reads one word of a vocabulary.
pub(crate) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|why| why.to_string())
}
