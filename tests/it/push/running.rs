//! A worker as an operator's configuration makes it, with a push service and text messages, both simulated.

use mfa_courier::boot::{assemble, worker};
use mfa_courier::broker::memory::MemoryBroker;
use mfa_courier::broker::{Properties, Publication};
use mfa_courier::clock::Clock;
use mfa_courier::config::Settings;
use mfa_courier::simulator::{ACCOUNT_SID, AUTH_TOKEN, Received, Simulator, SimulatorSettings};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Running {
    simulator: Simulator,
    broker: MemoryBroker,
    outcomes: UnboundedReceiver<Publication>,
    stop: CancellationToken,
    worker: JoinHandle<mfa_courier::worker::Ended>,
}

/// Loads a configuration with the push provider that `section` tells, and with text messages.
pub(crate) fn load(simulator: &Simulator, section: &str) -> Settings {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("courier.toml");
    let twilio = simulator.base_url("twilio/primary");
    let text = format!(
        "[broker]\nurl = \"memory:\"\n\
         {section}\n\
         [providers.twilio]\nkind = \"twilio\"\nbase_url = \"{twilio}\"\naccount_sid = \"{ACCOUNT_SID}\"\n\
         auth_token = \"{AUTH_TOKEN}\"\nsenders = [\"+15005550006\"]\n"
    );
    std::fs::write(&file, text).expect("written");
    Settings::load(Some(&file), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

impl Running {
    /// Starts it with the push provider that `section` tells of the simulator.
    pub(crate) async fn start(section: impl Fn(&Simulator) -> String) -> Self {
        let clock = Clock::system();
        let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
        let settings = load(&simulator, &section(&simulator));
        let parts = assemble(&settings, &clock).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let broker = MemoryBroker::new(settings.broker.delivery_limit);
        let outcomes = broker.listen();
        let link = broker.connect(100);
        let stop = CancellationToken::new();
        let worker = worker(&settings, parts, clock, std::sync::Arc::clone(&link.outbox));
        let worker = tokio::spawn(worker.run(link.inbox, stop.clone(), settings.delivery.drain));
        Self { simulator, broker, outcomes, stop, worker }
    }

    /// Publishes a challenge with these methods; its final outcome.
    pub(crate) async fn outcome(&mut self, id: &str, methods: Value) -> Value {
        let body = json!({ "id": id, "code": "QX481516", "ttl": 60, "methods": methods }).to_string();
        self.broker.publish_challenge("challenge.requested", Properties::default(), body, None);
        loop {
            let publication = self.outcomes.recv().await.expect("an outcome");
            let outcome: Value = serde_json::from_slice(&publication.body).expect("JSON");
            if outcome["challenge_id"] == id && outcome["final"] == true {
                return outcome;
            }
        }
    }

    /// What an entry of the simulator got.
    pub(crate) fn prompts(&self, entry: &str) -> Vec<Received> {
        self.simulator.received().into_iter().filter(|received| received.provider == entry).collect()
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.await.expect("it ends");
    }
}

/// A method of a challenge.
pub(crate) fn device(platform: &str, token: &str) -> Value {
    json!({
        "channel": "push", "platform": platform, "token": token, "number_match": "7319",
        "registered_at": "2026-01-01T00:00:00Z", "context": { "city": "Lyon", "shown": "7319" },
    })
}

/// Status, reason and advice.
pub(crate) fn word(outcome: &Value) -> String {
    let text = |key: &str| outcome[key].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", text("status"), text("reason"), text("advice"))
}
