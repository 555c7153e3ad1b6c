//! The message contract as an `AsyncAPI` 3.0 document: exchanges, routing keys, properties and bodies.
//!
//! Bodies come from [`super::schema`]'s types; addresses are the default names, which `broker.names` can change.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::schema::{CancelledBody, ChallengeBody, VerifiedBody};
use super::{APP_ID, OUTCOME_TYPE};
use crate::broker::Names;
use crate::challenge::Channel;
use crate::delivery::outcome::{Outcome, Status};

/// Where the schemas of bodies stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document.
#[must_use]
pub fn document() -> Value {
    let names = Names::default();
    let settings = || SchemaSettings::draft07().with(|settings| settings.definitions_path = SCHEMAS.into());
    let mut incoming = settings().into_generator();
    let mut outgoing = settings().for_serialize().into_generator();
    let messages = messages(&mut incoming, &mut outgoing);
    let mut schemas = incoming.take_definitions(true);
    schemas.extend(outgoing.take_definitions(true));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "mfa-courier",
            "version": "1.0.0",
            "description": "Carries sign-in codes and prompts: challenges in, outcomes out. Exactly one distinct outcome \
                            of each challenge is final; repeats have the same id. Within version 1 fields and words are \
                            only added, and unknown fields are ignored on both sides.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "rabbitmq": {"host": "127.0.0.1:5672", "protocol": "amqp", "protocolVersion": "0-9-1"},
        },
        "channels": channels(&names),
        "operations": operations(),
        "components": {"messages": messages, "schemas": schemas},
    })
}

fn channels(names: &Names) -> Value {
    let exchange = |name: &str| {
        let exchange = json!({"name": name, "type": "topic", "durable": true, "autoDelete": false, "vhost": "/"});
        json!({"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}})
    };
    let from_upstream = |word: &str, about: &str| {
        json!({
            "address": format!("challenge.{word}"),
            "description": format!("{about} A suffix such as `.contoso` may follow the routing key."),
            "messages": {word: {"$ref": format!("#/components/messages/{word}")}},
            "bindings": exchange(&names.challenges_exchange),
        })
    };
    json!({
        "requested": from_upstream("requested", "Challenges. Publish them persistent, with confirms and `mandatory`."),
        "cancelled": from_upstream("cancelled", "That a challenge is given up."),
        "verified": from_upstream("verified", "That the person entered the code, or approved."),
        "outcomes": {
            "address": "outcome.{status}.{channel}.{end}",
            "description": "What became of challenges. `outcome.*.*.final` is all that most services bind. What nobody is \
                            bound for waits in mfa.courier.unrouted.",
            "parameters": {
                "status": {"enum": Status::ALL.map(Status::as_str), "description": "As in the body."},
                "channel": {
                    "enum": Channel::ALL.iter().map(|channel| channel.as_str()).chain(["none"]).collect::<Vec<_>>(),
                    "description": "As in the body; none before one was chosen.",
                },
                "end": {"enum": ["final", "interim"], "description": "Whether it is the last word."},
            },
            "messages": {"outcome": {"$ref": "#/components/messages/outcome"}},
            "bindings": exchange(&names.outcomes_exchange),
        },
    })
}

/// As the courier sees it: it receives challenges and signals, and sends outcomes.
fn operations() -> Value {
    let operation = |action: &str, channel: &str, message: &str| {
        json!({
            "action": action,
            "channel": {"$ref": format!("#/channels/{channel}")},
            "messages": [{"$ref": format!("#/channels/{channel}/messages/{message}")}],
        })
    };
    json!({
        "takeChallenge": operation("receive", "requested", "requested"),
        "takeCancellation": operation("receive", "cancelled", "cancelled"),
        "takeVerification": operation("receive", "verified", "verified"),
        "tellOutcome": operation("send", "outcomes", "outcome"),
    })
}

fn messages(incoming: &mut SchemaGenerator, outgoing: &mut SchemaGenerator) -> Value {
    let traceparent = json!({
        "type": "object",
        "properties": {"traceparent": {"type": "string", "description": "W3C trace context; continued, never required."}},
    });
    let amqp = |kind: &str| json!({"amqp": {"messageType": kind, "bindingVersion": "0.3.0"}});
    let message = |name: &str, about: &str, payload: schemars::Schema| {
        json!({
            "name": name, "summary": about, "contentType": "application/json", "headers": traceparent,
            "payload": payload,
        })
    };
    let mut requested = message(
        "mfa.challenge.requested.v1",
        "One request to get a code or a prompt to a person. As a CloudEvents 1.0 structured event, too: then outcomes \
         come in that form.",
        incoming.subschema_for::<ChallengeBody>(),
    );
    requested["correlationId"] =
        json!({"location": "$message.payload#/id", "description": "Outcomes carry it as challenge_id."});
    requested["examples"] = json!([{"name": "sms", "payload": {
        "id": "8d0d6f0e-3c1b-4d0e-9a53-1f5b8a0f7a11", "code": "481516", "ttl": 120,
        "methods": [{"channel": "sms", "to": "+14155552671"}],
    }}]);
    let cancelled = "Nothing more is sent; the final outcome is cancelled.";
    let verified = "Nothing more is sent; the final outcome is delivered, where anything was accepted.";
    let mut outcome = message(OUTCOME_TYPE, "What became of a challenge.", outgoing.subschema_for::<Outcome>());
    outcome["bindings"] = amqp(OUTCOME_TYPE);
    outcome["correlationId"] =
        json!({"location": "$message.payload#/challenge_id", "description": "The challenge's id."});
    outcome["description"] = json!(format!("The AMQP app_id is {APP_ID}; message_id is the outcome's id."));
    json!({
        "requested": requested,
        "cancelled": message("mfa.challenge.cancelled.v1", cancelled, incoming.subschema_for::<CancelledBody>()),
        "verified": message("mfa.challenge.verified.v1", verified, incoming.subschema_for::<VerifiedBody>()),
        "outcome": outcome,
    })
}
