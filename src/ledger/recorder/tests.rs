//! Recording beside a ledger that works, hangs, fails and comes back, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::broker::memory::MemoryBroker;
use crate::broker::{Link, Properties};
use crate::challenge::{ChallengeId, Handle};
use crate::clock::Timestamp;
use crate::delivery::Fact;
use crate::delivery::version::Version;
use crate::ledger::outcomes::{About, Found};
use crate::ledger::suite::published;
use crate::ledger::{Appended, Entry, Expected, LedgerError, Record, Written};

const RETENTION: Duration = Duration::from_hours(1);

/// A ledger that only records, and does so as it is told.
#[derive(Default)]
struct Scripted {
    ids: Mutex<Vec<String>>,
    /// How often it fails before it does what it is asked.
    failures: AtomicUsize,
    hangs: bool,
    keep_until: Mutex<Option<Timestamp>>,
}

impl Scripted {
    fn ids(&self) -> Vec<String> {
        self.ids.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl Ledger for Scripted {
    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(LedgerError("away".to_owned()));
        }
        self.ids.lock().expect("not poisoned").extend(published.iter().map(|outcome| outcome.id.clone()));
        self.keep_until.lock().expect("not poisoned").replace(keep_until);
        Ok(())
    }

    async fn read(&self, _: &ChallengeId) -> Result<Option<Record>, LedgerError> {
        panic!("not asked for")
    }

    async fn write(&self, _: &ChallengeId, _: Expected, _: Entry) -> Result<Written, LedgerError> {
        panic!("not asked for")
    }

    async fn append(&self, _: &ChallengeId, _: Fact, _: Timestamp) -> Result<Appended, LedgerError> {
        panic!("not asked for")
    }

    async fn mark_published(&self, _: &ChallengeId, _: Version) -> Result<(), LedgerError> {
        panic!("not asked for")
    }

    async fn remember(&self, _: Handle, _: &ChallengeId, _: Timestamp) -> Result<(), LedgerError> {
        panic!("not asked for")
    }

    async fn find(&self, _: Handle) -> Result<Option<ChallengeId>, LedgerError> {
        panic!("not asked for")
    }

    async fn outcomes(&self, _: &About, _: usize) -> Result<Found, LedgerError> {
        panic!("not asked for")
    }

    fn epoch(&self) -> u64 {
        1
    }
}

fn outcome(name: &str) -> Publication {
    Publication {
        route: Route::Outcome("outcome.sent.sms.interim".to_owned()),
        properties: Properties { content_type: Some("application/json".to_owned()), ..Properties::default() },
        body: published(name, "1:sent", "s", None).body,
        expiration: None,
    }
}

/// Outcomes are recorded in this ledger; the broker is one in memory, and stays while its link does.
fn recorded_in(ledger: &Arc<Scripted>) -> (Arc<dyn Outbox>, Recording, Link) {
    let link = MemoryBroker::new(100).connect(10);
    let ledger = Arc::clone(ledger) as Arc<dyn Ledger>;
    let clock = Clock::starting_at(Timestamp::EPOCH);
    let (outbox, recording) = record(Arc::clone(&link.outbox), ledger, clock, RETENTION);
    (outbox, recording, link)
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_confirmed_is_recorded_and_nothing_else() {
    let ledger = Arc::new(Scripted::default());
    let (outbox, recording, link) = recorded_in(&ledger);
    outbox.publish(&outcome("a")).await.expect("published");
    tokio::time::sleep(LINGER * 2).await;
    assert_eq!(ledger.ids(), ["a:1:sent"]);
    assert!(ledger.keep_until.lock().expect("not poisoned").is_some_and(|until| until >= Timestamp::EPOCH + RETENTION));
    let other = |route| Publication { route, ..outcome("b") };
    outbox.publish(&other(Route::Followups)).await.expect("published");
    outbox.publish(&other(Route::Quarantine)).await.expect("published");
    outbox.publish(&Publication { body: Bytes::from_static(b"{}"), ..outcome("c") }).await.expect("published");
    drop(link);
    outbox.publish(&outcome("d")).await.expect_err("the broker is gone");
    recording.finish(RETENTION).await;
    assert_eq!(ledger.ids(), ["a:1:sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_hangs_delays_nothing_and_only_so_many_wait() {
    let ledger = Arc::new(Scripted { hangs: true, ..Scripted::default() });
    let (outbox, recording, _link) = recorded_in(&ledger);
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let counting = ::metrics::set_default_local_recorder(&recorder);
    let begun = Clock::instant();
    for n in 0..MOST_WAITING + 500 {
        outbox.publish(&outcome(&format!("c{n}"))).await.expect("published");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    drop(counting);
    let dropped = figures.render();
    let dropped = dropped.lines().find_map(|line| line.strip_prefix("courier_unrecorded_outcomes_total "));
    let dropped: usize = dropped.expect("counted").parse().expect("a number");
    assert!((500 - AT_ONCE..=500).contains(&dropped), "{dropped}: all but those that wait, or were taken before");
    recording.finish(Duration::from_secs(1)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1), "the end waits no longer than it was told to");
}

#[tokio::test(start_paused = true)]
async fn what_was_published_while_the_ledger_was_away_is_recorded_once_it_is_back() {
    let ledger = Arc::new(Scripted { failures: AtomicUsize::new(3), ..Scripted::default() });
    let (outbox, _recording, _link) = recorded_in(&ledger);
    for n in 0..200 {
        outbox.publish(&outcome(&format!("c{n}"))).await.expect("published");
    }
    tokio::time::sleep(LONGEST_WAIT).await;
    let expected: Vec<_> = (0..200).map(|n| format!("c{n}:1:sent")).collect();
    assert_eq!(ledger.ids(), expected, "each once, in their order");
}

#[tokio::test(start_paused = true)]
async fn the_last_ones_are_recorded_before_the_end() {
    let ledger = Arc::new(Scripted::default());
    let (outbox, recording, _link) = recorded_in(&ledger);
    for n in 0..150 {
        outbox.publish(&outcome(&format!("c{n}"))).await.expect("published");
    }
    recording.finish(Duration::from_secs(1)).await;
    assert_eq!(ledger.ids().len(), 150);
}
