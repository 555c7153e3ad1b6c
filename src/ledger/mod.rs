//! Who may speak for a challenge, what was done for it, what is known of it: one fenced record each.
//!
//! The broker stores challenges; the ledger makes copies of them harmless. Every write of an owner is a
//! compare-and-set on ([`Version`], number of facts); facts are appended by compare-and-set and change
//! neither lineage nor step. [`suite`] holds what every ledger must do; [`memory`] serves one worker, [`redis`] any number.
//! [`lanes`] are what the workers of one ledger share beside its records.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::broker::Publication;
use crate::challenge::{ChallengeId, ContentHash, Handle};
use crate::clock::Timestamp;
use crate::delivery::version::Version;
use crate::delivery::{Delivery, Fact};
use crate::ledger::outcomes::{About, Found, Published};

pub mod lanes;
pub mod memory;
pub mod outcomes;
pub mod recorder;
pub mod redis;
pub mod suite;

/// The last word on a challenge: what is published, in this order, byte for byte, however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Interim outcomes that were not known to be published.
    pub interims: Vec<Publication>,
    /// The final outcome.
    pub last: Publication,
    /// The queue that wants a copy.
    pub reply_to: Option<String>,
}

/// Where a challenge is.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Nobody has begun with it; only facts are known.
    FactsOnly,
    /// Somebody works on it. The delivery says whether an attempt has begun.
    Working(Arc<Delivery>),
    /// Its continuation waits in the broker until then.
    Parked {
        /// Everything needed to go on.
        delivery: Arc<Delivery>,
        /// When its timer runs out.
        due: Timestamp,
    },
    /// Its final outcome is decided.
    Concluded(Arc<Word>),
}

/// What the ledger holds of one challenge.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which state this is.
    pub version: Version,
    /// Where the challenge is.
    pub phase: Phase,
    /// Which content its id stands for; `None` while only facts are known.
    pub content: Option<ContentHash>,
    /// What upstream and providers said, oldest first.
    pub facts: Arc<Vec<Fact>>,
    /// Whether what the phase stores (a continuation, a final outcome) is known to be published.
    pub published: bool,
}

/// What an owner writes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The new state; its step is above the old one.
    pub version: Version,
    /// Where the challenge is now; never [`Phase::FactsOnly`].
    pub phase: Phase,
    /// Which content its id stands for.
    pub content: ContentHash,
    /// Until when the ledger has to remember it.
    pub keep_until: Timestamp,
}

/// What an owner believes the record to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its state; `None`: nobody has begun (no record, or only facts).
    pub version: Option<Version>,
    /// How many facts it took in.
    pub facts: usize,
}

/// What came of a compare-and-set.
#[derive(Clone, Debug)]
pub enum Written {
    /// It is stored.
    Done,
    /// The record is another than expected: this one, or none.
    Lost(Option<Record>),
}

/// What came of appending a fact.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The record with it.
    pub record: Record,
    /// Whether it said something new.
    pub is_new: bool,
}

/// The ledger can't be used now. What was asked of it may have been done.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the ledger can't be used now: {0}")]
pub struct LedgerError(pub String);

/// Most facts that one record takes; what comes beyond them is dropped as saying nothing new.
pub const MAX_FACTS: usize = 64;

/// A store of fenced records.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The record of a challenge.
    async fn read(&self, id: &ChallengeId) -> Result<Option<Record>, LedgerError>;

    /// Writes if the record is as expected; clears its published mark.
    async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Result<Written, LedgerError>;

    /// Appends a fact if it says something new, making a record that holds only facts where there is none.
    /// A cancellation or verification is new only where neither came before.
    async fn append(&self, id: &ChallengeId, fact: Fact, keep_until: Timestamp) -> Result<Appended, LedgerError>;

    /// Marks what state `version` stores as published, if the record is still in it.
    async fn mark_published(&self, id: &ChallengeId, version: Version) -> Result<(), LedgerError>;

    /// Remembers, at least until `keep_until`, which challenge `handle` stands for: before anything is sent that a
    /// receipt could answer. Once more for the same challenge, it is kept until the later of the two.
    async fn remember(&self, handle: Handle, id: &ChallengeId, keep_until: Timestamp) -> Result<(), LedgerError>;

    /// The challenge that `handle` stands for.
    async fn find(&self, handle: Handle) -> Result<Option<ChallengeId>, LedgerError>;

    /// Keeps, where there is room until `keep_until`, that these outcomes were published. Again the same ones: nothing
    /// new. Of a final outcome the ledger may keep no more than whose it is: its record holds the bytes.
    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError>;

    /// The newest `most` of the kept outcomes that are about somebody or something, newest first.
    async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError>;

    /// Which life of the ledger this is: another one after its content was lost.
    fn epoch(&self) -> u64;
}

/// Whether `fact` says something that `known` does not.
#[must_use]
pub fn says_something_new(known: &[Fact], fact: &Fact) -> bool {
    let is_word = |fact: &Fact| matches!(fact, Fact::Cancelled | Fact::Verified { .. });
    known.len() < MAX_FACTS
        && match fact {
            Fact::Cancelled | Fact::Verified { .. } => !known.iter().any(is_word),
            Fact::Receipt { attempt, status, .. } => !known.iter().any(
                |other| matches!(other, Fact::Receipt { attempt: a, status: s, .. } if a == attempt && s == status),
            ),
        }
}
