//! The last words that this worker said, for a while: what holds when the ledger was emptied under it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::challenge::ChallengeId;
use crate::ledger::Word;

/// A bounded memory of last words, the oldest forgotten first.
#[derive(Debug)]
pub(super) struct Recent {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    words: HashMap<ChallengeId, Arc<Word>>,
    order: VecDeque<ChallengeId>,
}

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    pub(super) fn insert(&self, id: ChallengeId, word: Arc<Word>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { words, order } = &mut *held;
        if words.insert(id.clone(), word).is_none() {
            order.push_back(id);
        }
        while order.len() > self.most {
            if let Some(oldest) = order.pop_front() {
                words.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, id: &ChallengeId) -> Option<Arc<Word>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).words.get(id).cloned()
    }
}
