//! Records what is published, beside the way of an outcome: an outbox around the broker's, and a task behind it.
//!
//! Guarantees: an outcome is recorded only after the broker has confirmed it; publishing never waits for the ledger. At
//! most [`MOST_WAITING`] outcomes wait to be recorded, also while the ledger is away; what comes beyond them is dropped
//! and counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Ledger;
use super::outcomes::Published;
use crate::broker::{Outbox, Publication, PublishError, Route};
use crate::clock::Clock;
use crate::telemetry::metrics;

/// How many outcomes wait at most: a Redis that starts again misses none at 1,000 a second.
const MOST_WAITING: usize = 8_192;
/// How many are recorded at once: few enough that nobody waits for Redis to do it.
const AT_ONCE: usize = 64;
/// How long more is waited for, so that a busy worker is not woken for each.
const LINGER: Duration = Duration::from_millis(20);
/// The first and the longest wait before the ledger is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What was published and confirmed, unread.
struct Confirmed {
    content_type: Option<String>,
    body: Bytes,
}

impl Confirmed {
    fn of(publication: &Publication) -> Option<Self> {
        let Route::Outcome(_) = publication.route else { return None };
        Some(Self { content_type: publication.properties.content_type.clone(), body: publication.body.clone() })
    }
}

/// Publishes as the outbox within does, and has outcomes recorded.
struct Recorder {
    within: Arc<dyn Outbox>,
    waiting: Sender<Confirmed>,
}

#[async_trait]
impl Outbox for Recorder {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let outcome = Confirmed::of(publication);
        self.within.publish(publication).await?;
        if let Some(outcome) = outcome
            && self.waiting.try_send(outcome).is_err()
        {
            metrics::unrecorded_outcomes(1);
        }
        Ok(())
    }

    async fn close(&self) {
        self.within.close().await;
    }
}

/// The task that records.
pub struct Recording {
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Recording {
    /// Has what is still waiting recorded, within `patience`.
    pub async fn finish(self, patience: Duration) {
        self.closing.cancel();
        let _late = tokio::time::timeout(patience, self.task).await;
    }
}

/// An outbox that publishes by `within` and has `ledger` keep each outcome for `retention`.
#[must_use]
pub fn record(
    within: Arc<dyn Outbox>,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    retention: Duration,
) -> (Arc<dyn Outbox>, Recording) {
    let (waiting, queue) = mpsc::channel(MOST_WAITING);
    let closing = CancellationToken::new();
    let scribe = Scribe { queue, ledger, clock, retention, closing: closing.clone() };
    let task = AbortOnDropHandle::new(tokio::spawn(scribe.run()));
    (Arc::new(Recorder { within, waiting }), Recording { closing, task })
}

struct Scribe {
    queue: Receiver<Confirmed>,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    retention: Duration,
    closing: CancellationToken,
}

impl Scribe {
    async fn run(mut self) {
        let mut taken = Vec::with_capacity(AT_ONCE);
        let closing = self.closing.clone();
        loop {
            let many = closing.run_until_cancelled(self.queue.recv_many(&mut taken, AT_ONCE)).await;
            match many {
                Some(0) => return,
                Some(_) => {}
                // At the end: what is there, and no more.
                None => while taken.len() < AT_ONCE && self.queue.try_recv().map(|one| taken.push(one)).is_ok() {},
            }
            if taken.is_empty() {
                return;
            }
            let is_behind = taken.len() == AT_ONCE;
            self.record(&mut taken).await;
            if !is_behind {
                let _closing = closing.run_until_cancelled(tokio::time::sleep(LINGER)).await;
            }
        }
    }

    /// Records these, however long the ledger takes; at the end it is tried once.
    async fn record(&self, taken: &mut Vec<Confirmed>) {
        let read = taken.drain(..).filter_map(|one| Published::read(one.content_type.as_deref(), &one.body));
        let published: Vec<_> = read.collect();
        let mut wait = FIRST_WAIT;
        while let Err(why) = self.ledger.record_outcomes(&published, self.clock.now() + self.retention).await {
            metrics::ledger_error();
            tracing::debug!(%why, "outcomes can't be recorded now; trying again");
            if self.closing.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return metrics::unrecorded_outcomes(published.len());
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

#[cfg(test)]
mod tests;
