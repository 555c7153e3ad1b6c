//! Which state of a delivery somebody holds: what the ledger fences and parked messages carry.

use serde::{Deserialize, Serialize};

/// Which state of a delivery somebody holds. A take-over starts a new lineage; every write a new step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Drawn by chance whenever somebody starts with a challenge or takes it over.
    pub lineage: u64,
    /// Counts the writes.
    pub step: u64,
}

impl Version {
    /// The state after one more write of the same owner.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { lineage: self.lineage, step: self.step + 1 }
    }

    /// The state after a take-over.
    #[must_use]
    pub const fn taken_over_by(self, lineage: u64) -> Self {
        Self { lineage, step: self.step + 1 }
    }
}

impl super::Delivery {
    /// Takes the content hash that this worker computed: keys of hashes differ between lives of a worker.
    pub fn recognise_as(&mut self, content: crate::challenge::ContentHash) {
        if self.challenge.content != content {
            std::sync::Arc::make_mut(&mut self.challenge).content = content;
        }
    }
}

impl super::verdict::AttemptResult {
    /// Whether a message with this result may have reached the person.
    #[must_use]
    pub const fn may_have_arrived(self) -> bool {
        matches!(self, Self::Accepted | Self::Unknown)
    }
}
