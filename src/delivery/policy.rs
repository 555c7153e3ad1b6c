//! What the operator decided: plain data that the core reads. Built and checked by [`crate::config`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::challenge::{Address, Channel, Method, PerChannel, Platform};
use crate::phone::Country;

/// What follows when an accepted hop stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    /// The next hop of another channel.
    NextChannel,
    /// The next hop.
    NextHop,
    /// The end.
    Conclude,
}

/// What follows when a request is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The next hop, at once.
    NextHop,
    /// Wait for a receipt as if it was accepted; where none can come, the next hop.
    WaitReceipt,
    /// The end.
    Conclude,
}

/// What follows when a challenge names a tenant that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownTenant {
    /// The `default` tenant's policy applies.
    Default,
    /// It is rejected.
    Reject,
}

/// How often and how fast one hop is tried again after `transient` or `throttled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times beyond the first.
    pub max: u32,
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max_delay: Duration,
}

/// Who a message of one provider and channel comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct SenderPolicy {
    /// The number or name.
    pub from: Arc<str>,
    /// Where it may be used; empty: everywhere.
    pub countries: Vec<Country>,
    /// How many messages a second it may send.
    pub per_second: Option<f64>,
}

/// One provider on one channel, as far as deciding needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderPolicy {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// On which channel.
    pub channel: Channel,
    /// In the operator's order; empty where the provider chooses.
    pub senders: Vec<SenderPolicy>,
    /// Whether news can come of what it accepted.
    pub receipts: bool,
    /// How long news is awaited; by country, else `receipt_timeout` of the channel.
    pub receipt_timeout: Option<Duration>,
    /// By country.
    pub receipt_timeout_by_country: BTreeMap<Country, Duration>,
    /// Which devices it reaches, where it carries prompts.
    pub reach: Reach,
}

/// Which devices a provider of prompts reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Of which platforms; absent: all.
    pub platforms: Option<Vec<Platform>>,
    /// Of which apps; empty: all.
    pub apps: Vec<String>,
}

impl Reach {
    /// Whether it reaches `method`: a number always, a device of its platforms and, where both name one, apps.
    #[must_use]
    pub fn covers(&self, method: &Method) -> bool {
        let Address::Push(target) = &method.address else { return true };
        let platform = self.platforms.as_ref().is_none_or(|platforms| platforms.contains(&target.platform));
        platform && (self.apps.is_empty() || target.app.as_ref().is_none_or(|app| self.apps.contains(app)))
    }
}

/// Which destinations a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every number of a country.
    Country(Country),
    /// Every number that begins so (`+852`).
    Prefix(Box<str>),
}

/// One routing rule. The first that matches gives the providers in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Its channel.
    pub channel: Channel,
    /// Empty: every destination.
    pub to: Vec<Destination>,
    /// Empty: every tenant.
    pub tenants: Vec<String>,
    /// Empty: every purpose.
    pub purposes: Vec<String>,
    /// In order.
    pub providers: Vec<Arc<str>>,
}

/// What the administrator of one tenant decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantPolicy {
    /// Allowed channels; absent: all.
    pub methods: Option<Vec<Channel>>,
    /// The locale of its texts.
    pub locale: Option<String>,
}

/// Which countries may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CountryRule {
    /// All.
    #[default]
    All,
    /// Only these.
    Allow(Vec<Country>),
    /// All but these.
    Deny(Vec<Country>),
}

/// How much longer than an attempt's timeout the right to send lasts.
pub const SEND_RIGHT_MARGIN: Duration = Duration::from_secs(1);

/// Everything that deciding needs to know of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// When a challenge names no deadline.
    pub default_ttl: Duration,
    /// No deadline is later than arrival plus this.
    pub max_ttl: Duration,
    /// How long after its deadline an outcome may come.
    pub grace: Duration,
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
    /// In the file's order.
    pub providers: Vec<ProviderPolicy>,
    /// In the file's order.
    pub routes: Vec<RouteRule>,
    /// By name.
    pub tenants: BTreeMap<String, TenantPolicy>,
    /// Which countries may be reached.
    pub countries: CountryRule,
    /// Whether numbers reserved for fiction (`+1 … 555 01xx`) are refused.
    pub refuse_fiction: bool,
}

impl Policy {
    /// The provider named `name` on `channel`.
    #[must_use]
    pub fn provider(&self, name: &str, channel: Channel) -> Option<&ProviderPolicy> {
        self.providers.iter().find(|p| p.channel == channel && p.name.as_ref() == name)
    }

    /// The policy of `tenant`, or of `default` where that one is not configured.
    #[must_use]
    pub fn tenant(&self, tenant: &str) -> Option<&TenantPolicy> {
        self.tenants.get(tenant).or_else(|| self.tenants.get("default"))
    }

    /// The longest that anyone can be at work on one step: the longest attempt and a second.
    #[must_use]
    pub fn longest_send_right(&self) -> Duration {
        let timeouts = &self.attempt_timeout;
        timeouts.sms.max(timeouts.voice).max(timeouts.push) + SEND_RIGHT_MARGIN
    }

    /// How long news of a message accepted by `provider` for `country` is awaited.
    #[must_use]
    pub fn news_timeout(&self, provider: &ProviderPolicy, country: Option<Country>) -> Duration {
        country
            .and_then(|c| provider.receipt_timeout_by_country.get(&c).copied())
            .or(provider.receipt_timeout)
            .unwrap_or(*self.receipt_timeout.get(provider.channel))
    }
}

impl Default for Policy {
    /// The built-in defaults of `config/courier.toml`, without providers; a test holds the two together.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            default_ttl: seconds(300),
            max_ttl: seconds(900),
            grace: seconds(2),
            attempt_timeout: PerChannel { sms: seconds(5), voice: seconds(8), push: seconds(10) },
            receipt_timeout: PerChannel { sms: seconds(20), voice: seconds(75), push: seconds(20) },
            on_silence: OnSilence::NextChannel,
            on_unknown: PerChannel { sms: OnUnknown::NextHop, voice: OnUnknown::WaitReceipt, push: OnUnknown::NextHop },
            await_verification: false,
            retry: RetryPolicy { max: 1, initial: Duration::from_millis(200), max_delay: seconds(2) },
            unknown_tenant: UnknownTenant::Default,
            providers: Vec::new(),
            routes: Vec::new(),
            tenants: BTreeMap::new(),
            countries: CountryRule::All,
            refuse_fiction: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge::PushTarget;
    use crate::secret::Secret;

    fn device(platform: Platform, app: Option<&str>) -> Method {
        let target = PushTarget {
            platform,
            token: Secret::new("t"),
            app: app.map(str::to_owned),
            registered_at: None,
            number_match: None,
            context: BTreeMap::new(),
        };
        Method { id: None, address: Address::Push(target) }
    }

    #[test]
    fn a_device_is_reached_by_providers_of_its_platform_and_app() {
        let reach = |platforms: Option<&[Platform]>, apps: &[&str]| Reach {
            platforms: platforms.map(<[_]>::to_vec),
            apps: apps.iter().map(|app| (*app).to_owned()).collect(),
        };
        let both = [Platform::Android, Platform::Ios];
        for (reach, platform, app, expected) in [
            (reach(None, &[]), Platform::Huawei, Some("any"), true),
            (reach(Some(&both), &[]), Platform::Ios, None, true),
            (reach(Some(&both), &[]), Platform::Windows, None, false),
            (reach(Some(&both), &["bank"]), Platform::Ios, Some("bank"), true),
            (reach(Some(&both), &["bank"]), Platform::Ios, Some("shop"), false),
            (reach(Some(&both), &["bank"]), Platform::Windows, Some("bank"), false),
            (reach(Some(&both), &["bank", "shop"]), Platform::Ios, Some("shop"), true),
            (reach(Some(&both), &["bank"]), Platform::Ios, None, true),
        ] {
            assert_eq!(reach.covers(&device(platform, app)), expected, "{reach:?} {platform:?} {app:?}");
        }
    }
}
