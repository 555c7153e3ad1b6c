//! What became of a message: receipts from simulated providers to the program itself, and what upstream hears.

use std::path::PathBuf;
use std::time::Duration;

use lapin::options::BasicGetOptions;
use mfa_courier::clock::Clock;
use mfa_courier::simulator::{API_KEY, API_SECRET, APPLICATION_ID, SIGNATURE_SECRET, Simulator, VONAGE_PRIVATE_KEY};
use serde_json::{Value, json};

use super::front::{call_back_at, http_port};
use super::{Courier, Heard, Stage};
use crate::node::{Node, eventually};

/// A stage on which both providers send receipts.
async fn stage() -> (Stage, Courier, String) {
    let stage = Stage::new(Node::shared()).await;
    let (config, public) = hearing(&stage, "");
    let courier = Courier::start(&config).await;
    (stage, courier, public)
}

const RECEIPTS: &str = "receipts = true\nreceipt_timeout = \"2s\"\n";

/// A configuration by which both providers send receipts, and where they come to; `more` follows the providers.
pub(super) fn hearing(stage: &Stage, more: &str) -> (PathBuf, String) {
    let config = stage.config_with(RECEIPTS, &format!("{RECEIPTS}{more}"));
    let public = format!("http://127.0.0.1:{}", http_port(&config));
    call_back_at(&config, &public);
    (config, public)
}

async fn final_of(stage: &Stage, to: &str, channels: &[&str]) -> Value {
    let client = stage.listener().await;
    let methods: Vec<_> = channels.iter().map(|channel| json!({"channel": channel, "to": to})).collect();
    let body = json!({"id": "r-0", "code": "481516", "ttl": 30, "methods": methods});
    client.publish_challenge(&body.to_string()).await;
    Heard::collect(&client, 1, Duration::from_secs(25)).await.one_each("r-", 1).remove(0)
}

fn providers_of(simulator: &Simulator) -> Vec<String> {
    simulator.received().into_iter().map(|received| received.provider).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_ends_so_however_often_and_in_which_order_it_is_told() {
    for to in ["+14155552671", "+14155559921", "+14155559922", "+14158800000"] {
        let (stage, _courier, _) = stage().await;
        let outcome = final_of(&stage, to, &["sms"]).await;
        assert_eq!((&outcome["status"], &outcome["confirmed_by"]), (&json!("delivered"), &json!("receipt")), "{to}");
        assert_eq!(providers_of(&stage.simulator), ["twilio/first"], "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_moves_on() {
    let (stage, _courier, _) = stage().await;
    let outcome = final_of(&stage, "+14157830005", &["sms"]).await;
    assert_eq!((&outcome["status"], &outcome["reason"]), (&json!("failed"), &json!("undelivered")));
    let told = &outcome["attempts"][0]["receipt"];
    assert_eq!((&told["status"], &told["code"]), (&json!("undelivered"), &json!("30005")));
    assert_eq!(providers_of(&stage.simulator), ["twilio/first", "webhook/second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_lies_move_a_text_message_to_a_call() {
    for to in ["+14155559920", "+14155559923"] {
        let (stage, courier, _) = stage().await;
        let outcome = final_of(&stage, to, &["sms", "voice"]).await;
        // Of the call, too, nothing or nothing true is told.
        assert_eq!((&outcome["status"], &outcome["reason"]), (&json!("sent"), &json!("receipt_timeout")), "{to}");
        let channels: Vec<_> = stage.simulator.received().iter().map(|received| received.channel.as_str()).collect();
        assert_eq!(channels, ["sms", "voice"], "{to}");
        let (_, figures) = courier.get("/metrics").await.expect("figures");
        let refused = figures.contains("courier_receipts_total{provider=\"twilio\",status=\"refused\"} 2");
        assert_eq!(refused, to.ends_with("9923"), "{figures}");
    }
}

/// It is concluded after two seconds of silence, and told of after three.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_end_is_told_and_changes_nothing() {
    let (stage, _courier, _) = stage().await;
    let client = stage.listener().await;
    client.outcomes_queue("test.late", "outcome.delivered.sms.interim").await;
    let body = json!({
        "id": "r-0", "code": "481516", "ttl": 30, "fallback": "none",
        "methods": [{"channel": "sms", "to": "+14158803000"}],
    });
    client.publish_challenge(&body.to_string()).await;
    let outcome = Heard::collect(&client, 1, Duration::from_secs(25)).await.one_each("r-", 1).remove(0);
    assert_eq!((&outcome["status"], &outcome["reason"]), (&json!("sent"), &json!("receipt_timeout")));
    let late = eventually("the late receipt is told", async || {
        let got = client.channel.basic_get("test.late".into(), BasicGetOptions { no_ack: true }).await.ok()?;
        serde_json::from_slice::<Value>(&got?.delivery.data).ok()
    });
    let late = late.await;
    assert_eq!((&late["id"], &late["notes"]), (&json!("r-0:1:late:delivered"), &json!(["late_receipt"])));
    assert_eq!(late["final"], false);
}

/// A stage on which Vonage carries text messages and calls, and signs what it tells.
async fn of_vonage() -> (Stage, Courier) {
    let stage = Stage::new(Node::shared()).await;
    let vonage = format!(
        r#"
[providers.vonage]
kind = "vonage"
base_url = "{}"
api_key = "{API_KEY}"
api_secret = "{API_SECRET}"
application_id = "{APPLICATION_ID}"
private_key = """{VONAGE_PRIVATE_KEY}"""
signature_secret = "{SIGNATURE_SECRET}"
senders = ["+15005550006"]
{RECEIPTS}
[[routes]]
channel = "sms"
providers = ["vonage"]
[[routes]]
channel = "voice"
providers = ["vonage"]
"#,
        stage.simulator.base_url("vonage/only")
    );
    let (config, _) = hearing(&stage, &vonage);
    let courier = Courier::start(&config).await;
    (stage, courier)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vonage_signs_of_messages_and_calls_is_believed_and_nothing_else() {
    for (channel, confirmed) in [("sms", "receipt"), ("voice", "answer")] {
        let (stage, courier) = of_vonage().await;
        let outcome = final_of(&stage, "+14155552671", &[channel]).await;
        assert_eq!(
            (&outcome["status"], &outcome["confirmed_by"]),
            (&json!("delivered"), &json!(confirmed)),
            "{channel}: {outcome}"
        );
        assert_eq!(providers_of(&stage.simulator), ["vonage/only"]);
        let (_, figures) = courier.get("/metrics").await.expect("figures");
        assert!(!figures.contains("provider=\"vonage\",status=\"refused\""), "{figures}");

        let (stage, courier) = of_vonage().await;
        let outcome = final_of(&stage, "+14155559923", &[channel]).await;
        assert_eq!(
            (&outcome["status"], &outcome["reason"]),
            (&json!("sent"), &json!("receipt_timeout")),
            "{channel}: {outcome}"
        );
        let (_, figures) = courier.get("/metrics").await.expect("figures");
        assert!(figures.contains("courier_receipts_total{provider=\"vonage\",status=\"refused\"} 1"), "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_message_that_vonage_lost_becomes_a_call() {
    let (stage, _courier) = of_vonage().await;
    let outcome = final_of(&stage, "+14157800001", &["sms", "voice"]).await;
    let told = |n: usize| outcome["attempts"][n]["receipt"]["status"].as_str().map(str::to_owned);
    assert_eq!((told(0).as_deref(), told(1).as_deref()), (Some("failed"), Some("busy")), "{outcome}");
    assert_eq!(outcome["status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_alike_whatever_is_wrong() {
    let (_stage, _courier, public) = stage().await;
    let token = "A".repeat(32);
    for path in
        [format!("twilio/{token}"), "twilio/x".to_owned(), format!("nobody/{token}"), format!("gateway/{token}")]
    {
        let begun = Clock::instant();
        let sent = reqwest::Client::new().post(format!("{public}/receipts/{path}")).body("MessageStatus=delivered");
        let answer = sent.send().await.expect("answered");
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.expect("text")),
            (403, "{\"error\":\"forbidden\"}".into())
        );
        assert!(begun.elapsed() >= Duration::from_millis(100), "{path}");
    }
    let long = reqwest::Client::new().post(format!("{public}/receipts/twilio/{token}")).body("x".repeat(20_000));
    assert_eq!(long.send().await.expect("answered").status().as_u16(), 413);
}
