//! Messages through a healthy broker.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::options::QueueDeleteOptions;
use mfa_courier::broker::rabbit::RabbitSettings;
use mfa_courier::broker::{Death, DeathWhy, LinkState, Properties, Publication, PublishError, Route, Source};
use mfa_courier::clock::Clock;

use super::{CHALLENGES, DEAD, FOLLOWUPS, QUARANTINE, Rig, SIGNALS, publication, settings};
use crate::node::{Client, Node, eventually, persistent};

#[tokio::test]
async fn each_queue_is_read_and_an_ack_is_final() {
    let mut rig = Rig::new().await;
    rig.client.publish("mfa.challenges", "challenge.requested.contoso", persistent(), b"1").await;
    let challenge = rig.next().await;
    assert_eq!((challenge.source, &*challenge.body, challenge.redelivered), (Source::Challenges, &b"1"[..], false));
    assert_eq!(challenge.routing_key, "challenge.requested.contoso");
    rig.client.publish("mfa.challenges", "challenge.cancelled", persistent(), b"2").await;
    let signal = rig.next().await;
    assert_eq!((signal.source, &*signal.body), (Source::Signals, &b"2"[..]));
    rig.link.outbox.publish(&publication(Route::Followups, b"3")).await.expect("stored");
    let followup = rig.next().await;
    assert_eq!((followup.source, &*followup.body), (Source::Followups, &b"3"[..]));

    for done in [challenge, signal, followup] {
        done.envelope.ack();
    }
    rig.link.outbox.close().await;
    for queue in [CHALLENGES, SIGNALS, FOLLOWUPS] {
        rig.client.depth_becomes(queue, 0).await;
    }
}

#[tokio::test]
async fn an_envelope_that_is_dropped_puts_its_message_back() {
    let mut rig = Rig::new().await;
    rig.client.publish_challenge("{}").await;
    drop(rig.next().await);
    let again = rig.next().await;
    assert!(again.redelivered);
    again.envelope.ack();
    assert!(rig.is_quiet().await);
}

#[tokio::test]
async fn acks_in_any_order_settle_exactly_what_was_acked() {
    let mut rig = Rig::new().await;
    join_all((0..200).map(|_| rig.client.publish_challenge("{}"))).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(rig.next().await.envelope);
    }
    let kept = held.split_off(190);
    for (index, envelope) in held.into_iter().enumerate().rev() {
        if index % 10 == 3 { drop(envelope) } else { envelope.ack() }
    }
    let mut again = Vec::new();
    for _ in 0..19 {
        again.push(rig.next().await);
    }
    assert!(again.iter().all(|delivered| delivered.redelivered) && rig.is_quiet().await);
    drop((again, kept));
    rig.link.outbox.close().await;
    rig.client.depth_becomes(CHALLENGES, 29).await;
}

#[tokio::test]
async fn confirms_are_pipelined() {
    let rig = Rig::new().await;
    rig.client.outcomes_queue("mine", "outcome.#").await;
    let started = Clock::instant();
    let outcome = |n: usize| Publication {
        route: Route::Outcome("outcome.sent.sms.final".into()),
        properties: Properties { message_id: Some(format!("{n}:final")), ..Properties::default() },
        body: Bytes::from(vec![b'x'; 1_000]),
        expiration: None,
    };
    let results = join_all((0..2_000).map(async |n| rig.link.outbox.publish(&outcome(n)).await)).await;
    let took = Clock::instant() - started;
    assert!(results.iter().all(Result::is_ok));
    assert!(took < Duration::from_secs(5), "2,000 publications took {took:?}");
    println!("2,000 confirmed publications in {took:?}");
    rig.client.depth_becomes("mine", 2_000).await;
    let first = rig.client.collect("mine", 1).await;
    assert_eq!(first[0].properties.delivery_mode(), &Some(2));
}

#[tokio::test]
async fn a_wait_comes_back_after_its_level_and_no_longer_one_holds_it_up() {
    let mut rig = Rig::new().await;
    let started = Clock::instant();
    for (level, body) in [(1_600, &b"1600"[..]), (100, b"100"), (400, b"400")] {
        rig.link.outbox.publish(&publication(Route::Delay(level), body)).await.expect("stored");
    }
    for level in [100, 400, 1_600] {
        let back = rig.next().await;
        let after = Clock::instant() - started;
        assert_eq!((back.source, &*back.body, back.death), (Source::Followups, level.to_string().as_bytes(), None));
        assert!(
            after >= Duration::from_millis(level) && after < Duration::from_millis(level + 2_000),
            "{level}: {after:?}"
        );
        back.envelope.ack();
    }
}

#[tokio::test]
async fn what_upstream_lets_expire_comes_as_dead() {
    let mut rig = Rig::with(RabbitSettings { prefetch: 1, ..settings(Node::shared()) }).await;
    rig.client.publish_challenge("first").await;
    let first = rig.next().await;
    rig.challenge(persistent().with_expiration("1".into()), b"late").await;
    let dead = rig.next().await;
    assert_eq!(
        (dead.source, &*dead.body, dead.death),
        (Source::Dead, &b"late"[..], Some(Death { why: DeathWhy::Expired, from: Some(Source::Challenges) }))
    );
    dead.envelope.ack();
    first.envelope.ack();
}

#[tokio::test]
async fn what_is_delivered_too_often_comes_as_dead() {
    let mut rig = Rig::with(RabbitSettings { delivery_limit: 2, ..settings(Node::shared()) }).await;
    rig.client.publish_challenge("poison").await;
    for _ in 0..3 {
        let delivered = rig.next().await;
        assert_eq!(delivered.source, Source::Challenges);
    }
    let dead = rig.next().await;
    assert_eq!(
        (dead.source, dead.death.clone()),
        (Source::Dead, Some(Death { why: DeathWhy::DeliveryLimit, from: Some(Source::Challenges) }))
    );
    // The dead queue itself has no limit that a message could fall over.
    drop(dead);
    for _ in 0..25 {
        assert_eq!(rig.next().await.source, Source::Dead);
    }
    rig.next().await.envelope.ack();
    assert!(rig.is_quiet().await);
}

#[tokio::test]
async fn a_reply_is_best_effort_and_never_goes_to_an_own_queue() {
    let rig = Rig::new().await;
    rig.client.classic_queue("answers").await;
    let reply = async |queue: &str| rig.link.outbox.publish(&publication(Route::Reply(queue.into()), b"copy")).await;
    assert_eq!(reply("answers").await, Ok(()));
    assert_eq!(reply("nowhere").await, Err(PublishError::Unroutable));
    assert_eq!(reply(&"x".repeat(300)).await, Err(PublishError::Unroutable));
    for own in [CHALLENGES, QUARANTINE, DEAD, "mfa.courier.delay.100"] {
        assert_eq!(reply(own).await, Err(PublishError::Refused), "{own}");
    }
    rig.client.depth_becomes("answers", 1).await;
    assert_eq!(*rig.link.state.borrow(), LinkState::Ready);
}

#[tokio::test]
async fn a_return_meets_the_publication_that_came_back_and_no_other() {
    let rig = Rig::new().await;
    rig.client.classic_queue("answers").await;
    let reply = |n: usize| Publication {
        route: Route::Reply(if n % 10 == 7 { "nowhere" } else { "answers" }.into()),
        properties: Properties { message_id: Some(format!("m{n}")), ..Properties::default() },
        body: Bytes::from_static(b"copy"),
        expiration: None,
    };
    let results = join_all((0..1_000).map(async |n| rig.link.outbox.publish(&reply(n)).await)).await;
    for (n, result) in results.iter().enumerate() {
        let expected = if n % 10 == 7 { Err(PublishError::Unroutable) } else { Ok(()) };
        assert_eq!(*result, expected, "publication {n}");
    }
    rig.client.depth_becomes("answers", 900).await;
}

#[tokio::test]
async fn an_own_queue_that_was_deleted_is_declared_again() {
    let rig = Rig::new().await;
    let gone = "mfa.courier.delay.3200";
    rig.client.channel.queue_delete(gone.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let parked = publication(Route::Delay(3_200), b"{}");
    assert_eq!(rig.link.outbox.publish(&parked).await, Err(PublishError::Unroutable));
    eventually("the queue is back", async || rig.link.outbox.publish(&parked).await.ok()).await;
    assert_eq!(*rig.link.state.borrow(), LinkState::Ready);
}

#[tokio::test]
async fn signals_do_not_wait_behind_challenges() {
    let mut rig = Rig::with(RabbitSettings { prefetch: 50, ..settings(Node::shared()) }).await;
    join_all((0..500).map(|_| rig.client.publish_challenge("{}"))).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(rig.next().await);
    }
    assert!(rig.is_quiet().await, "the prefetch bounds what is in hand");
    rig.client.publish("mfa.challenges", "challenge.verified", persistent(), b"{}").await;
    assert_eq!(rig.next().await.source, Source::Signals);
}

#[tokio::test]
async fn once_stopped_the_rest_goes_back_and_what_is_in_hand_can_be_finished() {
    let mut rig = Rig::new().await;
    join_all((0..20).map(|_| rig.client.publish_challenge("{}"))).await;
    let in_hand = rig.next().await;
    rig.link.inbox.stop().await;
    assert!(rig.link.inbox.next().await.is_none());
    rig.client.depth_becomes(CHALLENGES, 19).await;
    assert!(!in_hand.envelope.is_void());
    rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await.expect("publishing goes on");
    in_hand.envelope.ack();
    rig.link.outbox.close().await;
    rig.client.depth_becomes(CHALLENGES, 19).await;
    let closed = rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await;
    assert!(matches!(closed, Err(PublishError::Unavailable(_))), "{closed:?}");
}

#[tokio::test]
async fn a_link_that_is_dropped_leaves_the_broker() {
    let rig = Rig::new().await;
    rig.client.publish_challenge("{}").await;
    drop(rig.link);
    rig.client.depth_becomes(CHALLENGES, 1).await;
}

#[tokio::test]
async fn depths_are_measured() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let settings = settings(Node::shared());
    drop(super::linked(&settings).await);
    let client = Client::connect(settings.url.expose()).await;
    for _ in 0..3 {
        client.publish("", QUARANTINE, persistent(), b"{}").await;
    }
    client.depth_becomes(QUARANTINE, 3).await;
    let rig = Rig::with(settings).await;
    let shown = || recorder.handle().render().contains("courier_queue_depth{queue=\"quarantine\"} 3").then_some(());
    eventually("the depth is shown", async || shown()).await;
    drop(rig);
}

#[tokio::test]
async fn a_full_load_flows_through() {
    const COUNT: usize = 5_000;
    let mut rig = Rig::new().await;
    let started = Clock::instant();
    let (outbox, body) = (rig.link.outbox.clone(), vec![b'x'; 1_000]);
    let publishing = tokio::spawn(async move {
        for chunk in 0..COUNT / 1_000 {
            let results = join_all((0..1_000).map(async |n| {
                let publication = Publication {
                    route: Route::Challenge("challenge.requested".into()),
                    properties: Properties { message_id: Some(format!("{chunk}-{n}")), ..Properties::default() },
                    body: body.clone().into(),
                    expiration: None,
                };
                outbox.publish(&publication).await
            }));
            assert!(results.await.iter().all(Result::is_ok));
        }
    });
    for _ in 0..COUNT {
        rig.next().await.envelope.ack();
    }
    println!("{COUNT} messages published, consumed and acked in {:?}", started.elapsed());
    publishing.await.expect("published");
    rig.link.outbox.close().await;
    rig.client.depth_becomes(CHALLENGES, 0).await;
}
