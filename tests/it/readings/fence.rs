//! Who may speak: the right to send lapses before anybody takes over, and whoever lost it is silent.

use mfa_courier::challenge::ChallengeId;
use mfa_courier::delivery::outcome::Status;
use mfa_courier::delivery::verdict::AttemptResult::Accepted;
use mfa_courier::ledger::Ledger as _;

use super::{answer, assert_nothing_sent_after_the_end, hang_once, millis, providers, seconds, sms};
use crate::gates::{Point, State};
use crate::world::{Act, World};

async fn lineage(world: &World) -> u64 {
    let id = ChallengeId::parse("c").unwrap();
    world.ledger.read(&id).await.unwrap().expect("a record").version.lineage
}

#[tokio::test(start_paused = true)]
async fn a_send_right_that_lapsed_sends_nothing() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let frozen = world.start_worker();
    let held = world.hold(frozen, Point::AfterWrite(State::Working));
    world.challenge("c", 60);
    held.reached().await;
    world.cut_off(frozen);
    world.start_worker();
    world.pass(seconds(15)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["b".to_owned()]));
    held.release();
    world.reconnect(frozen);
    world.pass(seconds(10)).await;
    assert_eq!(world.broker.pending(), 0);
    assert_nothing_sent_after_the_end(&world);
    assert_eq!(providers(&world), ["b"]);
    assert_eq!(world.different_bodies("c:final"), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_over_while_a_send_right_may_last() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let slow = world.start_worker();
    let held = world.hold(slow, Point::AfterWrite(State::Working));
    world.challenge("c", 60);
    held.reached().await;
    world.broker.drop_sessions();
    world.pass(seconds(5)).await;
    held.release();
    world.settle(seconds(30)).await;
    assert_nothing_sent_after_the_end(&world);
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_makes_progress_is_not_taken_over() {
    // Two hops hang for five seconds each, so the copy comes back while the third is being tried.
    let script =
        |sent: &crate::world::Sent| if sent.provider == "d" { Act::answer(Accepted, 4_000) } else { Act::hang() };
    let mut world = World::new(sms(&["a", "b", "d"]), script);
    world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.broker.drop_sessions();
    world.settle(seconds(40)).await;
    let end = world.outcome("c");
    assert_eq!((end.status, end.provider.as_deref()), (Status::Sent, Some("d")));
    assert_eq!(providers(&world), ["a", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_take_over_starts_a_new_lineage() {
    let mut world = World::new(sms(&["a", "b"]), |_| Act::hang());
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(1)).await;
    let before = lineage(&world).await;
    world.kill_worker(first).await;
    world.start_worker();
    world.pass(seconds(13)).await;
    assert_eq!(providers(&world), ["a", "b"], "it was taken over");
    assert_ne!(lineage(&world).await, before);
    world.settle(seconds(20)).await;
    assert_eq!(world.outcome("c").status, Status::Unknown);
}

#[tokio::test(start_paused = true)]
async fn past_the_deadline_nobody_waits_for_a_send_right() {
    let mut world = World::new(sms(&["a"]), hang_once());
    let first = world.start_worker();
    world.challenge("c", 4);
    world.pass(seconds(1)).await;
    world.kill_worker(first).await;
    world.start_worker();
    world.pass(seconds(5)).await;
    let end = world.outcome("c");
    assert_eq!(end.status, Status::Unknown);
    assert!(end.occurred_at <= end.expires_at.unwrap() + seconds(2), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_after_the_deadline_takes_over_at_once() {
    let mut world = World::new(sms(&["a"]), hang_once());
    let first = world.start_worker();
    world.challenge("c", 4);
    world.pass(seconds(1)).await;
    world.kill_worker(first).await;
    world.pass(seconds(10)).await;
    world.start_worker();
    world.pass(millis(10)).await;
    assert_eq!(world.outcome("c").status, Status::Unknown);
    assert_eq!(super::parked(&world).len(), 0, "there is nobody to wait for");
}
