//! A ledger that was emptied: what was sent is not sent again, and what ends as it stood says so.

use mfa_courier::challenge::{Channel, Note};
use mfa_courier::delivery::outcome::{Outcome, Status};
use mfa_courier::delivery::verdict::AttemptResult::Accepted;
use serde_json::json;

use super::{answer, hang_once, millis, parked, providers, seconds, sms, throttle_once};
use crate::world::{Act, CODE, Setup, World};

const ANOTHER_LIFE: u64 = 99;

fn is_noted(outcome: &Outcome) -> bool {
    outcome.notes.contains(&Note::LedgerLost)
}

#[tokio::test(start_paused = true)]
async fn a_running_task_that_finds_its_record_gone_ends_as_it_stood() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]));
    assert!(is_noted(world.outcome("c")));
}

#[tokio::test(start_paused = true)]
async fn a_running_task_in_doubt_that_finds_its_record_gone_sends_nothing_more() {
    let mut world = World::new(sms(&["a", "b"]), hang_once());
    world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Unknown, vec!["a".to_owned()]));
    assert!(is_noted(world.outcome("c")));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_whose_record_is_gone_counts_as_in_doubt() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.cut_off(first);
    let second = world.start_worker();
    world.pass(millis(100)).await;
    assert_eq!(parked(&world).len(), 1, "a shadow");
    world.kill_worker(first).await;
    world.kill_worker(second).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.start_worker();
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Unknown, vec!["a".to_owned()]));
    assert!(is_noted(world.outcome("c")));
}

#[tokio::test(start_paused = true)]
async fn a_continuation_with_something_accepted_ends_as_it_stood() {
    let mut setup = Setup::with(&[("a", Channel::Sms), ("v", Channel::Voice)]);
    setup.policy.providers.iter_mut().for_each(|provider| provider.receipts = true);
    let mut world = World::new(setup, answer(Accepted));
    world.start_worker();
    let to = "+14155552671";
    let methods = json!([{"channel": "sms", "to": to}, {"channel": "voice", "to": to}]);
    world.publish(&json!({"id": "c", "code": CODE, "ttl": 60, "methods": methods}));
    world.pass(seconds(5)).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]));
    assert!(is_noted(world.outcome("c")));
}

#[tokio::test(start_paused = true)]
async fn a_continuation_with_nothing_sent_yet_goes_on() {
    let mut world = World::new(sms(&["a"]), throttle_once());
    world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(5)).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 2));
}

#[tokio::test(start_paused = true)]
async fn a_worker_repeats_its_last_words_when_the_ledger_forgot_them() {
    let mut world = World::new(sms(&["a"]), |_| Act::answer(Accepted, 10));
    world.start_worker();
    world.challenge("c", 60);
    world.settle(seconds(5)).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.challenge("c", 60);
    world.settle(seconds(5)).await;
    assert_eq!((world.heard().len(), world.different_bodies("c:final"), world.sent().len()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_record_an_original_starts_again() {
    let mut world = World::new(sms(&["a"]), answer(Accepted));
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.kill_worker(first).await;
    world.ledger.wipe(ANOTHER_LIFE);
    world.start_worker();
    world.settle(seconds(5)).await;
    // The bounded price of a lost ledger: a second copy with the same code.
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 2));
}
