//! The program itself: its binary, on a real RabbitMQ, with simulated providers, killed and stopped as the
//! world does it.

mod alerts;
mod bounds;
mod calls;
mod clients;
mod commands;
mod doors;
mod fleet;
mod front;
mod kills;
mod receipts;
mod ringing;
mod several;
mod showing;
mod statuses;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use mfa_courier::clock::Clock;
use mfa_courier::simulator::{ACCOUNT_SID, AUTH_TOKEN, SIGNING_SECRET, Simulator, SimulatorSettings};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::node::{Client, Node, eventually, free_ports};
use crate::redis::store::Store;

const OUTCOMES: &str = "test.outcomes";
const PROGRAM: &str = env!("CARGO_BIN_EXE_mfa-courier");

/// Two simulated providers, and a virtual host with a client.
struct Stage {
    url: String,
    simulator: Simulator,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn new(node: &Node) -> Self {
        let simulator = Simulator::start(SimulatorSettings::default(), Clock::system()).await.expect("a simulator");
        Self { url: node.url(&node.vhost()), simulator, dir: tempfile::tempdir().expect("a folder") }
    }

    /// A configuration for this stage; `more` is TOML that follows the providers.
    fn config(&self, more: &str) -> std::path::PathBuf {
        self.config_with("", more)
    }

    /// The same with more keys for the first provider.
    fn config_with(&self, first: &str, more: &str) -> std::path::PathBuf {
        let [http, admin] = free_ports();
        let (twilio, gateway) = (self.simulator.base_url("twilio/first"), self.simulator.base_url("webhook/second"));
        let text = format!(
            r#"
[broker]
url = "{}"
heartbeat = "1s"
[http]
listen = "127.0.0.1:{http}"
[admin]
listen = "127.0.0.1:{admin}"
[providers.twilio]
kind = "twilio"
base_url = "{twilio}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
senders = ["+15005550006"]
max_in_flight = 400
{first}
[providers.gateway]
kind = "webhook"
base_url = "{gateway}"
signing_secret = "{SIGNING_SECRET}"
max_in_flight = 400
{more}
"#,
            self.url
        );
        let file = self.dir.path().join(format!("{admin}.toml"));
        std::fs::write(&file, text).expect("written");
        file
    }

    async fn client(&self) -> Client {
        Client::connect(&self.url).await
    }

    /// A client with a queue for all outcomes; the worker must have declared the exchange.
    async fn listener(&self) -> Client {
        let client = self.client().await;
        client.outcomes_queue(OUTCOMES, "outcome.#").await;
        client
    }
}

/// A running worker.
struct Courier {
    child: Child,
    admin: u16,
}

impl Courier {
    /// Starts the program and waits until it is ready.
    async fn start(config: &Path) -> Self {
        let courier = Self::spawn(config);
        courier.ready().await;
        courier
    }

    fn spawn(config: &Path) -> Self {
        let admin = config.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("named for its port");
        let child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn")
            .stderr(if std::env::var_os("COURIER_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Self { child, admin }
    }

    async fn ready(&self) {
        eventually("the worker is ready", async || {
            let (status, _) = self.get("/readyz").await?;
            (status == 200).then_some(())
        })
        .await;
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.admin)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn kill9(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Sends SIGTERM and waits for the end.
    async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs");
        assert!(sent.success());
        self.ends().await
    }

    async fn ends(&mut self) -> ExitStatus {
        timeout(Duration::from_secs(40), self.child.wait()).await.expect("it ends in time").expect("waited for")
    }
}

/// Runs the program to its end.
async fn program(arguments: &[&str]) -> Output {
    let running = Command::new(PROGRAM).args(arguments).kill_on_drop(true).output();
    timeout(Duration::from_mins(1), running).await.expect("it ends in time").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A challenge to a number that the simulator takes.
fn challenge(id: &str, ttl: u64) -> Value {
    json!({ "id": id, "code": "481516", "ttl": ttl, "methods": [{ "channel": "sms", "to": "+14155552671" }] })
}

/// Publishes `count` challenges named `<prefix><n>`, with their confirms pipelined.
async fn publish(client: &Client, prefix: &str, count: usize, ttl: u64) {
    let bodies: Vec<_> = (0..count).map(|n| challenge(&format!("{prefix}{n}"), ttl).to_string()).collect();
    let publishing = bodies.iter().map(|body| client.publish_challenge(body));
    futures_util::stream::iter(publishing).buffer_unordered(256).collect::<Vec<()>>().await;
}

/// What came of challenges: each one's distinct final outcomes.
#[derive(Default)]
struct Heard {
    finals: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

impl Heard {
    /// Listens until `count` challenges have a final outcome, and as long again as repeats need to come.
    async fn collect(client: &Client, count: usize, most: Duration) -> Self {
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = client.channel.basic_consume(OUTCOMES.into(), "".into(), options, FieldTable::default());
        let mut consumer = consumer.await.expect("a consumer");
        let mut heard = Self::default();
        let latest = Clock::instant() + most;
        let mut quiet_since = Clock::instant();
        loop {
            let complete = heard.finals.len() >= count && quiet_since.elapsed() > Duration::from_millis(500);
            if complete || Clock::instant() > latest {
                return heard;
            }
            if let Ok(Some(Ok(delivery))) = timeout(Duration::from_millis(100), consumer.next()).await {
                quiet_since = Clock::instant();
                heard.take(delivery.data);
            }
        }
    }

    fn take(&mut self, body: Vec<u8>) {
        let outcome: Value = serde_json::from_slice(&body).expect("JSON");
        if outcome["final"] == true {
            let id = outcome["challenge_id"].as_str().expect("an id").to_owned();
            self.finals.entry(id).or_default().insert(body);
        }
    }

    /// That each of `<prefix>0..count` has one distinct final outcome; gives them.
    #[track_caller]
    fn one_each(&self, prefix: &str, count: usize) -> Vec<Value> {
        let one = |n: usize| {
            let id = format!("{prefix}{n}");
            let distinct = self.finals.get(&id).map(BTreeSet::len).unwrap_or_default();
            assert_eq!(distinct, 1, "distinct final outcomes of {id} ({} heard in all)", self.finals.len());
            serde_json::from_slice(self.finals[&id].first().expect("one")).expect("JSON")
        };
        (0..count).map(one).collect()
    }
}

/// How long after its deadline an outcome was decided, in milliseconds; negative before it.
fn lateness_ms(outcome: &Value) -> i64 {
    let at = |name: &str| {
        let text = outcome[name].as_str().expect("a time");
        mfa_courier::clock::Timestamp::parse_rfc3339(text).expect("RFC 3339").as_millis()
    };
    at("occurred_at") - at("expires_at")
}

/// Waits until the simulator got so many requests.
async fn received(stage: &Stage, count: u64) {
    eventually("the providers got them", async || (stage.simulator.received_total() >= count).then_some(())).await;
}

/// A moment for something that must not happen.
async fn a_moment() {
    sleep(Duration::from_millis(500)).await;
}
