//! Outcomes in a real Redis: how long and how many, what is at rest, and what is found while keys rotate.

use std::time::Duration;

use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::ledger::Ledger;
use mfa_courier::ledger::outcomes::{About, Published};
use mfa_courier::ledger::suite::{find_outcomes, published, say};
use redis::AsyncCommands as _;

use super::store::Store;
use super::{in_an_hour, sealed};

/// A user's name that is a number, as some upstream has it.
const USER: &str = "+14155552671";
const SESSION: &str = "session-of-a-person";

fn about_user() -> About {
    About::User(USER.to_owned())
}

async fn record(ledger: &dyn Ledger, outcome: Published, keep_until: Timestamp) {
    ledger.record_outcomes(&[outcome], keep_until).await.expect("usable");
}

/// Every key but the ledger's life.
async fn keys(store: &Store) -> Vec<String> {
    let mut keys: Vec<String> = store.ask("KEYS test:*").await;
    keys.retain(|key| key != "test:life");
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_find_each_others_outcomes() {
    let store = Store::start("").await;
    let (one, other) = (store.ledger().await, store.ledger().await);
    say(&one, &[published("a", "1:sent", SESSION, Some(USER)), published("a", "final", SESSION, Some(USER))]).await;
    let found = find_outcomes(&other, About::Session(SESSION.to_owned()), 9).await;
    let ids: Vec<_> = found.outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    assert_eq!(ids, ["a:final", "a:1:sent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_goes_with_its_time() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    let until = Clock::system().now() + Duration::from_secs(100);
    record(&ledger, published("a", "1:sent", SESSION, Some(USER)), until).await;
    let keys = keys(&store).await;
    assert_eq!(keys.len(), 4, "interims, session, user, latest: {keys:?}");
    for key in keys {
        let ttl: i64 = store.ask(&format!("TTL {key}")).await;
        assert!((95..=100).contains(&ttl), "{key} lives for {ttl} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_grows_without_a_bound() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    for batch in 0..24 {
        let outcomes: Vec<_> =
            (0..50).map(|n| published(&format!("c{batch}-{n}"), "final", SESSION, Some(USER))).collect();
        ledger.record_outcomes(&outcomes, in_an_hour()).await.expect("usable");
    }
    let interims: Vec<_> = (0..100).map(|n| published("x", &format!("conflict:{n}"), SESSION, None)).collect();
    ledger.record_outcomes(&interims, in_an_hour()).await.expect("usable");
    let mut sizes = Vec::new();
    for key in keys(&store).await {
        let command = if key.contains(":interims:") { "HLEN" } else { "ZCARD" };
        sizes.push(store.ask::<usize>(&format!("{command} {key}")).await);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [64, 100, 100, 1_000], "interims, session, user, latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_outcomes_show_nobody_at_rest() {
    let store = Store::start("").await;
    let ledger = sealed(&store, &[1]).await;
    let outcome = || published("a", "1:sent", SESSION, Some(USER));
    say(&ledger, &[outcome(), published("a", "final", SESSION, Some(USER))]).await;
    assert_eq!(find_outcomes(&ledger, about_user(), 9).await.outcomes.len(), 2);
    store.ask::<()>("SAVE").await;
    let at_rest = store.at_rest();
    let shows = |word: &str| at_rest.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(shows("interims") && shows("latest"), "it is read where it is");
    for secret in [USER, "4155552671", SESSION, "+1********71", "destination", "session_id"] {
        assert!(!shows(secret), "{secret} is at rest");
    }
    // And nobody can try names without the key.
    let other = sealed(&store, &[2]).await;
    assert!(find_outcomes(&other, about_user(), 9).await.outcomes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_before_the_key_changed_is_found() {
    let store = Store::start("").await;
    let (old, both, new) = (sealed(&store, &[1]).await, sealed(&store, &[2, 1]).await, sealed(&store, &[2]).await);
    say(&old, &[published("a", "1:sent", SESSION, Some(USER))]).await;
    say(&both, &[published("b", "1:sent", SESSION, Some(USER))]).await;
    let found = async |ledger: &dyn Ledger| find_outcomes(ledger, about_user(), 9).await.outcomes.len();
    assert_eq!((found(&both).await, found(&new).await, found(&old).await), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_cannot_be_put_in_the_place_of_another() {
    let store = Store::start("").await;
    let ledger = sealed(&store, &[1]).await;
    record(&ledger, published("a", "1:sent", SESSION, None), in_an_hour()).await;
    let key = format!("test:interims:{:016x}:", ledger.epoch());
    let mut client = store.client().await;
    let bytes: Vec<u8> = client.hget(format!("{key}a"), "a:1:sent").await.expect("there");
    let _: () = client.hset(format!("{key}b"), "b:1:sent", bytes).await.expect("taken");
    let b = mfa_courier::challenge::ChallengeId::parse("b").expect("an id");
    assert!(find_outcomes(&ledger, About::Challenge(b), 9).await.outcomes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_finds_nothing_and_goes_on() {
    let store = Store::start("").await;
    let ledger = store.ledger().await;
    record(&ledger, published("a", "1:sent", SESSION, None), in_an_hour()).await;
    store.ask::<()>("FLUSHALL").await;
    record(&ledger, published("b", "1:sent", SESSION, None), in_an_hour()).await;
    let found = find_outcomes(&ledger, About::Anything, 9).await.outcomes;
    assert_eq!(found.iter().map(|outcome| outcome.id.as_str()).collect::<Vec<_>>(), ["b:1:sent"]);
}
