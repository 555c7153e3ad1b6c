//! The broker that is RabbitMQ, 3.10 or later, spoken to with lapin.
//!
//! [`connect`] gives a [`Link`] whose halves outlive any number of sessions: `keeper` builds one whenever the last has
//! ended, `session` is the two connections with everything on them, `topology` what they need to exist. lapin's own
//! recovery stays off: it hides what was lost. What comes in passes `screen` (`scrub`, `returns`) and `properties`,
//! what is settled passes `acker`, what goes out passes `outbox` and `wire`. Guarantees are those of
//! [`broker`](crate::broker), and that no wait on the broker is without a bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::inbox::RabbitInbox;
use self::keeper::{Keeper, Pauses};
use self::line::Address;
use self::outbox::RabbitOutbox;
use self::session::{Ends, Plan};
use super::{Link, LinkState, Names};
use crate::clock::Dice;
use crate::secret::Secret;

mod acker;
mod depth;
mod fault;
mod inbox;
mod keeper;
mod line;
mod listener;
mod lock;
mod outbox;
mod properties;
mod reader;
mod refusal;
mod returns;
mod screen;
mod scrub;
mod session;
mod topology;
mod upstream;
mod wire;

pub use self::listener::{Heard, OutcomeListener};
pub use self::refusal::StartError;
pub use self::upstream::{Upstream, UpstreamError, try_out};

/// How to reach RabbitMQ, and what to do there.
#[derive(Clone, Debug)]
pub struct RabbitSettings {
    /// `amqp://` or `amqps://`, with credentials and virtual host.
    pub url: Secret,
    /// After twice this long without a sign of life the connection is given up. Whole seconds, at least one.
    pub heartbeat: Duration,
    /// How many challenges may be in hand at once, and as many follow-ups.
    pub prefetch: u16,
    /// Whether to declare what is needed, or only to check that it exists.
    pub declare: bool,
    /// After how many deliveries the broker moves a message to the dead queue.
    pub delivery_limit: u32,
    /// What everything is called.
    pub names: Names,
    /// Whether to hold the worker's lock, `<challenges>.lock`: with a ledger in memory there may be only one worker.
    pub lock: bool,
    /// Certificates for `amqps://`.
    pub tls: Tls,
    /// Shown in the broker's list of connections.
    pub connection_name: String,
}

impl Default for RabbitSettings {
    fn default() -> Self {
        Self {
            url: Secret::new("amqp://guest:guest@127.0.0.1:5672/%2f"),
            heartbeat: Duration::from_secs(5),
            prefetch: 1_000,
            declare: true,
            delivery_limit: 100,
            names: Names::default(),
            lock: false,
            tls: Tls::default(),
            connection_name: env!("CARGO_PKG_NAME").into(),
        }
    }
}

/// PEM files for `amqps://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The courier's own certificate.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
}

/// Connects, and stays connected until the [`Link`] is closed or dropped.
///
/// Waits for as long as the broker can't be reached; what would not pass by waiting is an error.
pub async fn connect(settings: RabbitSettings) -> Result<Link, StartError> {
    let plan = Arc::new(Plan::new(&settings, address(&settings)?));
    let (stop, close) = (CancellationToken::new(), CancellationToken::new());
    let mut pauses = Pauses::new(Dice::system());
    let session = keeper::first(&plan, &stop, &mut pauses).await?;

    let (readers, alive) = (TaskTracker::new(), Arc::new(close.clone().drop_guard()));
    let (inbox, lines) = RabbitInbox::new(stop.clone(), readers.clone(), Arc::clone(&alive));
    let (state, states) = watch::channel(LinkState::Connecting);
    let (wire, wires) = watch::channel(None);
    let keeping = TaskTracker::new();
    let outbox = RabbitOutbox {
        names: settings.names,
        state: states.clone(),
        wire: wires,
        close: close.clone(),
        keeper: keeping.clone(),
        _alive: alive,
    };
    let keeper = Keeper { plan, ends: Ends { lines, stop, readers, state }, wire, close, pauses };
    keeping.spawn(keeper.run(session));
    keeping.close();
    Ok(Link { inbox: Box::new(inbox), outbox: Arc::new(outbox), state: states })
}

/// Reads the address and the files that go with it. No message shows the address, which holds a password.
fn address(settings: &RabbitSettings) -> Result<Address, StartError> {
    let bad = |why: &str| StartError::BadUrl(why.to_owned());
    let parsed = url::Url::parse(settings.url.expose()).map_err(|error| bad(&error.to_string()))?;
    if !matches!(parsed.scheme(), "amqp" | "amqps") {
        return Err(bad("it has to begin with amqp:// or amqps://"));
    }
    if parsed.path() == "/" {
        return Err(bad("the virtual host is empty: write /%2f for the default one"));
    }
    let mut uri: AMQPUri = settings.url.expose().parse().map_err(|_| bad("it is not an AMQP address"))?;
    if let Some(url::Host::Ipv6(host)) = parsed.host() {
        uri.authority.host = host.to_string();
    }
    uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX));
    let tls = tls(&settings.tls)?;
    Ok(Address { uri, tls, name: settings.connection_name.clone() })
}

fn tls(files: &Tls) -> Result<OwnedTLSConfig, StartError> {
    // Only the first call of a process can set the provider, and any will do.
    let _set = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cert_chain = files.ca_file.as_deref().map(read_text).transpose()?;
    let identity = match (&files.client_cert_file, &files.client_key_file) {
        (Some(cert), Some(key)) => {
            Some(OwnedIdentity::PKCS8 { pem: read_text(cert)?.into_bytes(), key: read_text(key)?.into_bytes() })
        }
        (None, None) => None,
        _ => return Err(StartError::Tls("client_cert_file and client_key_file go together".into())),
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

fn read_text(file: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(file).map_err(|error| StartError::Tls(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address, StartError> {
        address(&RabbitSettings { url: Secret::new(url), ..RabbitSettings::default() })
    }

    #[test]
    fn an_address_is_shown_without_its_credentials() {
        let address = read("amqps://user:s3cret@broker.example/a%2fb?heartbeat=60").expect("valid");
        assert_eq!(address.to_string(), "amqps://broker.example:5671/a%2fb");
        assert_eq!((address.uri.query.heartbeat, address.uri.vhost.as_str()), (Some(5), "a/b"));
        assert_eq!(read("amqp://[::1]:5673").expect("valid").to_string(), "amqp://::1:5673/%2f");
    }

    #[test]
    fn a_bad_address_is_explained_and_not_shown() {
        for bad in ["http://user:s3cret@h/", "amqp:user:s3cret", "amqp://user:s3cret@h/", "", "amqp://u:s3cret@h:x/v"] {
            let error = read(bad).map(|address| address.to_string()).expect_err(bad).to_string();
            assert!(error.starts_with("broker.url: ") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn certificate_files_are_named_when_they_cannot_be_read() {
        let half = Tls { client_cert_file: Some("/nowhere/cert.pem".into()), ..Tls::default() };
        assert!(matches!(tls(&half), Err(StartError::Tls(why)) if why.contains("go together")));
        let missing = Tls { ca_file: Some("/nowhere/ca.pem".into()), ..Tls::default() };
        assert!(matches!(tls(&missing), Err(StartError::Tls(why)) if why.contains("/nowhere/ca.pem")));
    }
}
