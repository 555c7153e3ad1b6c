//! Where it does not go on, or only so far: `fallback`, requests in doubt, and what the person is told at the end.

use super::*;

#[tokio::test]
async fn upstream_says_how_far_it_may_go_on() {
    for (fallback, word, attempts, unused) in [
        (
            "same_channel",
            "sent no_receipts -",
            vec!["sms/twilio provider", "sms/vonage accepted"],
            vec!["sms/gateway not_needed", "voice/twilio fallback_limit", "voice/vonage fallback_limit"],
        ),
        (
            "none",
            "failed provider_unavailable try_again",
            vec!["sms/twilio provider"],
            vec![
                "sms/vonage fallback_limit",
                "sms/gateway fallback_limit",
                "voice/twilio fallback_limit",
                "voice/vonage fallback_limit",
            ],
        ),
    ] {
        // Of each its own worker: the refusal opens the circuit.
        let mut stage = Stage::new("", "").await;
        stage.simulator.set_mode(TWILIO, Mode::Refuse("20003".into()));
        let told = stage.told(fallback, json!([sms(MOBILE), call(MOBILE)]), json!({ "fallback": fallback })).await;
        assert_eq!((told.word().as_str(), told.attempts(), told.unused()), (word, own(&attempts), own(&unused)));
        stage.end().await;
    }
    let mut stage = Stage::new("", "").await;
    let told = stage.told("c", json!([sms(LANDLINE), call(LANDLINE)]), json!({ "fallback": "same_channel" })).await;
    assert_eq!(
        (told.word().as_str(), told.attempts()),
        ("failed recipient_unreachable use_another_method", own(&["sms/twilio recipient"]))
    );
    assert_eq!(told.unused().last().map(String::as_str), Some("voice/vonage fallback_limit"));
    assert_eq!(stage.taken(), [0; 4], "no call, though one would have got there");
    stage.end().await;
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn a_text_message_in_doubt_is_sent_by_the_next_provider_at_once() {
    let mut stage = Stage::new("", "").await;
    stage.simulator.set_mode(TWILIO, Mode::LoseAnswer);
    let told = stage.told("c", json!([sms(MOBILE), call(MOBILE)]), json!({})).await;
    assert_eq!(told.interim, ["retrying sms/twilio in_doubt"]);
    assert_eq!(
        (told.word().as_str(), told.attempts()),
        ("sent no_receipts -", own(&["sms/twilio unknown", "sms/vonage accepted"]))
    );
    assert_eq!(stage.taken(), [0, 1, 1, 0], "the person has the same code twice rather than never");
    stage.end().await;
}

#[tokio::test]
async fn a_call_in_doubt_is_waited_for_and_may_be_answered() {
    let delivery = "await_verification = true\nreceipt_timeout = { voice = \"20s\" }";
    let mut stage = Stage::new(delivery, "").await;
    stage.simulator.set_mode(TWILIO, Mode::LoseAnswer);
    stage.publish("c", &json!([call(MOBILE), sms(MOBILE)]), &json!({}));
    crate::node::eventually("the call is made", async || (stage.taken()[1] == 1).then_some(())).await;
    // Long enough for a second call or a text message, if one were wrongly made.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.simulator.received_total(), 1);
    stage.verified("c");
    let told = stage.until_final("c").await;
    assert_eq!((told.word().as_str(), told.attempts()), ("delivered - -", own(&["voice/twilio unknown"])));
    assert_eq!((told.interim.len(), &told.outcome["confirmed_by"]), (0, &json!("verification")));
    stage.end().await;
}

#[tokio::test]
async fn what_follows_a_call_in_doubt_is_a_setting() {
    let waits = "await_verification = true\nreceipt_timeout = { voice = \"300ms\" }";
    for (delivery, word, attempts, unused) in [
        // No news can come of it, or none came.
        ("", "sent no_receipts -", vec!["voice/twilio unknown", "voice/vonage accepted"], vec![]),
        (
            "on_unknown = { voice = \"next_hop\" }",
            "sent no_receipts -",
            vec!["voice/twilio unknown", "voice/vonage accepted"],
            vec![],
        ),
        (
            waits,
            "sent receipt_timeout use_another_method",
            vec!["voice/twilio unknown", "voice/vonage accepted"],
            vec![],
        ),
        (
            "on_unknown = { voice = \"conclude\" }",
            "unknown in_doubt try_again",
            vec!["voice/twilio unknown"],
            vec!["voice/vonage not_needed"],
        ),
    ] {
        let mut stage = Stage::new(delivery, "").await;
        stage.simulator.set_mode(TWILIO, Mode::LoseAnswer);
        let told = stage.told("c", json!([call(MOBILE)]), json!({})).await;
        let got = (told.word(), told.attempts(), told.unused());
        assert_eq!(got, (word.to_owned(), own(&attempts), own(&unused)), "{delivery}");
        stage.end().await;
    }
}

#[tokio::test]
async fn the_advice_is_for_what_the_person_has() {
    let mut stage = Stage::new("", "").await;
    for (id, methods, word, attempts) in [
        (
            "phone",
            json!([sms(NOBODYS)]),
            "failed recipient_unreachable use_another_method",
            vec!["sms/twilio recipient"],
        ),
        (
            "app",
            json!([device("d:INTERNAL"), sms(NOBODYS)]),
            "failed all_hops_failed use_app_code",
            vec!["push/fcm transient", "sms/twilio recipient"],
        ),
        (
            "reinstalled",
            json!([device("d:UNREGISTERED"), device("e:INVALID_TOKEN")]),
            "failed device_not_activated reactivate_app",
            vec!["push/fcm device_gone", "push/fcm device_gone"],
        ),
        (
            "at last",
            json!([sms(NOBODYS), device("f:UNREGISTERED")]),
            "failed device_not_activated reactivate_app",
            vec!["sms/twilio recipient", "push/fcm device_gone"],
        ),
        (
            "not at last",
            json!([device("g:UNREGISTERED"), sms(NOBODYS)]),
            "failed all_hops_failed use_app_code",
            vec!["push/fcm device_gone", "sms/twilio recipient"],
        ),
    ] {
        let id = id.replace(' ', "-");
        let told = stage.told(&id, methods, json!({})).await;
        assert_eq!((told.word(), told.attempts()), (word.to_owned(), own(&attempts)), "{id}");
    }
    stage.end().await;
}
