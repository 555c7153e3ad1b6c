//! What comes beside the body: 1 to 16.

use mfa_courier::broker::Properties;
use mfa_courier::clock::Timestamp;
use serde_json::json;

use super::Becomes::{Delivered, Quarantined};
use super::{Case, in_envelope, raw, seconds, setup, try_all, world};

fn typed(number: u8, content_type: &str, becomes: super::Becomes) -> Case {
    in_envelope(number, Properties { content_type: Some(content_type.into()), ..Properties::default() }, becomes)
}

fn encoded(number: u8, encoding: &str, becomes: super::Becomes) -> Case {
    in_envelope(number, Properties { content_encoding: Some(encoding.into()), ..Properties::default() }, becomes)
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_none_or_too_long_are_set_aside() {
    let padded = |length: usize| {
        let mut body = super::challenge(&json!({}));
        body.resize(length, b' ');
        body
    };
    let cases = vec![
        raw(1, "", Quarantined),
        raw(2, padded(65_536), Delivered),
        raw(2, padded(65_537), Quarantined),
        raw(2, padded(16 << 20), Quarantined),
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn only_plain_json_in_utf8_is_read() {
    let cases = vec![
        in_envelope(3, Properties::default(), Delivered),
        typed(3, "application/json", Delivered),
        typed(3, "application/json; charset=utf-8", Delivered),
        typed(3, "text/plain", Quarantined),
        typed(3, "application/json; charset=utf-16", Quarantined),
        typed(3, &"x".repeat(256), Quarantined),
        encoded(4, "identity", Delivered),
        encoded(4, "gzip", Quarantined),
        encoded(4, "br", Quarantined),
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn properties_that_lie_harm_nobody() {
    let at = |timestamp| Properties { timestamp: Some(timestamp), ..Properties::default() };
    let named = |id: &str| Properties { message_id: Some(id.into()), ..Properties::default() };
    let many = (0..10_000).map(|i| (format!("x-{i}"), "1".to_owned())).collect();
    let cases = vec![
        in_envelope(8, at(Timestamp::EPOCH), Delivered),
        in_envelope(8, at(Timestamp::MAX), Delivered),
        in_envelope(8, at(Timestamp::from_millis(i64::MIN)), Delivered),
        in_envelope(9, named("another"), Delivered),
        in_envelope(9, named(&"x".repeat(255)), Delivered),
        in_envelope(11, Properties { headers: many, ..Properties::default() }, Delivered),
        in_envelope(
            12,
            Properties { headers: vec![("x-delivery-count".into(), "-1".into())], ..at(Timestamp::EPOCH) },
            Delivered,
        ),
        in_envelope(
            13,
            Properties { headers: vec![("x-death".into(), "forged".into())], ..Properties::default() },
            Delivered,
        ),
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn answers_go_to_a_queue_that_was_asked_for_and_never_to_our_own() {
    // 10, as far as it is text.
    for (reply_to, copies) in [("auth.replies", 1), ("mfa.courier.followups", 0), ("mfa.courier.delay.100", 0), ("", 0)]
    {
        let mut world = world(setup());
        world.start_worker();
        let properties = Properties {
            reply_to: Some(reply_to.into()),
            correlation_id: Some("corr".into()),
            ..Properties::default()
        };
        world.broker.publish_challenge("challenge.requested", properties, super::challenge(&json!({})), None);
        world.settle(seconds(5)).await;
        assert_eq!(world.broker.replies().len(), copies, "{reply_to:?}");
        assert!(world.published().iter().all(|p| p.properties.correlation_id.as_deref() == Some("corr")));
    }
}

#[tokio::test(start_paused = true)]
async fn any_suffix_of_the_routing_key_is_a_challenge() {
    // 16.
    for suffix in ["", ".contoso", &format!(".{}", "x".repeat(200)), ".*.#"] {
        let mut world = world(setup());
        world.start_worker();
        let key = format!("challenge.requested{suffix}");
        world.broker.publish_challenge(&key, Properties::default(), super::challenge(&json!({})), None);
        world.settle(seconds(5)).await;
        assert_eq!(world.sent().len(), 1, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_cannot_be_read_is_set_aside() {
    for (key, body) in [
        ("challenge.cancelled", "{"),
        ("challenge.verified", "{}"),
        ("challenge.unheard-of", r#"{"id":"c"}"#),
        ("challenge.cancelled", r#"{"id":"c","id":"d"}"#),
    ] {
        let mut world = world(setup());
        world.start_worker();
        world.broker.publish_challenge(key, Properties::default(), body, None);
        world.settle(seconds(5)).await;
        let kept = world.broker.quarantined();
        assert_eq!((kept.len(), world.heard().len()), (1, 0), "{key} {body}");
        assert_eq!(kept[0].body, body.as_bytes());
    }
}
