//! The whole worker in virtual time: what becomes of a challenge, end to end.

use std::time::Duration;

use mfa_courier::challenge::Channel;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::guard::quota::Rate;
use mfa_courier::worker::Ended;
use serde_json::json;

use crate::world::{Act, Sent, Setup, World};

const TWO_SMS: [(&str, Channel); 2] = [("a", Channel::Sms), ("b", Channel::Sms)];

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn all_answer(result: AttemptResult) -> impl FnMut(&Sent) -> Act + Send + 'static {
    move |_| Act::answer(result, 20)
}

#[tokio::test(start_paused = true)]
async fn a_challenge_becomes_one_message_and_one_outcome() {
    let mut world = World::new(Setup::with(&TWO_SMS), all_answer(AttemptResult::Accepted));
    world.start_worker();
    world.challenge("c1", 60);
    world.settle(seconds(5)).await;
    let outcome = world.outcome("c1");
    assert_eq!((outcome.status, outcome.reason), (Status::Sent, Some(Reason::NoReceipts)));
    assert_eq!(outcome.destination.as_deref(), Some("+1********71"));
    let sent = world.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].provider.as_str(), sent[0].text.as_str()), ("a", "481516 is your code"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_says_how_many_segments_a_text_message_had_and_a_call_had_none() {
    let by_both = Setup::with(&[("a", Channel::Sms), ("b", Channel::Voice)]);
    let mut world = World::new(by_both, |sent: &Sent| {
        Act::answer(if sent.provider == "a" { AttemptResult::Recipient } else { AttemptResult::Accepted }, 10)
    });
    world.start_worker();
    let methods = json!([{"channel": "sms", "to": "+14155552671"}, {"channel": "voice", "to": "+14155552671"}]);
    world.publish(&json!({"id": "c1", "code": "481516", "ttl": 60, "methods": methods}));
    world.settle(seconds(5)).await;
    let counted: Vec<_> = world.outcome("c1").attempts.iter().map(|a| (a.channel, a.segments)).collect();
    assert_eq!(counted, [(Channel::Sms, Some(1)), (Channel::Voice, None)]);
    let said: Vec<_> = world.sent().iter().map(|sent| sent.text.clone()).collect();
    assert_eq!(said, ["481516 is your code", "4, 8, 1, 5, 1, 6 is your code"]);
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_fails_gives_way_to_the_next() {
    let script = |sent: &Sent| {
        Act::answer(if sent.provider == "a" { AttemptResult::Transient } else { AttemptResult::Accepted }, 10)
    };
    let mut world = World::new(Setup::with(&TWO_SMS), script);
    world.start_worker();
    world.challenge("c1", 60);
    world.settle(seconds(10)).await;
    let statuses: Vec<_> = world.heard().iter().map(|o| (o.id.as_str(), o.status)).collect();
    assert_eq!(statuses, [("c1:2:retrying", Status::Retrying), ("c1:final", Status::Sent)]);
    assert_eq!(world.outcome("c1").attempts.len(), 3, "once more on the first, then the second");
}

#[tokio::test(start_paused = true)]
async fn hanging_providers_do_not_keep_an_outcome_waiting() {
    let mut world = World::new(Setup::with(&TWO_SMS), |_| Act::hang());
    world.start_worker();
    for i in 0..2_000 {
        world.challenge(&format!("c{i}"), 20);
    }
    world.settle(seconds(30)).await;
    for i in 0..2_000 {
        let outcome = world.outcome(&format!("c{i}"));
        assert!(outcome.occurred_at <= outcome.expires_at.unwrap() + seconds(2), "{outcome:?}");
    }
    let latest = world.heard()[0].expires_at.unwrap();
    assert!(world.sent().iter().all(|sent| sent.at < latest), "nothing is sent after the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_at_the_limit_and_harms_nobody_else() {
    let mut setup = Setup::with(&[("slow", Channel::Sms), ("fast", Channel::Voice)]);
    setup.rates.insert(("slow".to_owned(), Channel::Sms), Rate { per_second: 50.0, burst: 1 });
    let mut world = World::new(setup, all_answer(AttemptResult::Accepted));
    world.start_worker();
    for i in 0..500 {
        world.challenge(&format!("s{i}"), 60);
    }
    world.pass(seconds(1)).await;
    world.publish(&json!({"id": "v", "code": "1", "ttl": 60, "methods": [{"channel": "voice", "to": "+14155552671"}]}));
    let asked = world.clock.now();
    world.settle(seconds(20)).await;
    let sent = world.sent();
    let slow: Vec<_> = sent.iter().filter(|sent| sent.provider == "slow").map(|sent| sent.at).collect();
    assert_eq!(slow.len(), 500);
    let took = slow.iter().max().unwrap().since(*slow.iter().min().unwrap());
    assert!(took <= Duration::from_millis(10_500), "500 at 50 a second took {took:?}");
    let fast = sent.iter().find(|sent| sent.provider == "fast").unwrap();
    assert!(fast.at.since(asked) < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_or_parks_everything() {
    let mut setup = Setup::with(&TWO_SMS[..1]);
    setup.rates.insert(("a".to_owned(), Channel::Sms), Rate { per_second: 5.0, burst: 1 });
    let mut world = World::new(setup, |_| Act::answer(AttemptResult::Accepted, 500));
    let first = world.start_worker();
    for i in 0..50 {
        world.challenge(&format!("c{i}"), 60);
    }
    world.pass(seconds(2)).await;
    assert_eq!(world.drain_worker(first).await, Ended::Drained);
    world.start_worker();
    world.settle(seconds(40)).await;
    for i in 0..50 {
        assert_eq!(world.outcome(&format!("c{i}")).status, Status::Sent);
    }
    assert_eq!(world.sent().len(), 50, "no second copies");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_challenge_ends_wherever_it_is() {
    let mut setup = Setup::with(&TWO_SMS[..1]);
    setup.rates.insert(("a".to_owned(), Channel::Sms), Rate { per_second: 0.05, burst: 1 });
    let mut world = World::new(setup, all_answer(AttemptResult::Accepted));
    world.start_worker();
    world.signal("cancelled", "before");
    world.pass(seconds(1)).await;
    world.challenge("before", 60);
    world.challenge("first", 60);
    world.challenge("parked", 60);
    world.pass(seconds(5)).await;
    world.signal("cancelled", "parked");
    world.pass(seconds(1)).await;
    assert_eq!(world.outcome("before").reason, Some(Reason::Cancelled));
    assert_eq!(world.outcome("parked").reason, Some(Reason::Cancelled), "at once, not when its timer runs out");
    world.settle(seconds(60)).await;
    assert_eq!(world.outcome("first").status, Status::Sent);
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_taken_over_and_nothing_is_lost() {
    let mut world = World::new(Setup::with(&TWO_SMS), |_| Act::answer(AttemptResult::Accepted, 1_000));
    let first = world.start_worker();
    for i in 0..300 {
        world.challenge(&format!("c{i}"), 60);
    }
    world.pass(Duration::from_millis(500)).await;
    world.kill_worker(first).await;
    world.start_worker();
    world.settle(seconds(62)).await;
    for i in 0..300 {
        let status = world.outcome(&format!("c{i}")).status;
        assert!(matches!(status, Status::Sent | Status::Unknown), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_later_does_not_move_the_deadline() {
    let mut world = World::new(Setup::with(&TWO_SMS[..1]), |_| Act::hang());
    let first = world.start_worker();
    world.challenge("c1", 10);
    world.pass(seconds(4)).await;
    world.kill_worker(first).await;
    world.start_worker();
    // Read again now, its ttl would end four seconds later than the deadline that is on record.
    world.settle(seconds(20)).await;
    let outcome = world.outcome("c1");
    assert_eq!(outcome.status, Status::Unknown);
    assert!(outcome.occurred_at <= outcome.expires_at.unwrap() + seconds(2), "{outcome:?}");
}
