//! Deadlines, limits and what the broker takes away: an outcome in time, whatever happens.

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions};
use mfa_courier::clock::Clock;
use mfa_courier::simulator::Mode;
use serde_json::json;

use super::{Courier, Heard, Stage, a_moment, challenge, lateness_ms, publish};
use crate::node::{Node, eventually, persistent};

#[tokio::test(flavor = "multi_thread")]
async fn hanging_providers_keep_nobody_waiting_beyond_the_deadline() {
    let stage = Stage::new(Node::shared()).await;
    for entry in ["twilio/first", "webhook/second"] {
        stage.simulator.set_mode(entry, Mode::Hang);
    }
    let _courier = Courier::start(&stage.config("")).await;
    let client = stage.listener().await;
    publish(&client, "h", 1_500, 12).await;
    let heard = Heard::collect(&client, 1_500, Duration::from_secs(40)).await;
    let outcomes = heard.one_each("h", 1_500);
    let latest = outcomes.iter().map(lateness_ms).max().unwrap();
    println!("the latest outcome came {latest} ms after its deadline");
    assert!(latest <= 2_000, "{latest} ms after the deadline");
    let last_deadline = outcomes.iter().map(|o| o["expires_at"].as_str().unwrap().to_owned()).max().unwrap();
    let late = stage.simulator.received().into_iter().filter(|r| r.at.to_string() > last_deadline).count();
    assert_eq!(late, 0, "nothing is sent after the deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_at_its_limit_and_delays_no_other_provider() {
    let stage = Stage::new(Node::shared()).await;
    let routes = r#"
[[routes]]
channel = "sms"
tenants = ["slow"]
providers = ["twilio"]
[[routes]]
channel = "sms"
providers = ["gateway"]
"#;
    let config = stage.config_with("rate = { per_second = 50, burst = 1 }", routes);
    let _courier = Courier::start(&config).await;
    let client = stage.listener().await;
    let slow = |n: usize, ttl: u64| {
        let mut body = challenge(&format!("s{n}"), ttl);
        body["tenant"] = json!("slow");
        body.to_string()
    };
    // Ten times what the provider takes in a second; then 10,000 that wait behind them and never fit.
    for n in 0..500 {
        client.publish_challenge(&slow(n, 60)).await;
    }
    let bodies: Vec<_> = (500..10_500).map(|n| slow(n, 60)).collect();
    let publishing = bodies.iter().map(|body| client.publish_challenge(body));
    futures_util::StreamExt::collect::<Vec<()>>(futures_util::StreamExt::buffer_unordered(
        futures_util::stream::iter(publishing),
        256,
    ))
    .await;
    let before = stage.simulator.received_by("webhook/second");
    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let asked = Clock::instant();
        client.publish_challenge(&challenge(&format!("f{n}"), 60).to_string()).await;
        eventually("the other provider got it", async || {
            (stage.simulator.received_by("webhook/second") > before + n).then_some(())
        })
        .await;
        slowest = slowest.max(asked.elapsed());
    }
    println!("the slowest of the others took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    eventually("500 were sent", async || (stage.simulator.received_by("twilio/first") >= 500).then_some(())).await;
    let sent: Vec<_> =
        stage.simulator.received().into_iter().filter(|r| r.provider == "twilio/first").take(500).collect();
    let took = sent[499].at.since(sent[0].at);
    println!("500 at 50 a second took {took:?}");
    assert!(took <= Duration::from_millis(9_980 * 100 / 95), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_takes_away_gets_an_outcome() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("").clone();
    let short = std::fs::read_to_string(&config).unwrap().replace("heartbeat", "delivery_limit = 2\nheartbeat");
    std::fs::write(&config, short).unwrap();
    let mut first = Courier::start(&config).await;
    let client = stage.listener().await;
    assert!(first.terminate().await.success());
    client
        .publish(
            "mfa.challenges",
            "challenge.requested",
            persistent().with_expiration("100".into()),
            challenge("x0", 60).to_string().as_bytes(),
        )
        .await;
    client.depth_becomes("mfa.courier.dead", 1).await;
    client.publish_challenge(&challenge("x1", 60).to_string()).await;
    for _ in 0..3 {
        let got = client.channel.basic_get("mfa.courier.challenges".into(), BasicGetOptions::default()).await.unwrap();
        let nack = BasicNackOptions { requeue: true, ..Default::default() };
        got.expect("a message").delivery.acker.nack(nack).await.unwrap();
        a_moment().await;
    }
    client.depth_becomes("mfa.courier.dead", 2).await;
    let _second = Courier::start(&config).await;
    let heard = Heard::collect(&client, 2, Duration::from_secs(20)).await;
    let outcomes = heard.one_each("x", 2);
    assert_eq!((&outcomes[0]["status"], &outcomes[0]["reason"]), (&json!("expired"), &json!("expired_on_arrival")));
    assert_eq!((&outcomes[1]["status"], &outcomes[1]["reason"]), (&json!("failed"), &json!("internal")));
    client.depth_becomes("mfa.courier.quarantine", 2).await;
    assert_eq!(stage.simulator.received_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_set_aside_and_the_next_is_delivered() {
    let stage = Stage::new(Node::shared()).await;
    let courier = Courier::start(&stage.config("")).await;
    let client = stage.listener().await;
    let huge = format!(r#"{{"id":"g","x":"{}"}}"#, "x".repeat(70_000));
    for body in ["", "{", "null", r#"{"id":"a/b"}"#, r#"{"id":"g","id":"h"}"#, &huge] {
        client.publish_challenge(body).await;
    }
    client.depth_becomes("mfa.courier.quarantine", 6).await;
    let set_aside = client.collect("mfa.courier.quarantine", 6).await;
    assert!(set_aside.iter().any(|message| message.data == huge.as_bytes()), "whole");
    client
        .publish_challenge(r#"{"id":"g0","code":"bad code","methods":[{"channel":"sms","to":"+14155552671"}]}"#)
        .await;
    client.classic_queue("answers").await;
    let asked = persistent().with_reply_to("answers".into()).with_correlation_id("corr-1".into());
    client
        .publish("mfa.challenges", "challenge.requested.contoso", asked, challenge("g1", 60).to_string().as_bytes())
        .await;
    let heard = Heard::collect(&client, 2, Duration::from_secs(20)).await;
    let outcomes = heard.one_each("g", 2);
    assert_eq!((&outcomes[0]["reason"], &outcomes[0]["field"]), (&json!("malformed"), &json!("code")));
    assert_eq!(outcomes[1]["status"], "sent");
    let answers = client.collect("answers", 1).await;
    assert_eq!(answers[0].properties.correlation_id().as_ref().map(lapin::types::ShortString::as_str), Some("corr-1"));
    assert_eq!(answers[0].properties.message_id().as_ref().map(lapin::types::ShortString::as_str), Some("g1:final"));
    let (_, figures) = courier.get("/metrics").await.expect("metrics");
    for family in [
        "courier_outcomes_total",
        "courier_attempts_total",
        "courier_quarantined_total",
        "courier_final_lateness_seconds",
        "courier_build_info",
    ] {
        assert!(figures.contains(family), "{family} is missing");
    }
    assert!(!figures.contains("4155552671") && !figures.contains("481516"));
}
