//! Lanes that a fleet shares: whoever sends asks here for its slot, so that all workers together keep to one rate.
//!
//! A seam of its own beside [`super::Ledger`]: a ledger of one worker has none, since that worker's own lanes
//! ([`crate::guard::quota`]) are all there is, and they cost no way to anywhere. [`super::redis`] keeps lanes for any
//! number of workers, [`memory`] for several in one process; [`suite`] holds both to the same rules. Guarantee: in any
//! time of length T, the slots of a lane are at most burst + rate · T, whoever asks for them, and whatever the askers'
//! clocks say: all times here are from now on, and one clock counts them, the keeper's.

use std::time::Duration;

use async_trait::async_trait;

use super::LedgerError;
use crate::guard::quota::LaneLimit;

pub mod memory;
pub mod suite;

/// What came of asking for a slot. Every time counts from the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotAnswer {
    /// After how long the message may go. Where that is too late, nothing is spent on any lane, and this says when
    /// the slot would come.
    pub slot: Result<Duration, Duration>,
    /// For each lane that was asked, after how long it has its next slot, for whoever asks next.
    pub next: Vec<Duration>,
}

/// Who gives out the slots of a fleet.
#[async_trait]
pub trait FleetLanes: Send + Sync {
    /// Takes the next slot that all of `lanes` have, on each of them or on none: only if it comes within less than
    /// `within`. A slot that is not used lapses.
    async fn reserve(&self, lanes: &[LaneLimit], within: Duration) -> Result<SlotAnswer, LedgerError>;

    /// Keeps a lane still for `lasting`: its provider said so. Slots that were given before stay given.
    async fn pause(&self, lane: &LaneLimit, lasting: Duration) -> Result<(), LedgerError>;
}
