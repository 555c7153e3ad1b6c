//! The fleet's lanes in Redis: the rules of every keeper, many who ask at once, and what is left of a lane when Redis
//! is emptied, frozen, or its clock is another.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use mfa_courier::clock::Clock;
use mfa_courier::guard::quota::{LaneLimit, Rate};
use mfa_courier::ledger::Ledger as _;
use mfa_courier::ledger::lanes::suite::{self, limit};
use mfa_courier::ledger::lanes::{FleetLanes, SlotAnswer};
use mfa_courier::ledger::redis::RedisLedger;
use tokio::time::Instant;

use super::one_of_many;
use super::store::{Kind, Store};
use crate::node::eventually;

const FOREVER: Duration = Duration::from_hours(1);

fn lane(per_second: f64, burst: u32) -> [LaneLimit; 1] {
    [limit(None, Rate { per_second, burst })]
}

async fn reserve(ledger: &RedisLedger, lanes: &[LaneLimit]) -> SlotAnswer {
    ledger.reserve(lanes, FOREVER).await.expect("usable")
}

async fn wait(ledger: &RedisLedger, lanes: &[LaneLimit]) -> Duration {
    reserve(ledger, lanes).await.slot.expect("not too late")
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_every_fleet() {
    for kind in Kind::ALL {
        let (store, made) = (Store::start_one(kind, "").await, AtomicUsize::new(0));
        suite::run(&|| async { Arc::new(one_of_many(&store, &made).await) as Arc<dyn FleetLanes> }).await;
    }
}

/// Each of several connections asks and asks until all slots of the next two seconds are given.
#[tokio::test(flavor = "multi_thread")]
async fn no_time_holds_more_than_burst_and_rate_whoever_asks() {
    const SECONDS: u32 = 2;
    let (store, rate) = (Store::start("").await, Rate { per_second: 500.0, burst: 50 });
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let ledger = Arc::new(store.ledger().await);
        for _ in 0..8 {
            let ledger = Arc::clone(&ledger);
            askers.spawn(async move {
                let mut slots: Vec<(Instant, Instant)> = Vec::new();
                let until = Clock::instant() + Duration::from_secs(SECONDS.into());
                while slots.last().is_none_or(|(slot, _)| *slot < until) {
                    let asked = Clock::instant();
                    let wait = wait(&ledger, &lane(rate.per_second, rate.burst)).await;
                    // It was given at some time between these two.
                    slots.push((asked + wait, Clock::instant() + wait));
                }
                slots
            });
        }
    }
    let mut slots = askers.join_all().await.concat();
    slots.sort_unstable();
    for (i, (_, latest)) in slots.iter().enumerate() {
        // Only what is sure to lie within: given after the first at the latest, and before the last at the earliest.
        let rest = &slots[i..];
        for (held, (to, _)) in (1u32..).zip(rest.iter().filter(|(earliest, _)| earliest >= latest)) {
            let most = f64::from(rate.burst) + rate.per_second * (*to - slots[i].0).as_secs_f64() + 1.0;
            assert!(f64::from(held) <= most, "{held} instead of {most}");
        }
    }
    let all = u32::try_from(slots.len()).expect("few");
    let least = rate.burst + 500 * SECONDS * 95 / 100;
    assert!(all >= least, "{all} instead of {least}: no slot is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_goes_when_it_is_free() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    reserve(&ledger, &lane(0.5, 1)).await;
    let key = format!("test:lane:{:016x}:sms:1:p", ledger.epoch());
    let ttl: i64 = store.ask(&format!("PTTL {key}")).await;
    assert!((1..=2_000).contains(&ttl), "{ttl} ms");
    eventually("the lane is gone", async || (store.ask::<i64>(&format!("EXISTS {key}")).await == 0).then_some(()))
        .await;
    assert_eq!(wait(&ledger, &lane(0.5, 1)).await, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_is_told_where_its_lanes_stood() {
    let store = Store::start("").await;
    let (one, other) = (store.ledger().await, store.ledger().await);
    for _ in 0..10 {
        reserve(&one, &lane(0.1, 1)).await;
    }
    store.ask::<()>("FLUSHALL").await;
    let waits = wait(&one, &lane(0.1, 1)).await.as_secs();
    assert!((90..=100).contains(&waits), "what was given before is not given again: {waits} s");
    let waits = wait(&other, &lane(0.1, 1)).await.as_secs();
    assert!((100..=110).contains(&waits), "nor to those who know nothing of it: {waits} s");
}

/// What is asked of a frozen Redis reaches it when it goes on, and nobody waits for it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_waits_for_spends_nothing() {
    let store = Store::start("").await;
    let ledger = Arc::new(store.ledger().await);
    reserve(&ledger, &lane(0.1, 5)).await;
    store.freeze();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ledger = Arc::clone(&ledger);
        askers.spawn(async move { ledger.reserve(&lane(0.1, 5), FOREVER).await });
    }
    assert!(askers.join_all().await.iter().all(Result::is_err), "no answer comes");
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.thaw();
    store.recovers(&ledger).await;
    assert_eq!(wait(&ledger, &lane(0.1, 5)).await, Duration::ZERO, "one of the burst was spent, not 21");
}

/// A replica that takes over has its own clock, here one that is an hour behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_went_back_does_not_make_a_lane_stand_still() {
    let store = Store::start("").await;
    let (knows, new) = (store.ledger().await, store.ledger().await);
    reserve(&knows, &lane(0.1, 1)).await;
    let key = format!("test:lane:{:016x}:sms:1:p", knows.epoch());
    for field in ["tat", "at"] {
        store.ask::<()>(&format!("HINCRBY {key} {field} 3600000000")).await;
    }
    let refused = new.reserve(&lane(0.1, 1), Duration::from_secs(1)).await.expect("usable").slot;
    assert!(refused.expect_err("too late") <= Duration::from_secs(10), "{refused:?}");
    let waits = wait(&knows, &lane(0.1, 1)).await;
    assert!((8..=10).contains(&waits.as_secs()), "{waits:?}");
}
