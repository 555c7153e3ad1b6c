//! A prompt end to end: a configuration as an operator writes it, the worker that it makes, a broker in memory,
//! the simulated FCM.

use mfa_courier::boot::assemble;
use mfa_courier::clock::Clock;
use serde_json::json;

use super::{ENTRY, Simulator, SimulatorSettings};
use crate::push::running::{Running, device, load, word};

fn section(simulator: &Simulator, more: &str) -> String {
    let (fcm, account) = (simulator.base_url(ENTRY), simulator.service_account(ENTRY));
    format!("[providers.fcm]\nkind = \"fcm\"\nbase_url = \"{fcm}\"\nservice_account = '''{account}'''\n{more}")
}

async fn start(more: &str) -> Running {
    Running::start(|simulator| section(simulator, more)).await
}

#[tokio::test]
async fn a_prompt_reaches_its_device_and_says_nothing_secret() {
    let mut running = start("").await;
    for platform in ["android", "ios"] {
        let outcome = running.outcome(platform, json!([device(platform, "dev1ce:APA91b")])).await;
        assert_eq!(word(&outcome), "sent no_receipts -");
        assert_eq!((&outcome["provider"], &outcome["destination"]), (&json!("fcm"), &json!(platform)));
        let said = outcome.to_string();
        assert!(!["dev1ce", "7319", "QX481516"].iter().any(|secret| said.contains(secret)), "{said}");
    }
    let prompts = running.prompts(ENTRY);
    let challenges: Vec<_> = prompts.iter().filter_map(|prompt| prompt.reference.as_deref()).collect();
    assert_eq!(challenges, ["android", "ios"]);
    assert!(prompts.iter().all(|prompt| !prompt.text.is_empty() && !prompt.text.expose().contains("QX481516")));
    running.stop().await;
}

#[tokio::test]
async fn a_device_that_is_gone_has_to_be_activated_anew() {
    let mut running = start("").await;
    let gone = running.outcome("gone", json!([device("android", "d:UNREGISTERED")])).await;
    assert_eq!(word(&gone), "failed device_not_activated reactivate_app");
    assert_eq!(gone["attempts"][0]["result"], "device_gone");
    let mut renewed = device("android", "e:UNREGISTERED");
    renewed["registered_at"] = json!("2999-01-01T00:00:00Z");
    let renewed = running.outcome("renewed", json!([renewed])).await;
    assert_eq!(renewed["attempts"][0]["result"], "recipient");
    assert_ne!(renewed["reason"], "device_not_activated");
    let sms = json!({ "channel": "sms", "to": "+14155552671" });
    let by_sms = running.outcome("by-sms", json!([device("ios", "f:UNREGISTERED"), sms])).await;
    assert_eq!((&by_sms["status"], &by_sms["provider"]), (&json!("sent"), &json!("twilio")));
    running.stop().await;
}

#[tokio::test]
async fn only_devices_that_it_reaches_are_planned_for() {
    let mut running = start("apps = [\"bank\"]").await;
    let windows = running.outcome("windows", json!([device("windows", "https://x.notify.windows.com/?token=t")])).await;
    assert_eq!(word(&windows), "rejected no_route contact_admin");
    let with_app = |app: &str| {
        let mut device = device("android", "dev1ce:APA91b");
        device["app"] = json!(app);
        json!([device])
    };
    let other = running.outcome("shop", with_app("shop")).await;
    assert_eq!(word(&other), "rejected no_route contact_admin");
    let own = running.outcome("bank", with_app("bank")).await;
    assert_eq!(word(&own), "sent no_receipts -");
    assert_eq!(running.prompts(ENTRY).len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn mistakes_about_fcm_are_told_where_they_stand() {
    let simulator = Simulator::start(SimulatorSettings::default(), Clock::system()).await.expect("a simulator");
    let told = |more: &str| {
        let errors =
            assemble(&load(&simulator, &section(&simulator, more)), &Clock::system()).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told("endpoints = { token = \"https://tokens.example.com/token\" }"), Vec::<String>::new());
    let errors = told("service_acount = \"x\"\nproject_id = \"a b\"");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].contains("providers.fcm.service_acount: unknown key; did you mean `service_account`?"),
        "{errors:?}"
    );
    assert!(errors[1].contains("courier.toml:8:1: providers.fcm.project_id: another text"), "{errors:?}");
}
