//! Settings → running service: the only place that constructs, and the order of start and stop.
//!
//! Start: ports, so that health can be asked at once; then the ledger and the broker, waited for; then the worker. Stop:
//! no new messages, what is in hand is finished or parked, the broker is left, the ports close last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::memory::MemoryBroker;
use crate::broker::rabbit::{self, RabbitSettings, StartError, Tls};
use crate::broker::wire::challenge::Reader;
use crate::broker::{Link, LinkState, Outbox};
use crate::clock::{Clock, Dice};
use crate::config::{ConfigError, Settings};
use crate::http::{
    BindError, Door, Listener, Office, Readiness, Stage, api_routes, flow_routes, health_routes, metrics_routes,
    receipt_routes,
};
use crate::ledger::Ledger;
use crate::ledger::lanes::FleetLanes;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::recorder::record;
use crate::ledger::redis::{RedisLedger, RedisStartError};
use crate::telemetry::metrics::{self, Metrics, MetricsError};
use crate::worker::pressure::Pressure;
use crate::worker::{Ended, Tools, Worker};

mod assemble;
mod watchdog;

pub use assemble::{Parts, assemble};

/// How many concluded challenges the ledger in memory remembers at most.
const LEDGER_CAPACITY: usize = 200_000;
/// How long quarantined messages are kept where they are sealed, and where they are not.
const QUARANTINE_TTL: Duration = Duration::from_hours(7 * 24);
const PLAIN_QUARANTINE_TTL: Duration = Duration::from_hours(24);
/// How long open requests may take once the worker has stopped.
const HTTP_PATIENCE: Duration = Duration::from_secs(2);
/// How long recording the last outcomes may take once the worker has stopped.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);
/// A worker whose loop stood still for this long is ended; the broker gives its messages to others.
const STANDSTILL: Duration = Duration::from_secs(20);

/// Why a service did not run, or ended other than asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(Vec<ConfigError>),
    /// A port can't be taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The broker refuses.
    #[error(transparent)]
    Broker(#[from] StartError),
    /// The ledger can't be used as it is.
    #[error(transparent)]
    Ledger(#[from] RedisStartError),
    /// Figures can't be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The link to the broker can't be used any more.
    #[error("{0}")]
    Link(String),
    /// The time for draining ran out.
    #[error("{0} messages were still in hand when the time for draining ran out; the broker delivers them again")]
    CutOff(usize),
}

/// Runs until `stop` is cancelled.
pub async fn run(settings: &Settings, clock: Clock, stop: CancellationToken) -> Result<(), RunError> {
    let parts = assemble(settings, &clock).map_err(RunError::Config)?;
    for warning in &parts.warnings {
        tracing::warn!("{warning}");
    }
    let metrics = Metrics::install()?;
    let (readiness, ready) = watch::channel(readiness_of(&LinkState::Connecting, None));
    let (publishing, outbox) = watch::channel(None);
    let (remembering, ledger) = watch::channel(None);
    let receipts = parts.callbacks.clone().map(|callbacks| {
        receipt_routes(Door { roster: parts.roster.clone(), callbacks, outbox, clock: clock.clone() })
    });
    let flows = parts.flows.clone().map(|(callbacks, flows)| {
        flow_routes(Stage { roster: parts.roster.clone(), callbacks, flows, clock: clock.clone() })
    });
    let outside = receipts.unwrap_or_default().merge(flows.unwrap_or_default());
    let api = api_routes(Office { token: settings.admin.token.clone(), ledger });
    let operators = metrics_routes(metrics.clone()).merge(api);
    let listeners = Ports::open(settings, &ready, outside, operators).await?;
    let closing = CancellationToken::new();
    let upkeep = tokio::spawn(metrics.upkeep(closing.clone()));
    let serving = listeners.serve(&closing);
    let doors = Doors { readiness, publishing, remembering };
    let ended = serve(settings, parts, clock, &doors, stop).await;
    closing.cancel();
    for port in serving {
        let _ = port.await;
    }
    let _ = upkeep.await;
    ended
}

/// What the listeners are told, since they listen before any of it is there.
struct Doors {
    /// How the worker is.
    readiness: watch::Sender<Readiness>,
    /// What publishes receipts.
    publishing: watch::Sender<Option<Arc<dyn Outbox>>>,
    /// What knows outcomes.
    remembering: watch::Sender<Option<Arc<dyn Ledger>>>,
}

async fn serve(
    settings: &Settings,
    parts: Parts,
    clock: Clock,
    doors: &Doors,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let started = async {
        let held = hold_ledger(settings, &clock, &doors.readiness).await?;
        doors.remembering.send_replace(Some(Arc::clone(&held.0.ledger)));
        Ok::<_, RunError>((held, connect(settings).await?))
    };
    let ((kept, mut held), link) = tokio::select! {
        started = started => started?,
        () = stop.cancelled() => {
            tracing::info!("stopped before the broker and the ledger were there; nothing was in hand");
            return Ok(());
        }
    };
    let retention = settings.ledger.retention;
    let (outbox, recording) = record(Arc::clone(&link.outbox), Arc::clone(&kept.ledger), clock.clone(), retention);
    doors.publishing.send_replace(Some(Arc::clone(&outbox)));
    let unbind = CancellationToken::new();
    let sessions = serve_providers(&parts, &outbox, &unbind);
    let worker = worker_with(settings, parts, clock, Arc::clone(&outbox), kept);
    watchdog::start(worker.pulse(), STANDSTILL);
    tracing::info!(broker = %redacted(settings), "consuming");
    let mut state = link.state.clone();
    let watching = async {
        loop {
            doors.readiness.send_replace(readiness_of(&state.borrow_and_update(), held.borrow_and_update().as_deref()));
            tokio::select! {
                Ok(()) = state.changed() => {}
                Ok(()) = held.changed() => {}
                else => std::future::pending::<()>().await,
            }
        }
    };
    let asked = tokio::spawn(when_cancelled(stop.clone()));
    let ended = tokio::select! {
        ended = worker.run(link.inbox, stop, settings.delivery.drain) => ended,
        () = watching => Ended::LinkFailed,
    };
    unbind.cancel();
    sessions.join_all().await;
    let last = link.state.borrow().clone();
    outbox.close().await;
    recording.finish(RECORD_PATIENCE).await;
    match (ended, last) {
        (Ended::Drained, _) => {
            let took = asked.await.map(|asked| asked.elapsed()).unwrap_or_default();
            tracing::info!(took_ms = took.as_millis(), "stopped: all that was in hand is finished or with the broker");
            Ok(())
        }
        (Ended::CutOff(left), _) => Err(RunError::CutOff(left)),
        (Ended::LinkFailed, LinkState::Failed(why)) => Err(RunError::Link(why)),
        (Ended::LinkFailed, _) => Err(RunError::Link("the link to the broker ended".to_owned())),
    }
}

/// The moment at which `stop` was cancelled.
async fn when_cancelled(stop: CancellationToken) -> Instant {
    stop.cancelled().await;
    Clock::instant()
}

/// Lets every provider keep the sessions that it needs.
fn serve_providers(parts: &Parts, outbox: &Arc<dyn Outbox>, unbind: &CancellationToken) -> JoinSet<()> {
    let mut sessions = JoinSet::new();
    for provider in parts.roster.all() {
        let (provider, outbox, unbind) = (Arc::clone(provider), Arc::clone(outbox), unbind.clone());
        sessions.spawn(async move { provider.serve(outbox, unbind).await });
    }
    sessions
}

/// The broker's address without credentials.
fn redacted(settings: &Settings) -> String {
    let url = settings.broker.url.expose();
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, place)| format!("…@{place}"))
}

fn readiness_of(state: &LinkState, ledger: Option<&str>) -> Readiness {
    let mut reasons = match state {
        LinkState::Ready => Vec::new(),
        LinkState::Connecting => vec!["broker: connecting".to_owned()],
        LinkState::Blocked(why) => vec![format!("broker: it takes no publications now: {why}")],
        LinkState::Failed(why) => vec![format!("broker: {why}")],
    };
    reasons.extend(ledger.map(|why| format!("ledger: {why}")));
    Readiness { reasons }
}

/// What [`rabbit::connect`] needs of the settings.
#[must_use]
pub fn rabbit_settings(settings: &Settings) -> RabbitSettings {
    let broker = &settings.broker;
    let identity = broker.client_identity.as_ref();
    RabbitSettings {
        url: broker.url.clone(),
        heartbeat: broker.heartbeat,
        prefetch: broker.prefetch,
        declare: broker.declare,
        delivery_limit: broker.delivery_limit,
        names: broker.names.clone(),
        // A ledger in memory knows nothing of other workers.
        lock: settings.ledger.redis().is_none(),
        tls: Tls {
            ca_file: broker.ca_file.clone(),
            client_cert_file: identity.map(|identity| identity.cert_file.clone()),
            client_key_file: identity.map(|identity| identity.key_file.clone()),
        },
        ..RabbitSettings::default()
    }
}

async fn connect(settings: &Settings) -> Result<Link, StartError> {
    if settings.broker.url.expose() == "memory:" {
        let broker = MemoryBroker::new(settings.broker.delivery_limit);
        return Ok(broker.connect(usize::from(settings.broker.prefetch)));
    }
    rabbit::connect(rabbit_settings(settings)).await
}

/// What workers have in common.
struct Kept {
    ledger: Arc<dyn Ledger>,
    /// Where the ledger is for one worker alone, so are the lanes.
    lanes: Option<Arc<dyn FleetLanes>>,
}

/// A ledger, and why it can't be used, whenever that changes.
type HeldLedger = (Kept, watch::Receiver<Option<String>>);

/// The ledger that the settings name, once it is there.
async fn hold_ledger(
    settings: &Settings,
    clock: &Clock,
    readiness: &watch::Sender<Readiness>,
) -> Result<HeldLedger, RedisStartError> {
    let Some(redis) = settings.ledger.redis() else {
        // Nobody says more of it: it can always be used.
        let (_, state) = watch::channel(None);
        return Ok((memory_ledger(clock), state));
    };
    readiness.send_replace(readiness_of(&LinkState::Connecting, Some("connecting")));
    let ledger = Arc::new(RedisLedger::connect(&redis, clock.clone(), Dice::system()).await?);
    let state = ledger.state();
    Ok((Kept { lanes: Some(Arc::clone(&ledger) as Arc<dyn FleetLanes>), ledger }, state))
}

fn memory_ledger(clock: &Clock) -> Kept {
    let ledger = MemoryLedger::new(clock.clone(), LEDGER_CAPACITY, Dice::system().number());
    Kept { ledger: Arc::new(ledger), lanes: None }
}

/// A worker of these parts that publishes by `outbox`, with a ledger of its own in memory.
#[must_use]
pub fn worker(settings: &Settings, parts: Parts, clock: Clock, outbox: Arc<dyn Outbox>) -> Worker {
    let kept = memory_ledger(&clock);
    worker_with(settings, parts, clock, outbox, kept)
}

fn worker_with(
    settings: &Settings,
    parts: Parts,
    clock: Clock,
    outbox: Arc<dyn Outbox>,
    Kept { ledger, lanes }: Kept,
) -> Worker {
    for provider in &parts.policy.providers {
        metrics::configured(&provider.name, provider.receipts);
    }
    let (now, mut dice) = (clock.now(), Dice::system());
    // Whoever sleeps holds a message: most of the prefetch stays for those that work.
    let sleepers = usize::from(settings.broker.prefetch / 4).max(1);
    let mut pressure = Pressure::new(&parts.lanes, &parts.in_flight, settings.health, sleepers, now);
    if let Some(lanes) = lanes {
        pressure.share(lanes);
    }
    Worker::new(Tools {
        pressure,
        ledger,
        callbacks: parts.callbacks,
        reader: reader(settings, &mut dice),
        clock,
        policy: parts.policy,
        texts: parts.texts,
        roster: parts.roster,
        outbox,
        names: settings.broker.names.clone(),
        retention: settings.ledger.retention,
        quarantine_ttl: if settings.ledger.seal.is_on() { QUARANTINE_TTL } else { PLAIN_QUARANTINE_TTL },
        seal: Arc::clone(&settings.ledger.seal),
        seed: dice.number(),
    })
}

/// What reads challenges.
pub(crate) fn reader(settings: &Settings, dice: &mut Dice) -> Reader {
    let content_key = match &settings.ledger.content_key {
        Some(key) => hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()),
        // Workers that share records have to agree, and who reads the hash there reads the content too.
        None if settings.ledger.redis().is_some() => hmac::Key::new(hmac::HMAC_SHA256, b"mfa-courier"),
        None => hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
            .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &dice.number().to_be_bytes())),
    };
    Reader {
        max_message_bytes: settings.broker.max_message_bytes,
        default_ttl: settings.delivery.default_ttl,
        max_ttl: settings.delivery.max_ttl,
        default_region: settings.guard.default_region,
        names: settings.broker.names.clone(),
        content_key,
    }
}

/// The two listeners, each with what it answers.
struct Ports(Vec<(Listener, axum::Router)>);

impl Ports {
    async fn open(
        settings: &Settings,
        ready: &watch::Receiver<Readiness>,
        receipts: axum::Router,
        operators: axum::Router,
    ) -> Result<Self, BindError> {
        let outside = Listener::bind("http.listen", settings.http.listen).await?;
        let admin = Listener::bind("admin.listen", settings.admin.listen).await?;
        tracing::info!(http = %outside.address(), admin = %admin.address(), "listening");
        let with_health = |routes| health_routes(ready.clone()).merge(routes);
        Ok(Self(vec![(outside, with_health(receipts)), (admin, with_health(operators))]))
    }

    fn serve(self, closing: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
        let serve = |(listener, routes): (Listener, axum::Router)| {
            tokio::spawn(listener.serve(routes, closing.clone(), HTTP_PATIENCE))
        };
        self.0.into_iter().map(serve).collect()
    }
}

/// Cancels the token at the first SIGTERM or SIGINT; ends the process at the second.
///
/// # Errors
/// Where the system does not let signals be listened to.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                tracing::warn!(signal = name, "stopping at once; the broker delivers again what is in hand");
                std::process::exit(130);
            }
            tracing::info!(signal = name, "draining; once more to stop at once");
            stop.cancel();
        }
    });
    Ok(())
}
