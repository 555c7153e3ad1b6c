//! The real clients against their twins.

use std::time::Duration;

use super::*;
use crate::challenge::{Address, Channel};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::phone::PhoneNumber;
use crate::provider::definition::builtin;
use crate::provider::http::{HttpProvider, ProviderSettings};
use crate::provider::{Message, Provider as _, Reply};

const TWILIO: &str = "twilio/primary";
const WEBHOOK: &str = "webhook/gateway";

async fn simulator() -> Simulator {
    Simulator::start(SimulatorSettings::default(), Clock::system()).await.expect("a free port")
}

fn provider(simulator: &Simulator, entry: &str, set: &[(&str, &str)]) -> HttpProvider {
    let kind = entry.split('/').next().expect("a kind");
    let mut given = ProviderSettings::new(entry);
    given.base_url = Some(simulator.base_url(entry));
    given.settings = set.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    HttpProvider::new(given, Arc::clone(&builtin().expect("valid")[kind]), Clock::system()).expect("usable")
}

fn both(simulator: &Simulator) -> [(&'static str, HttpProvider); 2] {
    let twilio = provider(simulator, TWILIO, &[("account_sid", ACCOUNT_SID), ("auth_token", AUTH_TOKEN)]);
    let webhook = provider(simulator, WEBHOOK, &[("signing_secret", SIGNING_SECRET)]);
    [(TWILIO, twilio), (WEBHOOK, webhook)]
}

async fn send(provider: &HttpProvider, number: &str) -> (Reply, Verdict) {
    let message = Message {
        reference: "r-1".into(),
        address: Address::Sms { to: PhoneNumber::parse(number, None).expect("a number") },
        sender: Some("Contoso".into()),
        text: Secret::new("481516 is your code"),
        code: Some(Secret::new("481516")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_secs(90),
    };
    let reply = provider.send(&message, Clock::instant() + Duration::from_millis(800)).await;
    let verdict = provider.classify(Channel::Sms, &reply);
    (reply, verdict)
}

async fn result(provider: &HttpProvider, number: &str) -> AttemptResult {
    send(provider, number).await.1.result
}

#[tokio::test]
async fn messages_are_taken_and_noted() {
    let simulator = simulator().await;
    for (entry, provider) in both(&simulator) {
        let (_, verdict) = send(&provider, "+14155552671").await;
        assert_eq!(verdict.result, AttemptResult::Accepted, "{entry}");
        assert!(verdict.message_id.is_some());
        let received = simulator.received().pop().expect("noted");
        assert_eq!((received.provider.as_str(), received.to.expose(), received.taken), (entry, "+14155552671", true));
        assert_eq!((received.from.as_deref(), received.validity), (Some("Contoso"), Some(90)));
        assert_eq!(received.text.expose(), "481516 is your code");
        assert_eq!(simulator.received_by(entry), 1);
        assert!(!format!("{received:?}").contains("481516"));
    }
    assert_eq!(simulator.received()[1].reference.as_deref(), Some("r-1"));
    assert_eq!(simulator.received_total(), 2);
    simulator.shutdown().await;
}

#[tokio::test]
async fn numbers_select_what_happens() {
    let simulator = simulator().await;
    for (entry, provider) in both(&simulator) {
        for (number, expected, taken) in [
            ("+14155559900", AttemptResult::Unknown, false),
            ("+14155559901", AttemptResult::Unknown, false),
            ("+14155559902", AttemptResult::Unknown, false),
            ("+14155559903", AttemptResult::Unknown, true),
            ("+14155559904", AttemptResult::Transient, false),
            ("+14155559905", AttemptResult::Throttled, false),
            ("+14155559906", AttemptResult::Recipient, false),
            ("+14155559907", AttemptResult::Accepted, true),
            ("+14155559908", AttemptResult::Provider, false),
            ("+14155559909", AttemptResult::Accepted, true),
            ("+14157721610", AttemptResult::Recipient, false),
            ("+14157721408", AttemptResult::Provider, false),
            ("+14157730007", AttemptResult::Content, false),
            ("+14157763017", AttemptResult::Throttled, false),
        ] {
            assert_eq!(result(&provider, number).await, expected, "{entry} {number}");
            assert_eq!(simulator.received().pop().expect("noted").taken, taken, "{entry} {number}");
        }
        let (_, opted_out) = send(&provider, "+14157721610").await;
        assert_eq!((opted_out.opted_out, opted_out.code.as_deref()), (true, Some("21610")));
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let simulator = simulator().await;
    for (_, provider) in both(&simulator) {
        for number in ["+14155559902", "+14155559903"] {
            let (reply, _) = send(&provider, number).await;
            assert!(matches!(&reply, Reply::InDoubt { why } if why.contains("reset")), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn modes_change_while_it_runs_and_by_entry() {
    let simulator = simulator().await;
    let number = "+14155552671";
    for (entry, provider) in both(&simulator) {
        for (mode, expected) in [
            (Mode::Error(502), AttemptResult::Unknown),
            (Mode::Refuse("21211".into()), AttemptResult::Recipient),
            (Mode::Throttle, AttemptResult::Throttled),
            (Mode::Slow(Duration::from_millis(10)), AttemptResult::Accepted),
            (Mode::Slow(Duration::from_secs(5)), AttemptResult::Unknown),
            (Mode::Normal, AttemptResult::Accepted),
        ] {
            simulator.set_mode(entry, mode.clone());
            simulator.set_mode("twilio/other", Mode::Hang);
            assert_eq!(result(&provider, number).await, expected, "{entry} {mode:?}");
        }
    }
}

#[tokio::test]
async fn a_rate_limit_is_enforced() {
    let simulator = simulator().await;
    let [(entry, provider), _] = both(&simulator);
    simulator.set_rate_limit(entry, Some(2));
    let mut results = Vec::new();
    for _ in 0..3 {
        results.push(result(&provider, "+14155552671").await);
    }
    assert_eq!(results, [AttemptResult::Accepted, AttemptResult::Accepted, AttemptResult::Throttled]);
    simulator.set_rate_limit(entry, None);
    assert_eq!(result(&provider, "+14155552671").await, AttemptResult::Accepted);
}

#[tokio::test]
async fn wrong_credentials_and_signatures_are_refused() {
    let simulator = simulator().await;
    let other = "whsec_b3RoZXItc2lnbmluZy1zZWNyZXQtb3RoZXI=";
    for (entry, set, code) in [
        (TWILIO, [("account_sid", ACCOUNT_SID), ("auth_token", "wrong")].as_slice(), Some("20003")),
        (TWILIO, &[("account_sid", "AC0"), ("api_key", ACCOUNT_SID), ("auth_token", AUTH_TOKEN)], Some("20404")),
        (WEBHOOK, &[], None),
        (WEBHOOK, &[("signing_secret", other)], None),
    ] {
        let (_, verdict) = send(&provider(&simulator, entry, set), "+14155552671").await;
        assert_eq!((verdict.result, verdict.code.as_deref()), (AttemptResult::Provider, code), "{entry} {set:?}");
    }
    assert_eq!(simulator.received_total(), 0, "what was not let in is not noted");
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let settings = SimulatorSettings { keep: 2, ..SimulatorSettings::default() };
    let simulator = Simulator::start(settings, Clock::system()).await.expect("a free port");
    let [(_, provider), _] = both(&simulator);
    for _ in 0..3 {
        send(&provider, "+14155552671").await;
    }
    assert_eq!((simulator.received().len(), simulator.received_total()), (2, 3));
}

#[tokio::test]
async fn shutting_down_lets_go_of_what_hangs() {
    let simulator = simulator().await;
    let [(entry, provider), _] = both(&simulator);
    simulator.set_mode(entry, Mode::Hang);
    let sending = tokio::spawn(async move { send(&provider, "+14155552671").await });
    while simulator.received_total() == 0 {
        tokio::task::yield_now().await;
    }
    simulator.shutdown().await;
    assert!(matches!(sending.await.expect("no panic").0, Reply::InDoubt { .. }));
}
