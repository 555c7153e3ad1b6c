//! The order of a step: write ahead, publish, ack, mark. A crash between any two of them loses nothing.

use mfa_courier::broker::memory::Trouble;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::verdict::AttemptResult::Accepted;

use super::{answer, providers, seconds, sms, sms_with_receipts};
use crate::gates::{Point, Said, State};
use crate::world::{Setup, World};

/// Crashes a worker at `point`; another one finds what it left.
async fn crash_at(point: Point, setup: Setup) -> World {
    let mut world = World::new(setup, answer(Accepted));
    let first = world.start_worker();
    let held = world.hold(first, point);
    world.challenge("c", 60);
    held.reached().await;
    world.kill_worker(first).await;
    world.start_worker();
    world.settle(seconds(62)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn before_the_attempt_begins_nothing_had_happened() {
    for point in [Point::BeforeRead, Point::BeforeWrite(State::Working)] {
        let world = crash_at(point, sms(&["a", "b"])).await;
        assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]), "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_began_is_in_doubt_and_never_repeated_on_its_hop() {
    let world = crash_at(Point::AfterWrite(State::Working), sms(&["a"])).await;
    assert_eq!((world.outcome("c").status, world.outcome("c").reason), (Status::Unknown, Some(Reason::InDoubt)));
    assert!(providers(&world).is_empty(), "whether the first had sent can't be known");

    let world = crash_at(Point::BeforeWrite(State::Concluded), sms(&["a", "b"])).await;
    assert_eq!(world.outcome("c").status, Status::Sent);
    assert_eq!(providers(&world), ["a", "b"], "the answer was lost with the worker");
}

#[tokio::test(start_paused = true)]
async fn once_the_end_is_written_it_is_said_byte_for_byte_and_nothing_is_sent() {
    let points = [
        (Point::AfterWrite(State::Concluded), 1),
        (Point::BeforePublish(Said::Final), 1),
        (Point::AfterPublish(Said::Final), 2),
        (Point::BeforeMark, 1),
    ];
    for (point, said) in points {
        let world = crash_at(point, sms(&["a", "b"])).await;
        assert_eq!((world.outcome("c").status, providers(&world)), (Status::Sent, vec!["a".to_owned()]), "{point:?}");
        assert_eq!(world.heard().len(), said, "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn once_a_continuation_is_written_it_is_published_and_nothing_is_sent() {
    let points = [
        Point::AfterWrite(State::Parked),
        Point::BeforePublish(Said::Interim),
        Point::AfterPublish(Said::Interim),
        Point::BeforePublish(Said::Parked),
        Point::AfterPublish(Said::Parked),
        Point::BeforeMark,
    ];
    for point in points {
        let world = crash_at(point, sms_with_receipts(&["a", "b"])).await;
        let end = world.outcome("c");
        assert_eq!((end.status, end.reason), (Status::Sent, Some(Reason::ReceiptTimeout)), "{point:?}");
        assert_eq!(providers(&world), ["a"], "{point:?}");
        assert_eq!(world.different_bodies("c:1:sent"), 1, "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_marked_is_said_again_byte_for_byte_when_upstream_asks() {
    let mut world = crash_at(Point::BeforeMark, sms(&["a"])).await;
    world.challenge("c", 60);
    world.settle(seconds(5)).await;
    assert_eq!((world.heard().len(), world.different_bodies("c:final"), world.sent().len()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_a_publication_there_is_one_outcome_and_one_message() {
    for trouble in [Trouble::ConfirmLost, Trouble::SessionLost, Trouble::Refused, Trouble::Doubled] {
        for troubled in 0..3 {
            let mut world = World::new(sms_with_receipts(&["a"]), answer(Accepted));
            world.start_worker();
            let mut nth = 0;
            world.broker.set_troubles(move |_| {
                nth += 1;
                if nth == troubled + 1 { trouble } else { Trouble::None }
            });
            world.challenge("c", 60);
            world.settle(seconds(62)).await;
            assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1), "{trouble:?} {troubled}");
            assert_eq!(world.different_bodies("c:1:sent"), 1, "{trouble:?} {troubled}");
        }
    }
}
