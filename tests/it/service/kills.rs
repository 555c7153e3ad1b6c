//! The promise when things are killed.

use std::time::Duration;

use mfa_courier::clock::Clock;
use mfa_courier::simulator::Mode;

use super::{Courier, Heard, Stage, publish, received};
use crate::node::{Node, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_with_300_in_flight_loses_nothing() {
    let stage = Stage::new(Node::shared()).await;
    stage.simulator.set_mode("twilio/first", Mode::Slow(Duration::from_secs(2)));
    let config = stage.config("");
    let first = Courier::start(&config).await;
    let client = stage.listener().await;
    publish(&client, "k", 300, 60).await;
    received(&stage, 300).await;
    first.kill9().await;
    let in_flight = stage.simulator.received_total();
    let _second = Courier::start(&config).await;
    let heard = Heard::collect(&client, 300, Duration::from_secs(70)).await;
    let outcomes = heard.one_each("k", 300);
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "sent"), "{outcomes:?}");
    let copies = stage.simulator.received_total() - 300;
    println!("{in_flight} requests were in flight at the kill; {copies} second copies");
    assert!(copies <= 300, "no more second copies than were in flight: {copies}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_under_load_loses_nothing() {
    let node = Node::rough().await;
    let stage = Stage::new(&node).await;
    stage.simulator.set_mode("twilio/first", Mode::Slow(Duration::from_millis(300)));
    let config = stage.config("");
    let courier = Courier::start(&config).await;
    let client = stage.listener().await;
    publish(&client, "b", 400, 120).await;
    // RabbitMQ 3.10 can lose the leader of a quorum queue that is a few seconds old; this one is older then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(&client, "c", 400, 120).await;
    node.kill9();
    node.restart();
    node.port_opens().await;
    let opened = Clock::instant();
    courier.ready().await;
    let back = opened.elapsed();
    node.ready().await;
    let client = stage.client().await;
    publish(&client, "d", 50, 60).await;
    let heard = Heard::collect(&client, 850, Duration::from_secs(90)).await;
    for (prefix, count) in [("b", 400), ("c", 400), ("d", 50)] {
        heard.one_each(prefix, count);
    }
    println!("consuming {back:?} after the port opened");
    assert!(back < Duration::from_secs(2), "consuming again after {back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_drains_without_second_copies() {
    let stage = Stage::new(Node::shared()).await;
    stage.simulator.set_mode("twilio/first", Mode::Slow(Duration::from_millis(700)));
    // Some are in flight, some sleep for a slot, some are parked, some still queue.
    let config = stage.config_with("rate = { per_second = 100, burst = 100 }", "");
    let mut first = Courier::start(&config).await;
    let client = stage.listener().await;
    publish(&client, "t", 800, 90).await;
    received(&stage, 150).await;
    let status = first.terminate().await;
    assert!(status.success(), "{status}");
    let _second = Courier::start(&config).await;
    let heard = Heard::collect(&client, 800, Duration::from_mins(1)).await;
    heard.one_each("t", 800);
    assert_eq!(stage.simulator.received_total(), 800, "each was sent once");
    eventually("nothing is left", async || {
        let left =
            client.queue_depth("mfa.courier.challenges").await? + client.queue_depth("mfa.courier.followups").await?;
        (left == 0).then_some(())
    })
    .await;
}
