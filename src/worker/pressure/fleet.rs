//! Slots that all workers on a ledger share.
//!
//! The keeper of the fleet's lanes gives them out; it alone knows who has taken what. This worker's own lanes are then a
//! view: what was last heard keeps them still until then, so that a plan prefers a provider that is free. A view can be
//! behind, so a slot that comes much later than it said is not taken: the delivery looks again.
//!
//! Nothing is paced a second time here. Answers overtake each other between tasks, and by each that does a lane of our
//! own would lose a slot for good, until it ran far behind the fleet's.

use std::sync::Arc;
use std::time::Duration;

use super::{Pressure, lane_of, lock};
use crate::clock::{Clock, Timestamp};
use crate::delivery::PATIENCE;
use crate::delivery::route::Hop;
use crate::delivery::verdict::Scope;
use crate::guard::quota::LaneLimit;
use crate::ledger::LedgerError;
use crate::ledger::lanes::FleetLanes;

/// What came of asking the fleet for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetSlot {
    /// The fleet is not to be asked: nothing limits the hop, or only this worker's own lanes do.
    Own,
    /// It is reserved.
    At(Timestamp),
    /// None is reserved: others took those that this worker thought free. It knows better now.
    Moved,
    /// None comes in time: the next does then.
    TooLate(Timestamp),
}

impl Pressure {
    /// Slots are the fleet's from now on, wherever there is a limit.
    pub fn share(&mut self, lanes: Arc<dyn FleetLanes>) {
        self.fleet = Some(lanes);
    }

    /// Asks the fleet for the next slot of a hop that comes before `latest`.
    ///
    /// # Errors
    /// Where its lanes can't be asked now. A slot may have been taken then; it lapses.
    pub async fn reserve_in_fleet(
        &self,
        hop: &Hop,
        clock: &Clock,
        latest: Timestamp,
    ) -> Result<FleetSlot, LedgerError> {
        let Some((fleet, limits)) = self.fleet_of(hop) else { return Ok(FleetSlot::Own) };
        let now = clock.now();
        let expected = lock(&self.lanes).earliest(&hop.provider, hop.channel, hop.sender.as_ref(), now);
        // Half as long again, so that many who ask at once are through after a few rounds.
        let reach = (expected.since(now) * 3 / 2).max(PATIENCE);
        let answer = fleet.reserve(&limits, reach.min(latest.since(now))).await?;
        // Counted from here, so that nobody is early by the way of the answer.
        let now = clock.now();
        let mut lanes = lock(&self.lanes);
        for (limit, next) in limits.iter().zip(&answer.next) {
            lanes.pause(&limit.key, now + *next);
        }
        drop(lanes);
        Ok(match answer.slot {
            // Rounded up: a slot is never early.
            Ok(wait) => FleetSlot::At(now + (wait + Duration::from_micros(999))),
            Err(wait) if now + wait < latest => FleetSlot::Moved,
            Err(wait) => FleetSlot::TooLate(now + wait),
        })
    }

    /// Tells the fleet that a provider asked for a pause.
    ///
    /// # Errors
    /// Where its lanes can't be told now.
    pub async fn pause_fleet(&self, hop: &Hop, scope: Scope, lasting: Duration) -> Result<(), LedgerError> {
        let Some((fleet, limits)) = self.fleet_of(hop) else { return Ok(()) };
        let key = lane_of(hop, scope);
        match limits.iter().find(|limit| limit.key == key) {
            Some(limit) => fleet.pause(limit, lasting).await,
            None => Ok(()),
        }
    }

    /// Whether a limit holds `hop` that the fleet shares.
    pub fn is_shared(&self, hop: &Hop) -> bool {
        self.fleet_of(hop).is_some()
    }

    fn fleet_of(&self, hop: &Hop) -> Option<(&Arc<dyn FleetLanes>, Vec<LaneLimit>)> {
        let fleet = self.fleet.as_ref()?;
        let limits = lock(&self.lanes).limits(&hop.provider, hop.channel, hop.sender.as_ref());
        (!limits.is_empty()).then_some((fleet, limits))
    }
}
