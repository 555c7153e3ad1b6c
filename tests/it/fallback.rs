//! Going on by another provider, another channel, or not at all: a configuration as an operator writes it, the worker
//! that it makes, a broker in memory, and all simulated providers by real HTTP.
//!
//! `tests/scenarios` has these stories for the core alone; here the definitions, the requests and the answers of the
//! providers take part.

use std::sync::Arc;
use std::time::Duration;

use mfa_courier::boot::{assemble, worker};
use mfa_courier::broker::memory::MemoryBroker;
use mfa_courier::broker::{Properties, Publication};
use mfa_courier::clock::Clock;
use mfa_courier::config::Settings;
use mfa_courier::simulator::{
    ACCOUNT_SID, API_KEY, API_SECRET, APPLICATION_ID, AUTH_TOKEN, Mode, SIGNING_SECRET, Simulator, SimulatorSettings,
    VONAGE_PRIVATE_KEY,
};
use mfa_courier::worker::Ended;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::node::PATIENCE;

mod channels;
mod limits;

const TWILIO: &str = "twilio/first";
const VONAGE: &str = "vonage/second";
const GATEWAY: &str = "webhook/third";
const FCM: &str = "fcm/main";

/// A number that all take, one that takes calls only, and one that nobody has.
const MOBILE: &str = "+14155552671";
const LANDLINE: &str = "+14157721614";
const NOBODYS: &str = "+14157721211";

/// A worker, everybody around it, and what it said.
struct Stage {
    simulator: Simulator,
    broker: MemoryBroker,
    outcomes: UnboundedReceiver<Publication>,
    stop: CancellationToken,
    worker: JoinHandle<Ended>,
}

/// What became of a challenge.
#[derive(Debug)]
struct Told {
    /// Interim outcomes: status, hop, reason.
    interim: Vec<String>,
    outcome: Value,
}

impl Stage {
    /// `delivery` are keys of `[delivery]`, `more` is TOML that follows the providers.
    async fn new(delivery: &str, more: &str) -> Self {
        let clock = Clock::system();
        let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("courier.toml");
        std::fs::write(&file, configuration(&simulator, delivery, more)).expect("written");
        let settings = Settings::load(Some(&file), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let parts = assemble(&settings, &clock).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let broker = MemoryBroker::new(settings.broker.delivery_limit);
        let (outcomes, link, stop) = (broker.listen(), broker.connect(100), CancellationToken::new());
        let worker = worker(&settings, parts, clock, Arc::clone(&link.outbox));
        let worker = tokio::spawn(worker.run(link.inbox, stop.clone(), settings.delivery.drain));
        Self { simulator, broker, outcomes, stop, worker }
    }

    /// Publishes a challenge for these methods, with `more` keys.
    fn publish(&self, id: &str, methods: &Value, more: &Value) {
        let mut body = json!({ "id": id, "code": "481516", "ttl": 60, "methods": methods });
        for (key, value) in more.as_object().expect("keys") {
            body[key] = value.clone();
        }
        self.broker.publish_challenge("challenge.requested", Properties::default(), body.to_string(), None);
    }

    /// The person entered the code, or approved.
    fn verified(&self, id: &str) {
        let body = json!({ "id": id }).to_string();
        self.broker.publish_challenge("challenge.verified", Properties::default(), body, None);
    }

    async fn heard(&mut self) -> Value {
        let publication = timeout(PATIENCE, self.outcomes.recv()).await.expect("in time").expect("an outcome");
        serde_json::from_slice(&publication.body).expect("JSON")
    }

    /// Listens until a challenge has its final outcome.
    async fn until_final(&mut self, id: &str) -> Told {
        let mut interim = Vec::new();
        loop {
            let outcome = self.heard().await;
            assert_eq!(outcome["challenge_id"], id, "{outcome}");
            assert!(!outcome.to_string().contains("481516"), "{outcome}");
            if outcome["final"] == true {
                return Told { interim, outcome };
            }
            interim.push(format!("{} {} {}", word(&outcome["status"]), hop(&outcome), word(&outcome["reason"])));
        }
    }

    /// What becomes of a challenge that is published now.
    async fn told(&mut self, id: &str, methods: Value, more: Value) -> Told {
        self.publish(id, &methods, &more);
        self.until_final(id).await
    }

    /// How many messages each of them took: FCM, Twilio, Vonage, the gateway.
    fn taken(&self) -> [usize; 4] {
        let received = self.simulator.received();
        [FCM, TWILIO, VONAGE, GATEWAY]
            .map(|entry| received.iter().filter(|request| request.provider == entry && request.taken).count())
    }

    async fn end(self) {
        self.stop.cancel();
        assert_eq!(self.worker.await.expect("no panic"), Ended::Drained);
        self.simulator.shutdown().await;
    }
}

impl Told {
    /// Status, reason, advice.
    fn word(&self) -> String {
        ["status", "reason", "advice"].map(|key| word(&self.outcome[key])).join(" ")
    }

    /// Each attempt, and what it came to.
    fn attempts(&self) -> Vec<String> {
        self.list("attempts", "result")
    }

    /// Each hop that was not tried, and why.
    fn unused(&self) -> Vec<String> {
        self.list("unused", "why")
    }

    fn list(&self, what: &str, last: &str) -> Vec<String> {
        let items = self.outcome[what].as_array().expect("an array");
        items.iter().map(|item| format!("{} {}", hop(item), word(&item[last]))).collect()
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn hop(value: &Value) -> String {
    format!("{}/{}", word(&value["channel"]), word(&value["provider"]))
}

fn configuration(simulator: &Simulator, delivery: &str, more: &str) -> String {
    let [fcm, twilio, vonage, gateway] = [FCM, TWILIO, VONAGE, GATEWAY].map(|entry| simulator.base_url(entry));
    let account = simulator.service_account(FCM);
    let senders = "senders = [\"+15005550006\"]";
    format!(
        r#"
[broker]
url = "memory:"
[delivery]
retry = {{ max = 0 }}
{delivery}
[providers.fcm]
kind = "fcm"
base_url = "{fcm}"
service_account = '''{account}'''
[providers.twilio]
kind = "twilio"
base_url = "{twilio}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
{senders}
[providers.vonage]
kind = "vonage"
base_url = "{vonage}"
api_key = "{API_KEY}"
api_secret = "{API_SECRET}"
application_id = "{APPLICATION_ID}"
private_key = """{VONAGE_PRIVATE_KEY}"""
{senders}
[providers.gateway]
kind = "webhook"
base_url = "{gateway}"
signing_secret = "{SIGNING_SECRET}"
{more}
"#
    )
}

fn device(token: &str) -> Value {
    json!({
        "channel": "push", "platform": "android", "token": token, "number_match": "73",
        "registered_at": "2026-01-01T00:00:00Z",
    })
}

fn sms(to: &str) -> Value {
    json!({ "channel": "sms", "to": to })
}

fn call(to: &str) -> Value {
    json!({ "channel": "voice", "to": to })
}
