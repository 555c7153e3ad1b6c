//! What every ledger must do: one suite, run against each of them.
//!
//! Public so that the integration tests can run it against a ledger that needs a server.
#![expect(clippy::expect_used, clippy::panic, reason = "a test suite: a broken rule is a panic")]

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, Expected, Ledger, Phase, Record, Word, Written};
use crate::broker::{Properties, Publication, Route};
use crate::challenge::{ChallengeId, ContentHash, Handle};
use crate::clock::Timestamp;
use crate::delivery::Fact;
use crate::delivery::outcome::ReceiptStatus;
use crate::delivery::version::Version;

mod outcomes;

pub use self::outcomes::{find_outcomes, published, say};

const FIRST: Version = Version { lineage: 11, step: 1 };
const FOREVER: Timestamp = Timestamp::MAX;

/// Runs every check on ledgers made by `make`, each on an empty one.
///
/// # Panics
/// Where the ledger breaks a rule.
pub async fn run<F: Future<Output = Arc<dyn Ledger>>>(make: &impl Fn() -> F) {
    only_the_expected_state_is_written_over(&*make().await).await;
    an_unread_fact_fails_a_write(&*make().await).await;
    facts_change_neither_lineage_nor_step(&*make().await).await;
    facts_may_come_first(&*make().await).await;
    repeated_facts_say_nothing_new(&*make().await).await;
    a_mark_belongs_to_one_state(&*make().await).await;
    of_many_that_expect_the_same_one_wins(make().await).await;
    a_handle_finds_its_challenge(&*make().await).await;
    a_handle_is_no_record(&*make().await).await;
    outcomes::run(make).await;
}

async fn only_the_expected_state_is_written_over(ledger: &dyn Ledger) {
    assert!(read(ledger, "x").await.is_none());
    assert!(write(ledger, "x", None, 0, FIRST).await, "nobody has begun");
    assert!(!write(ledger, "x", None, 0, FIRST).await, "somebody has");
    let other = Version { lineage: 12, step: 1 };
    assert!(!write(ledger, "x", Some(other), 0, FIRST.next()).await, "another lineage");
    assert!(write(ledger, "x", Some(FIRST), 0, FIRST.next()).await);
    assert!(!write(ledger, "x", Some(FIRST), 0, FIRST.next()).await, "an older step");
    assert_eq!(read(ledger, "x").await.map(|record| record.version), Some(FIRST.next()));
}

async fn an_unread_fact_fails_a_write(ledger: &dyn Ledger) {
    assert!(write(ledger, "x", None, 0, FIRST).await);
    append(ledger, "x", Fact::Cancelled).await;
    let entry = entry(FIRST.next(), Phase::Concluded(word("x")));
    let expected = Expected { version: Some(FIRST), facts: 0 };
    match ledger.write(&id("x"), expected, entry).await {
        Ok(Written::Lost(Some(record))) => assert_eq!(*record.facts, [Fact::Cancelled]),
        other => panic!("a fact was written over: {other:?}"),
    }
    assert!(write(ledger, "x", Some(FIRST), 1, FIRST.next()).await);
}

async fn facts_change_neither_lineage_nor_step(ledger: &dyn Ledger) {
    assert!(write(ledger, "x", None, 0, FIRST).await);
    append(ledger, "x", receipt(1, ReceiptStatus::Sent)).await;
    let record = read(ledger, "x").await.expect("written");
    assert_eq!(record.version, FIRST);
    assert!(write(ledger, "x", Some(FIRST), 1, FIRST.next()).await);
    assert_eq!(read(ledger, "x").await.expect("written").facts.len(), 1, "an owner's write keeps the facts");
}

async fn facts_may_come_first(ledger: &dyn Ledger) {
    append(ledger, "x", Fact::Cancelled).await;
    let record = read(ledger, "x").await.expect("holds the fact");
    assert!(matches!(record.phase, Phase::FactsOnly) && record.content.is_none());
    assert!(!write(ledger, "x", None, 0, FIRST).await, "it has not read the fact");
    assert!(write(ledger, "x", None, 1, FIRST).await);
}

async fn repeated_facts_say_nothing_new(ledger: &dyn Ledger) {
    assert!(append(ledger, "x", receipt(1, ReceiptStatus::Sent)).await);
    assert!(!append(ledger, "x", receipt(1, ReceiptStatus::Sent)).await);
    assert!(append(ledger, "x", receipt(2, ReceiptStatus::Sent)).await);
    assert!(append(ledger, "x", Fact::Cancelled).await);
    let verified = Fact::Verified { channel: None, provider: None };
    assert!(!append(ledger, "x", verified).await, "the first word of upstream holds");
    assert_eq!(read(ledger, "x").await.expect("holds facts").facts.len(), 3);
}

async fn a_mark_belongs_to_one_state(ledger: &dyn Ledger) {
    assert!(write(ledger, "x", None, 0, FIRST).await);
    ledger.mark_published(&id("x"), FIRST.next()).await.expect("usable");
    assert!(!read(ledger, "x").await.expect("written").published, "another state was meant");
    ledger.mark_published(&id("x"), FIRST).await.expect("usable");
    assert!(read(ledger, "x").await.expect("written").published);
    assert!(write(ledger, "x", Some(FIRST), 0, FIRST.next()).await);
    assert!(!read(ledger, "x").await.expect("written").published, "a new state is not published yet");
}

async fn of_many_that_expect_the_same_one_wins(ledger: Arc<dyn Ledger>) {
    let mut writers = tokio::task::JoinSet::new();
    for lineage in 0..50 {
        let ledger = Arc::clone(&ledger);
        writers.spawn(async move { write(&*ledger, "x", None, 0, Version { lineage, step: 1 }).await });
    }
    let winners = writers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(winners, 1);
}

async fn a_handle_finds_its_challenge(ledger: &dyn Ledger) {
    assert_eq!(find(ledger, 1).await, None);
    remember(ledger, 1, "x", FOREVER).await;
    remember(ledger, 2, "y", FOREVER).await;
    // Every attempt of a challenge remembers its handle again, and an earlier time shortens nothing.
    remember(ledger, 1, "x", Timestamp::EPOCH).await;
    remember(ledger, 3, "z", FOREVER).await;
    assert_eq!((find(ledger, 1).await, find(ledger, 2).await), (Some(id("x")), Some(id("y"))));
    assert_eq!(find(ledger, 4).await, None);
}

async fn a_handle_is_no_record(ledger: &dyn Ledger) {
    remember(ledger, 1, "x", FOREVER).await;
    assert!(read(ledger, "x").await.is_none());
    assert!(write(ledger, "x", None, 0, FIRST).await, "nobody has begun");
    assert_eq!(find(ledger, 1).await, Some(id("x")), "a write leaves it alone");
}

/// Remembers handle `n` for a challenge.
///
/// # Panics
/// Where the ledger can't be used.
pub async fn remember(ledger: &dyn Ledger, n: u8, name: &str, keep_until: Timestamp) {
    ledger.remember(Handle([n; Handle::BYTES]), &id(name), keep_until).await.expect("usable");
}

/// The challenge of handle `n`.
///
/// # Panics
/// Where the ledger can't be used.
pub async fn find(ledger: &dyn Ledger, n: u8) -> Option<ChallengeId> {
    ledger.find(Handle([n; Handle::BYTES])).await.expect("usable")
}

/// Reads a record.
///
/// # Panics
/// Where the ledger can't be used.
pub async fn read(ledger: &dyn Ledger, name: &str) -> Option<Record> {
    ledger.read(&id(name)).await.expect("usable")
}

/// Writes a concluded record.
///
/// # Panics
/// Where the ledger can't be used or holds one already.
pub async fn write_concluded(ledger: &dyn Ledger, name: &str, keep_until: Timestamp) {
    let entry = Entry { keep_until, ..entry(FIRST, Phase::Concluded(word(name))) };
    let written = ledger.write(&id(name), Expected { version: None, facts: 0 }, entry).await;
    assert!(matches!(written, Ok(Written::Done)));
}

/// Writes a record that somebody works on.
///
/// # Panics
/// Where the ledger can't be used or holds one already.
pub async fn write_working(ledger: &dyn Ledger, name: &str, keep_until: Timestamp) {
    let entry = Entry { keep_until, ..entry(FIRST, Phase::Working(Arc::new(delivery(name)))) };
    let written = ledger.write(&id(name), Expected { version: None, facts: 0 }, entry).await;
    assert!(matches!(written, Ok(Written::Done)));
}

async fn write(ledger: &dyn Ledger, name: &str, version: Option<Version>, facts: usize, next: Version) -> bool {
    let entry = entry(next, Phase::Working(Arc::new(delivery(name))));
    matches!(ledger.write(&id(name), Expected { version, facts }, entry).await.expect("usable"), Written::Done)
}

async fn append(ledger: &dyn Ledger, name: &str, fact: Fact) -> bool {
    ledger.append(&id(name), fact, FOREVER).await.expect("usable").is_new
}

fn entry(version: Version, phase: Phase) -> Entry {
    Entry { version, phase, content: ContentHash(1), keep_until: FOREVER }
}

fn receipt(attempt: u32, status: ReceiptStatus) -> Fact {
    Fact::Receipt { attempt, status, code: None, at: Timestamp::EPOCH }
}

fn id(name: &str) -> ChallengeId {
    ChallengeId::parse(name).expect("a valid id")
}

fn word(name: &str) -> Arc<Word> {
    let last = Publication {
        route: Route::Outcome("outcome.sent.sms.final".to_owned()),
        properties: Properties { message_id: Some(format!("{name}:final")), ..Properties::default() },
        body: Bytes::from_static(b"{}"),
        expiration: None,
    };
    Arc::new(Word { interims: Vec::new(), last, reply_to: None })
}

fn delivery(name: &str) -> crate::delivery::Delivery {
    use crate::challenge::{Address, Challenge, Channel, Fallback, Method, Origin};
    use crate::delivery::policy::{Policy, ProviderPolicy, Reach};
    let provider = ProviderPolicy {
        name: "p".into(),
        channel: Channel::Sms,
        senders: Vec::new(),
        receipts: false,
        receipt_timeout: None,
        reach: Reach::default(),
        receipt_timeout_by_country: std::collections::BTreeMap::new(),
    };
    let policy = Policy { providers: vec![provider], ..Policy::default() };
    let to = crate::phone::PhoneNumber::parse("+14155552671", None).expect("a valid number");
    let challenge = Challenge {
        id: id(name),
        session_id: None,
        user_id: None,
        tenant: "default".to_owned(),
        purpose: "sign_in".to_owned(),
        code: Some(crate::secret::Secret::new("123456")),
        issued_at: Timestamp::EPOCH,
        arrived_at: Timestamp::EPOCH,
        // Not for ever: a ledger may have to write it.
        expires_at: Timestamp::EPOCH + std::time::Duration::from_hours(2_000_000),
        locale: None,
        template: None,
        vars: std::collections::BTreeMap::new(),
        methods: vec![Method { id: None, address: Address::Sms { to } }],
        fallback: Fallback::Auto,
        origin: Origin::default(),
        notes: Vec::new(),
        content: ContentHash(1),
    };
    crate::delivery::Delivery::open(challenge, &policy).expect("deliverable")
}
