//! What the worker runs on: `[broker]`, `[ledger]`, `[http]`, `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::kinds::Kind;
use super::origin::{ConfigError, Origin};
use super::read::{Item, Section};
use crate::broker::Names;
use crate::ledger::redis::{RedisSettings, Tls};
use crate::seal::Seal;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

/// How the broker is reached and what is kept there.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSettings {
    /// `amqp://`, `amqps://` or `memory:`. Holds the password.
    pub url: Secret,
    /// How often each side shows that it lives.
    pub heartbeat: Duration,
    /// How many messages the broker hands out ahead, per queue.
    pub prefetch: u16,
    /// Whether to declare what is missing, or only to check it.
    pub declare: bool,
    /// After how many deliveries the broker gives a message up.
    pub delivery_limit: u32,
    /// What is longer goes to quarantine.
    pub max_message_bytes: usize,
    /// Who may sign the broker's certificate; absent: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate and the key that the broker knows us by.
    pub client_identity: Option<ClientIdentity>,
    /// The names of queues and exchanges.
    pub names: Names,
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, with what leads to its authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// Where decisions are remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerSettings {
    /// `memory:`, `redis://` or `rediss://`. May hold a password.
    pub url: Secret,
    /// What all its keys in Redis begin with.
    pub prefix: String,
    /// How long a concluded challenge is remembered.
    pub retention: Duration,
    /// What seals what is parked, stored or quarantined, where there is a key.
    pub seal: Arc<Seal>,
    /// Keys the hash that tells two contents under one id apart; absent: random in each process.
    pub content_key: Option<Secret>,
    /// Certificates to trust instead of the system's, for `rediss://`.
    pub ca_file: Option<PathBuf>,
    /// The courier's own certificate there.
    pub client_identity: Option<ClientIdentity>,
}

impl LedgerSettings {
    /// Where the ledger is, if it is one that workers share; `None` where it is this process alone.
    #[must_use]
    pub fn redis(&self) -> Option<RedisSettings> {
        let is_shared = self.url.expose() != "memory:";
        is_shared.then(|| RedisSettings {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            seal: Arc::clone(&self.seal),
            tls: Tls {
                ca_file: self.ca_file.clone(),
                identity: self.client_identity.clone().map(|identity| (identity.cert_file, identity.key_file)),
            },
        })
    }
}

/// What the outside may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address and port.
    pub listen: SocketAddr,
    /// What providers call it.
    pub public_url: Option<url::Url>,
    /// Signs the addresses that they call.
    pub callback_key: Option<Secret>,
    /// What signed them before; good while keys rotate.
    pub callback_key_previous: Option<Secret>,
}

/// What operators reach.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    /// The address and port.
    pub listen: SocketAddr,
    /// What authorises them.
    pub token: Option<Secret>,
}

pub(super) fn broker(mut section: Section<'_>) -> Option<BrokerSettings> {
    let url = section.take("url").and_then(|item| service_url(item, BROKER_URL, is_broker_url));
    let heartbeat = section.take("heartbeat").and_then(|item| item.duration(SECOND, 60 * SECOND));
    if heartbeat.is_some_and(|beat| beat.subsec_millis() != 0) {
        section.refuse("heartbeat", "found a part of a second", "whole seconds, which is all that AMQP can say");
    }
    let prefetch = section.take("prefetch").and_then(|item| item.integer(1, u16::MAX));
    let declare = section.take("declare").and_then(Item::flag);
    let delivery_limit = section.take("delivery_limit").and_then(|item| item.integer(1, 1_000_000));
    let max_message_bytes = section.take("max_message_bytes").and_then(|item| item.integer(1_024, 16 * 1024 * 1024));
    let ca_file = section.take("ca_file").and_then(|item| item.existing(Kind::File));
    let client_identity = client_identity(&mut section);
    only_with_tls(&section, "broker", url.as_ref(), "amqps");
    let names = names(section.section("names"));
    section.finish();
    Some(BrokerSettings {
        url: url?,
        heartbeat: heartbeat?,
        prefetch: prefetch?,
        declare: declare?,
        delivery_limit: delivery_limit?,
        max_message_bytes: max_message_bytes?,
        ca_file,
        client_identity,
        names: names?,
    })
}

/// Refuses certificates where nothing uses them.
fn only_with_tls(section: &Section<'_>, name: &str, url: Option<&Secret>, scheme: &str) {
    let plain = url.is_some_and(|url| !url.expose().starts_with(&format!("{scheme}:")));
    for key in ["ca_file", "client_cert_file"] {
        if plain && section.is_own(key) {
            let allowed = format!("this key only together with {scheme}://");
            section.refuse(key, format!("{name}.url does not use TLS"), allowed);
        }
    }
}

fn client_identity(section: &mut Section<'_>) -> Option<ClientIdentity> {
    let mut file = |key| section.take(key).map(|item| item.existing(Kind::File));
    match (file("client_cert_file"), file("client_key_file")) {
        (Some(cert_file), Some(key_file)) => Some(ClientIdentity { cert_file: cert_file?, key_file: key_file? }),
        (Some(_), None) => {
            section.refuse("client_key_file", "missing", "the key of client_cert_file");
            None
        }
        (None, Some(_)) => {
            section.refuse("client_cert_file", "missing", "the certificate of client_key_file");
            None
        }
        (None, None) => None,
    }
}

fn names(mut section: Section<'_>) -> Option<Names> {
    const EXCHANGES: [&str; 2] = ["challenges_exchange", "outcomes_exchange"];
    const QUEUES: [&str; 8] =
        ["challenges", "signals", "followups", "dead", "quarantine", "delay", "unrouted", "outcomes"];
    let exchanges = EXCHANGES.map(|key| section.take(key).and_then(amqp_name));
    let queues = QUEUES.map(|key| section.take(key).and_then(amqp_name));
    for (keys, names) in [(&EXCHANGES[..], &exchanges[..]), (&QUEUES[..], &queues[..])] {
        refuse_repeats(&section, keys, names);
    }
    section.finish();
    let [challenges_exchange, outcomes_exchange] = exchanges;
    let [challenges, signals, followups, dead, quarantine, delay, unrouted, outcomes] = queues;
    Some(Names {
        challenges_exchange: challenges_exchange?,
        outcomes_exchange: outcomes_exchange?,
        challenges: challenges?,
        signals: signals?,
        followups: followups?,
        dead: dead?,
        quarantine: quarantine?,
        delay: delay?,
        unrouted: unrouted?,
        outcomes,
    })
}

fn refuse_repeats(section: &Section<'_>, keys: &[&str], names: &[Option<String>]) {
    for (nth, (key, name)) in keys.iter().zip(names).enumerate() {
        let Some(name) = name else { continue };
        let earlier = names[..nth].iter().position(|other| other.as_ref() == Some(name));
        if let Some(other) = earlier.and_then(|at| keys.get(at)) {
            section.refuse(key, format!("found {name:?}, which is also broker.names.{other}"), "a name of its own");
        }
    }
}

fn amqp_name(item: Item<'_>) -> Option<String> {
    let usable = |text: &str| {
        (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) && !text.starts_with("amq.")
    };
    item.parsed("1 to 200 visible ASCII characters that do not begin with `amq.`", |text| {
        usable(text).then(|| text.to_owned())
    })
}

const BROKER_URL: &str = "amqp://user:password@host:port/vhost, amqps://…, or memory:";
const LEDGER_URL: &str = "redis://user:password@host:port/database, rediss://…, or memory:";

fn is_broker_url(text: &str) -> bool {
    text == "memory:"
        || text.parse::<url::Url>().is_ok_and(|url| matches!(url.scheme(), "amqp" | "amqps") && url.has_host())
}

fn is_ledger_url(text: &str) -> bool {
    text == "memory:" || RedisSettings::is_url(text)
}

/// A URL that may hold a password, and so is never shown.
fn service_url(item: Item<'_>, allowed: &str, usable: impl Fn(&str) -> bool) -> Option<Secret> {
    let (cx, origin) = (item.cx, item.origin());
    let url = item.secret()?;
    if usable(url.expose()) {
        return Some(url);
    }
    let scheme = url.expose().split_once(':').map_or("", |(scheme, _)| scheme);
    let found = match scheme {
        "amqp" | "amqps" | "redis" | "rediss" => {
            format!("found an address that begins with {scheme}: and can't be read")
        }
        _ => "found an address of another kind (not shown: it may hold a password)".to_owned(),
    };
    cx.error(ConfigError::new(origin, found, allowed));
    None
}

pub(super) fn ledger(mut section: Section<'_>, max_ttl: Option<Duration>) -> Option<LedgerSettings> {
    let url = section.take("url").and_then(|item| service_url(item, LEDGER_URL, is_ledger_url));
    let prefix = section.take("prefix").and_then(|item| {
        let usable = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
        item.parsed("up to 64 visible ASCII characters", |text| usable(text).then(|| text.to_owned()))
    });
    let retention = section.take("retention").and_then(|item| item.duration(SECOND, 720 * 3_600 * SECOND));
    if let (Some(retention), Some(max_ttl)) = (retention, max_ttl)
        && retention < max_ttl
    {
        let text = "shorter than delivery.max_ttl: a late repeat of a challenge may be sent again";
        section.cx.warn(section.at("retention"), text);
    }
    let content_key = section.take("content_key").map(Item::own_secret);
    let seal = seal(&mut section);
    let ca_file = section.take("ca_file").and_then(|item| item.existing(Kind::File));
    let client_identity = client_identity(&mut section);
    only_with_tls(&section, "ledger", url.as_ref(), "rediss");
    section.finish();
    let content_key = match content_key {
        Some(key) => Some(key?),
        None => None,
    };
    Some(LedgerSettings {
        url: url?,
        prefix: prefix?,
        retention: retention?,
        seal: Arc::new(seal?),
        content_key,
        ca_file,
        client_identity,
    })
}

/// The keys that open; the first of them seals.
fn seal(section: &mut Section<'_>) -> Option<Seal> {
    const KEYS: [&str; 2] = ["encryption_key", "encryption_key_previous"];
    let keys = KEYS.map(|key| section.take(key).map(Item::secret));
    if let [None, Some(_)] = keys {
        section.refuse(KEYS[1], "found without encryption_key", "this key only beside encryption_key");
        return None;
    }
    let keys: Vec<_> = keys.into_iter().flatten().collect::<Option<_>>()?;
    for (name, _) in KEYS.iter().zip(&keys).filter(|(_, key)| !Seal::is_key(key)) {
        section.refuse(
            name,
            "found another value (not shown)",
            "32 bytes in base64, as `openssl rand -base64 32` makes them",
        );
    }
    Seal::with_keys(&keys)
}

/// Gives too where its address was written.
pub(super) fn http(mut section: Section<'_>) -> Option<(HttpSettings, Origin)> {
    let listen = section.take("listen").and_then(Item::address);
    let origin = section.at("listen");
    let public_url = section.take("public_url").and_then(Item::http_url);
    let callback_key = section.take("callback_key").and_then(Item::own_secret);
    let callback_key_previous = section.take("callback_key_previous").and_then(Item::own_secret);
    section.finish();
    Some((HttpSettings { listen: listen?, public_url, callback_key, callback_key_previous }, origin))
}

pub(super) fn admin(mut section: Section<'_>, http: Option<&(HttpSettings, Origin)>) -> Option<AdminSettings> {
    let listen = section.take("listen").and_then(Item::address);
    let given = section.take("token");
    let open = given.is_none();
    let token = given.and_then(Item::own_secret);
    if let Some(listen) = listen {
        if open && !listen.ip().is_loopback() {
            section.refuse(
                "listen",
                format!("found \"{listen}\" without admin.token"),
                "a loopback address such as \"127.0.0.1:8081\", or any address with admin.token set",
            );
        }
        if let Some((_, http_origin)) = http.filter(|(http, _)| http.listen == listen && listen.port() != 0) {
            let (origin, other) = if section.is_own("listen") {
                (section.at("listen"), "http.listen")
            } else {
                (http_origin.clone(), "admin.listen")
            };
            let found = format!("found \"{listen}\", which is also {other}");
            section.cx.error(ConfigError::new(origin, found, "an address of its own"));
        }
    }
    section.finish();
    Some(AdminSettings { listen: listen?, token })
}
