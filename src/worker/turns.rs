//! One at a time: whoever changes what the record of a challenge stores, or publishes it, does so in its turn.
//!
//! Not needed for safety, which is the ledger's. But copies of a message that find the same state unpublished
//! would all publish it, each of these publications may be doubled or its ack lost, and so copies would beget
//! copies. In turn, the first publishes and marks, and all others of this worker find it done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::challenge::ChallengeId;

/// Who waits for a turn, by challenge.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<ChallengeId, Arc<tokio::sync::Mutex<()>>>>);

/// Nobody else of this worker speaks for the challenge while this lives.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    id: ChallengeId,
    held: Option<OwnedMutexGuard<()>>,
    /// Whether another had it meanwhile: what was read before may have changed.
    pub(super) waited: bool,
}

impl Turns {
    /// Waits for the turn to speak for `id`.
    pub(super) async fn take(&self, id: &ChallengeId) -> Turn<'_> {
        let mut turn = Turn { turns: self, id: id.clone(), held: None, waited: false };
        let line = Arc::clone(self.lock().entry(id.clone()).or_default());
        turn.held = Some(match Arc::clone(&line).try_lock_owned() {
            Ok(held) => held,
            Err(_taken) => {
                turn.waited = true;
                line.lock_owned().await
            }
        });
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChallengeId, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut lines = self.turns.lock();
        // The last one in a line takes it away.
        if lines.get(&self.id).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_speaks_at_a_time_and_nothing_is_left_of_a_line() {
        let turns = Turns::default();
        let (id, other) = (ChallengeId::parse("a").expect("valid"), ChallengeId::parse("b").expect("valid"));
        let first = turns.take(&id).await;
        assert!(!first.waited, "nobody had it");
        let _other = turns.take(&other).await;
        let waited = tokio::time::timeout(Duration::from_secs(1), turns.take(&id)).await;
        assert!(waited.is_err(), "it is the first one's turn");
        let (second, ()) = tokio::join!(turns.take(&id), async { drop(first) });
        assert!(second.waited, "the first had it");
        drop(second);
        assert_eq!(turns.lock().len(), 1, "only the other's line is left");
    }
}
