//! Schemas against what is really said, by Python's library of JSON Schema: outcomes that a worker published, challenges that
//! it took and refused, configurations that load; and the AsyncAPI document against AsyncAPI's own schema.

use mfa_courier::broker::wire::asyncapi;
use mfa_courier::broker::wire::schema::Body;
use mfa_courier::config::DEFAULTS;
use serde_json::{Value, json};

use super::read;
use crate::peers::ask;

/// What is wrong with each instance.
fn objections(schema: &Value, instances: &[Value]) -> Vec<Option<String>> {
    let answer = ask("check_schemas.py", &json!({"cases": [{"schema": schema, "instances": instances}]}));
    serde_json::from_value(answer[0].clone()).expect("one for each")
}

/// That each of these messages is one.
#[track_caller]
pub(crate) fn assert_valid(body: Body, instances: &[Value]) {
    assert!(!instances.is_empty(), "nothing to hold against the schema");
    for (instance, objection) in instances.iter().zip(objections(&body.schema().into(), instances)) {
        assert_eq!(objection, None, "{instance}");
    }
}

/// That none of these messages is one.
#[track_caller]
pub(crate) fn assert_invalid(body: Body, instances: &[Value]) {
    for (instance, objection) in instances.iter().zip(objections(&body.schema().into(), instances)) {
        assert!(objection.is_some(), "the schema lets through what the courier refuses: {instance}");
    }
}

#[test]
fn the_asyncapi_document_is_one() {
    let official = read("target/peers/node/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json");
    let official: Value = serde_json::from_str(&official).expect("JSON");
    let mut broken = asyncapi::document();
    broken["operations"]["tellOutcome"]["action"] = json!("shout");
    let objections = objections(&official, &[asyncapi::document(), broken]);
    assert_eq!(objections[0], None);
    assert!(objections[1].is_some(), "AsyncAPI's schema finds nothing wrong in what is wrong");
}

/// Every reference leads somewhere, and the examples in the document are valid.
#[test]
fn the_asyncapi_document_is_whole() {
    let document = asyncapi::document();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let path = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(path).is_some(), "{reference} leads nowhere");
    }
    let examples = document["components"]["messages"]["requested"]["examples"].as_array().expect("some");
    assert_valid(Body::Challenge, &examples.iter().map(|example| example["payload"].clone()).collect::<Vec<_>>());
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|inner| collect_references(inner, into));
        }
        Value::Array(list) => list.iter().for_each(|inner| collect_references(inner, into)),
        _ => {}
    }
}

fn toml(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("JSON")
}

#[test]
fn configurations_that_load_are_valid_and_slips_are_not() {
    let schema = mfa_courier::config::schema::schema();
    let readme = read("README.md");
    let (_, after) = readme.split_once("```toml\n").expect("a configuration");
    let (of_readme, _) = after.split_once("```").expect("its end");
    // With everything that stands there as an example, too.
    let is_setting = |line: &&str| !line.starts_with(' ');
    let all: Vec<_> = DEFAULTS.lines().map(|line| line.strip_prefix('#').filter(is_setting).unwrap_or(line)).collect();
    let mut good = vec![toml(DEFAULTS), toml(of_readme), toml(&all.join("\n"))];
    for example in ["compose", "production"] {
        good.push(toml(&read(&format!("config/examples/{example}.toml"))));
    }
    for (objection, config) in objections(&schema, &good).iter().zip(&good) {
        assert_eq!(*objection, None, "{config}");
    }
    let bad = [
        "[broker]\nprefech = 5",
        "[broker]\nheartbeat = 5",
        "[broker]\nheartbeat = \"5 s\"",
        "[broker]\nprefetch = \"5\"",
        "[broker]\ndeclare = 1",
        "[broker]\nurl = { variable = \"X\" }",
        "[broker.names]\nqueue = \"x\"",
        "[tenants.contoso]\nlocal = \"de\"",
        "[[routes]]\nchanel = \"sms\"",
        "colour = true",
    ];
    let bad: Vec<_> = bad.into_iter().map(toml).collect();
    for (objection, config) in objections(&schema, &bad).iter().zip(&bad) {
        assert!(objection.is_some(), "{config}");
    }
}

#[test]
fn signals_are_valid_as_the_contract_has_them() {
    assert_valid(Body::Cancelled, &[json!({"id": "c-1"}), json!({"id": "c-1", "reason": "gave up", "more": 1})]);
    assert_invalid(Body::Cancelled, &[json!({}), json!({"id": "a b"}), json!({"id": 1}), json!([])]);
    let verified = json!({"id": "c-1", "channel": "sms", "provider": "twilio", "verified_at": "2026-11-24T10:00:00Z"});
    assert_valid(Body::Verified, &[json!({"id": "c-1"}), verified]);
    assert_invalid(Body::Verified, &[json!({"channel": "sms"})]);
}
