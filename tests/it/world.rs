//! A world in virtual time: the real worker on the memory broker and ledger, with providers that do as told.
//!
//! Everything that happens is kept (what was published, sent, said), so that a test can check a history
//! rather than a moment. Workers can be killed and started, the ledger wiped, sessions dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfa_courier::broker::memory::MemoryBroker;
use mfa_courier::broker::wire::challenge::Reader;
use mfa_courier::broker::wire::form;
use mfa_courier::broker::{Names, Properties, Publication};
use mfa_courier::challenge::Channel;
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::language::Language;
use mfa_courier::delivery::message::{Template, Texts, Wording};
use mfa_courier::delivery::outcome::Outcome;
use mfa_courier::delivery::policy::{Policy, ProviderPolicy, Reach};
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::guard::health::HealthPolicy;
use mfa_courier::guard::quota::Rate;
use mfa_courier::ledger::Ledger;
use mfa_courier::ledger::memory::MemoryLedger;
use mfa_courier::provider::callback::Callbacks;
use mfa_courier::provider::{Message, Provider, Reply, Roster};
use mfa_courier::secret::Secret;
use mfa_courier::worker::pressure::{LaneSettings, Pressure};
use mfa_courier::worker::{Ended, Tools, Worker};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gates::{Gates, Hold, Point};

/// When every world begins.
pub(crate) const BEGIN: &str = "2026-11-24T12:00:00Z";
/// The code that every challenge carries.
pub(crate) const CODE: &str = "481516";

/// What a scripted provider does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// After how long it answers.
    pub(crate) after: Duration,
    /// What its answer means. `None`: no answer ever comes.
    pub(crate) result: Option<AttemptResult>,
    /// Its hint when to come back.
    pub(crate) retry_after: Option<Duration>,
}

impl Act {
    /// Answers `result` after `millis`.
    pub(crate) fn answer(result: AttemptResult, millis: u64) -> Self {
        Self { after: Duration::from_millis(millis), result: Some(result), retry_after: None }
    }

    /// Never answers.
    pub(crate) fn hang() -> Self {
        Self { after: Duration::ZERO, result: None, retry_after: None }
    }
}

type Script = dyn FnMut(&Sent) -> Act + Send;

/// A request that a provider got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Which worker sent it, by the number that it was started with.
    pub(crate) worker: usize,
    pub(crate) provider: String,
    pub(crate) to: String,
    pub(crate) text: String,
    pub(crate) code: Option<String>,
    pub(crate) reference: String,
    pub(crate) at: Timestamp,
    pub(crate) validity: Duration,
    pub(crate) callback_url: Option<String>,
}

/// A provider that keeps what it gets and does as its script says.
pub(crate) struct Scripted {
    worker: usize,
    name: String,
    clock: Clock,
    sent: Arc<Mutex<Vec<Sent>>>,
    script: Arc<Mutex<Box<Script>>>,
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let to = match &message.address {
            mfa_courier::challenge::Address::Sms { to } | mfa_courier::challenge::Address::Voice { to, .. } => {
                to.expose().to_owned()
            }
            mfa_courier::challenge::Address::Push(target) => target.token.expose().to_owned(),
        };
        let sent = Sent {
            worker: self.worker,
            provider: self.name.clone(),
            to,
            text: message.text.expose().to_owned(),
            code: message.code.as_ref().map(|code| code.expose().to_owned()),
            reference: message.reference.clone(),
            at: self.clock.now(),
            validity: message.validity,
            callback_url: message.callback_url.as_ref().map(|address| address.expose().to_owned()),
        };
        self.sent.lock().unwrap().push(sent.clone());
        let act = (self.script.lock().unwrap())(&sent);
        let Some(result) = act.result else {
            tokio::time::sleep_until(deadline).await;
            return Reply::InDoubt { why: "no answer in time".to_owned() };
        };
        let answered = Clock::instant() + act.after;
        if answered > deadline {
            tokio::time::sleep_until(deadline).await;
            return Reply::InDoubt { why: "no answer in time".to_owned() };
        }
        tokio::time::sleep_until(answered).await;
        Reply::Answered { status: 200, retry_after: act.retry_after, body: result.as_str().into() }
    }

    fn classify(&self, _message: &Message, reply: &Reply) -> Verdict {
        match reply {
            Reply::Answered { body, retry_after, .. } => {
                let result = AttemptResult::ALL.into_iter().find(|r| r.as_str().as_bytes() == body.as_ref());
                Verdict { retry_after: *retry_after, ..Verdict::of(result.unwrap_or(AttemptResult::Unknown)) }
            }
            Reply::NotSent { .. } => Verdict::of(AttemptResult::Transient),
            Reply::Unfit { .. } => Verdict::of(AttemptResult::Content),
            Reply::Refused { .. } | Reply::Torn { .. } | Reply::InDoubt { .. } => Verdict::of(AttemptResult::Unknown),
        }
    }
}

/// Where every world is told news.
pub(crate) fn callbacks() -> Callbacks {
    let url = "https://courier.example.com".parse().expect("an address");
    Callbacks::new(&url, &Secret::new("the key of every world"), None)
}

/// What there is in a world. Change it before [`World::new`].
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) rates: BTreeMap<(String, Channel), Rate>,
    pub(crate) max_in_flight: u32,
    pub(crate) health: HealthPolicy,
    pub(crate) sleepers: usize,
    pub(crate) prefetch: usize,
    pub(crate) delivery_limit: u32,
    pub(crate) seed: u64,
}

impl Setup {
    /// Providers by name and channel, in order, with the default policy.
    pub(crate) fn with(providers: &[(&str, Channel)]) -> Self {
        let provider = |(name, channel): &(&str, Channel)| ProviderPolicy {
            name: (*name).into(),
            channel: *channel,
            senders: Vec::new(),
            receipts: false,
            receipt_timeout: None,
            reach: Reach::default(),
            receipt_timeout_by_country: BTreeMap::new(),
        };
        Self {
            policy: Policy { providers: providers.iter().map(provider).collect(), ..Policy::default() },
            rates: BTreeMap::new(),
            max_in_flight: 200,
            health: HealthPolicy::default(),
            sleepers: 250,
            prefetch: 1_000,
            delivery_limit: 100,
            seed: 1,
        }
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) broker: MemoryBroker,
    pub(crate) ledger: Arc<MemoryLedger>,
    gates: Arc<Gates>,
    setup: Setup,
    outcomes: UnboundedReceiver<Publication>,
    heard: Vec<Outcome>,
    bodies: BTreeMap<String, Vec<bytes::Bytes>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    script: Arc<Mutex<Box<Script>>>,
    workers: Vec<Running>,
    started: u64,
}

struct Running {
    task: JoinHandle<Ended>,
    stop: CancellationToken,
}

impl World {
    /// A world with nobody in it yet; `script` is what every provider does.
    pub(crate) fn new(setup: Setup, script: impl FnMut(&Sent) -> Act + Send + 'static) -> Self {
        let clock = Clock::starting_at(Timestamp::parse_rfc3339(BEGIN).unwrap());
        let broker = MemoryBroker::new(setup.delivery_limit);
        let outcomes = broker.listen();
        let ledger = Arc::new(MemoryLedger::new(clock.clone(), 1_000_000, setup.seed));
        Self {
            clock,
            broker,
            ledger,
            gates: Arc::default(),
            setup,
            outcomes,
            heard: Vec::new(),
            bodies: BTreeMap::new(),
            sent: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
            workers: Vec::new(),
            started: 0,
        }
    }

    /// Starts a worker; gives its number.
    pub(crate) fn start_worker(&mut self) -> usize {
        self.start_worker_with(|_| {})
    }

    /// Starts a worker whose tools `change` has had its hands on; gives its number.
    pub(crate) fn start_worker_with(&mut self, change: impl FnOnce(&mut Tools)) -> usize {
        self.started += 1;
        let number = self.workers.len();
        let link = self.gates.around_link(number, self.broker.connect(self.setup.prefetch));
        let ledger = self.gates.around_ledger(number, Arc::clone(&self.ledger) as Arc<dyn Ledger>);
        let mut tools = self.tools(Arc::clone(&link.outbox), ledger);
        change(&mut tools);
        let worker = Worker::new(tools);
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(link.inbox, stop.clone(), Duration::from_secs(25)));
        self.workers.push(Running { task, stop });
        number
    }

    /// Kills a worker between two of its steps. Its session ends; its memory is gone.
    pub(crate) async fn kill_worker(&mut self, number: usize) {
        let running = &mut self.workers[number];
        running.task.abort();
        let _ = (&mut running.task).await;
    }

    /// Tells a worker to stop, as SIGTERM does, and does not wait for it.
    pub(crate) fn stop_worker(&self, number: usize) {
        self.workers[number].stop.cancel();
    }

    /// Whether a worker was killed or came to its end.
    pub(crate) fn has_ended(&self, number: usize) -> bool {
        self.workers[number].task.is_finished()
    }

    /// Kills a worker and does not wait until the last of it is gone.
    pub(crate) fn abort_worker(&self, number: usize) {
        self.workers[number].task.abort();
    }

    /// How many workers were started so far.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Stops a worker as SIGTERM does.
    pub(crate) async fn drain_worker(&mut self, number: usize) -> Ended {
        self.stop_worker(number);
        (&mut self.workers[number].task).await.unwrap()
    }

    /// Holds a worker the next time that it comes to `point`.
    pub(crate) fn hold(&self, worker: usize, point: Point) -> Hold {
        self.gates.hold(worker, point)
    }

    /// Cuts a worker off: its session ends (and all others, which come back), and it hears nothing any more.
    pub(crate) fn cut_off(&self, worker: usize) {
        self.gates.set_hearing(worker, false);
        self.broker.drop_sessions();
    }

    /// Ends [`World::cut_off`].
    pub(crate) fn reconnect(&self, worker: usize) {
        self.gates.set_hearing(worker, true);
    }

    /// Everything that workers published, parked messages included.
    pub(crate) fn published(&self) -> Vec<Publication> {
        self.gates.published()
    }

    /// Puts a message where its route leads, as a broker that doubles or a worker of another life would.
    pub(crate) async fn inject(&self, publication: Publication) {
        self.broker.connect(0).outbox.publish(&publication).await.unwrap();
    }

    fn tools(&self, outbox: Arc<dyn mfa_courier::broker::Outbox>, ledger: Arc<dyn Ledger>) -> Tools {
        let setup = &self.setup;
        let mut roster = Roster::default();
        for provider in &setup.policy.providers {
            roster.insert(Arc::new(Scripted {
                worker: self.workers.len(),
                name: provider.name.as_ref().to_owned(),
                clock: self.clock.clone(),
                sent: Arc::clone(&self.sent),
                script: Arc::clone(&self.script),
            }));
        }
        let lanes: Vec<LaneSettings> = setup.policy.providers.iter().map(|provider| lane(setup, provider)).collect();
        let in_flight: Vec<_> =
            setup.policy.providers.iter().map(|p| (Arc::clone(&p.name), setup.max_in_flight)).collect();
        let mut texts = Texts::default();
        let english = Language::parse("en").unwrap();
        for channel in Channel::ALL {
            let text = if channel == Channel::Push { "Is this you?" } else { "{code} is your code" };
            let wording = Wording { title: None, body: Template::parse(text).unwrap() };
            texts.general.insert(channel, &english, "default", vec![wording]);
        }
        Tools {
            clock: self.clock.clone(),
            policy: setup.policy.clone(),
            texts,
            roster,
            pressure: Pressure::new(&lanes, &in_flight, setup.health, setup.sleepers, self.clock.now()),
            ledger,
            outbox,
            callbacks: Some(callbacks()),
            reader: reader(&setup.policy),
            names: Names::default(),
            retention: Duration::from_hours(24),
            quarantine_ttl: Duration::from_hours(24),
            seal: Arc::default(),
            seed: setup.seed.wrapping_mul(1_000).wrapping_add(self.started),
        }
    }

    /// Publishes a challenge with one sms method; `ttl` in seconds.
    pub(crate) fn challenge(&self, id: &str, ttl: u64) {
        self.publish(
            &json!({"id": id, "code": CODE, "ttl": ttl, "methods": [{"channel": "sms", "to": "+14155552671"}]}),
        );
    }

    /// Publishes a challenge.
    pub(crate) fn publish(&self, body: &serde_json::Value) {
        self.broker.publish_challenge("challenge.requested", Properties::default(), body.to_string(), None);
    }

    /// Publishes a challenge that the broker gives up after `ttl` in its queue.
    pub(crate) fn publish_dead(&self, body: &serde_json::Value, ttl: Duration) {
        self.broker.publish_challenge("challenge.requested", Properties::default(), body.to_string(), Some(ttl));
    }

    /// Publishes a signal: `cancelled` or `verified`.
    pub(crate) fn signal(&self, kind: &str, id: &str) {
        let body = json!({"id": id}).to_string();
        self.broker.publish_challenge(&format!("challenge.{kind}"), Properties::default(), body, None);
    }

    /// Lets time pass.
    pub(crate) async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.listen();
    }

    /// Lets time pass until nothing is left in the broker; panics if that takes longer than `most`.
    pub(crate) async fn settle(&mut self, most: Duration) {
        let latest = Clock::instant() + most;
        while self.broker.pending() > 0 {
            assert!(Clock::instant() < latest, "{} messages are still there after {most:?}", self.broker.pending());
            self.pass(Duration::from_millis(50)).await;
        }
        self.listen();
    }

    fn listen(&mut self) {
        while let Ok(publication) = self.outcomes.try_recv() {
            let content_type = publication.properties.content_type.as_deref();
            let outcome = form::outcome(content_type, &publication.body).unwrap();
            assert_eq!(publication.properties.message_id.as_deref(), Some(outcome.id.as_str()));
            self.bodies.entry(outcome.id.clone()).or_default().push(publication.body);
            self.heard.push(outcome);
        }
    }

    /// Every outcome so far, repeats included.
    pub(crate) fn heard(&self) -> &[Outcome] {
        &self.heard
    }

    /// Every different body that was published under an outcome's id.
    pub(crate) fn different_bodies(&self, outcome_id: &str) -> usize {
        let mut bodies = self.bodies.get(outcome_id).cloned().unwrap_or_default();
        bodies.sort();
        bodies.dedup();
        bodies.len()
    }

    /// The final outcome of a challenge; panics unless there is exactly one distinct one.
    #[track_caller]
    pub(crate) fn outcome(&self, id: &str) -> &Outcome {
        let id = format!("{id}:final");
        assert_eq!(self.different_bodies(&id), 1, "distinct final outcomes of {id}");
        self.heard.iter().find(|outcome| outcome.id == id).unwrap()
    }

    /// Every request that providers got.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

fn lane(setup: &Setup, provider: &ProviderPolicy) -> LaneSettings {
    let name = provider.name.as_ref().to_owned();
    LaneSettings {
        provider: Arc::clone(&provider.name),
        channel: provider.channel,
        rate: setup.rates.get(&(name, provider.channel)).copied(),
        senders: Vec::new(),
    }
}

/// A reader with the default limits.
pub(crate) fn reader(policy: &Policy) -> Reader {
    Reader {
        max_message_bytes: 65_536,
        default_ttl: policy.default_ttl,
        max_ttl: policy.max_ttl,
        default_region: None,
        names: Names::default(),
        content_key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a test"),
    }
}
