//! Upstream, in thousands: publishes what a schedule says, a bounded number ahead of what has ended, and keeps what it
//! hears.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use mfa_courier::clock::{Clock, Timestamp};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::schedule::Schedule;
use crate::node::Client;

/// How many challenges may be without a final outcome at once: a slow machine gets a slower load, not a backlog.
const WINDOW: usize = 1_000;
/// How many publications wait for their confirms.
const AT_ONCE: usize = 64;
/// The time that each challenge has.
pub(super) const TTL: u64 = 60;
/// Longer than any of them may be silent.
const PATIENCE: Duration = Duration::from_secs(TTL + 10);

/// Where outcomes come, and what of them: every final one, and what is told after the end.
const QUEUE: &str = "test.crowd";
const BINDINGS: [&str; 3] = ["outcome.*.*.final", "outcome.delivered.*.interim", "outcome.undelivered.*.interim"];

/// What was heard of one challenge.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Its distinct final outcomes, the first one first.
    pub(super) finals: Vec<Vec<u8>>,
    /// How many came in all.
    pub(super) times: usize,
    /// When the first came.
    pub(super) first: Option<Timestamp>,
    /// What was told after the end: the ids of these outcomes.
    pub(super) late: BTreeSet<String>,
}

impl Told {
    /// Its first final outcome.
    pub(super) fn outcome(&self) -> Value {
        self.finals.first().map(|body| serde_json::from_slice(body).expect("JSON")).unwrap_or_default()
    }
}

/// What a run works with beside its workers.
pub(super) struct Crowd {
    pub(super) schedule: Schedule,
    client: Client,
    heard: Arc<Mutex<BTreeMap<usize, Told>>>,
    window: Arc<Semaphore>,
    ended: watch::Receiver<usize>,
    /// The latest that was published.
    published: watch::Sender<usize>,
    _listening: AbortOnDropHandle<()>,
}

impl Crowd {
    /// Listens from now on; a worker must have declared the exchanges.
    pub(super) async fn new(url: &str, count: usize) -> Self {
        let listener = Client::connect(url).await;
        for binding in BINDINGS {
            listener.outcomes_queue(QUEUE, binding).await;
        }
        let heard = Arc::<Mutex<BTreeMap<usize, Told>>>::default();
        let window = Arc::new(Semaphore::new(WINDOW));
        let (ends, ended) = watch::channel(0);
        let listening = tokio::spawn(listen(listener, Arc::clone(&heard), Arc::clone(&window), ends));
        Self {
            schedule: Schedule::new(count),
            client: Client::connect(url).await,
            heard,
            window,
            ended,
            published: watch::Sender::new(0),
            _listening: AbortOnDropHandle::new(listening),
        }
    }

    /// Publishes all of them, as fast as others end.
    pub(super) async fn publish(&self) {
        let publishing = (0..self.schedule.kinds.len()).map(|n| async move {
            let place = timeout(PATIENCE, self.window.acquire()).await.expect("others end").expect("open");
            // Whoever ends gives it back.
            place.forget();
            self.client.publish_challenge(&self.schedule.challenge(n, TTL).to_string()).await;
            self.published.send_modify(|latest| *latest = n.max(*latest));
        });
        futures_util::stream::iter(publishing).buffered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Publishes again what has ended.
    pub(super) async fn repeat(&self, which: impl Iterator<Item = usize>) {
        let publishing = which.map(|n| async move {
            self.client.publish_challenge(&self.schedule.challenge(n, TTL).to_string()).await;
        });
        futures_util::stream::iter(publishing).buffered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// The first of those that are certainly published later than now.
    pub(super) fn next(&self) -> usize {
        *self.published.borrow() + AT_ONCE
    }

    /// How often a final outcome came that had come before.
    pub(super) fn repeats(&self) -> usize {
        lock(&self.heard).values().map(|told| told.times - told.finals.len()).sum()
    }

    /// Waits until so many have ended.
    pub(super) async fn have_ended(&self, count: usize) {
        let mut ended = self.ended.clone();
        while *ended.borrow_and_update() < count {
            let changed = timeout(PATIENCE, ended.changed()).await;
            let now = *ended.borrow();
            changed.unwrap_or_else(|_| panic!("{now} of {count} have ended")).expect("it listens");
        }
    }

    /// What was heard of each.
    pub(super) fn told(&self) -> BTreeMap<usize, Told> {
        lock(&self.heard).clone()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(
    client: Client,
    heard: Arc<Mutex<BTreeMap<usize, Told>>>,
    window: Arc<Semaphore>,
    ends: watch::Sender<usize>,
) {
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consumer = client.channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
    let mut consumer = consumer.await.expect("a consumer");
    while let Some(Ok(delivery)) = consumer.next().await {
        let now = Clock::system().now();
        let outcome: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let text = |name: &str| outcome[name].as_str().expect("text");
        let n: usize = text("challenge_id").trim_start_matches('x').parse().expect("one of ours");
        let mut heard = lock(&heard);
        let told = heard.entry(n).or_default();
        if outcome["final"] == true {
            told.times += 1;
            if !told.finals.contains(&delivery.data) {
                told.finals.push(delivery.data);
            }
            if told.first.is_none() {
                told.first = Some(now);
                window.add_permits(1);
                ends.send_modify(|count| *count += 1);
            }
        } else if text("id").contains(":late:") {
            told.late.insert(text("id").to_owned());
        }
    }
}
