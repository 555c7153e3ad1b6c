//! The real clients against their twins.

use std::time::Duration;

use super::*;
use crate::challenge::{Address, ChallengeId};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::phone::PhoneNumber;
use crate::provider::definition::builtin;
use crate::provider::http::{HttpProvider, ProviderSettings};
use crate::provider::{Message, Provider as _, Reply};

const TWILIO: &str = "twilio/primary";
const WEBHOOK: &str = "webhook/gateway";
const VONAGE: &str = "vonage/second";

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

/// Everything that is simulated: by whom, how the person is reached, and what a call of it says.
fn all(simulator: &Simulator) -> [(&'static str, Channel, HttpProvider, String); 5] {
    let [(_, twilio), (_, webhook)] = both(simulator);
    let [(_, calling), _] = both(simulator);
    let vonage = || provider(simulator, VONAGE, VONAGE_SETTINGS);
    let twiml = "<Response><Pause length=\"1\"/><Say language=\"en-US\" voice=\"Polly.Joanna\" loop=\"2\">\
        481516 is your code<break time=\"1s\"/></Say></Response>";
    let ssml = "<speak><break time=\"1s\"/>481516 is your code</speak>";
    let text = "481516 is your code";
    [
        (TWILIO, Channel::Sms, twilio, text.to_owned()),
        (TWILIO, Channel::Voice, calling, twiml.to_owned()),
        (VONAGE, Channel::Sms, vonage(), text.to_owned()),
        (VONAGE, Channel::Voice, vonage(), ssml.to_owned()),
        (WEBHOOK, Channel::Sms, webhook, text.to_owned()),
    ]
}

const VONAGE_SETTINGS: &[(&str, &str)] = &[
    ("api_key", API_KEY),
    ("api_secret", API_SECRET),
    ("application_id", APPLICATION_ID),
    ("private_key", VONAGE_PRIVATE_KEY),
];

async fn send(provider: &HttpProvider, number: &str) -> (Reply, Verdict) {
    send_by(provider, Channel::Sms, number).await
}

async fn send_by(provider: &HttpProvider, channel: Channel, number: &str) -> (Reply, Verdict) {
    let to = PhoneNumber::parse(number, None).expect("a number");
    let (address, sender) = match channel {
        Channel::Voice => (Address::Voice { to, extension: Some("42".into()) }, "+15005550006"),
        _ => (Address::Sms { to }, "Contoso"),
    };
    let message = Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address,
        sender: Some(sender.into()),
        title: None,
        text: Secret::new("481516 is your code"),
        code: Some(Secret::new("481516")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_secs(90),
        callback_url: None,
    };
    let reply = provider.send(&message, Clock::instant() + Duration::from_millis(800)).await;
    let verdict = provider.classify(&message, &reply);
    (reply, verdict)
}

async fn result(provider: &HttpProvider, number: &str) -> AttemptResult {
    send(provider, number).await.1.result
}

#[tokio::test]
async fn messages_are_taken_and_noted() {
    let simulator = simulator().await;
    for (entry, channel, provider, says) in all(&simulator) {
        let (_, verdict) = send_by(&provider, channel, "+14155552671").await;
        assert_eq!(verdict.result, AttemptResult::Accepted, "{entry} {channel}");
        assert!(verdict.message_id.is_some());
        let received = simulator.received().pop().expect("noted");
        assert_eq!((received.provider.as_str(), received.channel, received.taken), (entry, channel, true));
        assert_eq!((received.to.expose(), received.text.expose()), ("+14155552671", says.as_str()));
        assert!(received.from.is_some_and(|from| ["Contoso", "+15005550006", "15005550006"].contains(&&*from)));
        let worth = match (channel, entry) {
            (Channel::Voice, TWILIO) => 25,
            (Channel::Voice, _) => 60,
            _ => 90,
        };
        assert_eq!(received.validity, Some(worth), "{entry} {channel}");
        let has_reference = channel == Channel::Sms && entry != TWILIO;
        assert_eq!(received.reference.as_deref(), has_reference.then_some("r-1"), "{entry} {channel}");
        assert!(!format!("{:?}", simulator.received()).contains("481516"));
    }
    let by_entry = [TWILIO, VONAGE, WEBHOOK].map(|entry| simulator.received_by(entry));
    assert_eq!((by_entry, simulator.received_total()), ([2, 2, 1], 5));
    simulator.shutdown().await;
}

/// A number, what comes of a text message to it, whether it is taken, and what comes of a call by Twilio and by
/// Vonage, which has no codes for calls.
const NUMBERS: [(&str, AttemptResult, bool, AttemptResult, AttemptResult); 15] = {
    use AttemptResult::{Accepted, Content, Provider, Recipient, Throttled, Transient, Unknown};
    [
        ("+14155559900", Unknown, false, Unknown, Unknown),
        ("+14155559901", Unknown, false, Unknown, Unknown),
        ("+14155559902", Unknown, false, Unknown, Unknown),
        ("+14155559903", Unknown, true, Unknown, Unknown),
        ("+14155559904", Transient, false, Transient, Unknown),
        ("+14155559905", Throttled, false, Throttled, Throttled),
        ("+14155559906", Recipient, false, Recipient, Provider),
        ("+14155559907", Accepted, true, Accepted, Accepted),
        ("+14155559908", Provider, false, Provider, Provider),
        ("+14155559909", Accepted, true, Accepted, Accepted),
        ("+14157721610", Recipient, false, Provider, Provider),
        ("+14157721614", Recipient, false, Accepted, Accepted),
        ("+14157721408", Provider, false, Provider, Provider),
        ("+14157730007", Content, false, Provider, Provider),
        ("+14157763017", Throttled, false, Provider, Throttled),
    ]
};

#[tokio::test]
async fn numbers_select_what_happens() {
    let simulator = simulator().await;
    for (entry, channel, provider, _) in all(&simulator) {
        for (number, sms, taken, twilio, vonage) in NUMBERS {
            let expected = match (channel, entry, number) {
                (Channel::Voice, TWILIO, _) => twilio,
                (Channel::Voice, ..) => vonage,
                // Vonage proves nothing by a status, and says of no 503 that nothing was done.
                (_, VONAGE, "+14155559904" | "+14155559907") => AttemptResult::Unknown,
                _ => sms,
            };
            // A landline: only a call gets there.
            let taken = taken || (channel, number) == (Channel::Voice, "+14157721614");
            let (_, verdict) = send_by(&provider, channel, number).await;
            assert_eq!(verdict.result, expected, "{entry} {channel} {number}");
            assert_eq!(simulator.received().pop().expect("noted").taken, taken, "{entry} {channel} {number}");
        }
    }
    for (entry, provider) in both(&simulator) {
        let (_, opted_out) = send(&provider, "+14157721610").await;
        assert_eq!((opted_out.opted_out, opted_out.code.as_deref()), (true, Some("21610")), "{entry}");
    }
    simulator.shutdown().await;
}

#[tokio::test]
async fn numbers_ask_for_the_statuses_of_vonage() {
    let simulator = simulator().await;
    let vonage = provider(&simulator, VONAGE, VONAGE_SETTINGS);
    for (number, code, expected) in [
        ("+14157700001", "1", AttemptResult::Throttled),
        ("+14157700033", "33", AttemptResult::Recipient),
        ("+14157700012", "12", AttemptResult::Content),
        ("+14157700099", "99", AttemptResult::Transient),
    ] {
        let (_, verdict) = send(&vonage, number).await;
        assert_eq!((verdict.code.as_deref(), verdict.result), (Some(code), expected));
    }
    for (number, expected) in [
        ("+14157700400", AttemptResult::Provider),
        ("+14157700429", AttemptResult::Throttled),
        ("+14157700503", AttemptResult::Unknown),
    ] {
        assert_eq!(send_by(&vonage, Channel::Voice, number).await.1.result, expected, "{number}");
    }
}

/// A private key that no application of the simulator has.
fn another_key() -> String {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("its form");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", BASE64_STANDARD.encode(der.as_ref()))
}

#[tokio::test]
async fn a_call_needs_a_token_of_the_application() {
    let simulator = simulator().await;
    let another_key = another_key();
    let edited = |name: &'static str, value: &str| {
        let settings = VONAGE_SETTINGS.iter().map(|(key, old)| (*key, if *key == name { value } else { old }));
        provider(&simulator, VONAGE, &settings.collect::<Vec<_>>())
    };
    for (name, value) in [("private_key", another_key.as_str()), ("application_id", "another")] {
        let (reply, verdict) = send_by(&edited(name, value), Channel::Voice, "+14155552671").await;
        assert!(matches!(reply, Reply::Answered { status: 401, .. }), "{name}: {reply:?}");
        assert_eq!(verdict.result, AttemptResult::Provider);
    }
    // A clock that is far behind makes tokens that are over.
    let vonage = provider(&simulator, VONAGE, VONAGE_SETTINGS);
    let late =
        Simulator::start(SimulatorSettings::default(), Clock::starting_at(Timestamp::MAX)).await.expect("a port");
    let elsewhere = provider(&late, VONAGE, VONAGE_SETTINGS);
    assert_eq!(send_by(&vonage, Channel::Voice, "+14155552671").await.1.result, AttemptResult::Accepted);
    let (reply, _) = send_by(&elsewhere, Channel::Voice, "+14155552671").await;
    assert!(matches!(reply, Reply::Answered { status: 401, .. }), "{reply:?}");
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
        (VONAGE, &[("api_key", API_KEY), ("api_secret", "wrong")], Some("4")),
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
