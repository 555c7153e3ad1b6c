//! Where an attempt's slot comes from: this worker's own lanes, or those of the fleet, however long they take to answer.
//!
//! While the ledger does not answer, nobody gets a slot of the fleet's. That costs nothing that the next step, the
//! ledger's word that the attempt begins, would not cost; and no worker has to guess its share of a rate.

use std::time::Duration;

use super::flow::Task;
use super::pressure::FleetSlot;
use super::settle::FIRST_WAIT;
use crate::clock::Timestamp;
use crate::delivery::route::Hop;
use crate::delivery::verdict::Scope;
use crate::delivery::{Blocked, Event, SLOT_KEEPS};
use crate::telemetry::metrics;

impl Task {
    /// A slot for `hop` that comes before `latest`; else what the delivery has to be told.
    pub(super) async fn slot(&self, index: usize, hop: &Hop, latest: Timestamp) -> Result<Timestamp, Event> {
        let (tools, pressure) = (&self.desk.tools, &self.desk.tools.pressure);
        let blocked = |at| Event::Blocked { hop: index, why: Blocked::SlotAt(at) };
        let mut wait = FIRST_WAIT;
        loop {
            match pressure.reserve_in_fleet(hop, &tools.clock, latest).await {
                Ok(FleetSlot::Own) => return pressure.reserve(hop, self.now(), latest).map_err(blocked),
                Ok(FleetSlot::At(slot)) => return Ok(slot),
                Ok(FleetSlot::TooLate(at)) => return Err(blocked(at)),
                Ok(FleetSlot::Moved) => {
                    metrics::rate_limited(&hop.provider, "fleet");
                    return Err(Event::Look);
                }
                Err(why) => self.desk.ledger_failed(&why, &mut wait).await,
            }
            if self.now() >= latest {
                return Err(blocked(self.now()));
            }
        }
    }

    /// Whether the ledger took so long since `then` that what was in hand meanwhile would go at once, and exceed what
    /// the fleet may send.
    pub(super) fn missed_its_slot(&self, hop: &Hop, then: Timestamp) -> bool {
        self.now().since(then) > SLOT_KEEPS && self.desk.tools.pressure.is_shared(hop)
    }

    /// Best effort: others that get the same answer pause too.
    pub(super) async fn pause_fleet(&self, hop: &Hop, scope: Scope, lasting: Duration) {
        if let Err(why) = self.desk.tools.pressure.pause_fleet(hop, scope, lasting).await {
            metrics::ledger_error();
            tracing::warn!(%why, provider = hop.provider.as_ref(), "the other workers are not told of a pause");
        }
    }
}
