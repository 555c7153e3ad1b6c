//! What a message means beside its record: an older copy, a shadow, an old timer, a dead letter.

use mfa_courier::challenge::Channel;
use mfa_courier::delivery::outcome::Status;
use mfa_courier::delivery::verdict::AttemptResult::Accepted;
use serde_json::json;

use super::{
    answer, assert_nothing_sent_after_the_end, hang_once, millis, parked, providers, seconds, sms, sms_with_receipts,
    throttle_once,
};
use crate::gates::{Point, Said, State};
use crate::world::{CODE, Setup, World};

/// A continuation fires and its worker crashes at `point` of the step that follows.
async fn crash_after_the_timer(setup: Setup, point: Point) -> World {
    let mut world = World::new(setup, throttle_once());
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(5)).await;
    assert_eq!(parked(&world).len(), 1, "it waits to be tried again");
    let held = world.hold(first, point);
    held.reached().await;
    world.kill_worker(first).await;
    world.start_worker();
    world.settle(seconds(62)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn an_original_that_finds_it_parked_publishes_the_continuation() {
    let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
    let first = world.start_worker();
    let held = world.hold(first, Point::BeforePublish(Said::Parked));
    world.challenge("c", 60);
    held.reached().await;
    world.kill_worker(first).await;
    world.start_worker();
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1));
}

#[tokio::test(start_paused = true)]
async fn an_old_timer_that_finds_it_parked_publishes_the_continuation() {
    let world = crash_after_the_timer(sms_with_receipts(&["a"]), Point::AfterWrite(State::Parked)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 2), "throttled once, then accepted");
}

#[tokio::test(start_paused = true)]
async fn an_old_timer_that_finds_it_concluded_publishes_the_end() {
    let world = crash_after_the_timer(sms(&["a"]), Point::BeforePublish(Said::Final)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 2));
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_finds_its_own_newer_step_in_work_is_kept() {
    let world = crash_after_the_timer(sms(&["a"]), Point::BeforeWrite(State::Concluded)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Unknown, 2), "the answer was lost");
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_finds_it_concluded_publishes_the_end() {
    let mut world = World::new(sms(&["a"]), answer(Accepted));
    let first = world.start_worker();
    let held = world.hold(first, Point::BeforePublish(Said::Final));
    world.challenge("c", 60);
    world.pass(millis(500)).await;
    world.cut_off(first);
    world.start_worker();
    held.reached().await;
    assert_eq!(parked(&world).len(), 1, "only the shadow is left");
    world.kill_worker(first).await;
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lost_a_write_looks_before_it_settles() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let void = world.start_worker();
    let end = world.hold(void, Point::BeforeWrite(State::Concluded));
    world.challenge("c", 60);
    end.reached().await;
    world.cut_off(void);
    let taker = world.start_worker();
    let about_to = world.hold(taker, Point::BeforeWrite(State::Working));
    about_to.reached().await;
    // The owner was only slow: it writes its end first, and dies before it says it.
    let unsaid = world.hold(void, Point::BeforePublish(Said::Final));
    end.release();
    unsaid.reached().await;
    world.kill_worker(void).await;
    about_to.release();
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_copy_is_not_handed_to_a_task_that_lost_its_challenge() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let frozen = world.start_worker();
    let held = world.hold(frozen, Point::AfterWrite(State::Working));
    world.challenge("c", 60);
    held.reached().await;
    world.cut_off(frozen);
    let taker = world.start_worker();
    let ending = world.hold(taker, Point::BeforeWrite(State::Concluded));
    ending.reached().await;
    world.kill_worker(taker).await;
    world.reconnect(frozen);
    world.pass(seconds(1)).await;
    held.release();
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Unknown, vec!["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_task_and_its_redelivered_copy_send_once_and_say_one_thing() {
    for cut_after in [0, 500, 999, 1_000, 1_001, 5_000] {
        let mut world = World::new(sms_with_receipts(&["a", "b"]), answer(Accepted));
        world.start_worker();
        world.challenge("c", 60);
        world.pass(millis(cut_after)).await;
        world.broker.drop_sessions();
        world.settle(seconds(62)).await;
        assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1), "cut after {cut_after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_waits_for_whoever_works_on_its_challenge() {
    let mut world = World::new(sms(&["a", "b"]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::AfterWrite(State::Working));
    world.challenge("c", 60);
    held.reached().await;
    publish_dead(&world);
    world.pass(seconds(2)).await;
    held.release();
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]));
    assert_nothing_sent_after_the_end(&world);
    assert_eq!(world.broker.quarantined().len(), 1, "the shadow kept its mark");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_concludes_where_nobody_works() {
    let mut world = World::new(sms(&["a"]), answer(Accepted));
    world.start_worker();
    publish_dead(&world);
    world.settle(seconds(5)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Expired, 0));
    assert_eq!(world.broker.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_of_a_dead_letter_concludes_where_it_would_take_over() {
    let mut world = World::new(sms(&["a", "b"]), hang_once());
    let first = world.start_worker();
    publish_dead_after(&world, seconds(1));
    world.pass(millis(500)).await;
    // Put back by the worker that died, its time in the queue runs out.
    world.kill_worker(first).await;
    world.pass(seconds(1)).await;
    world.start_worker();
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Unknown, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_of_a_dead_letter_waits_for_the_whole_send_right() {
    // A call may take eight seconds, and no single delay fits the eleven of a shadow.
    let mut world = World::new(Setup::with(&[("v", Channel::Voice)]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::AfterWrite(State::Working));
    let body = json!({"id": "c", "code": CODE, "ttl": 60, "methods": [{"channel": "voice", "to": "+14155552671"}]});
    world.publish(&body);
    held.reached().await;
    world.publish_dead(&body, millis(0));
    world.pass(millis(7_500)).await;
    held.release();
    world.settle(seconds(30)).await;
    assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["v".to_owned()]));
    assert_nothing_sent_after_the_end(&world);
    assert_eq!(world.broker.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn news_does_not_wake_a_shadow_before_the_send_right_lapsed() {
    // A push prompt may take ten seconds; its shadow sleeps for the last of its eleven inside a worker.
    let mut world = World::new(Setup::with(&[("p", Channel::Push)]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::AfterWrite(State::Working));
    let method = json!({"channel": "push", "platform": "android", "token": "t"});
    world.publish(&json!({"id": "c", "code": CODE, "ttl": 60, "methods": [method]}));
    held.reached().await;
    world.broker.drop_sessions();
    world.pass(seconds(10)).await;
    world.signal("cancelled", "c");
    world.pass(millis(300)).await;
    held.release();
    world.settle(seconds(30)).await;
    world.pass(seconds(5)).await;
    assert_nothing_sent_after_the_end(&world);
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Cancelled, 1));
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_of_a_continuation_changes_nothing() {
    let mut world = World::new(sms_with_receipts(&["a"]), throttle_once());
    world.start_worker();
    world.challenge("c", 60);
    world.settle(seconds(62)).await;
    let before = world.heard().len();
    for old in parked(&world) {
        world.inject(old).await;
    }
    world.settle(seconds(5)).await;
    assert_eq!((world.heard().len(), world.sent().len()), (before, 2));
}

fn publish_dead(world: &World) {
    publish_dead_after(world, millis(0));
}

/// As [`World::challenge`], but the broker gives it up after `ttl` in its queue.
fn publish_dead_after(world: &World, ttl: std::time::Duration) {
    let body = json!({"id": "c", "code": CODE, "ttl": 60, "methods": [{"channel": "sms", "to": "+14155552671"}]});
    world.publish_dead(&body, ttl);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_finds_it_being_published_waits_and_finds_it_done() {
    let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
    let owner = world.start_worker();
    let held = world.hold(owner, Point::BeforePublish(Said::Parked));
    world.challenge("c", 60);
    held.reached().await;
    world.broker.drop_sessions();
    world.pass(seconds(1)).await;
    held.release();
    world.pass(seconds(1)).await;
    assert_eq!(parked(&world).len(), 1, "by its owner; the copy has nothing to add");
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_whose_session_is_gone_is_left_to_the_copy_that_comes() {
    let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
    let owner = world.start_worker();
    world.challenge("c", 60);
    world.pass(millis(100)).await;
    let held = world.hold(owner, Point::BeforeRead);
    world.challenge("c", 60);
    held.reached().await;
    world.broker.drop_sessions();
    world.pass(millis(100)).await;
    assert_eq!(parked(&world).len(), 2, "both messages came again, and are shadows of the owner's work");
    held.release();
    world.pass(millis(300)).await;
    assert_eq!(parked(&world).len(), 2);
    world.settle(seconds(62)).await;
    assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1));
}
