//! Prompts by WNS against its simulated twin, whose answers stand in headers.

use std::time::Duration;

use mfa_courier::challenge::Platform;
use mfa_courier::clock::Clock;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::wns::Wns;
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{CLIENT_ID, CLIENT_SECRET, Simulator, SimulatorSettings};
use proptest::prelude::*;
use serde_json::json;

use super::running::{Running, device, word};
use super::{DEADLINE, outcome, send};

const ENTRY: &str = "wns/main";
const TOKENS: &str = "wns/main/token";

async fn stage() -> (Simulator, Wns) {
    let clock = Clock::system();
    let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
    let wns = Wns::new(&settings(&simulator.base_url(ENTRY)), &clock).expect("usable");
    (simulator, wns)
}

fn settings(base: &str) -> ProviderSettings {
    let mut given = ProviderSettings::new("wns");
    given.base_url = Some(base.to_owned());
    given.token_endpoint = Some(format!("{base}/token"));
    let values = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    given.settings = values.into_iter().map(|(key, value)| (key.to_owned(), Secret::new(value))).collect();
    given
}

fn channel(token: &str) -> String {
    format!("https://db5p.notify.windows.com/?token={token}")
}

fn message(token: &str) -> Message {
    super::message(Platform::Windows, &channel(token))
}

#[tokio::test]
async fn what_a_channel_asks_for_comes_to_its_verdict() {
    let (simulator, wns) = stage().await;
    for (token, expected) in [
        ("device%2b1", "answered 200: accepted"),
        ("d:dropped", "answered 200: recipient"),
        ("d:channelthrottled", "answered 200: recipient"),
        ("d:404", "answered 404: device_gone"),
        ("d:410", "answered 410: device_gone"),
        ("d:blocked", "answered 410: provider"),
        ("d:403", "answered 403: provider"),
        ("d:406", "answered 406: throttled"),
        ("d:413", "answered 413: content"),
        ("d:500", "answered 500: transient"),
        ("d-9901", "answered 500: unknown"),
        ("d-9903", "in doubt: unknown"),
        ("d-9904", "answered 503: transient"),
        ("d-9908", "answered 307: provider"),
    ] {
        assert_eq!(outcome(&wns, &message(token)).await, expected, "{token}");
    }
    assert_eq!(simulator.received_by(TOKENS), 1, "none of them was the access token's fault");
    let first = &simulator.received()[1];
    assert_eq!((first.to.expose(), first.text.expose()), ("device+1", "Sign-in request\nOpen to confirm"));
    assert!(first.reference.as_deref() == Some("c-1") && matches!(first.validity, Some(119..=120)), "{first:?}");
    let (verdict, _) = send(&wns, &message("device")).await;
    assert!(verdict.message_id.is_some_and(|id| id.len() == 16), "WNS' own id");
}

#[tokio::test]
async fn an_access_token_that_lapsed_is_fetched_once_more() {
    let (simulator, wns) = stage().await;
    for token in ["device", "d:LAPSED", "device"] {
        assert_eq!(outcome(&wns, &message(token)).await, "answered 200: accepted", "{token}");
    }
    assert_eq!(simulator.received_by(TOKENS), 2);
    assert_eq!(outcome(&wns, &message("d:401")).await, "answered 401: provider");
}

/// Whoever registers a device chooses its address: our access token would go there, and so would we.
#[tokio::test]
async fn no_channel_leads_out_of_windows() {
    let clock = Clock::system();
    let mut given = settings("http://127.0.0.1:1");
    given.base_url = None;
    let wns = Wns::new(&given, &clock).expect("usable");
    for address in [
        "https://notify.windows.com.evil.example/?token=x",
        "http://db5p.notify.windows.com/?token=x",
        "https://db5p.notify.windows.com:8443/?token=x",
        "https://user@db5p.notify.windows.com/?token=x",
        "https://169.254.169.254/latest",
        "x",
    ] {
        let message = super::message(Platform::Windows, address);
        let reply = wns.send(&message, Clock::instant() + DEADLINE).await;
        assert!(matches!(reply, Reply::Unfit { .. }), "{address}: {reply:?}");
        assert_eq!(wns.classify(&message, &reply).result.as_str(), "recipient", "{address}");
    }
}

#[tokio::test]
async fn a_toast_is_short_enough_or_not_sent_and_mistakes_are_told_by_key() {
    let (simulator, wns) = stage().await;
    let long = Message { text: Secret::new("x".repeat(5_000)), ..message("device") };
    assert_eq!(outcome(&wns, &long).await, "unfit: content");
    assert_eq!(simulator.received_by(ENTRY), 0);
    let mut given = settings("https://push.example.com");
    given.settings = [("tenant_id", "../hunter2")].map(|(key, value)| (key.to_owned(), Secret::new(value))).into();
    let wrong = Wns::new(&given, &Clock::system()).err().expect("refused");
    let keys: Vec<_> = wrong.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(keys, ["client_id", "client_secret", "tenant_id"].map(|key| format!("providers.wns.{key}")));
}

#[tokio::test]
async fn a_prompt_goes_through_a_whole_worker() {
    let mut running = Running::start(|simulator| {
        let base = simulator.base_url(ENTRY);
        format!(
            "[providers.wns]\nkind = \"wns\"\nbase_url = \"{base}\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = \"{CLIENT_SECRET}\"\nendpoints = {{ token = \"{base}/token\" }}"
        )
    })
    .await;
    let sent = running.outcome("c-1", json!([device("windows", &channel("AwYA"))])).await;
    assert_eq!((word(&sent).as_str(), &sent["provider"]), ("sent no_receipts -", &json!("wns")));
    let gone = running.outcome("c-2", json!([device("windows", &channel("d:410"))])).await;
    assert_eq!(word(&gone), "failed device_not_activated reactivate_app");
    running.stop().await;
}

proptest! {
    /// Whatever a prompt says, XML reads it back, and nothing of it becomes an element.
    #[test]
    fn no_text_becomes_more_than_text(title in ".{0,40}", text in "[\\PC<>&\"'\\]]{0,80}", city in ".{0,20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let wns = Wns::new(&settings("http://127.0.0.1:1"), &Clock::system()).expect("usable");
        let mut message = Message { title: Some(title), text: Secret::new(text.as_str()), ..message("device") };
        super::device(&mut message).context.insert("city".into(), city);
        message.validity = Duration::from_secs(9);
        if let Ok(request) = wns.request(&message, Clock::system().now()) {
            let xml = std::str::from_utf8(&request.body).expect("UTF-8");
            let read = roxmltree::Document::parse(xml).expect("well formed");
            let names: Vec<_> = read.descendants().filter(roxmltree::Node::is_element).map(|node| node.tag_name().name().to_owned()).collect();
            prop_assert_eq!(names, ["toast", "visual", "binding", "text", "text"]);
            let launch = read.root_element().attribute("launch").expect("a launch").to_owned();
            let told: std::collections::BTreeMap<_, _> = form_urlencoded::parse(launch.as_bytes()).into_owned().collect();
            prop_assert_eq!(told.get("challenge_id").map(String::as_str), Some("c-1"));
        }
    }
}
