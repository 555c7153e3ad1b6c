//! The ledger in Redis: the rules of every ledger, and what is left of them when Redis is gone, slow, full,
//! emptied, or back as it once was.

mod lanes;
mod outcomes;
pub(crate) mod store;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mfa_courier::challenge::ChallengeId;
use mfa_courier::clock::{Clock, Dice, Timestamp};
use mfa_courier::delivery::Fact;
use mfa_courier::delivery::version::Version;
use mfa_courier::ledger::redis::{RedisLedger, RedisSettings};
use mfa_courier::ledger::{Ledger, LedgerError, Phase, Record, suite};
use mfa_courier::secret::Secret;

use self::store::{Kind, Store, a_beat};
use crate::node::eventually;
use crate::wire::sealed::seal;

/// What [`suite`] writes first.
const FIRST: Version = Version { lineage: 11, step: 1 };

fn id(name: &str) -> ChallengeId {
    ChallengeId::parse(name).expect("a valid id")
}

fn in_an_hour() -> Timestamp {
    Clock::system().now() + Duration::from_hours(1)
}

async fn refusal(settings: &RedisSettings) -> String {
    let refused = RedisLedger::connect(settings, Clock::system(), Dice::system()).await;
    refused.err().expect("refused").to_string()
}

/// What it comes to, once it comes to something.
async fn usable<T>(what: &str, mut asking: impl AsyncFnMut() -> Result<T, LedgerError>) -> T {
    eventually(what, async || asking().await.ok()).await
}

fn word(record: Option<Record>) -> Option<Vec<u8>> {
    match record?.phase {
        Phase::Concluded(word) => Some(word.last.body.to_vec()),
        _ => None,
    }
}

/// A ledger that shares nothing with those made before it.
async fn one_of_many(store: &Store, made: &AtomicUsize) -> RedisLedger {
    let prefix = format!("suite{}:", made.fetch_add(1, Ordering::SeqCst));
    let settings = RedisSettings { prefix, ..store.settings() };
    RedisLedger::connect(&settings, Clock::system(), Dice::system()).await.expect("a ledger")
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_rules_of_every_ledger() {
    for kind in Kind::ALL {
        let (store, made) = (Store::start_one(kind, "").await, AtomicUsize::new(0));
        suite::run(&|| async { Arc::new(one_of_many(&store, &made).await) as Arc<dyn Ledger> }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_it() {
    let store = Store::start("").await;
    let (one, other) = (store.ledger().await, store.ledger().await);
    assert_eq!(one.epoch(), other.epoch());
    suite::write_concluded(&one, "c", in_an_hour()).await;
    suite::write_working(&one, "w", in_an_hour()).await;
    other.append(&id("w"), Fact::Cancelled, in_an_hour()).await.expect("appended");
    suite::remember(&one, 1, "c", in_an_hour()).await;
    assert_eq!(suite::find(&other, 1).await, Some(id("c")));
    other.mark_published(&id("c"), FIRST).await.expect("marked");
    let (concluded, working) = (suite::read(&one, "c").await.expect("c"), suite::read(&other, "w").await.expect("w"));
    assert!(concluded.published);
    assert_eq!(word(Some(concluded)).as_deref(), Some(b"{}".as_slice()), "byte for byte");
    let Phase::Working(delivery) = &working.phase else { panic!("{working:?}") };
    assert_eq!(delivery.challenge().code.as_ref().map(Secret::expose), Some("123456"), "the whole delivery");
    assert_eq!(*working.facts, [Fact::Cancelled]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_has_its_time_to_live() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let soon = |seconds| Clock::system().now() + Duration::from_secs(seconds);
    suite::write_concluded(&ledger, "c", soon(100)).await;
    ledger.append(&id("f"), Fact::Cancelled, soon(200)).await.expect("appended");
    ledger.append(&id("c"), Fact::Cancelled, soon(9_000)).await.expect("appended");
    for (name, least, most) in [("c", 95, 100), ("f", 195, 200)] {
        let ttl: i64 = store.ask(&format!("TTL test:{:016x}:{name}", ledger.epoch())).await;
        assert!((least..=most).contains(&ttl), "{name} lives for {ttl} s");
    }
    suite::remember(&ledger, 1, "h", soon(300)).await;
    suite::remember(&ledger, 1, "h", soon(1)).await;
    let ttl: i64 = store.ask(&format!("TTL test:handle:{:016x}:AQEBAQEBAQEB", ledger.epoch())).await;
    assert!((295..=300).contains(&ttl), "a handle lives for {ttl} s");
    suite::write_concluded(&ledger, "short", Clock::system().now() + Duration::from_millis(50)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(suite::read(&ledger, "short").await.is_none(), "over its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_emptied_is_noticed_by_the_next_thing_asked() {
    let store = Store::start("").await;
    let (one, other) = (store.ledger().await, store.ledger().await);
    let before = one.epoch();
    suite::write_working(&one, "x", in_an_hour()).await;
    store.ask::<()>("FLUSHALL").await;
    assert!(suite::read(&one, "x").await.is_none());
    assert!(one.epoch() > before, "another life");
    suite::write_working(&one, "x", in_an_hour()).await;
    assert!(suite::read(&other, "x").await.is_some(), "the same other life for all");
    assert_eq!(one.epoch(), other.epoch());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_emptied_is_noticed_while_nothing_is_asked() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let before = ledger.epoch();
    store.ask::<()>("FLUSHDB").await;
    eventually("another life", async || (ledger.epoch() > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_with_its_data_is_the_same() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let before = ledger.epoch();
    suite::write_concluded(&ledger, "x", in_an_hour()).await;
    store.kill9().await;
    let failed = ledger.read(&id("x")).await.expect_err("it is gone");
    assert!(!failed.0.is_empty());
    eventually("it says that it is gone", async || ledger.state().borrow().clone()).await;
    store.restart();
    store.recovers(&ledger).await;
    assert_eq!(ledger.epoch(), before);
    assert!(suite::read(&ledger, "x").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_empty_begins_another_life() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let before = ledger.epoch();
    suite::write_concluded(&ledger, "x", in_an_hour()).await;
    store.kill9().await;
    store.forget();
    store.restart();
    assert!(usable("a read", async || ledger.read(&id("x")).await).await.is_none());
    assert!(ledger.epoch() > before);
}

/// A snapshot holds states that were left since: believed, a challenge could be acked for a state that is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_as_it_once_was_is_not_believed() {
    let store = Store::start("appendonly no").await;
    let ledger = store.ledger().await;
    suite::write_working(&ledger, "old", in_an_hour()).await;
    store.ask::<()>("SAVE").await;
    suite::write_working(&ledger, "new", in_an_hour()).await;
    let before = ledger.epoch();
    store.kill9().await;
    store.restart();
    let old = usable("a read", async || ledger.read(&id("old")).await).await;
    assert!(old.is_none(), "{old:?}");
    assert!(ledger.epoch() > before, "another life");
    let other = store.ledger().await;
    assert_eq!(other.epoch(), ledger.epoch(), "for whoever comes later too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_from_an_earlier_life_is_not_believed() {
    let store = Store::start("appendonly no").await;
    let ledger = store.ledger().await;
    let first = ledger.epoch();
    suite::write_working(&ledger, "x", in_an_hour()).await;
    store.ask::<()>("SAVE").await;
    store.ask::<()>("FLUSHALL").await;
    eventually("a second life", async || (ledger.epoch() > first).then_some(())).await;
    let second = ledger.epoch();
    // FLUSHALL wrote an empty snapshot where there are save points; there are none.
    store.kill9().await;
    store.restart();
    let read = usable("a read", async || ledger.read(&id("x")).await).await;
    assert!(read.is_none(), "{read:?}");
    assert!(ledger.epoch() > second, "a third life");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_store_keeps_nobody_waiting() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    store.freeze();
    let asked = Clock::instant();
    ledger.read(&id("x")).await.expect_err("no answer");
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
    eventually("it says that it is gone", async || ledger.state().borrow().clone()).await;
    let asked = Clock::instant();
    ledger.read(&id("x")).await.expect_err("no connection");
    assert!(asked.elapsed() < Duration::from_millis(500), "told at once, not after {:?}", asked.elapsed());
    store.thaw();
    store.recovers(&ledger).await;
    assert!(suite::read(&ledger, "x").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_takes_nothing_and_says_so() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    suite::write_concluded(&ledger, "x", in_an_hour()).await;
    store.ask::<()>("CONFIG SET maxmemory 1").await;
    let failed = ledger.append(&id("x"), Fact::Cancelled, in_an_hour()).await.expect_err("it is full");
    assert!(failed.to_string().contains("OOM"), "{failed}");
    let why = eventually("it says why", async || ledger.state().borrow().clone()).await;
    assert!(why.contains("OOM"), "{why}");
    store.ask::<()>("CONFIG SET maxmemory 0").await;
    store.recovers(&ledger).await;
    assert!(suite::read(&ledger, "x").await.is_some(), "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_forgets_is_refused() {
    let store = Store::start("maxmemory-policy volatile-lru").await;
    let why = refusal(&store.settings()).await;
    assert!(why.contains("maxmemory-policy is volatile-lru") && why.contains("noeviction"), "{why}");
    store.ask::<()>("CONFIG SET maxmemory-policy noeviction").await;
    store.ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_cannot_mend_is_refused_without_the_password() {
    let store = Store::start("requirepass right").await;
    let port = store.url().rsplit_once(':').expect("a port").1.to_owned();
    for (credentials, path) in [("", &port), (":hunter2@", &port), (":right@", &port.replace("/0", "/99"))] {
        let settings =
            RedisSettings { url: Secret::new(format!("redis://{credentials}127.0.0.1:{path}")), ..store.settings() };
        let why = refusal(&settings).await;
        assert!(!why.contains("hunter2") && !why.contains("right"), "{why}");
        assert!(!why.contains("no answer"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_there_yet_is_waited_for() {
    let store = Store::start("").await;
    store.kill9().await;
    let settings = store.settings();
    let waiting = tokio::spawn(async move { RedisLedger::connect(&settings, Clock::system(), Dice::system()).await });
    a_beat().await;
    assert!(!waiting.is_finished());
    store.restart();
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_counts_as_lost_and_is_kept() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let (epoch, kept) = (ledger.epoch(), in_an_hour());
    suite::write_working(&ledger, "x", kept).await;
    store.ask::<()>(&format!("HSET test:{epoch:016x}:x b {{\"v\":9}}")).await;
    assert!(suite::read(&ledger, "x").await.is_none());
    let aside: Vec<u8> = store.ask(&format!("HGET test:unreadable:{epoch:016x}:x b")).await;
    assert_eq!(aside, b"{\"v\":9}");
    suite::write_working(&ledger, "x", kept).await;
    assert!(suite::read(&ledger, "x").await.is_some(), "and the challenge can go on");
}

/// A ledger in it whose records are sealed with these keys.
async fn sealed(store: &Store, keys: &[u8]) -> RedisLedger {
    let settings = RedisSettings { seal: seal(keys), ..store.settings() };
    RedisLedger::connect(&settings, Clock::system(), Dice::system()).await.expect("a ledger")
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_records_show_nothing_while_keys_rotate() {
    let store = Store::start("").await;
    let (old, both) = (sealed(&store, &[1]).await, sealed(&store, &[2, 1]).await);
    suite::write_working(&old, "x", in_an_hour()).await;
    old.append(&id("x"), Fact::Cancelled, in_an_hour()).await.expect("appended");
    let key = format!("test:{:016x}:x", old.epoch());
    let raw: Vec<Vec<u8>> = store.ask(&format!("HVALS {key}")).await;
    let shown = String::from_utf8_lossy(&raw.concat()).into_owned();
    assert!(!["123456", "4155552671", "cancelled", "methods"].iter().any(|word| shown.contains(word)), "{shown}");
    let read = suite::read(&both, "x").await.expect("read with both keys");
    assert!(matches!(read.phase, Phase::Working(_)) && *read.facts == [Fact::Cancelled], "{read:?}");
    suite::write_working(&both, "y", in_an_hour()).await;
    let new = sealed(&store, &[2]).await;
    assert!(suite::read(&new, "y").await.is_some(), "the first key seals");
    assert!(suite::read(&new, "x").await.is_none(), "the key is gone, and with it the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_record_cannot_be_put_in_the_place_of_another() {
    let store = Store::start("").await;
    let ledger = sealed(&store, &[1]).await;
    suite::write_working(&ledger, "x", in_an_hour()).await;
    let key = format!("test:{:016x}:", ledger.epoch());
    store.ask::<()>(&format!("COPY {key}x {key}y")).await;
    assert!(suite::read(&ledger, "y").await.is_none());
    assert!(suite::read(&ledger, "x").await.is_some());
}
