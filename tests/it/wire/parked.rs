//! The courier's own messages: what it parks can be read again, and what can't be opened ends all the same.

use mfa_courier::broker::wire::challenge::Read;
use mfa_courier::broker::wire::parked::{self, Dead, Job, Returned, Work};
use mfa_courier::broker::{Properties, Publication, Route};
use mfa_courier::challenge::Channel;
use mfa_courier::clock::{Dice, Timestamp};
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::delivery::version::Version;
use mfa_courier::delivery::{Delivery, Event, Facts, Step};
use mfa_courier::seal::Seal;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{challenge, seconds};
use crate::world::{Act, BEGIN, Setup, World, reader};

fn setup() -> Setup {
    let mut setup = Setup::with(&[("a", Channel::Sms), ("b", Channel::Sms), ("v", Channel::Voice)]);
    setup.policy.providers.iter_mut().for_each(|provider| provider.receipts = true);
    setup
}

/// A delivery that was answered so, and the challenge it came from.
fn worked_on(fields: &Value, results: &[usize], seed: u64) -> (Work, Delivery) {
    let policy = setup().policy;
    let now = Timestamp::parse_rfc3339(BEGIN).unwrap();
    let Read::Good(challenge) = reader(&policy).challenge(&Properties::default(), &challenge(fields), now) else {
        panic!("a good challenge: {fields}");
    };
    let mut dice = Dice::seeded(seed);
    let mut delivery = Delivery::open((*challenge).clone(), &policy).unwrap();
    let mut event = Event::Look;
    for result in results {
        let step = delivery.advance(event, &Facts::default(), &policy, now, &mut dice);
        let Step::Attempt(hop) = step else { break };
        delivery.begin(hop, now);
        let result = AttemptResult::ALL[result % AttemptResult::ALL.len()];
        event = Event::Answered { verdict: Verdict::of(result).because("no"), at: now, segments: Some(1) };
    }
    (Work::Fresh((*challenge).into()), delivery)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_is_parked_comes_back_as_it_was(
        texts in prop::collection::vec("[^\\p{Cc}]{1,60}", 3),
        results in prop::collection::vec(0_usize..8, 0..6),
        seen in prop::option::of((any::<u64>(), any::<u64>())),
        dead in prop::option::of(any::<bool>()),
        due in 0_i64..4_000_000_000_000,
        fresh in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let fields = json!({"session_id": texts[0], "vars": {"v": texts[1]}, "template": texts[2].chars().take(16).collect::<String>()});
        let (original, delivery) = worked_on(&fields, &results, seed);
        let version = Version { lineage: seed, step: 3 };
        let continued = Work::Continued { version, delivery: delivery.into() };
        let job = Job {
            work: if fresh { original } else { continued },
            seen: seen.map(|(lineage, step)| Version { lineage, step }),
            dead: dead.map(|expired| if expired { Dead::Expired } else { Dead::GivenUp }),
            due: Timestamp::from_millis(due),
        };
        let published = parked::job(&job, 7, Route::Followups, &Seal::default());
        let Returned::Job(read) = parked::read(&published.body, &Seal::default()) else { panic!("it can be read") };
        prop_assert_eq!((read.seen, read.dead, read.due), (job.seen, job.dead, job.due));
        match (&job.work, &read.work) {
            (Work::Fresh(was), Work::Fresh(is)) => prop_assert_eq!(was, is),
            (Work::Continued { version: v, delivery: was }, Work::Continued { version: w, delivery: is }) => {
                prop_assert_eq!((v, was), (w, is));
            }
            _ => prop_assert!(false, "another kind of work"),
        }
    }

    #[test]
    fn whatever_comes_back_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parked::read(&body, &Seal::default());
    }

    #[test]
    fn a_parked_message_that_was_cut_anywhere_is_read_without_a_panic(cut in 0_usize..4_000) {
        let (work, _) = worked_on(&json!({}), &[], 1);
        let due = Timestamp::EPOCH;
        let body = parked::job(&Job { work, seen: None, dead: None, due }, 7, Route::Followups, &Seal::default()).body;
        let _ = parked::read(&body[..cut.min(body.len())], &Seal::default());
    }
}

/// What can happen to the bytes of a parked message; the envelope can be read in all of them.
fn garbled(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(body).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    vec![
        ("cut off", body[..body.len() - 40].to_vec()),
        ("another version", changed(&|value| value["v"] = json!(2))),
        ("wrong types", changed(&|value| value["work"]["continued"]["delivery"]["hops"] = json!("none"))),
        ("another kind", changed(&|value| value["work"] = json!({"unheard_of": 1}))),
        ("no work", changed(&|value| drop(value.as_object_mut().unwrap().remove("work")))),
    ]
}

/// A world without workers in which `c` is parked, and its continuation. `accepted`: by the first provider.
async fn parked_world(accepted: bool) -> (World, Publication) {
    let result = if accepted { AttemptResult::Accepted } else { AttemptResult::Throttled };
    let script = move |_: &crate::world::Sent| Act { retry_after: Some(seconds(10)), ..Act::answer(result, 20) };
    let mut setup = setup();
    setup.policy.providers.truncate(1);
    let mut world = World::new(setup, script);
    let first = world.start_worker();
    world.challenge("c", 60);
    world.pass(seconds(2)).await;
    world.kill_worker(first).await;
    let is_parked = |publication: &&Publication| matches!(publication.route, Route::Delay(_));
    let continuation = world.published().iter().find(is_parked).unwrap().clone();
    (world, Publication { route: Route::Followups, ..continuation })
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_ends_by_its_envelope_when_the_ledger_is_lost() {
    for (accepted, status, reason) in
        [(true, Status::Unknown, Reason::InDoubt), (false, Status::Failed, Reason::Internal)]
    {
        let (_, continuation) = parked_world(accepted).await;
        for (what, body) in garbled(&continuation.body) {
            let mut world = super::world(super::setup());
            world.start_worker();
            world.inject(Publication { body: body.clone().into(), ..continuation.clone() }).await;
            world.settle(seconds(5)).await;
            let end = world.outcome("c");
            assert_eq!((end.status, end.reason), (status, Some(reason)), "{what}");
            let kept = world.broker.quarantined();
            assert_eq!(kept.len(), 1, "{what}");
            assert!(kept[0].body == body && world.sent().is_empty(), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_goes_on_from_the_ledger() {
    let (_, continuation) = parked_world(true).await;
    for (what, body) in garbled(&continuation.body) {
        // The broker still holds the whole one: both are about the same challenge, and it ends once.
        let (mut world, whole) = parked_world(true).await;
        world.start_worker();
        world.inject(Publication { body: body.into(), ..whole }).await;
        world.pass(seconds(1)).await;
        assert_eq!(world.broker.quarantined().len(), 1, "{what}");
        world.settle(seconds(62)).await;
        let end = world.outcome("c");
        assert_eq!((end.status, end.reason), (Status::Sent, Some(Reason::ReceiptTimeout)), "{what}");
        assert_eq!(
            (world.sent().len(), world.heard().iter().filter(|heard| !heard.is_final).count()),
            (1, 1),
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_after_the_end_changes_nothing() {
    let (mut world, whole) = parked_world(true).await;
    world.start_worker();
    world.settle(seconds(62)).await;
    let before = world.heard().len();
    for (_, body) in garbled(&whole.body) {
        world.inject(Publication { body: body.into(), ..whole.clone() }).await;
    }
    world.settle(seconds(5)).await;
    assert_eq!((world.heard().len(), world.different_bodies("c:final")), (before, 1));
    assert_eq!(world.broker.quarantined().len(), garbled(&whole.body).len());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_envelope_is_set_aside() {
    for body in ["", "{", "{}", "null", r#"{"v":1,"id":"a/b"}"#] {
        let (_, whole) = parked_world(true).await;
        let mut world = super::world(super::setup());
        world.start_worker();
        world.inject(Publication { body: body.into(), ..whole }).await;
        world.settle(seconds(5)).await;
        assert_eq!((world.broker.quarantined().len(), world.heard().len()), (1, 0), "{body}");
    }
}
