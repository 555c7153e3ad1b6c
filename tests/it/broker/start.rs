//! What the start declares, checks and refuses.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use mfa_courier::broker::rabbit::{RabbitSettings, StartError, connect};
use mfa_courier::broker::{DELAY_LEVELS, Names};
use mfa_courier::secret::Secret;

use super::{CHALLENGES, DEAD, FOLLOWUPS, QUARANTINE, Rig, SIGNALS, linked, settings};
use crate::node::{Client, Node, persistent, table};

/// Why a start fails.
async fn refused(settings: RabbitSettings) -> StartError {
    connect(settings).await.err().expect("the start is refused")
}

/// The client's own declaration of a queue: it fails with a clash unless every argument is the same.
async fn is_declared_as<const N: usize>(client: &Client, queue: &str, arguments: [(&str, AMQPValue); N]) {
    let channel = client.connection.create_channel().await.expect("a channel");
    let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), table(arguments)).await;
    assert!(declared.is_ok(), "{queue}: {declared:?}");
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn dying_into<const N: usize>(queue: &str, more: [(&'static str, AMQPValue); N]) -> Vec<(&'static str, AMQPValue)> {
    let mut arguments = vec![
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    arguments.extend(more);
    arguments
}

#[tokio::test]
async fn everything_is_declared_as_the_contract_says() {
    let names = Names { outcomes: Some("finals".into()), ..Names::default() };
    let rig = Rig::with(RabbitSettings { names, ..settings(Node::shared()) }).await;
    let number = AMQPValue::LongInt;
    let six = |arguments: Vec<_>| <[_; 6]>::try_from(arguments).expect("six arguments");
    for queue in [CHALLENGES, SIGNALS, FOLLOWUPS] {
        is_declared_as(&rig.client, queue, six(dying_into(DEAD, [("x-delivery-limit", number(100))]))).await;
    }
    for level in DELAY_LEVELS {
        let ttl = ("x-message-ttl", AMQPValue::LongLongInt(level.into()));
        is_declared_as(&rig.client, &format!("mfa.courier.delay.{level}"), six(dying_into(FOLLOWUPS, [ttl]))).await;
    }
    for queue in [DEAD, QUARANTINE, "mfa.courier.unrouted", "finals"] {
        assert_eq!(rig.client.queue_depth(queue).await, Some(0), "{queue}");
    }
    let channel = &rig.client.channel;
    for (exchange, kind, alternate) in [
        ("mfa.challenges", ExchangeKind::Topic, None),
        ("mfa.outcomes", ExchangeKind::Topic, Some("mfa.outcomes.unrouted")),
        ("mfa.outcomes.unrouted", ExchangeKind::Fanout, None),
    ] {
        let mut arguments = FieldTable::default();
        if let Some(alternate) = alternate {
            arguments.insert("alternate-exchange".into(), text(alternate));
        }
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel.exchange_declare(exchange.into(), kind, options, arguments).await.expect("the same exchange");
    }
    rig.client.publish("mfa.outcomes", "outcome.sent.sms.final", persistent(), b"{}").await;
    rig.client.publish("mfa.outcomes", "outcome.sent.sms.interim", persistent(), b"{}").await;
    assert_eq!(rig.client.collect_outcomes("finals", 1).await, [serde_json::json!({})]);
    rig.client.depth_becomes("mfa.courier.unrouted", 1).await;
}

#[tokio::test]
async fn a_clash_names_the_queue_the_argument_and_both_values() {
    let settings = settings(Node::shared());
    let client = Client::connect(settings.url.expose()).await;
    client.classic_queue(CHALLENGES).await;
    let error = refused(settings.clone()).await;
    assert!(matches!(&error, StartError::Clash { queue, .. } if queue == CHALLENGES), "{error}");

    client.channel.queue_delete(CHALLENGES.into(), QueueDeleteOptions::default()).await.expect("deleted");
    drop(linked(&settings).await);
    let error = refused(RabbitSettings { delivery_limit: 7, ..settings.clone() }).await.to_string();
    assert!(error.contains("x-delivery-limit': wanted '7', found '100'"), "{error}");

    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let fanout = client.channel.exchange_declare("taken".into(), ExchangeKind::Fanout, options, FieldTable::default());
    fanout.await.expect("declared");
    let names = Names { challenges_exchange: "taken".into(), ..Names::default() };
    let error = refused(RabbitSettings { names, ..settings }).await.to_string();
    assert!(error.contains("'taken' exists with another 'type': wanted 'topic', found 'fanout'"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_and_virtual_hosts_end_the_start() {
    let node = Node::shared();
    let at = |url: String| RabbitSettings { url: Secret::new(url), ..RabbitSettings::default() };
    let error = refused(at(node.url_as("guest:wr0ng", "v0"))).await;
    assert!(matches!(&error, StartError::Credentials(_)) && !error.to_string().contains("wr0ng"), "{error}");
    assert_eq!(refused(at(node.url("nowhere"))).await, StartError::VhostMissing { vhost: "nowhere".into() });
    assert_eq!(refused(at(node.url_as("nobody:nobody", "v0"))).await, StartError::VhostRefused { vhost: "v0".into() });
}

#[tokio::test]
async fn without_declaring_everything_has_to_exist() {
    let settings = settings(Node::shared());
    let passive = RabbitSettings { declare: false, ..settings.clone() };
    let error = refused(passive.clone()).await;
    assert_eq!(error, StartError::Missing { kind: "exchange", name: "mfa.challenges".into() });

    drop(linked(&settings).await);
    let mut rig = Rig::with(passive.clone()).await;
    rig.client.publish_challenge("{}").await;
    rig.next().await.envelope.ack();
    drop(rig.link);

    let delay = "mfa.courier.delay.6400";
    rig.client.channel.queue_delete(delay.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let error = refused(passive).await;
    assert_eq!(error.to_string(), "there is no queue 'mfa.courier.delay.6400', and broker.declare = false");
}

#[tokio::test]
async fn a_user_without_a_permission_is_told_which() {
    let node = Node::shared();
    let vhost = node.vhost();
    node.ctl(&["set_permissions", "-p", &vhost, "nobody", "^$", ".*", ".*"]);
    let url = Secret::new(node.url_as("nobody:nobody", &vhost));
    let error = refused(RabbitSettings { url, ..RabbitSettings::default() }).await;
    assert!(matches!(&error, StartError::Forbidden(why) if why.contains("'mfa.challenges'")), "{error}");
}

#[tokio::test]
async fn a_broker_that_does_not_speak_tls_or_amqp_is_told_from_one_that_is_away() {
    let node = Node::shared();
    let url = node.url("v0").replace("amqp://", "amqps://");
    let error = refused(RabbitSettings { url: Secret::new(url), ..RabbitSettings::default() }).await;
    assert!(matches!(error, StartError::Tls(_)), "{error}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let away = format!("amqp://127.0.0.1:{}/v0", listener.local_addr().expect("bound").port());
    drop(listener);
    let waiting = connect(RabbitSettings { url: Secret::new(away), ..RabbitSettings::default() });
    assert!(tokio::time::timeout(Duration::from_millis(500), waiting).await.is_err(), "it waits");
}

#[tokio::test]
async fn names_are_free_to_choose() {
    let names = Names {
        challenges_exchange: "in".into(),
        outcomes_exchange: "out".into(),
        challenges: "c".into(),
        signals: "s".into(),
        followups: "f".into(),
        dead: "d".into(),
        quarantine: "q".into(),
        delay: "wait".into(),
        unrouted: "u".into(),
        outcomes: None,
    };
    let mut rig = Rig::with(RabbitSettings { names, ..settings(Node::shared()) }).await;
    rig.client.publish("in", "challenge.verified.contoso", persistent(), b"{}").await;
    assert_eq!(rig.next().await.routing_key, "challenge.verified.contoso");
    let bound = QueueBindOptions::default();
    rig.client.classic_queue("mine").await;
    let binding = rig.client.channel.queue_bind("mine".into(), "out".into(), "#".into(), bound, FieldTable::default());
    binding.await.expect("bound");
    for gone in [CHALLENGES, DEAD, "mfa.courier.delay.100"] {
        assert_eq!(rig.client.queue_depth(gone).await, None, "{gone}");
    }
}

#[tokio::test]
async fn only_one_worker_holds_the_lock_and_it_is_freed_with_its_holder() {
    let settings = RabbitSettings { lock: true, heartbeat: Duration::from_secs(1), ..settings(Node::shared()) };
    let holder = linked(&settings).await;
    let since = Duration::from_secs(4);
    let error = tokio::time::timeout(since * 3, connect(settings.clone())).await.expect("it gives up").err();
    assert_eq!(error, Some(StartError::LockHeld { queue: "mfa.courier.challenges.lock".into() }));

    // A second one that waits gets it as soon as the first is gone.
    let waiting = tokio::spawn(connect(settings));
    tokio::task::yield_now().await;
    holder.outbox.close().await;
    let second = tokio::time::timeout(since, waiting).await.expect("before it gives up").expect("no panic");
    assert!(second.is_ok());
}
