//! Challenges that wait for receipts in one worker on a Redis: what memory each takes there, and how long it is from a
//! receipt to the outcome.
//!
//! They wait in the broker, so that the worker should hold nothing of them. Receipts come at their real addresses by
//! HTTP, each when it is due, whether others are answered or not.

use std::process::Stdio;
use std::time::Duration;

use mfa_courier::challenge::{ChallengeId, Channel};
use mfa_courier::clock::Clock;
use mfa_courier::provider::callback::Callbacks;
use mfa_courier::secret::Secret;
use tokio::process::{Child, Command};
use tokio::time::{sleep, sleep_until};
use url::Url;

use crate::load::{self, OUTCOMES};
use crate::node::{Client, Node, free_ports};
use crate::process;
use crate::provider::Provider;
use crate::stage::{consumes, end};
use crate::store::Store;

/// Receipts a second, and for how long.
const RATE: u32 = 1_000;
const LASTS: Duration = Duration::from_secs(20);
/// How many go before, so that connections, caches and the allocator are warm.
const WARM: usize = 5_000;
/// What the p99 from a receipt to its outcome has to be below, in milliseconds.
const WANTED_P99_MS: f64 = 50.0;
const KEY: &str = "a key for the addresses of benchmarks";

/// A worker, and where its receipts go.
struct Waiting {
    worker: Child,
    url: String,
    provider: Provider,
    callbacks: Callbacks,
    http: reqwest::Client,
    _store: Store,
    _dir: tempfile::TempDir,
}

/// Prints what `count` waiting challenges take, and the latency of their receipts.
pub(crate) async fn measure(count: usize) {
    let receipts = (RATE * u32::try_from(LASTS.as_secs()).unwrap()) as usize;
    assert!(count >= receipts, "--waiting takes at least {receipts}, of which receipts come");
    let waiting = Waiting::start().await;
    let client = Client::connect(&waiting.url).await;
    waiting.park(&client, "warm", WARM).await;
    waiting.receive("warm", WARM).await;
    let pid = waiting.worker.id().unwrap();
    let before = resident_kib(pid);
    let began = Clock::instant();
    waiting.park(&client, "w", count).await;
    let parked = began.elapsed();
    let after = resident_kib(pid);
    let cpu = process::cpu_seconds(pid);
    sleep(Duration::from_secs(5)).await;
    let idle = process::cpu_seconds(pid) - cpu;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = (after - before) as f64 * 1_024.0 / count as f64;
    println!(
        "{count} challenges waiting for receipts, all sent within {:.1} s: the worker has {:.1} MiB resident, {:.1} MiB \
         before; {each:.0} bytes for each; at most {:.1} MiB while they were sent; {idle:.2} CPU seconds in 5 s of \
         waiting",
        parked.as_secs_f64(),
        mib(after),
        mib(before),
        process::peak_mib(pid),
    );
    let took = waiting.receive("w", receipts).await;
    let (p50, p99) = (load::percentile(&took, 50), load::percentile(&took, 99));
    println!(
        "from a receipt to its outcome at {RATE} a second, {} waiting: p50 {p50:.1} ms, p99 {p99:.1} ms (wanted: below \
         {WANTED_P99_MS:.0} ms), the slowest {:.1} ms",
        count - receipts,
        load::percentile(&took, 100),
    );
    end(waiting.worker).await;
}

impl Waiting {
    async fn start() -> Self {
        let node = Node::shared();
        node.ready().await;
        let (url, store, provider) = (node.url(&node.vhost()), Store::start("").await, Provider::start().await);
        let [http] = free_ports();
        let public = format!("http://127.0.0.1:{http}");
        let (dir, redis, sends_to) = (tempfile::tempdir().unwrap(), store.url(), provider.url());
        let text = format!(
            "log = \"warn\"\n[broker]\nurl = \"{url}\"\n[ledger]\nurl = \"{redis}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\npublic_url = \"{public}\"\ncallback_key = \"{KEY}\"\n\
             [providers.gateway]\nkind = \"webhook\"\nbase_url = \"{sends_to}\"\nmax_in_flight = 1000\n\
             receipts = true\nreceipt_timeout = \"10m\"\n"
        );
        let file = dir.path().join("courier.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfa-courier"));
        let command = command.args(["run", "--config"]).arg(file).env_remove("RUST_LOG").stdout(Stdio::null());
        let worker = command.kill_on_drop(true).spawn().expect("a process");
        let callbacks = Callbacks::new(&Url::parse(&public).unwrap(), &Secret::new(KEY), None);
        let client = Client::connect(&url).await;
        consumes(&url).await;
        client.outcomes_queue(OUTCOMES, "outcome.*.*.final").await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { worker, url, provider, callbacks, http, _store: store, _dir: dir }
    }

    /// Publishes so many, and waits until the provider took all of them and nothing of them is in hand.
    async fn park(&self, client: &Client, prefix: &str, count: usize) {
        let taken = self.provider.requests() + count as u64;
        load::fill(client, prefix, count).await;
        while self.provider.requests() < taken {
            sleep(Duration::from_millis(50)).await;
        }
        // The last ones are parked, and the timers of the first levels have come back and gone again.
        sleep(Duration::from_secs(3)).await;
    }

    /// Tells `count` receipts, each when it is due, and waits for their outcomes: from due to heard.
    async fn receive(&self, prefix: &str, count: usize) -> Vec<Duration> {
        let begin = Clock::instant() + Duration::from_millis(100);
        let due = |n: usize| begin + Duration::from_secs(1) * u32::try_from(n).unwrap() / RATE;
        let telling = async {
            for n in 0..count {
                let address = self.address(&format!("{prefix}-{n}"));
                sleep_until(due(n)).await;
                tokio::spawn(tell(self.http.clone(), address));
            }
        };
        let client = Client::connect(&self.url).await;
        let outcomes = load::listen(&client).await;
        tokio::join!(telling, load::hear(outcomes, prefix, count, due)).1
    }

    /// Where the news of a challenge's first attempt goes.
    fn address(&self, id: &str) -> String {
        let until = Clock::system().now() + Duration::from_hours(1);
        let id = ChallengeId::parse(id).unwrap();
        let (_, address) = self.callbacks.address("gateway", &id, Channel::Sms, 1, until).unwrap();
        address.expose().to_owned()
    }
}

async fn tell(http: reqwest::Client, address: String) {
    let receipt = http.post(address).header("content-type", "application/json").body("{\"status\":\"delivered\"}");
    let status = receipt.send().await.unwrap().status();
    assert!(status.is_success(), "{status}");
}

/// What a process has resident now.
fn resident_kib(pid: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn mib(kib: i64) -> f64 {
    kib as f64 / 1_024.0
}
