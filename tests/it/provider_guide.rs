//! The guide to providers (`docs/providers.md`) holds what it says: its example loads, is as short as its title, and does
//! what it looks like; its table names every kind.

use std::sync::Arc;
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId, Channel};
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::phone::PhoneNumber;
use mfa_courier::provider::definition::{Definition, builtin};
use mfa_courier::provider::http::{HttpProvider, ProviderSettings};
use mfa_courier::provider::kinds::IN_CODE;
use mfa_courier::provider::{Message, Reply};
use mfa_courier::secret::Secret;
use serde_json::json;

const GUIDE: &str = include_str!("../../docs/providers.md");

/// The last block of TOML: the worked example.
fn example() -> &'static str {
    let (_, after) = GUIDE.rsplit_once("```toml\n").expect("an example");
    after.split_once("```").expect("its end").0
}

fn message() -> Message {
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: Address::Sms { to: PhoneNumber::parse("+14155552671", None).expect("valid") },
        sender: None,
        title: None,
        text: Secret::new("481516 is your code"),
        code: Some(Secret::new("481516")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_mins(2),
        callback_url: None,
    }
}

#[test]
fn the_example_of_twenty_lines_is_a_provider() {
    assert!(example().lines().count() <= 20, "{} lines", example().lines().count());
    let definition = Arc::new(Definition::parse("acme", "acme.toml", example()).expect("valid"));
    let mut given = ProviderSettings::new("acme");
    given.settings.insert("api_key".to_owned(), Secret::new("k"));
    let provider = HttpProvider::new(given, Arc::clone(&definition), Clock::system()).expect("usable");
    let made = provider.request(&message(), Timestamp::EPOCH).expect("fits");
    assert_eq!(made.url.as_str(), "https://api.acme.example/v1/messages");
    assert_eq!(made.headers["authorization"], "Bearer k");
    let body: serde_json::Value = serde_json::from_slice(&made.body).expect("JSON");
    assert_eq!(body, json!({"to": "+14155552671", "text": "481516 is your code", "ttl": 120}));
    for (status, body, expected) in [
        (200, json!({"id": "m-1"}), AttemptResult::Accepted),
        (400, json!({"error": {"code": "invalid_number"}}), AttemptResult::Recipient),
        (400, json!({"error": {"code": "new"}}), AttemptResult::Provider),
        (500, json!({}), AttemptResult::Unknown),
    ] {
        let reply = Reply::Answered { status, retry_after: None, body: body.to_string().into() };
        assert_eq!(definition.classify(Channel::Sms, &reply).result, expected, "{status} {body}");
    }
}

#[test]
fn the_table_names_every_kind_and_its_channels() {
    let row = |name: &str| {
        let start = format!("| `{name}` | ");
        GUIDE.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no row of {name}"))
    };
    for (name, definition) in builtin().expect("valid") {
        let channels: Vec<_> = definition.channels().map(Channel::as_str).collect();
        assert!(row(&name).starts_with(&channels.join(", ")), "{name}");
    }
    for kind in &IN_CODE {
        let channels: Vec<_> = kind.channels.iter().map(|channel| channel.as_str()).collect();
        assert!(row(kind.name).starts_with(&channels.join(", ")), "{}", kind.name);
    }
}
