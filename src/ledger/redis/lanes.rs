//! The fleet's lanes in Redis: a number for each, which a script raises. `slot.lua` has the arithmetic.
//!
//! Redis's clock counts, for workers' clocks differ; workers are told waits. Each worker keeps where it last heard a
//! lane to stand and says so with its next question: a Redis that comes back without a lane, or with an older one, is
//! told. Guarantee: a question that nobody waits for any more spends nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::link::ANSWER;
use super::stored::Fields;
use super::{RedisLedger, Subject, TURNS};
use crate::clock::Clock;
use crate::guard::quota::{LaneKey, LaneLimit};
use crate::ledger::LedgerError;
use crate::ledger::lanes::{FleetLanes, SlotAnswer};

/// Beyond the longest wait for an answer: what a question may need to Redis, and an answer from there.
const TRAVEL: Duration = Duration::from_secs(1);

/// What this worker was told of lanes. There are as many as are configured.
#[derive(Default)]
pub(super) struct Heard(Mutex<Said>);

#[derive(Default)]
struct Said {
    /// What Redis's clock said, in microseconds, when we heard it.
    clock: Option<(u64, Instant)>,
    lanes: HashMap<LaneKey, Standing>,
}

/// Where a lane stood: its `tat`, `at` some time, in microseconds of Redis's clock.
#[derive(Clone, Copy, Default)]
struct Standing {
    tat: u64,
    at: u64,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When, by Redis's clock, whoever asks now has stopped listening; 0 while nothing is known of that clock.
    fn listens_until(&self) -> u64 {
        self.lock().clock.map_or(0, |(at, heard)| at + micros(heard.elapsed() + ANSWER + TRAVEL))
    }

    fn standing(&self, key: &LaneKey) -> Standing {
        self.lock().lanes.get(key).copied().unwrap_or_default()
    }

    /// Takes in an answer to a question about `lanes`; what it is in the end, where it is one.
    fn hear(&self, lanes: &[LaneLimit], word: &str, fields: &Fields) -> Option<SlotAnswer> {
        let now = number(fields, "now")?;
        let mut said = self.lock();
        said.clock = Some((now, Clock::instant()));
        let slot = Duration::from_micros(number(fields, "slot")?);
        let mut next = Vec::with_capacity(lanes.len());
        for (n, lane) in (1..).zip(lanes) {
            next.push(Duration::from_micros(number(fields, &format!("next{n}"))?));
            let stands = Standing { tat: number(fields, &format!("tat{n}"))?, at: now };
            let known = said.lanes.entry(lane.key.clone()).or_default();
            // Answers come in any order. A clock that went back says more than one that did not.
            if stands.tat > known.tat || stands.at < known.at {
                *known = stands;
            }
        }
        let slot = if word == "done" { Ok(slot) } else { Err(slot) };
        Some(SlotAnswer { slot, next })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn number(fields: &Fields, name: &str) -> Option<u64> {
    std::str::from_utf8(fields.get(name)?).ok()?.parse().ok()
}

#[async_trait]
impl FleetLanes for RedisLedger {
    async fn reserve(&self, lanes: &[LaneLimit], within: Duration) -> Result<SlotAnswer, LedgerError> {
        let inner = &self.inner;
        for _ in 0..TURNS {
            let mut numbers = vec![micros(within), inner.heard.listens_until()];
            for lane in lanes {
                let (pace, stands) = (lane.pace(), inner.heard.standing(&lane.key));
                numbers.extend([pace.period, pace.tolerance, stands.tat, stands.at]);
            }
            let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let arguments: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let (word, fields) = inner.ask(&inner.scripts.slot, Subject::Lanes(lanes), &arguments).await?;
            match inner.heard.hear(lanes, &word, &fields) {
                Some(answer) => return Ok(answer),
                // Redis's clock went ahead of what we took it for; now we know.
                None if word == "unheard" => {}
                None => return Err(LedgerError("an answer about a slot that can't be read".to_owned())),
            }
        }
        Err(LedgerError("its clock changes too fast".to_owned()))
    }

    async fn pause(&self, lane: &LaneLimit, lasting: Duration) -> Result<(), LedgerError> {
        let (lasting, tolerance) = (micros(lasting).to_string(), lane.pace().tolerance.to_string());
        let arguments = [lasting.as_bytes(), tolerance.as_bytes()];
        let lanes = std::slice::from_ref(lane);
        self.inner.ask(&self.inner.scripts.pause, Subject::Lanes(lanes), &arguments).await.map(drop)
    }
}
