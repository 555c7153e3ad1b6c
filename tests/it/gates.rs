//! Gates between the steps of a worker: a test holds a worker at one, to crash it there or to let others go first.
//!
//! They stand around the worker's ledger, outbox and inbox, so the worker itself knows nothing of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfa_courier::broker::wire::{OUTCOME_TYPE, PARKED_TYPE};
use mfa_courier::broker::{Delivered, Inbox, Link, Outbox, Publication, PublishError, Route};
use mfa_courier::challenge::{ChallengeId, Handle};
use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::Fact;
use mfa_courier::delivery::version::Version;
use mfa_courier::ledger::outcomes::{About, Found, Published};
use mfa_courier::ledger::{Appended, Entry, Expected, Ledger, LedgerError, Phase, Record, Written};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What an owner writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Working,
    Parked,
    Concluded,
}

/// What a worker publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Final,
    Interim,
    Parked,
    Other,
}

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeRead,
    BeforeWrite(State),
    AfterWrite(State),
    AfterAppend,
    BeforePublish(Said),
    AfterPublish(Said),
    BeforeMark,
}

/// A worker that is held, or will be.
#[derive(Clone, Default)]
pub(crate) struct Hold {
    reached: CancellationToken,
    released: CancellationToken,
}

impl Hold {
    /// Waits until the worker has come to the gate.
    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(Duration::from_mins(2), self.reached.cancelled()).await;
        reached.expect("nobody came to this gate");
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.released.cancel();
    }
}

/// The gates of a world.
#[derive(Default)]
pub(crate) struct Gates {
    holds: Mutex<Vec<(usize, Point, Hold)>>,
    published: Mutex<Vec<Publication>>,
    hearing: Mutex<Vec<watch::Sender<bool>>>,
}

impl Gates {
    /// Holds `worker` the next time that it comes to `point`.
    pub(crate) fn hold(&self, worker: usize, point: Point) -> Hold {
        let hold = Hold::default();
        self.holds.lock().unwrap().push((worker, point, hold.clone()));
        hold
    }

    /// Everything that workers published, in order, whether or not it was confirmed.
    pub(crate) fn published(&self) -> Vec<Publication> {
        self.published.lock().unwrap().clone()
    }

    /// Whether `worker` hears its broker.
    pub(crate) fn set_hearing(&self, worker: usize, hears: bool) {
        self.hearing.lock().unwrap()[worker].send_replace(hears);
    }

    /// The link of the next worker, with gates around it; workers are counted from 0.
    pub(crate) fn around_link(self: &Arc<Self>, worker: usize, link: Link) -> Link {
        let (sender, hears) = watch::channel(true);
        self.hearing.lock().unwrap().push(sender);
        let outbox = Arc::new(GatedOutbox { inner: link.outbox, worker, gates: Arc::clone(self) });
        Link { inbox: Box::new(GatedInbox { inner: link.inbox, hears }), outbox, state: link.state }
    }

    /// The ledger of `worker`, with gates around it.
    pub(crate) fn around_ledger(self: &Arc<Self>, worker: usize, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        Arc::new(GatedLedger { inner, worker, gates: Arc::clone(self) })
    }

    async fn pass(&self, worker: usize, point: Point) {
        let hold = {
            let mut holds = self.holds.lock().unwrap();
            let at = holds.iter().position(|(w, p, _)| (*w, *p) == (worker, point));
            at.map(|at| holds.remove(at).2)
        };
        if let Some(hold) = hold {
            hold.reached.cancel();
            hold.released.cancelled().await;
        }
    }
}

struct GatedInbox {
    inner: Box<dyn Inbox>,
    hears: watch::Receiver<bool>,
}

#[async_trait]
impl Inbox for GatedInbox {
    async fn next(&mut self) -> Option<Delivered> {
        loop {
            self.hears.wait_for(|hears| *hears).await.ok()?;
            tokio::select! {
                biased;
                _ = self.hears.changed() => {}
                delivered = self.inner.next() => return delivered,
            }
        }
    }

    async fn stop(&mut self) {
        self.inner.stop().await;
    }
}

struct GatedOutbox {
    inner: Arc<dyn Outbox>,
    worker: usize,
    gates: Arc<Gates>,
}

#[async_trait]
impl Outbox for GatedOutbox {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let said = said(publication);
        self.gates.pass(self.worker, Point::BeforePublish(said)).await;
        self.gates.published.lock().unwrap().push(publication.clone());
        let published = self.inner.publish(publication).await;
        self.gates.pass(self.worker, Point::AfterPublish(said)).await;
        published
    }
}

fn said(publication: &Publication) -> Said {
    match (&publication.route, publication.properties.kind.as_deref()) {
        (Route::Outcome(key), Some(OUTCOME_TYPE)) if key.rsplit('.').next() == Some("final") => Said::Final,
        (Route::Outcome(_), _) => Said::Interim,
        (Route::Delay(_) | Route::Followups, Some(PARKED_TYPE)) => Said::Parked,
        _ => Said::Other,
    }
}

struct GatedLedger {
    inner: Arc<dyn Ledger>,
    worker: usize,
    gates: Arc<Gates>,
}

#[async_trait]
impl Ledger for GatedLedger {
    async fn read(&self, id: &ChallengeId) -> Result<Option<Record>, LedgerError> {
        self.gates.pass(self.worker, Point::BeforeRead).await;
        self.inner.read(id).await
    }

    async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Result<Written, LedgerError> {
        let state = match entry.phase {
            Phase::Parked { .. } => State::Parked,
            Phase::Concluded(_) => State::Concluded,
            Phase::Working(_) | Phase::FactsOnly => State::Working,
        };
        self.gates.pass(self.worker, Point::BeforeWrite(state)).await;
        let written = self.inner.write(id, expected, entry).await;
        self.gates.pass(self.worker, Point::AfterWrite(state)).await;
        written
    }

    async fn append(&self, id: &ChallengeId, fact: Fact, keep_until: Timestamp) -> Result<Appended, LedgerError> {
        let appended = self.inner.append(id, fact, keep_until).await;
        self.gates.pass(self.worker, Point::AfterAppend).await;
        appended
    }

    async fn mark_published(&self, id: &ChallengeId, version: Version) -> Result<(), LedgerError> {
        self.gates.pass(self.worker, Point::BeforeMark).await;
        self.inner.mark_published(id, version).await
    }

    async fn remember(&self, handle: Handle, id: &ChallengeId, keep_until: Timestamp) -> Result<(), LedgerError> {
        self.inner.remember(handle, id, keep_until).await
    }

    async fn find(&self, handle: Handle) -> Result<Option<ChallengeId>, LedgerError> {
        self.inner.find(handle).await
    }

    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError> {
        self.inner.record_outcomes(published, keep_until).await
    }

    async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError> {
        self.inner.outcomes(about, most).await
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
