//! Prompts by APNs against its simulated twin, which checks all that Apple checks: tokens over hours, connections that
//! end in every way they can, and what each device's answer comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mfa_courier::challenge::Platform;
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::provider::apns::Apns;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{
    APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC, Ending, Mode, Simulator, SimulatorSettings,
};

use super::{DEADLINE, device, outcome, send};
use crate::push;

mod connections;
mod hostile;
mod peers;
mod tls;
mod twin;
mod worker;

const ENTRY: &str = "apns/main";

/// A simulated APNs, and a provider that knows it.
struct Stage {
    simulator: Simulator,
    apns: Arc<Apns>,
    clock: Clock,
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::starting_at(Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").expect("valid"));
        let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
        let apns = Arc::new(Apns::new(&settings(&simulator.base_url(ENTRY)), &clock).expect("usable"));
        Self { simulator, apns, clock }
    }

    async fn outcome(&self, device: &str) -> String {
        outcome(self.apns.as_ref(), &message(device)).await
    }

    /// Sends to so many devices at once; how many of each result.
    async fn flood(&self, count: usize) -> BTreeMap<&'static str, usize> {
        push::flood(&self.apns, message, count).await
    }
}

fn settings(base_url: &str) -> ProviderSettings {
    let mut given = ProviderSettings::new("apns");
    given.base_url = Some(base_url.to_owned());
    let values = [("key", APNS_KEY), ("key_id", APNS_KEY_ID), ("team_id", APNS_TEAM_ID), ("topic", APNS_TOPIC)];
    given.settings = values.into_iter().map(|(key, value)| (key.to_owned(), Secret::new(value))).collect();
    given
}

fn message(device: &str) -> Message {
    super::message(Platform::Ios, device)
}

#[tokio::test]
async fn a_prompt_is_taken_as_it_was_meant() {
    let stage = Stage::new().await;
    let (verdict, progress) = send(stage.apns.as_ref(), &message("00aa11bb")).await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Accepted, "answered 200"));
    let id = verdict.message_id.expect("an id");
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
    let received = stage.simulator.received();
    assert_eq!(received.len(), 1);
    let prompt = &received[0];
    assert_eq!((prompt.to.expose(), prompt.text.expose()), ("00aa11bb", "Sign-in request\nOpen to confirm"));
    assert_eq!((prompt.reference.as_deref(), prompt.taken), (Some("c-1"), true));
    assert!(matches!(prompt.validity, Some(119..=120)), "{:?}", prompt.validity);
}

#[tokio::test]
async fn what_a_device_asks_for_comes_to_its_verdict() {
    let stage = Stage::new().await;
    for (device, expected) in [
        ("d:Unregistered", "answered 410: device_gone"),
        ("d:ExpiredToken", "answered 410: device_gone"),
        ("d:BadDeviceToken", "answered 400: device_gone"),
        ("d:DeviceTokenNotForTopic", "answered 400: device_gone"),
        ("d:BadTopic", "answered 400: provider"),
        ("d:TopicDisallowed", "answered 400: provider"),
        ("d:BadPriority", "answered 400: content"),
        ("d:IdleTimeout", "answered 400: transient"),
        ("d:ExpiredProviderToken", "answered 403: provider"),
        ("d:InvalidProviderToken", "answered 403: provider"),
        ("d:UnrelatedKeyIdInToken", "answered 403: provider"),
        ("d:PayloadTooLarge", "answered 413: content"),
        ("d:TooManyRequests", "answered 429: recipient"),
        ("d:TooManyProviderTokenUpdates", "answered 429: provider"),
        ("d:InternalServerError", "answered 500: transient"),
        ("d:ServiceUnavailable", "answered 503: transient"),
        ("d:Shutdown", "answered 503: transient"),
        ("d-9900", "in doubt: unknown"),
        ("d-9901", "answered 500: unknown"),
        ("d-9902", "in doubt: unknown"),
        ("d-9903", "in doubt: unknown"),
        ("d-9904", "answered 503: unknown"),
        ("d-9905", "answered 429: throttled"),
        ("d-9906", "answered 503: transient"),
        ("d-9907", "answered 201: unknown"),
        ("d-9908", "answered 307: provider"),
        ("d-9909", "answered 200: accepted"),
        ("d-9910", "in doubt: unknown"),
        ("a/../b?c#d%2f", "answered 200: accepted"),
    ] {
        assert_eq!(stage.outcome(device).await, expected, "{device}");
    }
    let received = stage.simulator.received();
    let last = received.last().expect("a request");
    assert_eq!(last.to.expose(), "a%2F..%2Fb%3Fc%23d%252f", "a token is one part of a path, whatever it holds");
}

#[tokio::test]
async fn what_can_be_no_token_is_the_devices_fault_and_nobody_is_asked() {
    let stage = Stage::new().await;
    for token in ["", ".", "..", "no token", "n\u{f6}", "a\r\nb", &"a".repeat(513)] {
        let message = message(token);
        let reply = stage.apns.send(&message, Clock::instant() + DEADLINE).await;
        let result = stage.apns.classify(&message, &reply).result;
        assert!(matches!(reply, Reply::Unfit { .. }) && result == AttemptResult::Recipient, "{token:?}: {reply:?}");
    }
    assert_eq!(stage.simulator.connections_made(), 0);
}

#[tokio::test]
async fn a_registration_later_than_apples_word_stands() {
    let stage = Stage::new().await;
    // The simulated APNs says that it has known for an hour.
    for (minutes, expected) in
        [(61, AttemptResult::DeviceGone), (60, AttemptResult::DeviceGone), (59, AttemptResult::Recipient)]
    {
        let mut message = message("d:Unregistered");
        let said = Timestamp::from_millis(stage.clock.now().as_millis() / 1_000 * 1_000);
        device(&mut message).registered_at = Some(said - Duration::from_mins(minutes));
        assert_eq!(send(stage.apns.as_ref(), &message).await.0.result, expected, "{minutes}");
    }
}

#[tokio::test]
async fn many_devices_gone_at_once_are_not_believed() {
    let stage = Stage::new().await;
    for n in 0..4 {
        assert_eq!(stage.outcome(&format!("{n}:BadDeviceToken")).await, "answered 400: device_gone");
    }
    assert_eq!(stage.outcome("4:BadDeviceToken").await, "answered 400: provider", "a wrong environment, likely");
    push::pass(Duration::from_mins(11)).await;
    assert_eq!(stage.outcome("4:Unregistered").await, "answered 410: device_gone", "that was long ago");
}

#[tokio::test]
async fn a_provider_token_is_shown_for_hours_as_apple_wants_it() {
    let stage = Stage::new().await;
    for _ in 0..40 {
        assert_eq!(stage.outcome("device").await, "answered 200: accepted");
        push::pass(Duration::from_mins(7)).await;
    }
    push::pass(Duration::from_hours(5)).await;
    assert_eq!(stage.outcome("device").await, "answered 200: accepted");
    assert_eq!(stage.simulator.connections_made(), 1, "one connection for all of it");
}

/// The machine's clock ran behind when the token was made: Apple holds it for older than it is.
#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_it_may_be() {
    let stage = Stage::new().await;
    let slow = Clock::starting_at(stage.clock.now());
    slow.skew_by(-45 * 60 * 1_000);
    let apns = Apns::new(&settings(&stage.simulator.base_url(ENTRY)), &slow).expect("usable");
    assert_eq!(outcome(&apns, &message("device")).await, "answered 200: accepted");
    slow.skew_by(45 * 60 * 1_000);
    push::pass(Duration::from_mins(16)).await;
    assert_eq!(outcome(&apns, &message("device")).await, "answered 403: provider", "another would be one too many");
    push::pass(Duration::from_mins(5)).await;
    assert_eq!(outcome(&apns, &message("device")).await, "answered 200: accepted");
}

#[tokio::test]
async fn a_prompt_that_would_tell_is_not_sent() {
    let stage = Stage::new().await;
    for text in [format!("Type {} in the app", super::NUMBER), format!("{} is it", super::CODE), "x".repeat(5_000)] {
        let telling = Message { text: Secret::new(text), ..message("device") };
        assert_eq!(outcome(stage.apns.as_ref(), &telling).await, "unfit: content");
    }
    let mut long = message("device");
    device(&mut long).context.insert("long".into(), "x".repeat(4_096));
    assert_eq!(outcome(stage.apns.as_ref(), &long).await, "answered 200: accepted", "without its context");
    assert_eq!(stage.simulator.received_by(ENTRY), 1);
}

#[tokio::test]
async fn without_time_nothing_is_sent() {
    let stage = Stage::new().await;
    let late = stage.apns.send(&message("device"), Clock::instant()).await;
    assert!(matches!(late, Reply::NotSent { .. }), "{late:?}");
    assert_eq!(stage.simulator.received_by(ENTRY), 0);
}

#[tokio::test]
async fn mistakes_in_the_settings_are_told_by_key_without_values() {
    let refused = |key: &str, value: Option<&str>| {
        let mut given = settings("https://api.push.apple.com");
        match value {
            Some(value) => given.settings.insert(key.to_owned(), Secret::new(value)),
            None => given.settings.remove(key),
        };
        let wrong = Apns::new(&given, &Clock::system()).err().expect("refused");
        let told: BTreeSet<_> = wrong.iter().map(|one| (one.path.clone(), one.found.clone())).collect();
        assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        told.into_iter().map(|(path, found)| format!("{path}: {found}")).collect::<Vec<_>>().join("; ")
    };
    let rsa = include_str!("../../../src/simulator/signing_key.pem");
    for (key, value, found) in [
        ("key", None, "nothing"),
        ("key", Some("hunter2"), "another text"),
        ("key", Some(rsa), "another text"),
        ("key_id", Some("hunter2"), "another text"),
        ("team_id", None, "nothing"),
        ("team_id", Some("hunter2!!!"), "another text"),
        ("topic", Some("hunter2 com"), "another text"),
        ("environment", Some("hunter2"), "another word"),
    ] {
        assert_eq!(refused(key, value), format!("providers.apns.{key}: {found}"));
    }
    let mut given = settings("ftp://x");
    given.settings.clear();
    let wrong = Apns::new(&given, &Clock::system()).err().expect("refused");
    let keys: Vec<_> = wrong.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(keys, ["key", "key_id", "team_id", "topic", "base_url"].map(|key| format!("providers.apns.{key}")));
}
