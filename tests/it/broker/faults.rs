//! A broker that is killed, frozen, starved or meddled with.

use std::collections::HashSet;
use std::time::Duration;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use mfa_courier::broker::rabbit::{RabbitSettings, connect};
use mfa_courier::broker::{LinkState, PublishError, Route};
use mfa_courier::clock::Clock;
use mfa_courier::secret::Secret;
use tokio::time::{sleep, timeout};

use super::{CHALLENGES, QUARANTINE, Rig, linked, publication, settings};
use crate::node::{Client, Node, PATIENCE, eventually, table};

/// RabbitMQ 3.10.8 loses the leader of a quorum queue for good when it is killed within seconds of its declaration.
const SETTLED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn after_a_kill_the_broker_is_used_within_two_seconds_and_nothing_is_lost() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let node = Node::rough().await;
    let mut rig = Rig::with(settings(&node)).await;
    let settled = Clock::instant() + SETTLED;
    let stored: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    for id in &stored {
        rig.client.publish_challenge(id).await;
    }
    let held = rig.next().await;
    tokio::time::sleep_until(settled).await;

    node.kill9();
    rig.becomes("connecting", |state| *state == LinkState::Connecting).await;
    assert!(held.envelope.is_void());
    held.envelope.ack();
    let failed = rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await;
    assert!(matches!(failed, Err(PublishError::Unavailable(_))), "{failed:?}");

    node.restart();
    node.port_opens().await;
    let opened = Clock::instant();
    let first = rig.next().await;
    let after = Clock::instant() - opened;
    println!("consuming again {after:?} after the port opened");
    assert!(after < Duration::from_secs(2), "consuming again only after {after:?}");
    let mut seen = HashSet::from([first.body.clone()]);
    first.envelope.ack();
    while seen.len() < stored.len() {
        let delivered = rig.next().await;
        seen.insert(delivered.body);
        delivered.envelope.ack();
    }
    rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await.expect("publishing works again");
    assert!(recorder.handle().render().contains("courier_broker_reconnects_total 1"));
    rig.link.outbox.close().await;
    let client = Client::connect(rig.settings.url.expose()).await;
    client.depth_becomes(CHALLENGES, 0).await;
}

#[tokio::test]
async fn a_publication_caught_by_a_kill_is_unknown_or_stored() {
    let node = Node::rough().await;
    let rig = Rig::with(settings(&node)).await;
    sleep(SETTLED).await;
    let outbox = rig.link.outbox.clone();
    let publishing = tokio::spawn(async move {
        let mut stored = 0_u32;
        loop {
            match outbox.publish(&publication(Route::Quarantine, b"{}")).await {
                Ok(()) => stored += 1,
                Err(error) => return (stored, error),
            }
        }
    });
    eventually("publications flow", async || rig.client.queue_depth(QUARANTINE).await.filter(|depth| *depth > 20))
        .await;
    node.kill9();
    let (stored, error) = publishing.await.expect("no panic");
    assert!(matches!(error, PublishError::Unknown(_) | PublishError::Unavailable(_)), "{error:?}");
    node.restart();
    node.ready().await;
    rig.becomes("ready", |state| *state == LinkState::Ready).await;
    let client = Client::connect(rig.settings.url.expose()).await;
    let depth = eventually("the queue is back", async || client.queue_depth(QUARANTINE).await).await;
    assert!((stored..=stored + 1).contains(&depth), "{stored} confirmed, {depth} there");
}

#[tokio::test]
async fn a_broker_that_freezes_is_noticed_by_its_silence() {
    let node = Node::rough().await;
    let heartbeat = Duration::from_secs(1);
    let mut rig = Rig::with(RabbitSettings { heartbeat, ..settings(&node) }).await;
    rig.client.publish_challenge("{}").await;
    let held = rig.next().await;
    node.freeze();
    let frozen = Clock::instant();
    let (noticed, caught) = tokio::join!(
        async {
            rig.link.state.wait_for(|state| *state == LinkState::Connecting).await.expect("a live link");
            Clock::instant() - frozen
        },
        async { rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await },
    );
    assert!(noticed < heartbeat * 4, "noticed after {noticed:?}");
    assert!(held.envelope.is_void() && matches!(caught, Err(PublishError::Unknown(_))), "{caught:?}");
    // Long enough for attempts to connect that nobody answers.
    sleep(Duration::from_secs(12).saturating_sub(noticed)).await;
    node.thaw();
    let again = rig.next().await;
    assert!(again.redelivered);
    again.envelope.ack();
}

#[tokio::test]
async fn a_broker_short_of_memory_blocks_publications_but_takes_acks() {
    let node = Node::rough().await;
    let mut rig = Rig::with(settings(&node)).await;
    rig.client.publish_challenge("{}").await;
    let held = rig.next().await;
    node.alarm(true);
    // The broker only tells those who try.
    let first = rig.link.outbox.clone();
    let first = tokio::spawn(async move { first.publish(&publication(Route::Quarantine, b"1")).await });
    let state = rig.becomes("blocked", |state| matches!(state, LinkState::Blocked(_))).await;
    assert_eq!(state, LinkState::Blocked("low on memory".into()));
    held.envelope.ack();
    let refused = rig.link.outbox.publish(&publication(Route::Quarantine, b"2")).await;
    assert!(matches!(&refused, Err(PublishError::Unavailable(why)) if why.contains("low on memory")), "{refused:?}");

    node.alarm(false);
    rig.becomes("ready", |state| *state == LinkState::Ready).await;
    rig.link.outbox.publish(&publication(Route::Quarantine, b"3")).await.expect("stored");
    let first = first.await.expect("no panic");
    assert!(matches!(first, Ok(()) | Err(PublishError::Unknown(_))), "{first:?}");
    rig.client.depth_becomes(QUARANTINE, 2).await;
    rig.link.outbox.close().await;
    rig.client.depth_becomes(CHALLENGES, 0).await;
}

#[tokio::test]
async fn a_link_begins_once_the_broker_is_there() {
    let node = Node::rough().await;
    let settings = settings(&node);
    node.kill9();
    let connecting = tokio::spawn(connect(settings));
    node.restart();
    assert!(timeout(PATIENCE, connecting).await.expect("in time").expect("no panic").is_ok());
}

#[tokio::test]
async fn a_consumer_that_the_broker_cancels_is_replaced() {
    // 17: a deleted queue is how a server cancels.
    let mut rig = Rig::new().await;
    rig.client.publish_challenge("before").await;
    let held = rig.next().await;
    rig.client.channel.queue_delete(CHALLENGES.into(), QueueDeleteOptions::default()).await.expect("deleted");
    eventually("the session ends", async || held.envelope.is_void().then_some(())).await;
    rig.becomes("ready", |state| *state == LinkState::Ready).await;
    rig.client.publish_challenge("after").await;
    let delivered = rig.next().await;
    assert_eq!(&*delivered.body, b"after");
    delivered.envelope.ack();
}

#[tokio::test]
async fn connections_that_an_operator_closes_are_replaced() {
    let node = Node::rough().await;
    let mut rig = Rig::with(settings(&node)).await;
    rig.client.publish_challenge("{}").await;
    let held = rig.next().await;
    node.ctl(&["close_all_connections", "--vhost", rig.vhost(), "for a test"]);
    eventually("the session ends", async || held.envelope.is_void().then_some(())).await;
    let again = rig.next().await;
    assert!(again.redelivered);
    again.envelope.ack();
}

#[tokio::test]
async fn a_clash_that_appears_while_running_is_retried_until_it_is_gone() {
    let rig = Rig::new().await;
    let channel = &rig.client.channel;
    channel.queue_delete(QUARANTINE.into(), QueueDeleteOptions::default()).await.expect("deleted");
    rig.client.classic_queue(QUARANTINE).await;
    channel.queue_delete(CHALLENGES.into(), QueueDeleteOptions::default()).await.expect("deleted");
    rig.becomes("connecting", |state| *state == LinkState::Connecting).await;
    channel.queue_delete(QUARANTINE.into(), QueueDeleteOptions::default()).await.expect("deleted");
    rig.becomes("ready", |state| *state == LinkState::Ready).await;
}

#[tokio::test]
async fn a_lock_that_another_took_ends_the_link() {
    let heartbeat = Duration::from_secs(1);
    let settings = RabbitSettings { lock: true, heartbeat, ..settings(Node::shared()) };
    let mut rig = Rig::with(settings).await;
    let lock = "mfa.courier.challenges.lock";
    // Another worker can only get it when it is free: here an operator deletes the queue and somebody is quicker.
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let stolen = async {
        loop {
            // lapin gives a new channel the error of the one before, if it comes too soon after.
            let Ok(channel) = rig.client.connection.create_channel().await else { continue };
            if channel.queue_declare(lock.into(), options, table([])).await.is_ok() {
                return;
            }
        }
    };
    let vhost = rig.vhost().to_owned();
    let delete = format!(
        "case rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{vhost}\">>, queue, <<\"{lock}\">>)) of \
         {{ok, Q}} -> rabbit_amqqueue:delete(Q, false, false, <<\"test\">>); _ -> gone end."
    );
    // The worker may be the quicker one; then it is deleted again.
    let deleting = async {
        loop {
            let delete = delete.clone();
            tokio::task::spawn_blocking(move || Node::shared().ctl(&["eval", &delete])).await.expect("deleted");
            sleep(Duration::from_secs(1)).await;
        }
    };
    let taking = async {
        tokio::select! {
            () = stolen => {}
            () = deleting => {}
        }
    };
    timeout(PATIENCE * 2, taking).await.expect("the lock was free for a moment");
    let state = rig.becomes("failed", |state| matches!(state, LinkState::Failed(_))).await;
    assert!(matches!(&state, LinkState::Failed(why) if why.contains(lock)), "{state:?}");
    assert!(rig.link.inbox.next().await.is_none());
    let publish = rig.link.outbox.publish(&publication(Route::Quarantine, b"{}")).await;
    assert!(matches!(publish, Err(PublishError::Unavailable(_))), "{publish:?}");
}

#[tokio::test]
async fn a_lost_lock_that_is_free_is_taken_again() {
    let node = Node::rough().await;
    let rig = Rig::with(RabbitSettings { lock: true, ..settings(&node) }).await;
    node.ctl(&["close_all_connections", "--vhost", rig.vhost(), "for a test"]);
    rig.becomes("connecting", |state| *state == LinkState::Connecting).await;
    rig.becomes("ready", |state| *state == LinkState::Ready).await;
    let url = Secret::new(rig.settings.url.expose());
    let other = RabbitSettings { url, lock: false, ..RabbitSettings::default() };
    drop(linked(&other).await);
}
