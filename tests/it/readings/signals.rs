//! What upstream says, and when: a fact that was acked is never forgotten.

use mfa_courier::delivery::outcome::{ConfirmedBy, Reason, Status};
use mfa_courier::delivery::verdict::AttemptResult::Accepted;

use super::{answer, millis, seconds, sms, sms_with_receipts};
use crate::gates::{Point, Said, State};
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn an_end_that_does_not_know_the_latest_fact_is_not_written() {
    let mut world = World::new(sms(&["a"]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::BeforeWrite(State::Concluded));
    world.challenge("c", 60);
    held.reached().await;
    world.signal("verified", "c");
    world.pass(seconds(1)).await;
    held.release();
    world.settle(seconds(5)).await;
    let end = world.outcome("c");
    assert_eq!((end.status, end.confirmed_by), (Status::Delivered, Some(ConfirmedBy::Verification)));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_know_the_latest_fact_does_not_begin() {
    let mut world = World::new(sms(&["a"]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::BeforeWrite(State::Working));
    world.challenge("c", 60);
    held.reached().await;
    world.signal("cancelled", "c");
    world.pass(seconds(1)).await;
    held.release();
    world.settle(seconds(5)).await;
    assert_eq!((world.outcome("c").reason, world.sent().len()), (Some(Reason::Cancelled), 0));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_signal_publishes_the_end_that_the_first_left_unsaid() {
    let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(2)).await;
    let held = world.hold(first, Point::BeforePublish(Said::Final));
    world.signal("verified", "c");
    held.reached().await;
    world.kill_worker(first).await;
    world.start_worker();
    world.pass(seconds(1)).await;
    assert_eq!(world.outcome("c").status, Status::Delivered, "now, and not when the old timer runs out");
    world.settle(seconds(62)).await;
    assert_eq!(world.different_bodies("c:final"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_was_recorded_and_not_acked_takes_effect_when_it_comes_again() {
    let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(2)).await;
    let held = world.hold(first, Point::AfterAppend);
    world.signal("cancelled", "c");
    held.reached().await;
    world.kill_worker(first).await;
    world.start_worker();
    world.pass(seconds(1)).await;
    assert_eq!(world.outcome("c").status, Status::Cancelled);
    world.settle(seconds(62)).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_after_the_end_changes_nothing() {
    for kind in ["verified", "cancelled"] {
        let mut world = World::new(sms(&["a"]), answer(Accepted));
        world.start_worker();
        world.challenge("c", 60);
        world.settle(seconds(5)).await;
        world.signal(kind, "c");
        world.pass(millis(100)).await;
        assert_eq!((world.heard().len(), world.outcome("c").status), (1, Status::Sent), "{kind}");
        assert_eq!(world.broker.pending(), 0, "{kind}");
    }
}
