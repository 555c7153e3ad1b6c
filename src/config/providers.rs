//! `[providers.<name>]`: who carries messages, with which senders, limits and costs.
//!
//! Keys that are not the courier's own are settings of the provider (credentials mostly): they are
//! passed on with their origin, and checked against the provider's definition when it is built.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::ConfigError;
use super::delivery::names;
use super::document::fold;
use super::kinds::{NAME_FORM, SECRET_FORMS, by_country, is_name};
use super::origin::{Origin, closest};
use super::read::{Item, Section};
use crate::challenge::{Channel, PerChannel};
use crate::delivery::policy::SenderPolicy;
use crate::guard::quota::Rate;
use crate::phone::Country;
use crate::secret::Secret;

/// How many requests of one provider may be open at once where nothing is said.
pub const DEFAULT_MAX_IN_FLIGHT: u32 = 200;
/// The keys of a provider that are the courier's own, besides its channels.
const OWN_KEYS: [&str; 10] = [
    "kind",
    "apps",
    "base_url",
    "endpoints",
    "senders",
    "rate",
    "max_in_flight",
    "receipts",
    "receipt_timeout",
    "cost",
];
/// More messages a second than any provider takes.
const FASTEST: f64 = 100_000.0;

/// A provider as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Which definition or built-in it is.
    pub kind: String,
    /// Where it is, instead of where its definition says.
    pub base_url: Option<Url>,
    /// The same for some of its endpoints.
    pub endpoints: BTreeMap<String, Url>,
    /// Which apps' devices it reaches; empty: all.
    pub apps: Vec<String>,
    /// Every other key: what its definition asks for.
    pub settings: BTreeMap<String, ProviderSetting>,
    /// Where it was written.
    pub origin: Origin,
    common: Limits,
    by_channel: PerChannel<Limits>,
}

/// A key that the provider's definition has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSetting {
    /// Its value; whether it is secret is for the definition to say.
    pub value: Secret,
    /// Where it was written, for an error about it.
    pub origin: Origin,
}

/// An amount of money in millionths of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// Millionths.
    pub micros: u64,
}

/// What one message costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Where the country is not named; absent: unknown.
    pub default: Option<Amount>,
    /// By country.
    pub by_country: BTreeMap<Country, Amount>,
    /// ISO 4217.
    pub currency: String,
}

/// How long news is awaited, as far as the operator said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiptTimeout {
    /// Where the country is not named.
    pub default: Option<Duration>,
    /// By country.
    pub by_country: BTreeMap<Country, Duration>,
}

/// What applies to one provider on one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSettings {
    /// In the operator's order; empty where the provider chooses.
    pub senders: Vec<SenderPolicy>,
    /// Absent: as fast as it takes them.
    pub rate: Option<Rate>,
    /// How many requests of this worker may be open at once.
    pub max_in_flight: u32,
    /// Whether news can come of what it accepted.
    pub receipts: bool,
    /// How long that is awaited.
    pub receipt_timeout: ReceiptTimeout,
    /// What one message costs.
    pub cost: Option<Cost>,
}

/// The keys that may be said for a provider and again for one of its channels.
#[derive(Clone, Debug, Default, PartialEq)]
struct Limits {
    senders: Option<Vec<SenderPolicy>>,
    rate: Option<Rate>,
    max_in_flight: Option<u32>,
    receipts: Option<bool>,
    receipt_timeout: Option<ReceiptTimeout>,
    cost: Option<Cost>,
}

impl ProviderEntry {
    /// What applies on `channel`: what is said for it, else what is said for the provider. Of the provider's
    /// senders, calls have the numbers.
    #[must_use]
    pub fn per_channel(&self, channel: Channel) -> ChannelSettings {
        let (own, mut common) = (self.by_channel.get(channel).clone(), self.common.clone());
        if channel == Channel::Voice {
            // Names sign text messages; nobody is called from one.
            common.senders.iter_mut().for_each(|senders| senders.retain(|sender| is_number(&sender.from)));
        }
        ChannelSettings {
            senders: own.senders.or(common.senders).unwrap_or_default(),
            rate: own.rate.or(common.rate),
            max_in_flight: own.max_in_flight.or(common.max_in_flight).unwrap_or(DEFAULT_MAX_IN_FLIGHT),
            receipts: own.receipts.or(common.receipts).unwrap_or(false),
            receipt_timeout: own.receipt_timeout.or(common.receipt_timeout).unwrap_or_default(),
            cost: own.cost.or(common.cost),
        }
    }

    /// The error about a setting that its definition does not know; `wanted` are those that it does.
    #[must_use]
    pub fn unknown_setting(&self, key: &str, wanted: &[&str]) -> ConfigError {
        let origin = self.settings.get(key).map_or(&self.origin, |setting| &setting.origin).clone();
        ConfigError::unknown_key(origin, key, &[wanted, &OWN_KEYS].concat())
    }

    /// Whether `channel` has a rate of its own, instead of a share of the provider's.
    #[must_use]
    pub const fn has_own_rate(&self, channel: Channel) -> bool {
        self.by_channel.get(channel).rate.is_some()
    }

    /// Whether `channel` has a limit of open requests of its own, instead of a share of the provider's.
    #[must_use]
    pub const fn has_own_max_in_flight(&self, channel: Channel) -> bool {
        self.by_channel.get(channel).max_in_flight.is_some()
    }
}

impl Amount {
    /// Reads `0.0079`: digits, at most 6 of them after the point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 9) || !digits(part, 6) {
            return None;
        }
        Some(Self { micros: whole.parse::<u64>().ok()? * 1_000_000 + format!("{part:0<6}").parse::<u64>().ok()? })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.micros / 1_000_000, format!("{:06}", self.micros % 1_000_000));
        match part.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

/// Reads every provider; gives those that are right, and the names of all.
pub(super) fn providers(mut section: Section<'_>) -> (Vec<ProviderEntry>, Vec<Arc<str>>) {
    let (mut entries, mut names) = (Vec::new(), Vec::new());
    for (name, item) in section.rest() {
        if !is_name(&name) {
            section.cx.error(ConfigError::new(item.key_origin(), format!("{name:?} can't name a provider"), NAME_FORM));
            continue;
        }
        let name: Arc<str> = name.into();
        if let Some(twin) = names.iter().find(|earlier: &&Arc<str>| fold(earlier) == fold(&name)) {
            let found = format!("a name that no variable can tell from {twin}");
            section.cx.error(ConfigError::new(
                item.key_origin(),
                found,
                "names that differ in more than case, `-` and `_`",
            ));
        }
        names.push(Arc::clone(&name));
        entries.extend(item.section().and_then(|section| provider(name, section)));
    }
    (entries, names)
}

fn provider(name: Arc<str>, mut section: Section<'_>) -> Option<ProviderEntry> {
    let origin = section.origin();
    let kind = section.require("kind", "the name of a provider definition, such as \"twilio\"").and_then(Item::name);
    let base_url = section.take("base_url").and_then(Item::http_url);
    let endpoints = section.take("endpoints").and_then(Item::section).map(endpoints).unwrap_or_default();
    let apps = section.take("apps").and_then(names).unwrap_or_default();
    let common = limits(&mut section);
    let [sms, voice, push] = Channel::ALL.map(|channel| {
        let Some(mut section) = section.take(channel.as_str()).and_then(Item::section) else {
            return Limits::default();
        };
        let limits = limits(&mut section);
        if channel == Channel::Voice {
            refuse_names(&section, limits.senders.as_deref().unwrap_or_default());
        }
        section.finish();
        limits
    });
    let settings = settings(section);
    let by_channel = PerChannel { sms, voice, push };
    Some(ProviderEntry { name, kind: kind?, base_url, endpoints, apps, settings, origin, common, by_channel })
}

fn endpoints(mut section: Section<'_>) -> BTreeMap<String, Url> {
    const KNOWN: [&str; 4] = ["sms", "voice", "push", "token"];
    let endpoint = |(name, item): (String, Item<'_>)| {
        if KNOWN.contains(&name.as_str()) {
            return Some((name, item.http_url()?));
        }
        item.cx.error(ConfigError::unknown_key(item.key_origin(), &name, &KNOWN));
        None
    };
    section.rest().into_iter().filter_map(endpoint).collect()
}

/// What is left of a provider's section. Any of it may be secret, so nothing of it is shown.
fn settings(mut section: Section<'_>) -> BTreeMap<String, ProviderSetting> {
    let entries = section.rest();
    let known = section.known();
    let mut settings = BTreeMap::new();
    let mut entries: VecDeque<_> = entries.into();
    while let Some((key, item)) = entries.pop_front() {
        let origin = item.key_origin();
        if item.holds_texts() && closest(&key, known.iter().copied()).is_none() {
            // A table by what people do and by language: each of its texts is a setting with the path as its key.
            let rows = item.section().map(|mut table| table.rest()).unwrap_or_default();
            entries.extend(rows.into_iter().map(|(row, item)| (format!("{key}.{row}"), item)));
        } else if !item.may_be_secret() {
            let hint = closest(&key, known.iter().copied()).map(|meant| format!("; did you mean `{meant}`?"));
            let found = format!("unknown key, found {}{}", item.node.kind(), hint.unwrap_or_default());
            section.cx.error(ConfigError::new(origin, found, format!("a setting of the provider: {SECRET_FORMS}")));
        } else if let Some(value) = item.secret() {
            settings.insert(key, ProviderSetting { value, origin });
        }
    }
    settings
}

fn limits(section: &mut Section<'_>) -> Limits {
    Limits {
        senders: section.take("senders").and_then(senders),
        rate: section.take("rate").and_then(Item::section).and_then(rate),
        max_in_flight: section.take("max_in_flight").and_then(|item| item.integer(1, 100_000)),
        receipts: section.take("receipts").and_then(Item::flag),
        receipt_timeout: section.take("receipt_timeout").and_then(receipt_timeout),
        cost: section.take("cost").and_then(Item::section).and_then(cost),
    }
}

fn senders(item: Item<'_>) -> Option<Vec<SenderPolicy>> {
    const SENDERS: &str =
        "an array of senders, such as [\"Contoso\", { from = \"+15005550006\", countries = [\"US\"] }]";
    let cx = item.cx;
    let senders = item.list(SENDERS, |item| Some((item.origin(), sender(item)?)))?;
    for (nth, (origin, sender)) in senders.iter().enumerate() {
        if senders[..nth].iter().any(|(_, earlier)| earlier.from == sender.from) {
            let found = format!("the sender {:?} again", sender.from);
            cx.error(ConfigError::new(origin.clone(), found, "each sender once"));
        }
    }
    Some(senders.into_iter().map(|(_, sender)| sender).collect())
}

/// Whether calls can come from it.
fn is_number(sender: &str) -> bool {
    let digits = sender.strip_prefix('+').unwrap_or(sender);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn refuse_names(section: &Section<'_>, senders: &[SenderPolicy]) {
    for sender in senders.iter().filter(|sender| !is_number(&sender.from)) {
        let found = format!("the sender {:?}", sender.from);
        section.cx.error(ConfigError::new(section.at("senders"), found, "numbers: nobody is called from a name"));
    }
}

fn sender(item: Item<'_>) -> Option<SenderPolicy> {
    const FROM: &str = "a number or a name of 1 to 64 characters";
    let from = |item: Item<'_>| {
        item.parsed(FROM, |text| {
            let usable = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
            (usable && text.trim() == text).then(|| Arc::from(text))
        })
    };
    if !item.is_table() {
        return Some(SenderPolicy { from: from(item)?, countries: Vec::new(), per_second: None });
    }
    let mut section = item.section()?;
    let from = section.require("from", FROM).and_then(from);
    let countries =
        section.take("countries").map(|item| item.list("an array of ISO codes of countries", Item::country));
    let per_second = section.take("per_second").map(|item| item.positive(FASTEST));
    section.finish();
    Some(SenderPolicy {
        from: from?,
        countries: countries.unwrap_or(Some(Vec::new()))?,
        per_second: match per_second {
            Some(rate) => Some(rate?),
            None => None,
        },
    })
}

fn rate(mut section: Section<'_>) -> Option<Rate> {
    let per_second = section.require("per_second", "a number of messages").and_then(|item| item.positive(FASTEST));
    let burst = section.take("burst").map(|item| item.integer(1, 1_000_000));
    section.finish();
    let per_second = per_second?;
    Some(Rate { per_second, burst: burst.unwrap_or_else(|| Some(one_second_of(per_second)))? })
}

/// How many messages one second of a rate is, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a checked rate is positive and far below u32::MAX"
)]
const fn one_second_of(per_second: f64) -> u32 {
    per_second.ceil() as u32
}

fn receipt_timeout(item: Item<'_>) -> Option<ReceiptTimeout> {
    let duration = |item: Item<'_>| item.duration(Duration::from_millis(1), Duration::from_hours(24));
    if !item.is_table() {
        return Some(ReceiptTimeout { default: Some(duration(item)?), by_country: BTreeMap::new() });
    }
    let (default, by_country) = by_country(item.section()?, duration);
    Some(ReceiptTimeout { default, by_country: by_country.into_iter().collect() })
}

fn cost(mut section: Section<'_>) -> Option<Cost> {
    const CURRENCY: &str = "an ISO 4217 code such as \"USD\"";
    let code = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
    let currency = section
        .require("currency", CURRENCY)
        .and_then(|item| item.parsed(CURRENCY, |text| code(text).then(|| text.to_owned())));
    let amount = |item: Item<'_>| item.parsed("a decimal in quotes, such as \"0.0079\"", Amount::parse);
    let (default, by_country) = by_country(section, amount);
    Some(Cost { default, by_country: by_country.into_iter().collect(), currency: currency? })
}
