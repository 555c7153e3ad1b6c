//! Challenges and signals as `CloudEvents`, and their outcomes in the same form.

use mfa_courier::broker::{Properties, Route};
use mfa_courier::delivery::outcome::{Reason, Status};
use serde_json::{Value, json};

use super::Becomes::{Delivered, Quarantined, Rejected};
use super::{Case, seconds, setup, try_all, world};
use crate::world::World;

const TYPE: &str = "application/cloudevents+json";

fn properties() -> Properties {
    Properties { content_type: Some(TYPE.to_owned()), ..Properties::default() }
}

/// A good event about `data` but for these attributes; `null` takes one away.
fn event(kind: &str, data: &Value, attributes: &Value) -> Vec<u8> {
    let mut event = json!({
        "specversion": "1.0",
        "id": "7f3a",
        "source": "https://sso.example.com/auth",
        "type": format!("mfa.challenge.{kind}.v1"),
        "data": data,
    });
    for (name, value) in attributes.as_object().unwrap() {
        event[name] = value.clone();
        if value.is_null() {
            event.as_object_mut().unwrap().remove(name);
        }
    }
    event.to_string().into_bytes()
}

fn challenge(fields: &Value) -> Value {
    serde_json::from_slice(&super::challenge(fields)).unwrap()
}

fn asked(attributes: &Value, becomes: super::Becomes) -> Case {
    Case { number: 0, properties: properties(), body: event("requested", &challenge(&json!({})), attributes), becomes }
}

#[tokio::test(start_paused = true)]
async fn only_whole_events_of_the_right_type_are_read() {
    let wrong_field = event("requested", &challenge(&json!({"code": 7})), &json!({}));
    let cases = vec![
        asked(&json!({}), Delivered),
        asked(&json!({"datacontenttype": "application/json; charset=utf-8"}), Delivered),
        asked(&json!({"time": "2026-11-24T12:00:00Z", "subject": "x", "other": 1}), Delivered),
        Case {
            properties: Properties { content_type: Some(format!("{TYPE}; charset=UTF-8")), ..properties() },
            ..asked(&json!({}), Delivered)
        },
        asked(&json!({"specversion": "0.3"}), Quarantined),
        asked(&json!({"specversion": null}), Quarantined),
        asked(&json!({"id": ""}), Quarantined),
        asked(&json!({"source": null}), Quarantined),
        asked(&json!({"type": "mfa.challenge.requested.v2"}), Quarantined),
        asked(&json!({"type": "mfa.challenge.cancelled.v1"}), Quarantined),
        asked(&json!({"datacontenttype": "application/xml"}), Quarantined),
        asked(&json!({"data": null, "data_base64": "e30="}), Quarantined),
        asked(&json!({"data": "{}"}), Quarantined),
        Case { body: wrong_field, ..asked(&json!({}), Rejected(Reason::Malformed, "code")) },
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_says_it_is_plain_json_is_a_challenge_without_a_method() {
    let mut world = world(setup());
    world.start_worker();
    let body = event("requested", &challenge(&json!({})), &json!({}));
    world.broker.publish_challenge("challenge.requested", Properties::default(), body, None);
    world.settle(seconds(5)).await;
    assert_eq!(world.outcome("7f3a").reason, Some(Reason::NoMethod));
}

async fn told(publish: impl FnOnce(&World)) -> Vec<(Properties, Value)> {
    let mut world = world(setup());
    world.start_worker();
    publish(&world);
    world.settle(seconds(62)).await;
    let outcomes = world.published().into_iter().filter(|said| matches!(said.route, Route::Outcome(_)));
    outcomes.map(|told| (told.properties, serde_json::from_slice(&told.body).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_by_an_event_is_told_by_one() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = event("requested", &challenge(&json!({"session_id": "s-1"})), &json!({"traceparent": traceparent}));
    let told = told(|world| publish(world, "challenge.requested", body)).await;
    let [(properties, event)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(properties.content_type.as_deref(), Some(TYPE));
    assert_eq!(properties.kind.as_deref(), Some("mfa.outcome.v1"));
    assert_eq!(properties.traceparent.as_deref(), Some(traceparent));
    let data = &event["data"];
    let attributes = json!({
        "specversion": "1.0", "id": "c:final", "source": "mfa-courier", "type": "mfa.outcome.v1", "subject": "c",
        "time": data["occurred_at"], "datacontenttype": "application/json", "traceparent": traceparent, "data": data,
    });
    assert_eq!(*event, attributes);
    assert_eq!((&data["status"], &data["session_id"], &data["final"]), (&json!("sent"), &json!("s-1"), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_by_an_event_too() {
    let body = event("requested", &challenge(&json!({"methods": []})), &json!({}));
    let told = told(|world| publish(world, "challenge.requested", body)).await;
    assert_eq!((&told[0].1["type"], &told[0].1["data"]["reason"]), (&json!("mfa.outcome.v1"), &json!("no_method")));
}

fn publish(world: &World, routing_key: &str, body: Vec<u8>) {
    world.broker.publish_challenge(routing_key, properties(), body, None);
}

#[tokio::test(start_paused = true)]
async fn signals_may_be_events() {
    let mut world = world(setup());
    publish(&world, "challenge.cancelled.contoso", event("cancelled", &json!({"id": "c"}), &json!({})));
    publish(&world, "challenge.verified", event("cancelled", &json!({"id": "d"}), &json!({})));
    world.start_worker();
    world.pass(seconds(1)).await;
    world.challenge("c", 60);
    world.challenge("d", 60);
    world.settle(seconds(62)).await;
    assert_eq!(world.outcome("c").status, Status::Cancelled);
    assert_eq!(world.outcome("d").status, Status::Sent, "its event was of another type");
    assert_eq!(world.broker.quarantined().len(), 1);
}
