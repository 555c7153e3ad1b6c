//! Prompts by Push Kit against its simulated twin.

use std::collections::BTreeMap;

use mfa_courier::challenge::Platform;
use mfa_courier::clock::Clock;
use mfa_courier::provider::Message;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::huawei::Huawei;
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{CLIENT_ID, CLIENT_SECRET, Mode, Simulator, SimulatorSettings};
use serde_json::json;

use super::running::{Running, device, word};
use super::{outcome, send};

const ENTRY: &str = "huawei/main";
const TOKENS: &str = "huawei/main/token";

async fn stage() -> (Simulator, Huawei) {
    let clock = Clock::system();
    let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
    let huawei = Huawei::new(&settings(&simulator.base_url(ENTRY)), &clock).expect("usable");
    (simulator, huawei)
}

fn settings(base: &str) -> ProviderSettings {
    let mut given = ProviderSettings::new("huawei");
    given.base_url = Some(base.to_owned());
    given.token_endpoint = Some(format!("{base}/oauth2/v3/token"));
    let values = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    given.settings = values.into_iter().map(|(key, value)| (key.to_owned(), Secret::new(value))).collect();
    given
}

fn message(device: &str) -> Message {
    super::message(Platform::Huawei, device)
}

#[tokio::test]
async fn what_a_device_asks_for_comes_to_its_verdict() {
    let (simulator, huawei) = stage().await;
    for (device, expected) in [
        ("device", "answered 200: accepted"),
        ("d:80300007", "answered 200: device_gone"),
        ("d:80100000", "answered 200: device_gone"),
        ("d:80300010", "answered 200: content"),
        ("d:80300002", "answered 200: provider"),
        ("d:81000001", "answered 500: transient"),
        ("d-9901", "answered 500: unknown"),
        ("d-9903", "in doubt: unknown"),
        ("d-9904", "answered 503: throttled"),
        ("d-9906", "answered 200: content"),
        ("d-9907", "answered 201: unknown"),
    ] {
        assert_eq!(outcome(&huawei, &message(device)).await, expected, "{device}");
    }
    assert_eq!(simulator.received_by(TOKENS), 1, "none of them was the access token's fault");
    let first = &simulator.received()[1];
    assert_eq!((first.to.expose(), first.text.expose()), ("device", "Sign-in request\nOpen to confirm"));
    assert!(first.reference.as_deref() == Some("c-1") && matches!(first.validity, Some(119..=120)), "{first:?}");
}

#[tokio::test]
async fn an_access_token_that_lapsed_is_fetched_once_more_and_one_that_is_refused_is_the_providers_fault() {
    let (simulator, huawei) = stage().await;
    assert_eq!(outcome(&huawei, &message("device")).await, "answered 200: accepted");
    for code in ["d:LAPSED", "device"] {
        simulator.revoke_access(ENTRY);
        assert_eq!(outcome(&huawei, &message(code)).await, "answered 200: accepted");
    }
    assert_eq!(simulator.received_by(TOKENS), 3);
    assert_eq!(outcome(&huawei, &message("d:80200001")).await, "answered 401: provider");
    assert_eq!(simulator.received_by(TOKENS), 4, "once more, and no more");
    simulator.revoke_access(ENTRY);
    simulator.set_mode(TOKENS, Mode::Refuse("invalid_client".into()));
    let (verdict, progress) = send(&huawei, &message("device")).await;
    assert_eq!((progress.as_str(), verdict.result.as_str()), ("refused 401", "provider"));
}

#[tokio::test]
async fn mistakes_in_the_settings_are_told_by_key_without_values() {
    let mut given = settings("https://push.example.com");
    given.settings = BTreeMap::from([
        ("client_id".to_owned(), Secret::new("hunter2")),
        ("category".to_owned(), Secret::new("hunter2")),
    ]);
    let wrong = Huawei::new(&given, &Clock::system()).err().expect("refused");
    let keys: Vec<_> = wrong.iter().map(|one| (one.path.as_str(), one.found.as_str())).collect();
    let [id, secret, category] =
        ["client_id", "client_secret", "category"].map(|key| format!("providers.huawei.{key}"));
    assert_eq!(keys, [(id.as_str(), "another text"), (&secret, "nothing"), (&category, "another text")]);
}

#[tokio::test]
async fn a_prompt_goes_through_a_whole_worker() {
    let mut running = Running::start(|simulator| {
        let base = simulator.base_url(ENTRY);
        format!(
            "[providers.huawei]\nkind = \"huawei\"\nbase_url = \"{base}\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = \"{CLIENT_SECRET}\"\nendpoints = {{ token = \"{base}/oauth2/v3/token\" }}"
        )
    })
    .await;
    let sent = running.outcome("c-1", json!([device("huawei", "AKxExample")])).await;
    assert_eq!((word(&sent).as_str(), &sent["provider"]), ("sent no_receipts -", &json!("huawei")));
    let gone = running.outcome("c-2", json!([device("huawei", "d:80300007")])).await;
    assert_eq!(word(&gone), "failed device_not_activated reactivate_app");
    running.stop().await;
}
