//! Lanes that workers of one process share, by governor's arithmetic: the twin of those in Redis for simulations.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{FleetLanes, SlotAnswer};
use crate::clock::{Clock, Timestamp};
use crate::guard::quota::{LaneLimit, Lanes};
use crate::ledger::LedgerError;

/// Lanes in this process's memory, on a clock of their own.
#[derive(Debug)]
pub struct MemoryLanes {
    clock: Clock,
    lanes: Mutex<Lanes>,
}

impl MemoryLanes {
    /// All lanes free.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, lanes: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // No code that can panic runs under this lock; a poisoned one is as good as a whole one.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl FleetLanes for MemoryLanes {
    async fn reserve(&self, limits: &[LaneLimit], within: Duration) -> Result<SlotAnswer, LedgerError> {
        let now = self.clock.now();
        let from_now = |at: Timestamp| at.since(now);
        let mut lanes = self.lock();
        for limit in limits {
            lanes.ensure(limit, now);
        }
        let slot = lanes.reserve_on(limits, now, now + within).map(from_now).map_err(from_now);
        let next = limits.iter().map(|limit| from_now(lanes.earliest_of(&limit.key, now))).collect();
        Ok(SlotAnswer { slot, next })
    }

    async fn pause(&self, limit: &LaneLimit, lasting: Duration) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let mut lanes = self.lock();
        lanes.ensure(limit, now);
        lanes.pause(&limit.key, now + lasting);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::suite;
    use super::*;
    use crate::guard::quota::Rate;

    const NOW: Timestamp = Timestamp::EPOCH;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_rules_of_every_fleet() {
        let make = || async { Arc::new(MemoryLanes::new(Clock::starting_at(NOW))) as Arc<dyn FleetLanes> };
        suite::run(&make).await;
    }

    /// When callers `(who, after how many milliseconds it asks)` send, by one clock; each reckons with its own.
    async fn sent(rate: Rate, skews: [i64; 3], asks: &[(usize, u64)]) -> Vec<i64> {
        let clock = Clock::starting_at(NOW + Duration::from_hours(1));
        let lanes = MemoryLanes::new(clock.clone());
        let callers = skews.map(|skew| {
            let own = Clock::starting_at(clock.now());
            own.skew_by(skew);
            own
        });
        let mut sent = Vec::new();
        for (who, gap) in asks {
            tokio::time::advance(Duration::from_millis(*gap)).await;
            let answer = lanes.reserve(&[suite::limit(None, rate)], Duration::from_hours(9)).await;
            let wait = answer.expect("usable").slot.expect("not too late");
            // A caller notes its slot in its own time, and goes when its own clock says so.
            let noted = callers[*who].now() + wait;
            sent.push((clock.now() + noted.since(callers[*who].now())).as_millis());
        }
        sent.sort_unstable();
        sent
    }

    proptest::proptest! {
        /// In any time of length T there are at most burst + rate · T slots, whoever asks, whatever its clock says.
        #[test]
        fn no_time_holds_more_than_burst_and_rate(
            per_second in 1u32..200,
            burst in 1u32..20,
            skews in [-3_600_000i64..3_600_000, -500i64..500, 0i64..1],
            asks in proptest::collection::vec((0usize..3, 0u64..40), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let rate = Rate { per_second: f64::from(per_second), burst };
            let sent = runtime.expect("a runtime").block_on(sent(rate, skews, &asks));
            for (i, from) in sent.iter().enumerate() {
                for (held, to) in (1u32..).zip(&sent[i..]) {
                    // A slot is told in whole milliseconds, the one at the end up to one later.
                    let time = f64::from(u32::try_from(to - from + 1).expect("short")) / 1_000.0;
                    let most = f64::from(burst) + rate.per_second * time;
                    proptest::prop_assert!(f64::from(held) <= most, "{held} from {from} to {to}");
                }
            }
        }
    }
}
