//! Several workers on one ledger in Redis: the promise when a worker is killed, and when Redis is.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mfa_courier::simulator::Mode;
use serde_json::Value;

use super::{Courier, Heard, Stage, Store, a_moment, program, publish, received, text};
use crate::node::{Client, Node, eventually};

/// A stage, a Redis, a worker on it, and who listens.
async fn one_worker(answer_after: Duration) -> (Stage, Store, std::path::PathBuf, Courier, Client) {
    let (stage, store) = (Stage::new(Node::shared()).await, Store::start("").await);
    stage.simulator.set_mode("twilio/first", Mode::Slow(answer_after));
    let config = stage.config(&ledger(&store));
    let courier = Courier::start(&config).await;
    let client = stage.listener().await;
    (stage, store, config, courier, client)
}

/// Sealed, so that everything here holds with a key too.
pub(super) fn ledger(store: &Store) -> String {
    let key = BASE64_STANDARD.encode([7; 32]);
    format!("[ledger]\nurl = \"{}\"\nencryption_key = \"{key}\"\n", store.url())
}

/// Waits until the worker says that its ledger can't be used.
async fn misses_its_ledger(courier: &Courier) {
    eventually("the worker misses its ledger", async || {
        let (status, body) = courier.get("/readyz").await?;
        (status == 503 && body.contains("ledger: ")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_one_is_killed_with_work_in_flight() {
    let (stage, store, _config, first, client) = one_worker(Duration::from_secs(3)).await;
    // The same provider at another address, to tell whose requests are whose.
    let config = stage.config(&ledger(&store));
    let elsewhere = std::fs::read_to_string(&config).expect("readable").replace("twilio/first", "twilio/other");
    std::fs::write(&config, elsewhere).expect("writable");
    stage.simulator.set_mode("twilio/other", Mode::Slow(Duration::from_secs(3)));
    let _second = Courier::start(&config).await;
    publish(&client, "s", 300, 60).await;
    received(&stage, 300).await;
    first.kill9().await;
    let (by_first, by_second) =
        (stage.simulator.received_by("twilio/first"), stage.simulator.received_by("twilio/other"));
    assert!(by_first > 0 && by_second > 0, "both worked: {by_first}, {by_second}");
    let heard = Heard::collect(&client, 300, Duration::from_secs(70)).await;
    heard.one_each("s", 300);
    let copies = stage.simulator.received_total() - 300;
    println!("{by_first} requests of the killed worker, {by_second} of the other; {copies} second copies");
    assert!(copies <= by_first, "no more second copies than were in flight: {copies}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_killed_under_load_and_back_with_its_data_costs_nothing() {
    let (stage, store, _config, courier, client) = one_worker(Duration::from_millis(700)).await;
    publish(&client, "r", 400, 90).await;
    received(&stage, 100).await;
    store.kill9().await;
    misses_its_ledger(&courier).await;
    publish(&client, "q", 50, 90).await;
    a_moment().await;
    store.restart();
    courier.ready().await;
    let heard = Heard::collect(&client, 450, Duration::from_secs(90)).await;
    let outcomes = [heard.one_each("r", 400), heard.one_each("q", 50)].concat();
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "sent"), "{outcomes:?}");
    assert_eq!(stage.simulator.received_total(), 450, "each was sent once");
    let (_, figures) = courier.get("/metrics").await.expect("figures");
    let errors = figures.lines().find_map(|line| line.strip_prefix("courier_ledger_errors_total "));
    assert!(errors.is_some_and(|errors| errors != "0"), "what the ledger failed is counted: {errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_under_load_loses_no_challenge() {
    let (stage, store, _config, courier, client) = one_worker(Duration::from_millis(700)).await;
    publish(&client, "e", 400, 90).await;
    received(&stage, 100).await;
    store.kill9().await;
    store.forget();
    store.restart();
    courier.ready().await;
    publish(&client, "f", 50, 90).await;
    let heard = Heard::collect(&client, 450, Duration::from_secs(90)).await;
    heard.one_each("e", 400);
    let after = heard.one_each("f", 50);
    assert!(after.iter().all(|outcome| outcome["status"] == "sent"), "what came after is as ever: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_repeated_to_another_worker_is_sent_once() {
    let (stage, store, _config, mut first, client) = one_worker(Duration::ZERO).await;
    publish(&client, "p", 20, 60).await;
    Heard::collect(&client, 20, Duration::from_secs(30)).await.one_each("p", 20);
    assert!(first.terminate().await.success());
    let _second = Courier::start(&stage.config(&ledger(&store))).await;
    publish(&client, "p", 20, 60).await;
    Heard::collect(&client, 20, Duration::from_secs(30)).await.one_each("p", 20);
    assert_eq!(stage.simulator.received_total(), 20, "the same answer again, and no second message");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_live_tries_the_ledger() {
    let (stage, store) = (Stage::new(Node::shared()).await, Store::start("maxmemory-policy allkeys-lru").await);
    let config = stage.config(&ledger(&store));
    let arguments = ["check", "--live", "--json", "--config", config.to_str().expect("UTF-8")];
    let checked = program(&arguments).await;
    assert_eq!(checked.status.code(), Some(69), "{}", text(&checked.stderr));
    let told: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!((&told["broker"]["ok"], &told["ledger"]["ok"]), (&true.into(), &false.into()), "{told}");
    assert!(told["ledger"]["why"].as_str().is_some_and(|why| why.contains("noeviction")), "{told}");
    assert_eq!(program(&["run", "--config", arguments[4]]).await.status.code(), Some(69), "nor does it start");
    store.ask::<()>("CONFIG SET maxmemory-policy noeviction").await;
    let checked = program(&arguments).await;
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}
