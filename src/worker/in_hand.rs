//! What this worker has in hand: how many messages, how old the oldest challenge is, and its pulse.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::telemetry::metrics;

#[derive(Debug, Default)]
pub(super) struct InHand {
    /// How many challenges in hand were issued at each moment.
    issued: Mutex<BTreeMap<Timestamp, u32>>,
    turns: AtomicU64,
}

/// Counts one challenge as in hand for as long as it lives.
pub(super) struct Held {
    desk: Arc<super::Desk>,
    issued_at: Timestamp,
}

impl Held {
    pub(super) fn new(desk: &Arc<super::Desk>, issued_at: Timestamp) -> Self {
        *desk.in_hand.lock().entry(issued_at).or_default() += 1;
        Self { desk: Arc::clone(desk), issued_at }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut issued = self.desk.in_hand.lock();
        if let Some(count) = issued.get_mut(&self.issued_at) {
            *count -= 1;
            if *count == 0 {
                issued.remove(&self.issued_at);
            }
        }
    }
}

impl InHand {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Timestamp, u32>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self, now: Timestamp) {
        let oldest = self.lock().keys().next().copied();
        metrics::oldest_challenge_age(oldest.map_or_else(Default::default, |at| now.since(at)));
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}
