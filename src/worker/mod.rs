//! EFFECTS: carries out the steps that [`crate::delivery`] decides, and decides nothing itself.
//!
//! One task for each message. [`flow`] is the map of what a task does; [`look`] says what a message means
//! beside its record; [`attempt`] speaks to providers, [`settle`] to the broker, [`signals`] takes in what
//! upstream says. Guarantee: a message is acked only after everything it stood for is stored elsewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::wire::challenge::Reader;
use crate::broker::{Inbox, Names, Outbox};
use crate::challenge::ChallengeId;
use crate::clock::{Clock, Dice};
use crate::delivery::message::Texts;
use crate::delivery::policy::Policy;
use crate::guard::health::Change;
use crate::ledger::{Ledger, Word};
use crate::provider::Roster;
use crate::provider::callback::Callbacks;
use crate::seal::Seal;

mod attempt;
mod flow;
pub mod look;
pub mod pressure;
mod recent;
mod settle;
mod signals;
mod slot;
mod turns;

use pressure::Pressure;

/// Everything a worker works with.
pub struct Tools {
    /// Time.
    pub clock: Clock,
    /// What the operator decided.
    pub policy: Policy,
    /// What people read.
    pub texts: Texts,
    /// How people are reached.
    pub roster: Roster,
    /// Lanes, circuits, permits.
    pub pressure: Pressure,
    /// Who may speak.
    pub ledger: Arc<dyn Ledger>,
    /// What publishes.
    pub outbox: Arc<dyn Outbox>,
    /// Where providers tell their news; absent where no provider does.
    pub callbacks: Option<Callbacks>,
    /// What reads.
    pub reader: Reader,
    /// The broker's names.
    pub names: Names,
    /// How long concluded challenges are remembered.
    pub retention: Duration,
    /// What seals what is parked or quarantined.
    pub seal: Arc<Seal>,
    /// How long quarantined messages are kept.
    pub quarantine_ttl: Duration,
    /// Where chance begins.
    pub seed: u64,
}

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything it had was finished or parked.
    Drained,
    /// The time for draining ran out with this many messages in hand; the broker delivers them again.
    CutOff(usize),
    /// There was nothing to consume from any more.
    LinkFailed,
}

/// Consumes, delivers, publishes.
pub struct Worker {
    desk: Arc<Desk>,
}

/// What the tasks of one worker share.
pub(crate) struct Desk {
    tools: Tools,
    /// Wakes the task that sleeps for a challenge when news of it comes.
    sleeping: Mutex<HashMap<ChallengeId, Arc<Notify>>>,
    recent: recent::Recent,
    turns: turns::Turns,
    draining: CancellationToken,
    dice: AtomicU64,
    in_hand: in_hand::InHand,
}

mod in_hand;

impl Worker {
    /// A worker that has not begun.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        let desk = Desk {
            sleeping: Mutex::default(),
            recent: recent::Recent::new(10_000),
            turns: turns::Turns::default(),
            draining: CancellationToken::new(),
            dice: AtomicU64::new(tools.seed),
            in_hand: in_hand::InHand::default(),
            tools,
        };
        Self { desk: Arc::new(desk) }
    }

    /// How often the main loop and its tasks made progress: a watchdog's pulse.
    pub fn pulse(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let desk = Arc::clone(&self.desk);
        move || desk.in_hand.turns()
    }

    /// What the circuits of its providers do from now on; a listener that is slow misses the oldest changes.
    #[must_use]
    pub fn circuits(&self) -> broadcast::Receiver<Change> {
        self.desk.tools.pressure.changes()
    }

    /// Works until `stop` is cancelled or `inbox` ends, then drains for at most `drain`.
    ///
    /// Dropping the future ends every task at once, as a crash does.
    pub async fn run(self, mut inbox: Box<dyn Inbox>, stop: CancellationToken, drain: Duration) -> Ended {
        let mut tasks = JoinSet::new();
        let mut report = tokio::time::interval(Duration::from_secs(1));
        let consumed = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break true,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => flow::report_panic(ended),
                _ = report.tick() => self.desk.report(),
                delivered = inbox.next() => match delivered {
                    Some(delivered) => { tasks.spawn(flow::handle(Arc::clone(&self.desk), delivered)); }
                    None => break false,
                },
            }
        };
        self.desk.draining.cancel();
        inbox.stop().await;
        let finished = tokio::time::timeout(drain, async {
            while !tasks.is_empty() {
                tokio::select! {
                    Some(ended) = tasks.join_next() => flow::report_panic(ended),
                    _ = report.tick() => self.desk.report(),
                }
            }
        });
        match (finished.await, consumed) {
            (Ok(()), true) => Ended::Drained,
            (Ok(()), false) => Ended::LinkFailed,
            (Err(_), _) => {
                let left = tasks.len();
                tasks.shutdown().await;
                Ended::CutOff(left)
            }
        }
    }
}

impl Desk {
    fn dice(&self) -> Dice {
        Dice::seeded(self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// Wakes whoever sleeps for this challenge in this worker.
    fn wake(&self, id: &ChallengeId) {
        let sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = sleeping.get(id) {
            notify.notify_one();
        }
    }

    fn report(&self) {
        let now = self.tools.clock.now();
        self.in_hand.report(now);
        self.tools.pressure.report(now);
    }

    /// Remembers what was said last, in case the ledger forgets it.
    fn remember(&self, id: &ChallengeId, word: &Arc<Word>) {
        self.recent.insert(id.clone(), Arc::clone(word));
    }
}
