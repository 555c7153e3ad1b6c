//! What a prompt holds, what it never holds, and how large it may be.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::challenge::{Address, ChallengeId};
use crate::secret::Secret;

const TOKEN: &str = "dEv1ce:APA91bExample";

fn target(platform: Platform) -> PushTarget {
    PushTarget {
        platform,
        token: Secret::new(TOKEN),
        app: None,
        registered_at: None,
        number_match: Some(Secret::new("42")),
        context: BTreeMap::from([("city".to_owned(), "Lyon".to_owned())]),
    }
}

fn message(target: &PushTarget) -> Message {
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-7f31").expect("valid"),
        address: Address::Push(target.clone()),
        sender: None,
        title: Some("Sign-in request".into()),
        text: Secret::new("Open to confirm"),
        code: Some(Secret::new("481516")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_mins(2),
        callback_url: None,
    }
}

fn made(message: &Message, target: &PushTarget, left: Duration) -> Result<Value, Unfit> {
    let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00.250Z").expect("valid");
    let message = Message { validity: left, ..message.clone() };
    let body = body(&message, target, now)?;
    Ok(serde_json::from_str::<Value>(&body).expect("JSON")["message"].clone())
}

#[test]
fn time_is_rounded_up_and_never_nothing() {
    let (android, ios) = (target(Platform::Android), target(Platform::Ios));
    for (millis, ttl, expires_at) in
        [(120_000, "120s", "1795521721"), (119_001, "120s", "1795521720"), (0, "1s", "1795521601")]
    {
        let left = Duration::from_millis(millis);
        let made_android = made(&message(&android), &android, left).expect("fits");
        assert_eq!(made_android["android"]["ttl"], ttl);
        assert_eq!(made_android["data"]["expires_at"], expires_at);
        let made_ios = made(&message(&ios), &ios, left).expect("fits");
        assert_eq!(made_ios["apns"]["headers"]["apns-expiration"], expires_at);
    }
}

#[test]
fn a_number_to_type_has_no_approve_button_and_is_not_told() {
    let mut target = target(Platform::Ios);
    let with_number = made(&message(&target), &target, Duration::from_mins(1)).expect("fits");
    assert_eq!(with_number["data"]["method"], "number_match");
    assert_eq!(with_number["apns"]["payload"]["aps"]["category"], "MFA_NUMBER");
    assert!(!with_number["data"].to_string().contains("42"), "{with_number}");
    target.number_match = None;
    let without = made(&message(&target), &target, Duration::from_mins(1)).expect("fits");
    assert_eq!(without["data"]["method"], "approve");
    assert_eq!(without["apns"]["payload"]["aps"]["category"], "MFA_APPROVE");
}

#[test]
fn an_id_too_long_to_collapse_by_does_not() {
    let target = target(Platform::Ios);
    for (length, collapses) in [(64, true), (65, false), (128, false)] {
        let challenge = ChallengeId::parse(&"c".repeat(length)).expect("valid");
        let message = Message { challenge, ..message(&target) };
        let made = made(&message, &target, Duration::from_mins(1)).expect("fits");
        assert_eq!(made["apns"]["headers"].get("apns-collapse-id").is_some(), collapses, "{length}");
    }
}

#[test]
fn what_is_too_long_loses_its_context_first() {
    for platform in [Platform::Android, Platform::Ios] {
        let mut target = target(platform);
        target.token = Secret::new("t".repeat(4_096));
        let small = made(&message(&target), &target, Duration::from_mins(1)).expect("the token does not count");
        assert_eq!(small["data"]["context"], r#"{"city":"Lyon"}"#);
        target.context.insert("long".into(), "x".repeat(MAX_BYTES));
        let shorter = made(&message(&target), &target, Duration::from_mins(1)).expect("fits without its context");
        assert_eq!((shorter["data"].get("context"), &shorter["data"]["challenge_id"]), (None, &json!("c-7f31")));
        let long = Message { text: Secret::new("\u{1f511}".repeat(MAX_BYTES / 4)), ..message(&target) };
        assert_eq!(made(&long, &target, Duration::from_mins(1)), Err(Unfit::TooLong(MAX_BYTES + 4_096 + ENVELOPE)));
    }
}

#[test]
fn other_platforms_are_not_fcms() {
    for platform in [Platform::Windows, Platform::Web, Platform::Huawei] {
        let target = target(platform);
        let made = made(&message(&target), &target, Duration::from_mins(1));
        assert!(matches!(made, Err(Unfit::Address(_))), "{made:?}");
    }
}

#[test]
fn a_number_within_another_is_not_the_number() {
    let target = target(Platform::Android);
    for (text, expected) in [
        ("Sign-in to Area 420", None),
        ("Sign-in to Area42", None),
        ("Type 42 in the app", Some(Unfit::HoldsNumber)),
        ("42", Some(Unfit::HoldsNumber)),
        ("(42)", Some(Unfit::HoldsNumber)),
        ("481516 is your code", Some(Unfit::HoldsCode)),
        ("G-481516!", Some(Unfit::HoldsCode)),
    ] {
        let in_text = Message { text: Secret::new(text), ..message(&target) };
        assert_eq!(made(&in_text, &target, Duration::from_mins(1)).err(), expected, "{text}");
        let in_title = Message { title: Some(text.into()), ..message(&target) };
        assert_eq!(made(&in_title, &target, Duration::from_mins(1)).err(), expected, "{text}");
    }
}

/// A text with a secret in it, or without.
fn telling(number: &'static str, code: &'static str) -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![4 => "[a-z .,:\"\\\\\u{e9}-]{0,12}", 1 => Just(number.to_owned()), 1 => Just(code.to_owned())];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    /// Whatever upstream and the operator's texts say.
    #[test]
    fn no_prompt_holds_the_number_or_the_code(
        ios in any::<bool>(),
        title in prop::option::of(telling("7319", "QX481516")),
        text in telling("7319", "QX481516"),
        context in prop::collection::btree_map(
            prop_oneof!["[a-z]{1,8}", Just("7319".to_owned())],
            prop_oneof!["[a-z ]{0,20}", Just("7319".to_owned()), Just(" 7319 ".to_owned()), Just("by QX481516".to_owned())],
            0..5,
        ),
    ) {
        let mut target = target(if ios { Platform::Ios } else { Platform::Android });
        target.number_match = Some(Secret::new("7319"));
        target.context = context;
        let message = Message { title, text: Secret::new(text), code: Some(Secret::new("QX481516")), ..message(&target) };
        if let Ok(made) = made(&message, &target, Duration::from_mins(2)) {
            let made = made.to_string();
            prop_assert!(!made.contains("7319") && !made.contains("QX481516"), "{made}");
            prop_assert!(made.len() <= MAX_BYTES + TOKEN.len());
        }
    }
}
