//! The broker, the provider, and the two processes that take turns before them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use mfa_courier::clock::Clock;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::load::{self, Drain, Latency, OUTCOMES};
use crate::node::{Client, Node, eventually, free_ports};
use crate::process;
use crate::provider::Provider;
use crate::store::Store;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The bare loop.
    Bare,
    /// The courier, its ledger in memory.
    Courier,
    /// The same, with a provider that tells each receipt at once; a final outcome is one that a receipt gave.
    Receipts,
    /// The courier with its ledger in Redis.
    Redis,
}

impl Side {
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Courier, Self::Receipts, Self::Redis];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare loop",
            Self::Courier => "courier",
            Self::Receipts => "with receipts",
            Self::Redis => "with Redis",
        }
    }
}

pub(crate) struct Stage {
    url: String,
    pub client: Client,
    pub first: Provider,
    pub second: Provider,
    /// One that tells receipts.
    telling: Provider,
    redis: Store,
    dir: tempfile::TempDir,
    rounds: std::sync::atomic::AtomicU32,
}

impl Stage {
    /// A broker with the courier's topology on it, and a queue for all final outcomes.
    pub(crate) async fn new() -> Self {
        let node = Node::shared();
        node.ready().await;
        let url = node.url(&node.vhost());
        let stage = Self {
            client: Client::connect(&url).await,
            url,
            first: Provider::start().await,
            second: Provider::start().await,
            telling: Provider::telling().await,
            redis: Store::start("").await,
            dir: tempfile::tempdir().unwrap(),
            rounds: 0.into(),
        };
        let declaring = stage.courier(&[("first", &stage.first)]);
        consumes(&stage.url).await;
        stage.client.outcomes_queue(OUTCOMES, "outcome.*.*.final").await;
        end(declaring).await;
        stage
    }

    /// The courier with these providers, in this order.
    pub(crate) fn courier(&self, providers: &[(&str, &Provider)]) -> Child {
        self.courier_with("[http]\nlisten = \"127.0.0.1:0\"", "", providers)
    }

    /// The courier with these sections, and these settings of each provider.
    fn courier_with(&self, sections: &str, settings: &str, providers: &[(&str, &Provider)]) -> Child {
        use std::fmt::Write as _;
        let broker = &self.url;
        let mut text =
            format!("log = \"warn\"\n[broker]\nurl = \"{broker}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{sections}\n");
        for (name, provider) in providers {
            let (url, kind) = (provider.url(), "kind = \"webhook\"\nmax_in_flight = 1000");
            writeln!(text, "[providers.{name}]\n{kind}\nbase_url = \"{url}\"\n{settings}").unwrap();
        }
        let file = self.dir.path().join("courier.toml");
        std::fs::write(&file, text).unwrap();
        spawn(Command::new(env!("CARGO_BIN_EXE_mfa-courier")).args(["run", "--config"]).arg(file))
    }

    fn start(&self, side: Side) -> Child {
        match side {
            Side::Courier => self.courier(&[("first", &self.first)]),
            Side::Receipts => {
                let [port] = free_ports();
                let door = format!(
                    "[http]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
                     callback_key = \"a key for the addresses of benchmarks\""
                );
                self.courier_with(&door, "receipts = true", &[("telling", &self.telling)])
            }
            Side::Redis => {
                let sections = format!("[http]\nlisten = \"127.0.0.1:0\"\n[ledger]\nurl = \"{}\"", self.redis.url());
                self.courier_with(&sections, "", &[("first", &self.first)])
            }
            Side::Bare => {
                let this: &Path = &std::env::current_exe().unwrap();
                spawn(Command::new(this).args(["bare", &self.url, &self.first.url()]))
            }
        }
    }

    fn prefix(&self) -> String {
        format!("r{}", self.rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// A backlog of `count` challenges: how fast, for how much CPU, with how much memory in MiB.
    pub(crate) async fn drain(&self, side: Side, count: usize) -> (Drain, f64) {
        load::fill(&self.client, &self.prefix(), count).await;
        let worker = self.start(side);
        let pid = worker.id().unwrap();
        let drain = load::drain(&Client::connect(&self.url).await, pid, count).await;
        let peak = process::peak_mib(pid);
        end(worker).await;
        (drain, peak)
    }

    /// `rate` challenges a second for a while.
    pub(crate) async fn half_load(&self, side: Side, rate: f64, lasts: Duration) -> Latency {
        let worker = self.start(side);
        let client = Client::connect(&self.url).await;
        // Connections and caches first.
        load::keep_up(&client, &self.prefix(), rate, Duration::from_secs(1)).await;
        let client = Client::connect(&self.url).await;
        let took = load::keep_up(&client, &self.prefix(), rate, lasts).await;
        end(worker).await;
        Latency::of(&took)
    }

    /// From the start of the process to its first request at a provider, with one challenge waiting.
    pub(crate) async fn cold_start(&self) -> Duration {
        load::fill(&self.client, &self.prefix(), 1).await;
        let began = Clock::instant();
        let worker = self.start(Side::Courier);
        timeout(Duration::from_secs(30), self.first.asked()).await.expect("a request");
        let took = began.elapsed();
        load::drain(&Client::connect(&self.url).await, worker.id().unwrap(), 1).await;
        end(worker).await;
        took
    }

    pub(crate) async fn another_client(&self) -> Client {
        Client::connect(&self.url).await
    }
}

fn spawn(command: &mut Command) -> Child {
    command.env_remove("RUST_LOG").stdout(Stdio::null()).kill_on_drop(true).spawn().expect("a process")
}

/// Waits until a worker consumes: it has declared everything before.
pub(crate) async fn consumes(url: &str) {
    eventually("a consumer", async || {
        let client = Client::connect(url).await;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = "mfa.courier.challenges".into();
        let found = client.channel.queue_declare(queue, passive, FieldTable::default()).await.ok()?;
        (found.consumer_count() > 0).then_some(())
    })
    .await;
}

/// Ends it as an operator would, so that it leaves nothing unacked.
pub(crate) async fn end(mut worker: Child) {
    let pid = worker.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    timeout(Duration::from_secs(40), worker.wait()).await.expect("it ends").unwrap();
}
