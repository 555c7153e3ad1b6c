//! A broker and a ledger that are far away: each use takes its time and may fail, before or after it was done.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfa_courier::broker::{Outbox, Publication, PublishError};
use mfa_courier::challenge::{ChallengeId, Handle};
use mfa_courier::clock::{Dice, Timestamp};
use mfa_courier::delivery::Fact;
use mfa_courier::delivery::version::Version;
use mfa_courier::guard::quota::LaneLimit;
use mfa_courier::ledger::lanes::{FleetLanes, SlotAnswer};
use mfa_courier::ledger::outcomes::{About, Found, Published};
use mfa_courier::ledger::{Appended, Entry, Expected, Ledger, LedgerError, Record, Written};

use super::history::History;

/// How far away something is, and how unreliable.
pub(crate) struct Way {
    pub takes: Duration,
    pub fails: f64,
    pub dice: Mutex<Dice>,
    pub history: Arc<Mutex<History>>,
}

impl Way {
    async fn pass(&self) {
        let takes = self.dice.lock().unwrap().up_to(self.takes);
        if takes.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(takes).await;
        }
    }

    fn fail(&self, id: &str) -> Result<(), LedgerError> {
        if self.dice.lock().unwrap().unit() >= self.fails {
            return Ok(());
        }
        *self.history.lock().unwrap().ledger_failed.entry(id.to_owned()).or_default() += 1;
        Err(LedgerError("the simulation says so".to_owned()))
    }

    async fn there_and_back<T>(
        &self,
        id: &str,
        done: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        self.pass().await;
        self.fail(id)?;
        let answer = done.await;
        self.pass().await;
        self.fail(id)?;
        answer
    }
}

pub(crate) struct FarOutbox {
    pub outbox: Arc<dyn Outbox>,
    pub way: Way,
}

#[async_trait]
impl Outbox for FarOutbox {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let id = publication.properties.message_id.clone().unwrap_or_default();
        self.way.pass().await;
        let answer = self.outbox.publish(publication).await;
        self.way.pass().await;
        if answer.is_err() {
            let id = id.split(':').next().unwrap_or_default().to_owned();
            *self.way.history.lock().unwrap().refused.entry(id).or_default() += 1;
        }
        answer
    }
}

/// The lanes that workers share, as far away as their ledger.
pub(crate) struct FarLanes {
    pub lanes: Arc<dyn FleetLanes>,
    pub way: Way,
}

#[async_trait]
impl FleetLanes for FarLanes {
    async fn reserve(&self, lanes: &[LaneLimit], within: Duration) -> Result<SlotAnswer, LedgerError> {
        self.way.there_and_back("", self.lanes.reserve(lanes, within)).await
    }

    async fn pause(&self, lane: &LaneLimit, lasting: Duration) -> Result<(), LedgerError> {
        self.way.there_and_back("", self.lanes.pause(lane, lasting)).await
    }
}

pub(crate) struct FarLedger {
    pub ledger: Arc<dyn Ledger>,
    pub way: Way,
}

#[async_trait]
impl Ledger for FarLedger {
    async fn read(&self, id: &ChallengeId) -> Result<Option<Record>, LedgerError> {
        self.way.there_and_back(id.as_str(), self.ledger.read(id)).await
    }

    async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Result<Written, LedgerError> {
        self.way.there_and_back(id.as_str(), self.ledger.write(id, expected, entry)).await
    }

    async fn append(&self, id: &ChallengeId, fact: Fact, keep_until: Timestamp) -> Result<Appended, LedgerError> {
        self.way.there_and_back(id.as_str(), self.ledger.append(id, fact, keep_until)).await
    }

    async fn mark_published(&self, id: &ChallengeId, version: Version) -> Result<(), LedgerError> {
        self.way.there_and_back(id.as_str(), self.ledger.mark_published(id, version)).await
    }

    async fn remember(&self, handle: Handle, id: &ChallengeId, keep_until: Timestamp) -> Result<(), LedgerError> {
        self.way.there_and_back(id.as_str(), self.ledger.remember(handle, id, keep_until)).await
    }

    async fn find(&self, handle: Handle) -> Result<Option<ChallengeId>, LedgerError> {
        self.ledger.find(handle).await
    }

    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError> {
        self.ledger.record_outcomes(published, keep_until).await
    }

    async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError> {
        self.ledger.outcomes(about, most).await
    }

    fn epoch(&self) -> u64 {
        self.ledger.epoch()
    }
}
