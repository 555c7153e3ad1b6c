//! Workers that go and come while others stay: nothing is lost, nothing is sent twice, and news finds its challenge
//! wherever it arrives.

use std::time::Duration;

use serde_json::json;

use super::super::{Heard, received};
use super::crowd::Crowd;
use super::verdict::Run;
use super::{Fleet, Store, on, settled, turn};
use crate::node::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing_and_sends_nothing_twice() {
    const COUNT: usize = 4_000;
    let _turn = turn().await;
    let store = Store::start("").await;
    let fleet = Fleet::new(on(&store)).await;
    let mut first = fleet.worker("twilio/first").await;
    let mut second = fleet.worker("twilio/second").await;
    let crowd = Crowd::new(&fleet.stage.url, COUNT).await;
    let restart = async {
        crowd.have_ended(COUNT / 5).await;
        assert!(first.terminate().await.success(), "the first drains");
        let third = fleet.worker("twilio/third").await;
        crowd.have_ended(COUNT / 2).await;
        assert!(second.terminate().await.success(), "the second drains");
        (third, fleet.worker("twilio/fourth").await)
    };
    let ((), _successors) = tokio::join!(crowd.publish(), restart);
    crowd.have_ended(COUNT).await;
    settled(&crowd, &fleet.stage, 0).await;
    let run = Run::of(&crowd, &fleet.stage.simulator);
    run.print();
    run.keeps_the_promise();
    run.speaks_once(0);
    assert!(run.copies.is_empty(), "second copies: {:?}", run.copies);
    fleet.receipts_were_told();
    let entries = ["twilio/first", "twilio/second", "twilio/third", "twilio/fourth"];
    let by_each = entries.map(|entry| fleet.stage.simulator.received_by(entry));
    println!("messages of each worker: {by_each:?}");
    assert!(by_each.iter().all(|count| *count > 0), "all four worked: {by_each:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_ends_its_challenge_on_a_worker_that_did_not_send_it() {
    const COUNT: usize = 50;
    let store = Store::start("").await;
    let fleet = Fleet::new(on(&store)).await;
    let mut sender = fleet.worker("twilio/first").await;
    let client = fleet.stage.listener().await;
    for n in 0..COUNT {
        // Delivered six seconds after it was sent.
        let methods = [json!({ "channel": "sms", "to": "+14158806000" })];
        let body = json!({ "id": format!("n{n}"), "code": "481516", "ttl": 60, "methods": methods });
        client.publish_challenge(&body.to_string()).await;
    }
    received(&fleet.stage, COUNT as u64).await;
    let other = fleet.worker("twilio/second").await;
    assert!(sender.terminate().await.success());
    let heard = Heard::collect(&client, COUNT, Duration::from_secs(30)).await;
    for outcome in heard.one_each("n", COUNT) {
        let word = (&outcome["status"], &outcome["confirmed_by"]);
        assert_eq!(word, (&json!("delivered"), &json!("receipt")), "{outcome}");
    }
    assert_eq!(fleet.stage.simulator.received_by("twilio/second"), 0, "who ended them sent none of them");
    eventually("the other worker counts them as its own", async || {
        let (_, figures) = other.get("/metrics").await?;
        let counted = figures.lines().find(|line| line.starts_with("courier_outcomes_total{"))?;
        (counted.contains("\"delivered\"") && counted.ends_with(&format!(" {COUNT}"))).then_some(())
    })
    .await;
}
