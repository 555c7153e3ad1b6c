//! Prompts by Web Push against a simulated service and its browser, and against the library that others send by.

use mfa_courier::challenge::Platform;
use mfa_courier::clock::Clock;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::webpush::WebPush;
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{APNS_KEY, Simulator, SimulatorSettings, webpush_subscription};
use serde_json::{Value, json};

use super::running::{Running, device, word};
use super::{DEADLINE, outcome};
use crate::peers::ask;

const ENTRY: &str = "webpush/main";
const SUBJECT: &str = "mailto:ops@example.com";

fn settings(base: Option<&str>) -> ProviderSettings {
    let mut given = ProviderSettings::new("webpush");
    given.base_url = base.map(str::to_owned);
    let values = [("private_key", APNS_KEY), ("subject", SUBJECT)];
    given.settings = values.into_iter().map(|(key, value)| (key.to_owned(), Secret::new(value))).collect();
    given
}

async fn stage() -> (Simulator, WebPush) {
    let clock = Clock::system();
    let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
    let webpush = WebPush::new(&settings(Some(&simulator.base_url(ENTRY))), &clock).expect("usable");
    (simulator, webpush)
}

fn endpoint(name: &str) -> String {
    format!("https://updates.push.services.mozilla.com/wpush/v2/{name}")
}

fn message(name: &str) -> Message {
    super::message(Platform::Web, &webpush_subscription(&endpoint(name)))
}

#[tokio::test]
async fn what_a_subscription_asks_for_comes_to_its_verdict() {
    let (simulator, webpush) = stage().await;
    for (name, expected) in [
        ("device", "answered 201: accepted"),
        ("d:404", "answered 404: device_gone"),
        ("d:410", "answered 410: device_gone"),
        ("d:VapidPkHashMismatch", "answered 400: device_gone"),
        ("d:BadJwtToken", "answered 403: provider"),
        ("d:BadTtl", "answered 400: content"),
        ("d:413", "answered 413: content"),
        ("d-9901", "answered 500: unknown"),
        ("d-9903", "in doubt: unknown"),
        ("d-9904", "answered 503: transient"),
        ("d-9905", "answered 429: throttled"),
        ("d-9906", "answered 503: transient"),
        ("d-9908", "answered 307: provider"),
    ] {
        assert_eq!(outcome(&webpush, &message(name)).await, expected, "{name}");
    }
    let first = &simulator.received()[0];
    assert_eq!((first.to.expose(), first.text.expose()), ("wpush/v2/device", "Sign-in request\nOpen to confirm"));
    assert!(first.reference.as_deref() == Some("c-1") && matches!(first.validity, Some(119..=120)), "{first:?}");
}

/// Whoever registers a device chooses its address: it may lead into our own network.
#[tokio::test]
async fn no_subscription_leads_elsewhere_and_none_without_a_key_is_sent_to() {
    let webpush = WebPush::new(&settings(None), &Clock::system()).expect("usable");
    let good: Value = serde_json::from_str(&webpush_subscription(&endpoint("x"))).expect("JSON");
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect("there") = value;
        changed.to_string()
    };
    for token in [
        with("/endpoint", json!("https://127.0.0.1/x")),
        with("/endpoint", json!("https://localhost:6379/x")),
        with("/endpoint", json!("http://updates.push.services.mozilla.com/x")),
        with("/endpoint", json!("https://updates.push.services.mozilla.com@evil.example/x")),
        with("/endpoint", json!("https://metadata.google.internal/x")),
        with("/keys/p256dh", json!("BAAA")),
        with("/keys/auth", json!("")),
        with("/keys", json!([])),
        "not JSON".to_owned(),
    ] {
        let message = super::message(Platform::Web, &token);
        let reply = webpush.send(&message, Clock::instant() + DEADLINE).await;
        assert!(matches!(reply, Reply::Unfit { .. }), "{token}: {reply:?}");
        assert_eq!(webpush.classify(&message, &reply).result.as_str(), "recipient", "{token}");
    }
    let mut own = settings(None);
    own.settings.insert("endpoint_hosts".into(), Secret::new("push.contoso.example"));
    let own = WebPush::new(&own, &Clock::system()).expect("usable");
    assert!(own.request(&message("x"), Clock::system().now()).is_err(), "an operator's list takes the place of ours");
    let contosos = super::message(Platform::Web, &webpush_subscription("https://push.contoso.example/x"));
    assert!(own.request(&contosos, Clock::system().now()).is_ok());
}

#[tokio::test]
async fn mistakes_in_the_settings_are_told_by_key_without_values() {
    let mut given = settings(Some("ftp://x"));
    for key in ["private_key", "subject", "endpoint_hosts"] {
        given.settings.insert(key.to_owned(), Secret::new("hunter2"));
    }
    let wrong = WebPush::new(&given, &Clock::system()).err().expect("refused");
    let keys: Vec<_> = wrong.iter().map(|one| one.path.as_str()).collect();
    let all = ["private_key", "subject", "endpoint_hosts", "base_url"].map(|key| format!("providers.webpush.{key}"));
    assert_eq!(keys, all);
    assert!(!format!("{wrong:?}").contains("hunter2"));
}

/// `http_ece` opens what we seal, with a browser's key that it made, and `PyJWT` believes who we are; `pywebpush` seals
/// what our simulated browser opens.
#[tokio::test]
async fn the_library_of_others_opens_ours_and_our_browser_opens_theirs() {
    let (simulator, webpush) = stage().await;
    let made = tokio::task::spawn_blocking(|| ask("check_webpush.py", &json!({ "make": 5 }))).await.expect("keys");
    let now = Clock::system().now();
    let cases: Vec<_> = made["browsers"]
        .as_array()
        .expect("browsers")
        .iter()
        .enumerate()
        .map(|(n, browser)| {
            let keys = &browser["subscription"];
            let token = json!({ "endpoint": endpoint("x"), "keys": keys }).to_string();
            let text = ["Open to confirm", "Größe 👍 验证码", "", "x", &"y".repeat(3_500)][n].to_owned();
            let message = Message { text: Secret::new(text.as_str()), ..super::message(Platform::Web, &token) };
            let request = webpush.request(&message, now).expect("fits");
            let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &request.body);
            let proof = request.headers["authorization"].to_str().expect("text").to_owned();
            (json!({ "private": browser["private"], "auth": keys["auth"], "body": body, "authorization": proof }), text)
        })
        .collect();
    let send_to = format!("{}/wpush/v2/theirs", simulator.base_url(ENTRY));
    let told = json!({
        "open": cases.iter().map(|(case, _)| case).collect::<Vec<_>>(), "audience": "https://updates.push.services.mozilla.com",
        "send": { "subscription": serde_json::from_str::<Value>(&webpush_subscription(&send_to)).expect("JSON"),
                  "text": json!({ "title": "t", "body": "b", "data": { "challenge_id": "c-9" } }).to_string(),
                  "key": APNS_KEY, "subject": SUBJECT },
    });
    let answer = tokio::task::spawn_blocking(move || ask("check_webpush.py", &told)).await.expect("an answer");
    for ((_, text), opened) in cases.iter().zip(answer["opened"].as_array().expect("all")) {
        let prompt: Value = serde_json::from_str(opened["text"].as_str().expect("text")).expect("JSON");
        assert_eq!((&prompt["body"], &prompt["data"]["challenge_id"]), (&json!(text), &json!("c-1")));
        assert_eq!(opened["subject"], SUBJECT);
    }
    assert_eq!(answer["sent"], 201, "{answer}");
    let received = simulator.received();
    let theirs = received.last().expect("a request");
    assert_eq!((theirs.reference.as_deref(), theirs.text.expose()), (Some("c-9"), "t\nb"));
}

#[tokio::test]
async fn a_prompt_goes_through_a_whole_worker() {
    let mut running = Running::start(|simulator| {
        let base = simulator.base_url(ENTRY);
        format!(
            "[providers.webpush]\nkind = \"webpush\"\nbase_url = \"{base}\"\nprivate_key = \"\"\"{APNS_KEY}\"\"\"\n\
             subject = \"{SUBJECT}\""
        )
    })
    .await;
    let subscribed = |name: &str| {
        let mut method = device("web", "");
        method["token"] = serde_json::from_str(&webpush_subscription(&endpoint(name))).expect("JSON");
        json!([method])
    };
    let sent = running.outcome("c-1", subscribed("x")).await;
    assert_eq!((word(&sent).as_str(), &sent["provider"]), ("sent no_receipts -", &json!("webpush")));
    let gone = running.outcome("c-2", subscribed("d:410")).await;
    assert_eq!(word(&gone), "failed device_not_activated reactivate_app");
    running.stop().await;
}
