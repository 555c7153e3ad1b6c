//! What the broker sent back because no queue took it.
//!
//! Written by the [`Screen`](super::screen) while it reads, asked by the [`Outbox`](super::outbox) when a confirm
//! comes. A return names no publication, so every one under way with the same exchange, key and message id counts as
//! returned: an innocent twin is published twice, but none is ever taken for stored that is not.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// Longer than any publication waits for its confirm.
const KEPT: Duration = Duration::from_mins(1);

/// A message that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) message_id: Option<String>,
}

/// The returns of one connection.
#[derive(Debug, Default)]
pub(super) struct Returns {
    published: AtomicU64,
    noted: AtomicUsize,
    list: Mutex<Vec<Noted>>,
}

#[derive(Debug)]
struct Noted {
    returned: Returned,
    /// Publications that began before this number may be what came back.
    before: u64,
    at: Instant,
}

impl Returns {
    /// The number of a publication that begins now.
    pub(super) fn begin(&self) -> u64 {
        self.published.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn note(&self, returned: Returned) {
        let (before, at) = (self.published.load(Ordering::SeqCst), Clock::instant());
        let mut list = self.lock();
        list.retain(|noted| at.duration_since(noted.at) < KEPT);
        // The same again only moves the border: one entry per key, however many come back.
        match list.iter_mut().find(|noted| noted.returned == returned) {
            Some(noted) => (noted.before, noted.at) = (before, at),
            None => list.push(Noted { returned, before, at }),
        }
        self.noted.store(list.len(), Ordering::SeqCst);
    }

    /// Whether publication `number` may have come back.
    pub(super) fn came_back(&self, number: u64, exchange: &str, routing_key: &str, message_id: Option<&str>) -> bool {
        self.noted.load(Ordering::SeqCst) > 0
            && self.lock().iter().any(|Noted { returned, before, .. }| {
                number < *before
                    && returned.exchange == exchange
                    && returned.routing_key == routing_key
                    && returned.message_id.as_deref() == message_id
            })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Noted>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(id: Option<&str>) -> Returned {
        Returned { exchange: "e".into(), routing_key: "k".into(), message_id: id.map(Into::into) }
    }

    #[test]
    fn a_return_marks_what_was_under_way_and_not_what_comes_later() {
        let returns = Returns::default();
        let (first, twin) = (returns.begin(), returns.begin());
        returns.note(returned(Some("m")));
        let again = returns.begin();
        assert!(returns.came_back(first, "e", "k", Some("m")) && returns.came_back(twin, "e", "k", Some("m")));
        assert!(!returns.came_back(again, "e", "k", Some("m")));
        assert!(!returns.came_back(first, "e", "k", None) && !returns.came_back(first, "e", "other", Some("m")));
        returns.note(returned(Some("m")));
        assert!(returns.came_back(again, "e", "k", Some("m")));
    }
}
