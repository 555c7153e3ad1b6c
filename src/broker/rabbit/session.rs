//! One session: two lines and everything on them, built whole and torn down whole.
//!
//! One line publishes and one consumes, since a broker short of memory stops reading from the first, and acks must
//! flow on. [`keeper`](super::keeper) builds the next session when [`Fault`] is raised in this one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use lapin::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acker::Settler;
use super::fault::Fault;
use super::inbox::Lines;
use super::line::{Address, Line};
use super::lock::Lock;
use super::reader::Reader;
use super::refusal::{OpenError, StartError};
use super::topology::Topology;
use super::wire::Wire;
use super::{RabbitSettings, depth};
use crate::broker::{LinkState, Names, Source};

/// How often a line is looked at, should its end go unannounced.
const LOOK: Duration = Duration::from_secs(1);
/// How long written settlements may take at the end.
const FLUSHED_WITHIN: Duration = Duration::from_secs(3);
/// How often missing queues are declared again at most.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);

/// What sessions are built from.
pub(super) struct Plan {
    pub(super) address: Address,
    pub(super) names: Arc<Names>,
    pub(super) topology: Topology,
    pub(super) prefetch: u16,
    pub(super) declare: bool,
    /// The lock queue, and how long a vanished holder is waited for.
    pub(super) lock: Option<(String, Duration)>,
}

impl Plan {
    pub(super) fn new(settings: &RabbitSettings, address: Address) -> Self {
        let names = Arc::new(settings.names.clone());
        Self {
            address,
            topology: Topology::new(&names, settings.delivery_limit),
            prefetch: settings.prefetch.max(1),
            declare: settings.declare,
            lock: settings.lock.then(|| (format!("{}.lock", names.challenges), settings.heartbeat * 4)),
            names,
        }
    }

    async fn prepare(&self, line: &Line) -> Result<(), OpenError> {
        let channel = line.channel().await?;
        if self.declare { self.topology.declare(&channel).await } else { self.topology.check(&channel).await }
    }
}

/// Where a session hands things over to.
pub(super) struct Ends {
    pub(super) lines: Lines,
    pub(super) stop: CancellationToken,
    pub(super) readers: TaskTracker,
    pub(super) state: watch::Sender<LinkState>,
}

/// What a session consists of.
pub(super) struct Session {
    pub(super) fault: Fault,
    pub(super) wire: Arc<Wire>,
    publishing: Arc<Line>,
    consuming: Arc<Line>,
    settlers: Vec<Arc<Settler>>,
    readers: Vec<(Source, Reader)>,
    lock: Option<Lock>,
}

impl Session {
    /// Connects, prepares and starts consuming, unless that was stopped. Nothing is read before [`Session::start`].
    pub(super) async fn open(plan: &Plan, stop: &CancellationToken) -> Result<Self, OpenError> {
        let fault = Fault::default();
        let (publishing, consuming) =
            tokio::try_join!(Line::dial(&plan.address, "publishing"), Line::dial(&plan.address, "consuming"))?;
        let (publishing, consuming) = (Arc::new(publishing), Arc::new(consuming));
        let lock = match &plan.lock {
            Some((queue, patience)) => Some(Lock::acquire(&consuming, queue, *patience).await?),
            None => None,
        };
        plan.prepare(&consuming).await?;
        let wire = Arc::new(Wire::open(Arc::clone(&publishing), fault.clone()).await?);
        let mut readers = Vec::new();
        if !stop.is_cancelled() {
            for source in Source::ALL {
                let reader = Reader::open(&consuming, source, &plan.names, plan.prefetch, &fault).await?;
                readers.push((source, reader));
            }
        }
        let settlers = readers.iter().map(|(_, reader)| reader.settler()).collect();
        Ok(Self { fault, wire, publishing, consuming, settlers, readers, lock })
    }

    /// Starts everything that runs beside.
    pub(super) fn start(&mut self, plan: &Arc<Plan>, ends: &Ends) {
        for (source, reader) in self.readers.drain(..) {
            ends.readers.spawn(reader.run(ends.lines.of(source), ends.stop.clone()));
        }
        if let Some(lock) = self.lock.take() {
            tokio::spawn(lock.guard(self.fault.clone()));
        }
        let (fault, state) = (&self.fault, &ends.state);
        let publishing = self.publishing.events();
        tokio::spawn(watch_line(Arc::clone(&self.publishing), publishing, "publishing", fault.clone(), state.clone()));
        let consuming = self.consuming.events();
        tokio::spawn(watch_line(Arc::clone(&self.consuming), consuming, "consuming", fault.clone(), state.clone()));
        tokio::spawn(depth::gauge(Arc::clone(&self.consuming), Arc::clone(&plan.names), fault.clone()));
        if plan.declare {
            tokio::spawn(repair(Arc::clone(plan), Arc::clone(&self.consuming), Arc::clone(&self.wire), fault.clone()));
        }
    }

    /// Writes what was settled, says goodbye on both lines, and ends.
    pub(super) async fn close(self) {
        let flushes = join_all(self.settlers.iter().map(|settler| settler.flush()));
        let _slow = tokio::time::timeout(FLUSHED_WITHIN, flushes).await;
        self.fault.raise("it was closed");
        tokio::join!(self.publishing.hang_up(), self.consuming.hang_up());
    }
}

/// Ends the session with its line, and tells when the broker stops taking publications.
async fn watch_line(
    line: Arc<Line>,
    mut events: impl Stream<Item = Event> + Unpin,
    name: &'static str,
    fault: Fault,
    state: watch::Sender<LinkState>,
) {
    let mut last = String::from("it went away");
    loop {
        let event = tokio::select! {
            biased;
            () = fault.raised() => return,
            event = events.next() => event,
            () = tokio::time::sleep(LOOK) => None,
        };
        match event {
            Some(Event::Error(error)) => last = error.to_string(),
            Some(Event::ConnectionBlocked(reason)) => blocked(&state, reason),
            Some(Event::ConnectionUnblocked) => unblocked(&state),
            _ => {}
        }
        // A closed channel is announced the same way, and is dealt with where it is used.
        if !line.is_up() {
            return fault.raise(format!("the {name} connection: {last}"));
        }
    }
}

fn blocked(state: &watch::Sender<LinkState>, reason: String) {
    tracing::warn!(reason, "the broker takes no publications for now");
    state.send_if_modified(|state| {
        let ready = matches!(state, LinkState::Ready | LinkState::Blocked(_));
        if ready {
            *state = LinkState::Blocked(reason);
        }
        ready
    });
}

fn unblocked(state: &watch::Sender<LinkState>) {
    tracing::info!("the broker takes publications again");
    state.send_if_modified(|state| {
        let blocked = matches!(state, LinkState::Blocked(_));
        if blocked {
            *state = LinkState::Ready;
        }
        blocked
    });
}

/// Declares everything again when one of the courier's own routes led nowhere.
async fn repair(plan: Arc<Plan>, line: Arc<Line>, wire: Arc<Wire>, fault: Fault) {
    loop {
        tokio::select! {
            () = fault.raised() => return,
            () = wire.astray.notified() => {}
        }
        match plan.prepare(&line).await {
            Ok(()) => tracing::warn!("a message found no queue; the courier's queues were declared again"),
            Err(error) => tracing::error!(%error, "a message found no queue, and declaring them again failed"),
        }
        tokio::time::sleep(REPAIR_PAUSE).await;
    }
}

impl OpenError {
    /// Whether another worker has taken over.
    pub(super) fn is_lock_held(&self) -> bool {
        matches!(self, Self::Final(StartError::LockHeld { .. }))
    }
}
