//! What the operator wrote, read, checked and typed: the only reader of files and environment variables.
//!
//! Three layers: the defaults of `config/courier.toml`, which the program carries, the operator's
//! file, the environment. Nothing half right comes out: either [`Settings`], every one of them
//! checked, or all that is wrong, each [`ConfigError`] with file and line (or variable), path, what
//! was found and what is allowed. No error, warning, `Debug` or dump shows a secret.
//!
//! `document` lays the layers over each other, `read` gives values their types, one module per group
//! of sections gives them their meaning; [`texts`] reads what people are told.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::document::Table;
use self::kinds::Kind;
use self::origin::Path as KeyPath;
use self::read::{Context, Item, Section};
use crate::challenge::{Channel, Platform};
use crate::delivery::compose::Style;
use crate::delivery::policy::{Policy, ProviderPolicy, Reach, TenantPolicy};
use crate::guard::health::HealthPolicy;
use crate::telemetry::LogFormat;

mod delivery;
mod document;
mod kinds;
mod messages;
mod origin;
mod providers;
mod read;
pub mod reference;
mod routes;
pub mod schema;
mod service;
pub mod texts;

#[cfg(test)]
mod tests;

pub use self::delivery::{DeliverySettings, GuardSettings};
pub use self::document::PREFIX;
pub use self::messages::TenantMessages;
pub use self::origin::{ConfigError, Origin, Place, Warning, closest};
pub use self::providers::{
    Amount, ChannelSettings, Cost, DEFAULT_MAX_IN_FLIGHT, ProviderEntry, ProviderSetting, ReceiptTimeout,
};
pub use self::routes::RouteEntry;
pub use self::service::{AdminSettings, BrokerSettings, ClientIdentity, HttpSettings, LedgerSettings};

/// Every key with its default and what it does.
pub const DEFAULTS: &str = include_str!("../../config/courier.toml");

/// Far more than anybody writes by hand: a slip such as the path of a device ends here.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is logged, by level and module.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
    /// Where more provider definitions are.
    pub providers_dir: Option<PathBuf>,
    /// Where more texts are.
    pub messages_dir: Option<PathBuf>,
    /// How text messages are made.
    pub messages: Style,
    /// How the broker is reached.
    pub broker: BrokerSettings,
    /// Where decisions are remembered.
    pub ledger: LedgerSettings,
    /// What the outside may reach.
    pub http: HttpSettings,
    /// What operators reach.
    pub admin: AdminSettings,
    /// How challenges are delivered.
    pub delivery: DeliverySettings,
    /// In the file's order.
    pub providers: Vec<ProviderEntry>,
    /// In the file's order.
    pub routes: Vec<RouteEntry>,
    /// By name.
    pub tenants: BTreeMap<String, TenantPolicy>,
    /// How each tenant's messages are made, by the same names.
    pub tenant_messages: BTreeMap<String, TenantMessages>,
    /// Whom the courier refuses to reach.
    pub guard: GuardSettings,
    /// When circuits open and close.
    pub health: HealthPolicy,
    /// What works but should not stay so.
    pub warnings: Vec<Warning>,
    effective: String,
}

impl Settings {
    /// Reads the built-in defaults, then `file`, then every variable of `env` that begins with [`PREFIX`].
    ///
    /// # Errors
    /// All that is wrong, in the order of the file.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let env: BTreeMap<String, String> = env.into_iter().collect();
        let mut root = parse_defaults()?;
        if let Some(file) = file {
            root.merge(parse_file(file)?);
        }
        let cx = Context::with_env(env);
        for (name, value) in cx.env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            if let Err(error) = document::overlay(&mut root, name, value) {
                cx.error(error);
            }
        }
        let settings = Self::read(&cx, root, file);
        let mut report = cx.into_report();
        report.errors.sort_by(|a, b| a.origin.place.cmp(&b.origin.place));
        report.warnings.sort_by(|a, b| a.origin.place.cmp(&b.origin.place));
        match settings {
            Some(settings) if report.errors.is_empty() => {
                let effective = toml::to_string(&report.effective).unwrap_or_default();
                Ok(Self { warnings: report.warnings, effective, ..settings })
            }
            _ => Err(report.errors),
        }
    }

    fn read(cx: &Context, root: Table, file: Option<&Path>) -> Option<Self> {
        let place = file.map_or(Place::BuiltIn { line: 1, column: 1 }, |file| place_in(file)(1, 1));
        let mut top = Section::new(cx, root, KeyPath::default(), place);
        let log = top.take("log").and_then(log_filter);
        let log_format = top.take("log_format").and_then(|item| item.word(&LogFormat::WORDS));
        let providers_dir = top.take("providers_dir").and_then(|item| item.existing(Kind::Directory));
        let messages_dir = top.take("messages_dir").and_then(|item| item.existing(Kind::Directory));
        let messages = messages::messages(top.section("messages"));
        let broker = service::broker(top.section("broker"));
        let http = service::http(top.section("http"));
        let admin = service::admin(top.section("admin"), http.as_ref());
        let delivery = delivery::delivery(top.section("delivery"));
        let ledger = service::ledger(top.section("ledger"), delivery.as_ref().map(|delivery| delivery.max_ttl));
        let health = delivery::health(top.section("health"));
        let guard = delivery::guard(top.section("guard"));
        let (providers, names) = providers::providers(top.section("providers"));
        let routes = top.take("routes").map(|item| routes::routes(item, &names)).unwrap_or_default();
        let (tenants, tenant_messages) = delivery::tenants(top.section("tenants"));
        top.finish();
        Some(Self {
            log: log?,
            log_format: log_format?,
            providers_dir,
            messages_dir,
            messages: messages?,
            broker: broker?,
            ledger: ledger?,
            http: http?.0,
            admin: admin?,
            delivery: delivery?,
            providers,
            routes,
            tenants,
            tenant_messages,
            guard: guard?,
            health: health?,
            warnings: Vec::new(),
            effective: String::new(),
        })
    }

    /// What deciding needs of it; `serves` tells what the provider of a name does.
    #[must_use]
    pub fn policy(&self, serves: impl Fn(&str) -> Serves) -> Policy {
        let delivery = &self.delivery;
        let on_channels = |entry: &ProviderEntry| {
            let Serves { channels, platforms, tells } = serves(&entry.name);
            let reach = Reach { platforms, apps: entry.apps.clone() };
            let on = |channel| provider_policy(entry, channel, reach.clone(), tells.contains(&channel));
            channels.into_iter().map(on).collect::<Vec<_>>()
        };
        Policy {
            default_ttl: delivery.default_ttl,
            max_ttl: delivery.max_ttl,
            grace: delivery.grace,
            attempt_timeout: delivery.attempt_timeout,
            receipt_timeout: delivery.receipt_timeout,
            on_silence: delivery.on_silence,
            on_unknown: delivery.on_unknown,
            await_verification: delivery.await_verification,
            retry: delivery.retry,
            unknown_tenant: delivery.unknown_tenant,
            providers: self.providers.iter().flat_map(on_channels).collect(),
            routes: self.routes.iter().map(|entry| entry.rule.clone()).collect(),
            tenants: self.tenants.clone(),
            countries: self.guard.countries.clone(),
            refuse_fiction: self.guard.refuse_fiction,
        }
    }

    /// The configuration in effect as TOML, all layers together, without secrets.
    #[must_use]
    pub fn redacted(&self) -> String {
        self.effective.clone()
    }
}

/// The process's environment, for [`Settings::load`]. What is not UTF-8 is marked so that it is refused
/// where it is used.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// What a provider's kind says that it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serves {
    /// On which channels.
    pub channels: Vec<Channel>,
    /// To whose devices, where it carries prompts; `None`: to all.
    pub platforms: Option<Vec<Platform>>,
    /// On which of its channels it can say what became of a message.
    pub tells: Vec<Channel>,
}

impl From<Vec<Channel>> for Serves {
    fn from(channels: Vec<Channel>) -> Self {
        Self { tells: channels.clone(), channels, platforms: None }
    }
}

fn provider_policy(entry: &ProviderEntry, channel: Channel, reach: Reach, tells: bool) -> ProviderPolicy {
    let settings = entry.per_channel(channel);
    ProviderPolicy {
        name: Arc::clone(&entry.name),
        channel,
        senders: settings.senders,
        receipts: settings.receipts && tells,
        receipt_timeout: settings.receipt_timeout.default,
        receipt_timeout_by_country: settings.receipt_timeout.by_country,
        reach,
    }
}

fn parse_defaults() -> Result<Table, Vec<ConfigError>> {
    document::parse(DEFAULTS, &|line, column| Place::BuiltIn { line, column })
}

fn place_in(file: &Path) -> impl Fn(usize, usize) -> Place {
    let file: Arc<str> = file.display().to_string().into();
    move |line, column| Place::File { file: Arc::clone(&file), line, column }
}

/// Reads a TOML file of the operator.
fn parse_file(file: &Path) -> Result<Table, Vec<ConfigError>> {
    let place = place_in(file);
    let unreadable = |why: String| {
        let origin = Origin { place: place(1, 1), path: String::new() };
        vec![ConfigError::plain(origin, format!("can't be read: {why}"))]
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(kinds::reason(&error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("more than 4 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable("not UTF-8".to_owned()))?;
    document::parse(&text, &place)
}

/// What `tracing` understands; a lone word must be a level, since any other would silence everything.
fn log_filter(item: Item<'_>) -> Option<String> {
    const ALLOWED: &str = "error, warn, info, debug, trace, off, or levels by module such as \"info,lapin=warn\"";
    item.parsed(ALLOWED, |text| crate::telemetry::is_filter(text).then(|| text.to_owned()))
}
