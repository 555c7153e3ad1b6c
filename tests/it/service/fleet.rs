//! Limits that two workers on one ledger share: what a provider sees of both together, also when Redis is killed, or
//! comes back empty.

use std::time::Duration;

use mfa_courier::clock::Timestamp;
use mfa_courier::delivery::SLOT_KEEPS;
use mfa_courier::guard::quota::Rate;

use super::{Courier, Heard, Stage, publish, received};
use crate::node::{Client, Node};
use crate::redis::store::Store;

/// Between a slot and its arrival lie the worker's timer, the ledger's word that the attempt begins, and a connection to
/// the provider: some milliseconds, and up to this where two cores run everything else too. A window can hold
/// what was late from before it, so as many more as this is long. Two workers that did not share would exceed it
/// after as long.
const JITTER: Duration = Duration::from_millis(500);

/// Only this provider, so that nobody goes elsewhere for want of a slot.
const ROUTE: &str = "[[routes]]\nchannel = \"sms\"\nproviders = [\"twilio\"]\n";

/// Two workers on a Redis, each with `keys` for the one provider, `senders` in place of its sender.
struct Fleet {
    stage: Stage,
    store: Store,
    workers: [Courier; 2],
    client: Client,
}

impl Fleet {
    async fn new(keys: &str, senders: &str) -> Self {
        let (stage, store) = (Stage::new(Node::shared()).await, Store::start("").await);
        let start = async || {
            let ledger = format!("{ROUTE}[ledger]\nurl = \"{}\"\n", store.url());
            let config = stage.config_with(keys, &ledger);
            let text = std::fs::read_to_string(&config).expect("readable");
            std::fs::write(&config, text.replace("senders = [\"+15005550006\"]", senders)).expect("writable");
            Courier::start(&config).await
        };
        let workers = [start().await, start().await];
        let client = stage.listener().await;
        Self { stage, store, workers, client }
    }

    async fn with_rate(rate: Rate) -> Self {
        let Rate { per_second, burst } = rate;
        let keys = format!("rate = {{ per_second = {per_second}, burst = {burst} }}");
        Self::new(&keys, "senders = [\"+15005550006\"]").await
    }

    /// When the provider got what, oldest first.
    fn arrivals(&self) -> Vec<Timestamp> {
        let mut at: Vec<_> = self.stage.simulator.received().into_iter().map(|received| received.at).collect();
        at.sort_unstable();
        at
    }

    /// How many attempts each worker counts.
    async fn attempts(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let (_, figures) = worker.get("/metrics").await.expect("figures");
            let attempts = figures.lines().filter(|line| line.starts_with("courier_attempts_total"));
            all.push(attempts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum());
        }
        all
    }
}

/// That no window of any length holds more than burst + rate · (its length + `late`).
#[track_caller]
fn keeps_to(rate: Rate, late: Duration, arrivals: &[Timestamp]) {
    let mut closest = f64::NEG_INFINITY;
    for (i, from) in arrivals.iter().enumerate() {
        for (held, to) in (1u32..).zip(&arrivals[i..]) {
            let over = f64::from(held) - f64::from(rate.burst) - rate.per_second * to.since(*from).as_secs_f64();
            closest = closest.max(over);
            let most = rate.per_second * late.as_secs_f64();
            assert!(over <= most, "{held} from {from} to {to}: {over} more than burst and rate, instead of {most}");
        }
    }
    println!("at most {closest:.1} beyond burst and rate in any window");
}

/// That they came as fast as they might: all of them in hardly more than the time that it takes at this rate.
#[track_caller]
fn reaches(rate: Rate, arrivals: &[Timestamp]) {
    let paced = u32::try_from(arrivals.len()).expect("few").saturating_sub(rate.burst);
    let least = Duration::from_secs_f64(f64::from(paced) / rate.per_second);
    let took = arrivals[arrivals.len() - 1].since(arrivals[0]);
    println!("{} took {took:?}; {least:?} at the limit", arrivals.len());
    assert!(took <= least * 10 / 9 + JITTER, "{took:?} instead of {least:?}: below nine tenths of the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_keep_to_one_rate_of_a_provider_and_reach_it() {
    let rate = Rate { per_second: 40.0, burst: 10 };
    let fleet = Fleet::with_rate(rate).await;
    publish(&fleet.client, "f", 400, 60).await;
    Heard::collect(&fleet.client, 400, Duration::from_mins(1)).await.one_each("f", 400);
    let arrivals = fleet.arrivals();
    assert_eq!(arrivals.len(), 400);
    keeps_to(rate, JITTER, &arrivals);
    reaches(rate, &arrivals);
    let shares = fleet.attempts().await;
    println!("{shares:?} by each");
    assert!(shares.iter().all(|share| *share > 40), "both worked: {shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_keep_to_one_rate_of_a_sender_and_reach_it() {
    let rate = Rate { per_second: 25.0, burst: 1 };
    let fleet = Fleet::new("", "senders = [{ from = \"+15005550006\", per_second = 25 }]").await;
    publish(&fleet.client, "f", 200, 60).await;
    Heard::collect(&fleet.client, 200, Duration::from_mins(1)).await.one_each("f", 200);
    let arrivals = fleet.arrivals();
    assert_eq!(arrivals.len(), 200);
    keeps_to(rate, JITTER, &arrivals);
    reaches(rate, &arrivals);
    let shares = fleet.attempts().await;
    assert!(shares.iter().all(|share| *share > 20), "both worked: {shares:?}");
}

/// What is in hand when Redis goes waits for it; what had its slot meanwhile asks for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_lets_nobody_exceed_a_rate() {
    let rate = Rate { per_second: 40.0, burst: 10 };
    let fleet = Fleet::with_rate(rate).await;
    publish(&fleet.client, "k", 300, 90).await;
    received(&fleet.stage, 60).await;
    fleet.store.kill9().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.store.restart();
    let outcomes = Heard::collect(&fleet.client, 300, Duration::from_secs(90)).await.one_each("k", 300);
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "sent"), "{outcomes:?}");
    let arrivals = fleet.arrivals();
    assert_eq!(arrivals.len(), 300, "each was sent once");
    // A slot keeps for so long while the ledger does not answer.
    keeps_to(rate, JITTER + SLOT_KEEPS, &arrivals);
}

/// The lanes are gone with the rest, and the workers know where they stood.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_lets_nobody_exceed_a_rate() {
    let rate = Rate { per_second: 40.0, burst: 10 };
    let fleet = Fleet::with_rate(rate).await;
    publish(&fleet.client, "e", 300, 90).await;
    received(&fleet.stage, 60).await;
    fleet.store.kill9().await;
    fleet.store.forget();
    fleet.store.restart();
    Heard::collect(&fleet.client, 300, Duration::from_secs(90)).await.one_each("e", 300);
    keeps_to(rate, JITTER + SLOT_KEEPS, &fleet.arrivals());
}
