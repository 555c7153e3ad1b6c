//! SMPP from a configuration to receipts: the worker that it makes, a broker in memory, and an SMSC that writes its
//! PDUs by hand, octet by octet, from the specification.

use std::sync::Arc;

use mfa_courier::boot::{assemble, worker};
use mfa_courier::broker::memory::MemoryBroker;
use mfa_courier::broker::{Properties, Publication};
use mfa_courier::clock::Clock;
use mfa_courier::config::Settings;
use mfa_courier::provider::Provider;
use mfa_courier::worker::Ended;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::smsc::{Heard, Line, Smsc};
use crate::node::PATIENCE;

mod pdus;
mod smsc;

/// A worker with one provider, and the server that it talks to.
struct Stage {
    broker: MemoryBroker,
    outcomes: UnboundedReceiver<Publication>,
    stop: CancellationToken,
    worker: JoinHandle<Ended>,
    sessions: JoinHandle<()>,
    unbind: CancellationToken,
}

fn configuration(host: &str, more: &str) -> String {
    format!(
        "[broker]\nurl = \"memory:\"\n[providers.smsc]\nkind = \"smpp\"\nhost = \"{host}\"\nsystem_id = \"otpuser\"\n\
         password = \"secret01\"\nsenders = [\"ACME\"]\nreceipts = true\n{more}\n"
    )
}

fn load(text: &str) -> Settings {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("courier.toml");
    std::fs::write(&file, text).expect("written");
    Settings::load(Some(&file), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

impl Stage {
    fn new(host: &str, more: &str) -> Self {
        let (clock, settings) = (Clock::system(), load(&configuration(host, more)));
        let parts = assemble(&settings, &clock).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let broker = MemoryBroker::new(settings.broker.delivery_limit);
        let (outcomes, link, stop) = (broker.listen(), broker.connect(100), CancellationToken::new());
        let provider: Arc<dyn Provider> = Arc::clone(parts.roster.get("smsc").expect("configured"));
        let (outbox, unbind) = (Arc::clone(&link.outbox), CancellationToken::new());
        let until = unbind.clone();
        let sessions = tokio::spawn(async move { provider.serve(outbox, until).await });
        let worker = worker(&settings, parts, clock, Arc::clone(&link.outbox));
        let worker = tokio::spawn(worker.run(link.inbox, stop.clone(), settings.delivery.drain));
        Self { broker, outcomes, stop, worker, sessions, unbind }
    }

    fn publish(&self, id: &str) {
        let methods = json!([{ "channel": "sms", "to": "+33612345678" }]);
        let body = json!({ "id": id, "code": "481516", "ttl": 60, "methods": methods }).to_string();
        self.broker.publish_challenge("challenge.requested", Properties::default(), body, None);
    }

    async fn until_final(&mut self, id: &str) -> Value {
        loop {
            let publication = timeout(PATIENCE, self.outcomes.recv()).await.expect("in time").expect("an outcome");
            let outcome: Value = serde_json::from_slice(&publication.body).expect("JSON");
            if outcome["challenge_id"] == id && outcome["final"] == true {
                return outcome;
            }
        }
    }

    /// Ends the worker, then its sessions.
    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.worker).await.expect("in time").expect("it ends");
        self.unbind.cancel();
        timeout(PATIENCE, self.sessions).await.expect("in time").expect("they end");
    }
}

/// A bound line of a new server, and the first message of a challenge on it.
async fn first_message(more: &str) -> (Stage, Smsc, Line, Heard) {
    let smsc = Smsc::listen().await;
    let stage = Stage::new(&smsc.host(), more);
    let mut line = smsc.bound().await;
    stage.publish("c-1");
    let message = line.next(smsc::SUBMIT_SM).await;
    (stage, smsc, line, message)
}

#[tokio::test]
async fn a_code_is_sent_and_its_receipt_ends_the_challenge() {
    let (mut stage, _smsc, mut line, message) = first_message("").await;
    assert!(message.holds(b"ACME\0") && message.holds(b"33612345678\0") && message.holds(b"481516"));
    line.answer(&message, 0, b"6AAD5\0").await;
    line.receipt(7, "id:6aad5 sub:001 dlvrd:001 stat:DELIVRD err:000 text:").await;
    let outcome = stage.until_final("c-1").await;
    assert_eq!((&outcome["status"], &outcome["confirmed_by"]), (&json!("delivered"), &json!("receipt")), "{outcome}");
    assert_eq!(outcome["attempts"][0]["message_id"], "6AAD5");
    assert_eq!(line.next(smsc::DELIVER_SM_RESP).await.head(), (0, 7), "once the broker has it");
    let stopping = tokio::spawn(stage.stop());
    let unbind = line.next(smsc::UNBIND).await;
    line.answer(&unbind, 0, b"").await;
    stopping.await.expect("it ends");
}

#[tokio::test]
async fn a_receipt_in_decimal_that_overtakes_the_answer_is_waited_for() {
    let (mut stage, _smsc, mut line, message) = first_message("receipt_ids = \"decimal\"").await;
    line.receipt(7, "id:0000436949 stat:UNDELIV err:0b").await;
    assert_eq!(line.next(smsc::DELIVER_SM_RESP).await.head(), (0, 7));
    line.answer(&message, 0, b"6AAD5\0").await;
    let outcome = stage.until_final("c-1").await;
    assert_eq!((&outcome["status"], &outcome["reason"]), (&json!("failed"), &json!("undelivered")), "{outcome}");
    assert_eq!(outcome["attempts"][0]["receipt"]["code"], "0b");
    drop(line);
    stage.stop().await;
}

#[tokio::test]
async fn a_line_that_breaks_leaves_what_was_written_in_doubt_and_is_bound_again() {
    let (mut stage, smsc, line, _message) = first_message("").await;
    drop(line);
    let outcome = stage.until_final("c-1").await;
    assert_eq!((&outcome["status"], &outcome["reason"]), (&json!("unknown"), &json!("in_doubt")), "{outcome}");
    let mut line = smsc.bound().await;
    stage.publish("c-2");
    let message = line.next(smsc::SUBMIT_SM).await;
    line.answer(&message, 0x0b, b"").await;
    let outcome = stage.until_final("c-2").await;
    assert_eq!((&outcome["status"], &outcome["attempts"][0]["code"]), (&json!("failed"), &json!("0xB")), "{outcome}");
    drop(line);
    stage.stop().await;
}

#[tokio::test]
async fn a_refused_bind_is_the_providers_fault_and_nothing_is_written() {
    let smsc = Smsc::listen().await;
    let mut stage = Stage::new(&smsc.host(), "");
    let mut line = smsc.accepted().await;
    let bind = line.next(smsc::BIND_TRANSCEIVER).await;
    line.answer(&bind, 0x0e, b"").await;
    stage.publish("c-1");
    let outcome = stage.until_final("c-1").await;
    assert_eq!(outcome["attempts"][0]["result"], "provider", "{outcome}");
    assert_eq!(outcome["attempts"][0]["code"], "0xE");
    drop(line);
    stage.stop().await;
}

#[tokio::test]
async fn a_giant_pdu_ends_the_line_and_an_unknown_one_does_not() {
    let (mut stage, smsc, mut line, message) = first_message("").await;
    line.write(&smsc::pdu(0x0000_0111, 0, 9, b"what nobody knows")).await;
    assert_eq!(line.next(smsc::GENERIC_NACK).await.head(), (3, 9));
    line.write(&smsc::pdu(smsc::ENQUIRE_LINK, 0, 10, b"")).await;
    assert_eq!(line.next(smsc::ENQUIRE_LINK | smsc::ANSWER).await.head(), (0, 10));
    line.write(&smsc::pdu(smsc::DELIVER_SM, 0, 11, b"\xff\xff")).await;
    assert_eq!(line.next(smsc::DELIVER_SM_RESP).await.head(), (0x65, 11), "never to be told again");
    line.write(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1]).await;
    smsc.bound().await;
    line.answer(&message, 0, b"too late\0").await;
    assert_eq!(stage.until_final("c-1").await["status"], "unknown");
    stage.stop().await;
}

#[tokio::test]
async fn credentials_are_tried_by_a_bind_that_is_let_go() {
    let smsc = Smsc::listen().await;
    let settings = load(&configuration(&smsc.host(), ""));
    let parts = assemble(&settings, &Clock::system()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let provider = Arc::clone(parts.roster.get("smsc").expect("configured"));
    let tried =
        |provider: Arc<dyn Provider>| tokio::spawn(async move { provider.try_out(Clock::instant() + PATIENCE).await });
    let trying = tried(Arc::clone(&provider));
    let mut line = smsc.bound().await;
    let unbind = line.next(smsc::UNBIND).await;
    line.answer(&unbind, 0, b"").await;
    assert_eq!(trying.await.expect("it ends"), Some(Ok(())));
    let trying = tried(provider);
    let mut line = smsc.accepted().await;
    let bind = line.next(smsc::BIND_TRANSCEIVER).await;
    line.answer(&bind, 0x0e, b"").await;
    let refused = "the server refuses the bind with status 0xE".to_owned();
    assert_eq!(trying.await.expect("it ends"), Some(Err(refused)));
}
