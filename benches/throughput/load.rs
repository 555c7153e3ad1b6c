//! Publishes challenges and listens for their final outcomes.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use mfa_courier::clock::Clock;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use crate::node::{Client, persistent};
use crate::process;

/// Every final outcome comes here.
pub(crate) const OUTCOMES: &str = "bench.outcomes";
/// Nothing that works stays silent for so long.
const PATIENCE: Duration = Duration::from_mins(1);
/// Publications that may wait for their confirms.
const WINDOW: usize = 500;

/// A backlog, worked off.
pub(crate) struct Drain {
    pub rate: f64,
    pub cpu_per_10_000: f64,
}

/// From due to the final outcome.
pub(crate) struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Deserialize)]
struct Told<'b> {
    challenge_id: &'b str,
    #[serde(rename = "final", default = "yes")]
    is_final: bool,
}

const fn yes() -> bool {
    true
}

fn challenge(id: &str) -> Vec<u8> {
    let to = format!("+1415555{:04}", 2_000 + id.len() % 7_000);
    json!({"id": id, "ttl": 300, "code": "481516", "methods": [{"channel": "sms", "to": to}]}).to_string().into_bytes()
}

/// Publishes `count` challenges named `<prefix>-<n>` as fast as the broker takes them.
pub(crate) async fn fill(client: &Client, prefix: &str, count: usize) {
    let mut confirms = std::collections::VecDeque::new();
    for n in 0..count {
        confirms.push_back(publish(client, &format!("{prefix}-{n}")).await);
        if confirms.len() >= WINDOW {
            confirms.pop_front().unwrap().await.unwrap();
        }
    }
    for confirm in confirms {
        confirm.await.unwrap();
    }
}

async fn publish(client: &Client, id: &str) -> lapin::PublisherConfirm {
    let (exchange, key) = ("mfa.challenges".into(), "challenge.requested".into());
    let options = BasicPublishOptions::default();
    client.channel.basic_publish(exchange, key, options, &challenge(id), persistent()).await.unwrap()
}

/// Hears every final outcome from now on.
pub(crate) async fn listen(client: &Client) -> lapin::Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    client.channel.basic_consume(OUTCOMES.into(), "".into(), options, FieldTable::default()).await.unwrap()
}

/// Waits until process `pid` has worked `count` challenges off.
pub(crate) async fn drain(client: &Client, pid: u32, count: usize) -> Drain {
    let mut outcomes = listen(client).await;
    let mut first = None;
    for n in 0..count {
        let told = timeout(PATIENCE, outcomes.next()).await.unwrap_or_else(|_| panic!("{n} outcomes of {count}"));
        told.unwrap().unwrap();
        first.get_or_insert_with(|| (Clock::instant(), process::cpu_seconds(pid)));
    }
    let (began, cpu) = first.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let done = (count - 1) as f64;
    let cpu = process::cpu_seconds(pid) - cpu;
    Drain { rate: done / began.elapsed().as_secs_f64(), cpu_per_10_000: cpu / done * 10_000.0 }
}

/// Publishes `rate` challenges a second, each when it is due, and waits for the outcome of each; from due to told.
pub(crate) async fn keep_up(client: &Client, prefix: &str, rate: f64, lasts: Duration) -> Vec<Duration> {
    let outcomes = listen(client).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands, above zero")]
    let count = (rate * lasts.as_secs_f64()) as usize;
    let begin = Clock::instant() + Duration::from_millis(100);
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let due = |n: usize| begin + Duration::from_secs_f64(n as f64 / rate);
    let publishing = async {
        let mut confirms = Vec::new();
        for n in 0..count {
            sleep_until(due(n)).await;
            confirms.push(publish(client, &format!("{prefix}-{n}")).await);
        }
        for confirm in confirms {
            confirm.await.unwrap();
        }
    };
    tokio::join!(publishing, hear(outcomes, prefix, count, due)).1
}

/// Waits for the final outcome of each of `<prefix>-0` to `<prefix>-<count - 1>`: how long after each was due.
pub(crate) async fn hear(
    mut outcomes: lapin::Consumer,
    prefix: &str,
    count: usize,
    due: impl Fn(usize) -> Instant,
) -> Vec<Duration> {
    let mut took = vec![None; count];
    let mut left = count;
    while left > 0 {
        let told = timeout(PATIENCE, outcomes.next()).await.expect("an outcome").unwrap().unwrap();
        let outcome: Told<'_> = serde_json::from_slice(&told.data).unwrap();
        let number = outcome.challenge_id.strip_prefix(prefix).and_then(|rest| rest[1..].parse::<usize>().ok());
        if let Some(n) = number.filter(|n| outcome.is_final && took[*n].is_none()) {
            took[n] = Some(due(n).elapsed());
            left -= 1;
        }
    }
    took.into_iter().map(Option::unwrap).collect()
}

/// What share of `took` is no longer than it, in milliseconds.
pub(crate) fn percentile(took: &[Duration], percent: usize) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1_000.0
}

impl Latency {
    pub(crate) fn of(took: &[Duration]) -> Self {
        Self { p50_ms: percentile(took, 50), p99_ms: percentile(took, 99) }
    }
}
