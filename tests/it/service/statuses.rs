//! Each row of the contract's tables reached end to end: one broker, one worker, providers that do what a number or a
//! script says, and every status, reason and advice heard as an outcome.
//!
//! `statuses/cases.rs` has the challenges. The test holds what it heard against the contract's own table
//! (`tests/it/contract.rs`), so a row that nobody asked for fails it.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::FieldTable;
use mfa_courier::broker::wire::schema::Body;
use mfa_courier::clock::Clock;
use mfa_courier::config::Settings;
use mfa_courier::delivery::outcome::{Reason, Status};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::cases::{AT_ONCE, Case, GIVEN_UP, LEFT_ALONE, STOPPED};
use super::front::{call_back_at, http_port};
use super::{Courier, OUTCOMES, Stage};
use crate::contract::{Row, TABLE};
use crate::documents::schemas::assert_valid;
use crate::node::{Client, Node, eventually, persistent};

/// What no version says before it has limits for people and tenants; [`the_limits_are_not_there_yet`] notices them.
const NOT_YET: [Reason; 2] = [Reason::VelocityExceeded, Reason::TenantLimit];

/// What was heard of each challenge.
type Heard = BTreeMap<String, Vec<Value>>;

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).expect("JSON").as_str().unwrap_or("-").to_owned()
}

/// A status, a reason and an advice, as an outcome says them.
fn said(outcome: &Value) -> String {
    ["status", "reason", "advice"].map(|name| word(&outcome[name])).join(" ")
}

fn row(status: Status, reason: Reason, has_app: bool) -> String {
    let advice = Row::of(reason).advice(has_app);
    [word(status), word(reason), word(advice)].join(" ")
}

/// Everything that the contract's table of reasons lets an outcome say, in this version.
fn required() -> BTreeSet<String> {
    let rows = TABLE.iter().filter(|row| !NOT_YET.contains(&row.reason));
    rows.flat_map(|known| {
        let statuses = known.statuses.iter();
        statuses.flat_map(|status| [false, true].map(|has_app| row(*status, known.reason, has_app)))
    })
    .collect()
}

/// The contract's table of statuses: each, and whether it is final.
const STATUSES: [(Status, bool); 10] = [
    (Status::Sent, false),
    (Status::Undelivered, false),
    (Status::Retrying, false),
    (Status::Delivered, true),
    (Status::Sent, true),
    (Status::Unknown, true),
    (Status::Failed, true),
    (Status::Expired, true),
    (Status::Rejected, true),
    (Status::Cancelled, true),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_status_reason_and_advice_of_the_contract_is_reached() {
    let stage = Stage::new(Node::shared()).await;
    for (entry, mode) in cases::modes() {
        stage.simulator.set_mode(entry, mode);
    }
    let config = cases::config(&stage);
    call_back_at(&config, &format!("http://127.0.0.1:{}", http_port(&config)));
    let mut courier = Courier::start(&config).await;
    let client = stage.listener().await;
    nobody_works_while_their_time_runs_out(&stage, &client, &mut courier).await;
    let _courier = Courier::start(&config).await;
    publish(&client, AT_ONCE).await;
    say(&stage, &client).await;
    let cases: Vec<&Case> = [LEFT_ALONE, STOPPED, GIVEN_UP, AT_ONCE].into_iter().flatten().collect();
    let heard = listen(&client, &cases).await;
    let mut reached = BTreeSet::new();
    for case in cases {
        for (id, has_app) in case.ids() {
            let outcomes = &heard[&id];
            let last = outcomes.iter().find(|outcome| outcome["final"] == true).expect("a final outcome");
            let expected = match case.reason {
                Some(reason) => row(case.status, reason, has_app),
                None => format!("{} - -", word(case.status)),
            };
            assert_eq!(said(last), expected, "{id}: {outcomes:#?}");
            assert_eq!(last["confirmed_by"].as_str(), case.confirmed_by, "{id}: {last}");
            reached.insert(said(last));
        }
    }
    let conflict = heard["taken"].iter().find(|outcome| outcome["reason"] == "duplicate_id").expect("a conflict");
    assert!(conflict["final"] == false && conflict["id"].as_str().is_some_and(|id| id.starts_with("taken:conflict:")));
    reached.insert(said(conflict));
    let missing: Vec<String> = required().into_iter().filter(|row| !reached.contains(row)).collect();
    assert!(missing.is_empty(), "no outcome said\n{}", missing.join("\n"));
    let statuses: BTreeSet<(String, bool)> =
        heard.values().flatten().map(|o| (word(&o["status"]), o["final"] == true)).collect();
    for (status, is_final) in STATUSES {
        assert!(statuses.contains(&(word(status), is_final)), "{status:?}, final: {is_final}");
    }
    let published: Vec<Value> = heard.into_values().flatten().collect();
    assert_valid(Body::Outcome, &published);
    println!("{} rows, {} outcomes", reached.len(), published.len());
}

/// Some wait for a second try when the worker stops, and one that starts later finds their time over; others the broker
/// gives up meanwhile.
async fn nobody_works_while_their_time_runs_out(stage: &Stage, client: &Client, courier: &mut Courier) {
    publish(client, STOPPED).await;
    let tried = STOPPED.iter().map(|case| case.ids().len() as u64).sum();
    eventually("all were tried", async || {
        let entries = ["twilio/busy", "twilio/full"];
        let count: u64 = entries.iter().map(|entry| stage.simulator.received_by(entry)).sum();
        (count >= tried).then_some(())
    })
    .await;
    let stopped = Clock::instant();
    assert!(courier.terminate().await.success());
    publish(client, GIVEN_UP).await;
    let given_up: usize = GIVEN_UP.iter().map(|case| case.ids().len()).sum();
    eventually("the broker gives them up", async || {
        let got = client.channel.basic_get("mfa.courier.challenges".into(), BasicGetOptions::default()).await.ok()?;
        if let Some(message) = got {
            let options = BasicNackOptions { requeue: true, ..Default::default() };
            message.delivery.acker.nack(options).await.ok()?;
        }
        (client.queue_depth("mfa.courier.dead").await? as usize == given_up).then_some(())
    })
    .await;
    publish(client, LEFT_ALONE).await;
    tokio::time::sleep_until(stopped + Duration::from_secs(cases::STOPPED_TTL)).await;
}

async fn publish(client: &Client, cases: &[Case]) {
    for case in cases {
        for (id, has_app) in case.ids() {
            client.publish_challenge(&case.body(&id, has_app).to_string()).await;
        }
    }
}

/// What upstream says while some wait, and the same id for another content.
async fn say(stage: &Stage, client: &Client) {
    let mut other = json!({ "id": "taken", "code": "999999", "ttl": 30, "tenant": "plain" });
    other["methods"] = json!([{ "channel": "sms", "to": cases::MOBILE }]);
    client.publish_challenge(&other.to_string()).await;
    eventually("those that signals are about are waiting", async || {
        let received = stage.simulator.received();
        let waits = |code: &str| received.iter().any(|one| one.text.expose().starts_with(code));
        [cases::CANCELLED_CODE, cases::VERIFIED_CODE, cases::ENTERED_CODE].into_iter().all(waits).then_some(())
    })
    .await;
    for (what, id) in [("cancelled", "cancelled"), ("verified", "verified"), ("verified", "entered")] {
        let body = json!({ "id": id }).to_string();
        client.publish("mfa.challenges", &format!("challenge.{what}"), persistent(), body.as_bytes()).await;
    }
}

/// Listens until all have a final outcome, and the one whose id was taken is told so.
async fn listen(client: &Client, cases: &[&Case]) -> Heard {
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let consumer = client.channel.basic_consume(OUTCOMES.into(), "".into(), options, FieldTable::default());
    let mut consumer = consumer.await.expect("a consumer");
    let mut waiting: BTreeSet<String> = cases.iter().flat_map(|case| case.ids()).map(|(id, _)| id).collect();
    waiting.insert("duplicate_id".to_owned());
    let mut heard = Heard::new();
    while !waiting.is_empty() {
        let next = timeout(Duration::from_secs(40), consumer.next()).await;
        let delivery = next.unwrap_or_else(|_| panic!("waited in vain for {waiting:?}")).expect("open").expect("one");
        let outcome: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let id = word(&outcome["challenge_id"]);
        waiting.remove(if outcome["final"] == true { id.as_str() } else { outcome["reason"].as_str().unwrap_or("-") });
        heard.entry(id).or_default().push(outcome);
    }
    heard
}

/// Whoever builds them has to show their rows too.
#[test]
fn the_limits_are_not_there_yet() {
    for keys in ["[guard]\nper_destination = [\"1/1h\"]", "[tenants.contoso]\nlimits = { per_second = 1 }"] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("courier.toml");
        std::fs::write(&file, keys).expect("written");
        let refused = Settings::load(Some(&file), std::iter::empty());
        assert!(refused.is_err(), "{keys} is a setting now: show {NOT_YET:?} above");
    }
}
