//! A prompt to an iPhone end to end: a configuration as an operator writes it, the worker that it makes, a broker in
//! memory, the simulated APNs.

use mfa_courier::boot::assemble;
use serde_json::json;

use super::*;
use crate::push::running::{Running, device, load, word};

fn section(simulator: &Simulator, more: &str) -> String {
    let base = simulator.base_url(ENTRY);
    format!(
        "[providers.apns]\nkind = \"apns\"\nbase_url = \"{base}\"\nkey = \"\"\"{APNS_KEY}\"\"\"\n\
         key_id = \"{APNS_KEY_ID}\"\nteam_id = \"{APNS_TEAM_ID}\"\ntopic = \"{APNS_TOPIC}\"\n{more}"
    )
}

async fn start() -> Running {
    Running::start(|simulator| section(simulator, "environment = \"sandbox\"")).await
}

#[tokio::test]
async fn a_prompt_reaches_its_iphone_and_says_nothing_secret() {
    let mut running = start().await;
    let outcome = running.outcome("c-1", json!([device("ios", "00aa11bb22cc")])).await;
    assert_eq!(word(&outcome), "sent no_receipts -");
    assert_eq!((&outcome["provider"], &outcome["destination"]), (&json!("apns"), &json!("ios")));
    let id = outcome["attempts"][0]["message_id"].as_str().expect("an id");
    assert_eq!(id.len(), 36);
    let said = outcome.to_string();
    assert!(!["00aa11bb22cc", "7319", "QX481516"].iter().any(|secret| said.contains(secret)), "{said}");
    let prompts = running.prompts(ENTRY);
    assert_eq!((prompts.len(), prompts[0].reference.as_deref()), (1, Some("c-1")));
    assert!(!prompts[0].text.is_empty() && !prompts[0].text.expose().contains("QX481516"));
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_is_gone_has_to_be_activated_anew_or_is_reached_otherwise() {
    let mut running = start().await;
    let gone = running.outcome("gone", json!([device("ios", "d:Unregistered")])).await;
    assert_eq!(word(&gone), "failed device_not_activated reactivate_app");
    assert_eq!(gone["attempts"][0]["result"], "device_gone");
    let mut renewed = device("ios", "e:Unregistered");
    renewed["registered_at"] = json!("2999-01-01T00:00:00Z");
    let renewed = running.outcome("renewed", json!([renewed])).await;
    assert_eq!(renewed["attempts"][0]["result"], "recipient");
    assert_ne!(renewed["reason"], "device_not_activated");
    let sms = json!({ "channel": "sms", "to": "+14155552671" });
    let by_sms = running.outcome("by-sms", json!([device("ios", "f:BadDeviceToken"), sms])).await;
    assert_eq!((&by_sms["status"], &by_sms["provider"]), (&json!("sent"), &json!("twilio")));
    running.stop().await;
}

/// The wrong environment: everybody would be told to register again, and need not.
#[tokio::test]
async fn a_burst_of_devices_that_are_gone_is_a_fault_of_the_provider() {
    let mut running = start().await;
    for n in 0..4 {
        let gone = running.outcome(&format!("c-{n}"), json!([device("ios", &format!("{n}:BadDeviceToken"))])).await;
        assert_eq!(word(&gone), "failed device_not_activated reactivate_app", "{n}");
    }
    let fifth = running.outcome("c-4", json!([device("ios", "4:BadDeviceToken")])).await;
    assert_eq!(
        (&fifth["attempts"][0]["result"], &fifth["reason"]),
        (&json!("provider"), &json!("provider_unavailable"))
    );
    let sms = json!({ "channel": "sms", "to": "+14155552671" });
    let next = running.outcome("c-5", json!([device("ios", "5:BadDeviceToken"), sms])).await;
    assert_eq!((&next["status"], &next["provider"]), (&json!("sent"), &json!("twilio")));
    assert_eq!(running.prompts(ENTRY).len(), 5, "its circuit is open");
    running.stop().await;
}

#[tokio::test]
async fn only_ios_is_planned_for_and_mistakes_are_told_where_they_stand() {
    let mut running = start().await;
    let android = running.outcome("android", json!([device("android", "d")])).await;
    assert_eq!(word(&android), "rejected no_route contact_admin");
    running.stop().await;
    let simulator = Simulator::start(SimulatorSettings::default(), Clock::system()).await.expect("a simulator");
    let errors = assemble(&load(&simulator, &section(&simulator, "environment = \"staging\"")), &Clock::system());
    let errors: Vec<_> = errors.err().unwrap_or_default().iter().map(ToString::to_string).collect();
    let expected = "providers.apns.environment: another word; allowed: production, sandbox";
    assert!(errors.len() == 1 && errors[0].contains("courier.toml:") && errors[0].contains(expected), "{errors:?}");
}
