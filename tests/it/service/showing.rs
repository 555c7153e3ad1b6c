//! Ten thousand challenges while receipts are lost, doubled, early, out of order and forged, a worker is killed, and
//! the ledger is lost: what the promise comes to in numbers.
//!
//! `showing/schedule.rs` says what happens to whom, by a seed; `crowd.rs` is upstream; `verdict.rs` judges. The runs
//! take turns, since each fills the machine.

mod crowd;
mod inflight;
mod rolling;
mod schedule;
mod verdict;

use std::time::Duration;

use mfa_courier::clock::Clock;
use mfa_courier::simulator::Mode;
use tokio::sync::{Mutex, MutexGuard};

use self::crowd::Crowd;
use self::inflight::InFlight;
use self::verdict::Run;
use super::front::Front;
use super::{Courier, Stage, Store};
use crate::node::Node;

/// How many challenges a run has.
const COUNT: usize = 10_000;
/// How long a receipt is awaited. Long enough for a busy machine, and what each silent challenge takes.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a provider takes to answer, so that some requests are in flight at any time; receipts that are not early
/// come later.
const ANSWERS_AFTER: Duration = Duration::from_millis(50);
/// How many messages of each queue a worker has in hand.
const PREFETCH: usize = 500;

/// Whose turn it is.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// The providers, one address for receipts, and what workers are configured with.
struct Fleet {
    stage: Stage,
    front: Front,
    ledger: String,
}

impl Fleet {
    async fn new(ledger: String) -> Self {
        Self { stage: Stage::new(Node::shared()).await, front: Front::open().await, ledger }
    }

    /// The configuration of a worker whose messages come to this entry of the simulator.
    fn config(&self, entry: &str) -> std::path::PathBuf {
        let receipts = format!("receipts = true\nreceipt_timeout = \"{}s\"", RECEIPT_TIMEOUT.as_secs());
        let more = format!(
            "{receipts}\n{}\n[delivery]\nattempt_timeout = {{ sms = \"2s\", voice = \"2s\", push = \"2s\" }}\n",
            self.ledger
        );
        let config = self.stage.config_with(&receipts, &more);
        let text = std::fs::read_to_string(&config).expect("there");
        let text = text.replace("twilio/first", entry);
        let text = text.replacen("[broker]", &format!("[broker]\nprefetch = {PREFETCH}"), 1);
        std::fs::write(&config, text).expect("written");
        self.front.stands_before(&config);
        self.stage.simulator.set_mode(entry, Mode::Slow(ANSWERS_AFTER));
        config
    }

    async fn worker(&self, entry: &str) -> Courier {
        Courier::start(&self.config(entry)).await
    }

    /// That every true receipt found a worker, and no lie did.
    #[track_caller]
    fn receipts_were_told(&self) {
        let count = self.stage.simulator.receipts();
        println!("receipts: {count:?}");
        assert_eq!((count.genuine.refused, count.genuine.lost), (0, 0), "true ones are taken: {count:?}");
        assert_eq!((count.forged.taken, count.forged.lost), (0, 0), "lies are refused: {count:?}");
        assert!(count.forged.refused > 0 && count.genuine.taken > 0, "{count:?}");
    }
}

/// What a Redis is to a configuration. Not sealed: the test reads what is in flight.
fn on(store: &Store) -> String {
    format!("[ledger]\nurl = \"{}\"", store.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_over_two_workers_one_of_which_is_killed() {
    let _turn = turn().await;
    let store = Store::start("").await;
    let fleet = Fleet::new(on(&store)).await;
    let first = fleet.worker("twilio/first").await;
    let _second = fleet.worker("twilio/second").await;
    let crowd = Crowd::new(&fleet.stage.url, COUNT).await;
    let began = Clock::instant();
    let kill = async {
        crowd.have_ended(crowd.schedule.blow).await;
        first.kill9().await;
        InFlight::at_a_kill(&store).await
    };
    let ((), in_flight) = tokio::join!(crowd.publish(), kill);
    crowd.have_ended(COUNT).await;
    let took = began.elapsed();
    let asked_again = (0..COUNT).step_by(20);
    let repeats = crowd.repeats() + asked_again.len();
    crowd.repeat(asked_again).await;
    settled(&crowd, &fleet.stage, repeats).await;
    let run = Run::of(&crowd, &fleet.stage.simulator);
    run.print();
    println!("took {took:?}; {} in flight at the kill, {} second copies", in_flight.len(), run.second_copies());
    run.keeps_the_promise();
    run.speaks_once(0);
    fleet.receipts_were_told();
    let unexplained: Vec<_> = run.copies.keys().filter(|n| !in_flight.contains(**n)).collect();
    assert!(unexplained.is_empty(), "second copies of what was not in flight: {unexplained:?}");
    assert!(run.second_copies() <= in_flight.len(), "{:?}", run.copies);
    let simulator = &fleet.stage.simulator;
    let by_each = ["twilio/first", "twilio/second"].map(|entry| simulator.received_by(entry));
    assert!(by_each.iter().all(|count| *count > 1_000), "both worked: {by_each:?}");
}

/// Waits until everything has come that is asked for again, and what parked messages still do.
async fn settled(crowd: &Crowd, stage: &Stage, repeats: usize) {
    crate::node::eventually("what was asked for again comes again", async || {
        (crowd.repeats() >= repeats).then_some(())
    })
    .await;
    let client = stage.client().await;
    crate::node::eventually("nothing is left in the queues", async || {
        for queue in ["challenges", "followups", "signals", "dead"] {
            if client.queue_depth(&format!("mfa.courier.{queue}")).await? > 0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_while_redis_comes_back_empty() {
    let _turn = turn().await;
    let store = Store::start("").await;
    let fleet = Fleet::new(on(&store)).await;
    let first = fleet.worker("twilio/first").await;
    let second = fleet.worker("twilio/second").await;
    let crowd = Crowd::new(&fleet.stage.url, COUNT).await;
    let blow = async {
        crowd.have_ended(crowd.schedule.blow).await;
        first.kill9().await;
        store.kill9().await;
        store.forget();
        store.restart();
        second.ready().await;
        crowd.next()
    };
    let ((), whole_from) = tokio::join!(crowd.publish(), blow);
    after_a_loss(&fleet, &crowd, whole_from).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_in_one_worker_whose_ledger_dies_with_it() {
    let _turn = turn().await;
    let fleet = Fleet::new(String::new()).await;
    let first = fleet.worker("twilio/first").await;
    let crowd = Crowd::new(&fleet.stage.url, COUNT).await;
    let blow = async {
        crowd.have_ended(crowd.schedule.blow).await;
        first.kill9().await;
        let second = fleet.worker("twilio/second").await;
        (second, crowd.next())
    };
    let ((), (_second, whole_from)) = tokio::join!(crowd.publish(), blow);
    after_a_loss(&fleet, &crowd, whole_from).await;
}

/// What a lost ledger can do, in numbers; and that it does so to nobody who came after the loss.
async fn after_a_loss(fleet: &Fleet, crowd: &Crowd, whole_from: usize) {
    crowd.have_ended(COUNT).await;
    // Timers of what had ended before the loss may still bring second words.
    tokio::time::sleep(RECEIPT_TIMEOUT).await;
    settled(crowd, &fleet.stage, 0).await;
    let run = Run::of(crowd, &fleet.stage.simulator);
    run.print();
    println!(
        "the ledger was lost at about x{whole_from}: {} finals repeated with other content, {} second copies",
        run.contradicted().len(),
        run.second_copies()
    );
    run.keeps_the_promise();
    run.blames_the_loss();
    fleet.receipts_were_told();
    run.speaks_once(whole_from);
    assert_eq!(run.copies.range(whole_from..).count(), 0, "second copies after the loss: {:?}", run.copies);
    assert!(run.second_copies() <= 2 * PREFETCH, "no more second copies than a worker had in hand: {:?}", run.copies);
}
