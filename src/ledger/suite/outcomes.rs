//! What every ledger must do with outcomes that were published: part of [`super`], run with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{FIRST, entry, id};
use crate::broker::{Properties, Publication, Route};
use crate::clock::Timestamp;
use crate::ledger::outcomes::{About, Found, MOST_INTERIMS, Published};
use crate::ledger::{Expected, Ledger, Phase, Word};

const FOREVER: Timestamp = Timestamp::MAX;

pub(super) async fn run<F: Future<Output = Arc<dyn Ledger>>>(make: &impl Fn() -> F) {
    outcomes_are_found_by_whom_they_are_about(&*make().await).await;
    repeats_are_found_once(&*make().await).await;
    the_newest_come_first_and_no_more_than_asked_for(&*make().await).await;
    a_final_outcome_is_as_long_there_as_its_record(&*make().await).await;
    an_event_is_found_as_the_contracts_body(&*make().await).await;
    another_content_under_an_id_shows_nothing_of_the_first(&*make().await).await;
    one_challenge_has_only_so_many(&*make().await).await;
}

async fn outcomes_are_found_by_whom_they_are_about(ledger: &dyn Ledger) {
    assert!(ids(ledger, About::Anything, 9).await.is_empty());
    say(ledger, &[published("a", "1:sent", "s", Some("u")), published("a", "final", "s", Some("u"))]).await;
    say(ledger, &[published("b", "1:sent", "t", Some("u")), published("c", "final", "t", None)]).await;
    let session = |name: &str| About::Session(name.to_owned());
    assert_eq!(ids(ledger, About::Challenge(id("a")), 9).await, ["a:final", "a:1:sent"]);
    assert_eq!(ids(ledger, session("s"), 9).await, ["a:final", "a:1:sent"]);
    assert_eq!(ids(ledger, session("t"), 9).await, ["c:final", "b:1:sent"]);
    assert_eq!(ids(ledger, About::User("u".to_owned()), 9).await, ["b:1:sent", "a:final", "a:1:sent"]);
    assert_eq!(ids(ledger, About::Anything, 9).await, ["c:final", "b:1:sent", "a:final", "a:1:sent"]);
    for nobody in [session("u"), session("a"), session(""), About::User("s".to_owned()), About::Challenge(id("s"))] {
        assert!(ids(ledger, nobody, 9).await.is_empty());
    }
    let bodies = find_outcomes(ledger, session("s"), 9).await.outcomes;
    assert_eq!(bodies[0].body, published("a", "final", "s", Some("u")).body, "byte for byte");
}

async fn repeats_are_found_once(ledger: &dyn Ledger) {
    for _ in 0..3 {
        say(ledger, &[published("a", "1:sent", "s", None), published("a", "final", "s", None)]).await;
    }
    assert_eq!(ids(ledger, About::Session("s".to_owned()), 9).await, ["a:final", "a:1:sent"]);
}

async fn the_newest_come_first_and_no_more_than_asked_for(ledger: &dyn Ledger) {
    for n in 0..30 {
        let at = Timestamp::EPOCH + Duration::from_secs(n);
        let outcome = Published { at, ..published(&format!("c{n}"), "1:sent", "s", None) };
        say(ledger, &[with_body(outcome)]).await;
    }
    for about in [About::Session("s".to_owned()), About::Anything] {
        let found = find_outcomes(ledger, about.clone(), 3).await;
        let newest: Vec<_> = found.outcomes.iter().map(|outcome| outcome.challenge.to_string()).collect();
        assert_eq!((newest, found.more), (vec!["c29".to_owned(), "c28".to_owned(), "c27".to_owned()], true));
        let found = find_outcomes(ledger, about, 30).await;
        assert_eq!((found.outcomes.len(), found.more), (30, false));
    }
}

async fn a_final_outcome_is_as_long_there_as_its_record(ledger: &dyn Ledger) {
    let outcome = published("a", "final", "s", None);
    ledger.record_outcomes(&[outcome], FOREVER).await.expect("usable");
    assert!(ids(ledger, About::Session("s".to_owned()), 9).await.is_empty(), "the ledger holds no such record");
    say(ledger, &[published("a", "final", "s", None)]).await;
    assert_eq!(ids(ledger, About::Session("s".to_owned()), 9).await, ["a:final"]);
}

async fn an_event_is_found_as_the_contracts_body(ledger: &dyn Ledger) {
    const CLOUD_EVENT: &str = "application/cloudevents+json";
    let of_contract = published("a", "final", "s", None).body;
    let event = |body: &Bytes| {
        let text = std::str::from_utf8(body).expect("JSON");
        Bytes::from(format!(r#"{{"specversion":"1.0","id":"a:final","data":{text}}}"#))
    };
    conclude(ledger, "a", CLOUD_EVENT, event(&of_contract)).await;
    let interim = event(&published("a", "1:sent", "s", None).body);
    let read = |body| Published::read(Some(CLOUD_EVENT), body).expect("an outcome");
    ledger.record_outcomes(&[read(&interim), read(&event(&of_contract))], FOREVER).await.expect("usable");
    let found = find_outcomes(ledger, About::Session("s".to_owned()), 9).await.outcomes;
    let bodies: Vec<_> = found.into_iter().map(|outcome| outcome.body).collect();
    assert_eq!(bodies, [of_contract, published("a", "1:sent", "s", None).body]);
}

/// Whoever publishes under somebody else's id does not get to see what became of it.
async fn another_content_under_an_id_shows_nothing_of_the_first(ledger: &dyn Ledger) {
    say(ledger, &[published("a", "final", "s", Some("u"))]).await;
    say(ledger, &[published("a", "conflict:0badcafe", "other", Some("v"))]).await;
    assert_eq!(ids(ledger, About::Session("other".to_owned()), 9).await, ["a:conflict:0badcafe"]);
    assert_eq!(ids(ledger, About::User("v".to_owned()), 9).await, ["a:conflict:0badcafe"]);
    assert_eq!(ids(ledger, About::Session("s".to_owned()), 9).await, ["a:final"]);
}

async fn one_challenge_has_only_so_many(ledger: &dyn Ledger) {
    let many: Vec<_> = (0..=MOST_INTERIMS).map(|n| published("a", &format!("conflict:{n:08x}"), "s", None)).collect();
    say(ledger, &many).await;
    say(ledger, &[published("a", "final", "s", None), published("b", "1:sent", "s", None)]).await;
    let found = ids(ledger, About::Session("s".to_owned()), 500).await;
    assert!(found.len() <= MOST_INTERIMS + 3, "{}", found.len());
    assert!(found.contains(&"a:final".to_owned()) && found.contains(&"b:1:sent".to_owned()), "{found:?}");
}

/// An outcome of a challenge with this end of its id; those of `b` were decided after those of `a`.
#[must_use]
pub fn published(challenge: &str, suffix: &str, session: &str, user: Option<&str>) -> Published {
    with_body(Published {
        id: format!("{challenge}:{suffix}"),
        challenge: id(challenge),
        session: Some(session.to_owned()),
        user: user.map(str::to_owned),
        is_final: suffix == "final",
        at: Timestamp::EPOCH + Duration::from_secs(u64::from(challenge.as_bytes()[0])),
        body: Bytes::new(),
    })
}

/// The same with a body that says so.
fn with_body(outcome: Published) -> Published {
    let Published { id, challenge, session, user, is_final, at, .. } = &outcome;
    let body = json!({
        "id": id, "version": 1, "challenge_id": challenge, "session_id": session, "user_id": user, "status": "sent",
        "final": is_final, "destination": "+1********71", "occurred_at": at,
    });
    Published { body: Bytes::from(body.to_string()), ..outcome }
}

/// Does what a worker does with outcomes: what is final is written before it is published, and then all is recorded.
///
/// # Panics
/// Where the ledger can't be used.
pub async fn say(ledger: &dyn Ledger, outcomes: &[Published]) {
    for outcome in outcomes.iter().filter(|outcome| outcome.is_final) {
        conclude(ledger, outcome.challenge.as_str(), "application/json", outcome.body.clone()).await;
    }
    ledger.record_outcomes(outcomes, FOREVER).await.expect("usable");
}

/// Writes a concluded record with this final outcome, where there is none yet.
async fn conclude(ledger: &dyn Ledger, name: &str, content_type: &str, body: Bytes) {
    let properties = Properties { content_type: Some(content_type.to_owned()), ..Properties::default() };
    let route = Route::Outcome("outcome.sent.sms.final".to_owned());
    let last = Publication { route, properties, body, expiration: None };
    let phase = Phase::Concluded(Arc::new(Word { interims: Vec::new(), last, reply_to: None }));
    let written = ledger.write(&id(name), Expected { version: None, facts: 0 }, entry(FIRST, phase)).await;
    written.expect("usable");
}

/// What a ledger finds.
///
/// # Panics
/// Where the ledger can't be used.
pub async fn find_outcomes(ledger: &dyn Ledger, about: About, most: usize) -> Found {
    ledger.outcomes(&about, most).await.expect("usable")
}

/// The ids of the outcomes that a ledger finds.
async fn ids(ledger: &dyn Ledger, about: About, most: usize) -> Vec<String> {
    find_outcomes(ledger, about, most).await.outcomes.into_iter().map(|outcome| outcome.id).collect()
}
