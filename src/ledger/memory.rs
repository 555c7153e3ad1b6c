//! The ledger of a single worker: it lives and dies with the process.
//!
//! Bounded: concluded challenges (and facts without a challenge) are forgotten after their retention, and
//! the oldest of them earlier when there are more than `capacity`. What is worked on or parked is never
//! forgotten before its time. Handles are forgotten likewise: after their time, and the oldest of them above
//! as many as there may be records. Of outcomes [`outcomes::MOST`] can be looked up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::outcomes::{Kept as KeptOutcome, Ring};
use super::outcomes::{About, Found, Published, final_body};
use super::{Appended, Entry, Expected, Ledger, LedgerError, Phase, Record, Written, says_something_new};
use crate::challenge::{ChallengeId, Handle};
use crate::clock::{Clock, Timestamp};
use crate::delivery::Fact;
use crate::delivery::version::Version;

mod outcomes;

/// A ledger in this process's memory.
#[derive(Debug)]
pub struct MemoryLedger {
    clock: Clock,
    capacity: usize,
    state: Mutex<State>,
    /// Apart from the records, so that nobody who delivers waits for it.
    published: Mutex<Ring>,
}

#[derive(Debug)]
struct State {
    epoch: u64,
    records: HashMap<ChallengeId, Kept>,
    /// What may be forgotten, in the order in which it became so.
    forgettable: VecDeque<ChallengeId>,
    handles: HashMap<Handle, (ChallengeId, Timestamp)>,
    /// The handles, oldest first.
    remembered: VecDeque<Handle>,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    keep_until: Timestamp,
    /// Whether it stands in `forgettable`.
    queued: bool,
}

const NOBODY: Version = Version { lineage: 0, step: 0 };

impl MemoryLedger {
    /// An empty ledger; `epoch` tells its life from every other one's.
    #[must_use]
    pub fn new(clock: Clock, capacity: usize, epoch: u64) -> Self {
        let published = Mutex::new(Ring::new(outcomes::MOST));
        Self { clock, capacity, state: Mutex::new(State::empty(epoch)), published }
    }

    /// Loses everything, as if the process had been started anew.
    pub fn wipe(&self, epoch: u64) {
        *self.lock() = State::empty(epoch);
        *self.published() = Ring::new(outcomes::MOST);
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock; a poisoned one is as good as a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> MutexGuard<'_, Ring> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn empty(epoch: u64) -> Self {
        Self {
            epoch,
            records: HashMap::new(),
            forgettable: VecDeque::new(),
            handles: HashMap::new(),
            remembered: VecDeque::new(),
        }
    }

    /// Forgets what is over its time, and the oldest above `capacity`.
    fn tidy(&mut self, now: Timestamp, capacity: usize) {
        while let Some(oldest) = self.forgettable.front() {
            let over = self.records.get(oldest).is_none_or(|kept| kept.keep_until <= now);
            if !over && self.forgettable.len() <= capacity {
                break;
            }
            if let Some(id) = self.forgettable.pop_front() {
                self.forget(&id);
            }
        }
    }

    /// The same for handles.
    fn tidy_handles(&mut self, now: Timestamp, capacity: usize) {
        while let Some(oldest) = self.remembered.front() {
            let over = self.handles.get(oldest).is_none_or(|(_, keep_until)| *keep_until <= now);
            if !over && self.remembered.len() <= capacity {
                break;
            }
            if let Some(handle) = self.remembered.pop_front() {
                self.handles.remove(&handle);
            }
        }
    }

    fn forget(&mut self, id: &ChallengeId) {
        let Some(kept) = self.records.get_mut(id) else { return };
        kept.queued = false;
        // Somebody began with it since: it queues again when it ends.
        if matches!(kept.record.phase, Phase::FactsOnly | Phase::Concluded(_)) {
            self.records.remove(id);
        }
    }

    fn queue(&mut self, id: &ChallengeId) {
        let Some(kept) = self.records.get_mut(id) else { return };
        if !kept.queued && matches!(kept.record.phase, Phase::FactsOnly | Phase::Concluded(_)) {
            kept.queued = true;
            self.forgettable.push_back(id.clone());
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn read(&self, id: &ChallengeId) -> Result<Option<Record>, LedgerError> {
        Ok(self.lock().records.get(id).map(|kept| kept.record.clone()))
    }

    async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Result<Written, LedgerError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let held = state.records.get(id).map(|kept| &kept.record);
        let owned = held.filter(|record| !matches!(record.phase, Phase::FactsOnly)).map(|record| record.version);
        let facts = held.map_or(0, |record| record.facts.len());
        if owned != expected.version || facts != expected.facts {
            return Ok(Written::Lost(held.cloned()));
        }
        let facts = held.map(|record| Arc::clone(&record.facts)).unwrap_or_default();
        let record = Record {
            version: entry.version,
            phase: entry.phase,
            content: Some(entry.content),
            facts,
            published: false,
        };
        let queued = state.records.get(id).is_some_and(|kept| kept.queued);
        state.records.insert(id.clone(), Kept { record, keep_until: entry.keep_until, queued });
        state.queue(id);
        state.tidy(now, self.capacity);
        Ok(Written::Done)
    }

    async fn append(&self, id: &ChallengeId, fact: Fact, keep_until: Timestamp) -> Result<Appended, LedgerError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let kept = state.records.entry(id.clone()).or_insert_with(|| Kept {
            record: Record {
                version: NOBODY,
                phase: Phase::FactsOnly,
                content: None,
                facts: Arc::default(),
                published: false,
            },
            keep_until,
            queued: false,
        });
        let is_new = says_something_new(&kept.record.facts, &fact);
        if is_new {
            Arc::make_mut(&mut kept.record.facts).push(fact);
        }
        let record = kept.record.clone();
        state.queue(id);
        state.tidy(now, self.capacity);
        Ok(Appended { record, is_new })
    }

    async fn mark_published(&self, id: &ChallengeId, version: Version) -> Result<(), LedgerError> {
        if let Some(kept) = self.lock().records.get_mut(id)
            && kept.record.version == version
        {
            kept.record.published = true;
        }
        Ok(())
    }

    async fn remember(&self, handle: Handle, id: &ChallengeId, keep_until: Timestamp) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let later = state.handles.get(&handle).map_or(keep_until, |(_, until)| keep_until.max(*until));
        if state.handles.insert(handle, (id.clone(), later)).is_none() {
            state.remembered.push_back(handle);
        }
        state.tidy_handles(now, self.capacity);
        Ok(())
    }

    async fn find(&self, handle: Handle) -> Result<Option<ChallengeId>, LedgerError> {
        Ok(self.lock().handles.get(&handle).map(|(id, _)| id.clone()))
    }

    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let mut ring = self.published();
        for outcome in published {
            ring.push(outcome, keep_until, now);
        }
        Ok(())
    }

    async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError> {
        // Repeats are few, but a challenge of which there are nothing but repeats can't hide another.
        let kept = self.published().find(about, most.saturating_mul(2).saturating_add(1), self.clock.now());
        let held: Vec<_> = {
            let state = self.lock();
            let with_record = |kept| match kept {
                KeptOutcome::Interim(body) => (Some(body), None),
                KeptOutcome::Final(id) => (None, state.records.get(&id).map(|kept| kept.record.clone())),
            };
            kept.into_iter().map(with_record).collect()
        };
        let bodies = held.into_iter().filter_map(|(body, record)| body.or_else(|| final_body(record.as_ref())));
        Ok(Found::among(bodies, about, most))
    }

    fn epoch(&self) -> u64 {
        self.lock().epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::suite;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_rules_of_every_ledger() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000_000));
        suite::run(&|| async { Arc::new(MemoryLedger::new(clock.clone(), 1_000, 7)) as Arc<dyn Ledger> }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_the_oldest_concluded_first_and_never_what_is_in_work() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000_000));
        let ledger = MemoryLedger::new(clock.clone(), 2, 7);
        let hour = clock.now() + std::time::Duration::from_hours(1);
        suite::write_working(&ledger, "working", hour).await;
        for id in ["a", "b", "c"] {
            suite::write_concluded(&ledger, id, hour).await;
        }
        assert!(suite::read(&ledger, "a").await.is_none(), "over capacity: the oldest is forgotten");
        assert!(suite::read(&ledger, "c").await.is_some());
        tokio::time::advance(std::time::Duration::from_hours(2)).await;
        suite::write_concluded(&ledger, "d", clock.now() + std::time::Duration::from_hours(1)).await;
        assert!(suite::read(&ledger, "c").await.is_none(), "over its retention");
        assert!(suite::read(&ledger, "working").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn handles_are_forgotten_after_their_time_and_the_oldest_above_capacity() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000_000));
        let ledger = MemoryLedger::new(clock.clone(), 2, 7);
        let hour = clock.now() + std::time::Duration::from_hours(1);
        for n in 1..=3 {
            suite::remember(&ledger, n, "x", hour).await;
        }
        let held = |n| suite::find(&ledger, n);
        assert_eq!((held(1).await, held(3).await.is_some()), (None, true), "over capacity: the oldest is forgotten");
        tokio::time::advance(std::time::Duration::from_hours(2)).await;
        suite::remember(&ledger, 4, "y", clock.now() + std::time::Duration::from_hours(1)).await;
        assert_eq!((held(3).await, held(4).await.is_some()), (None, true), "over its time");
    }
}
