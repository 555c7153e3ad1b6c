//! From one channel to the next: who is to blame decides how far it goes on.

use super::*;

#[tokio::test]
async fn a_device_that_is_gone_ends_its_method_and_the_text_message_follows() {
    let nowhere = "http://127.0.0.1:1";
    let account = mfa_courier::simulator::service_account(nowhere);
    let backup =
        format!("[providers.backup]\nkind = \"fcm\"\nbase_url = \"{nowhere}\"\nservice_account = '''{account}'''\n");
    let mut stage = Stage::new("", &backup).await;
    let told = stage.told("c", json!([device("d:UNREGISTERED"), sms(MOBILE), call(MOBILE)]), json!({})).await;
    assert_eq!(told.interim, ["retrying push/fcm device_not_activated"]);
    assert_eq!(told.word(), "sent no_receipts -");
    assert_eq!(told.attempts(), ["push/fcm device_gone", "sms/twilio accepted"]);
    assert!(told.unused().contains(&"push/backup address_failed".to_owned()), "{:?}", told.unused());
    assert_eq!(stage.taken(), [0, 1, 0, 0]);
    stage.end().await;
}

#[tokio::test]
async fn a_number_that_takes_no_texts_is_called_and_no_other_provider_is_asked_to_text_it() {
    let mut stage = Stage::new("", "").await;
    let told = stage.told("c", json!([sms(LANDLINE), call(LANDLINE)]), json!({})).await;
    assert_eq!(told.interim, ["retrying sms/twilio recipient_unreachable"]);
    assert_eq!(told.word(), "sent no_receipts -");
    assert_eq!(told.attempts(), ["sms/twilio recipient", "voice/twilio accepted"]);
    assert_eq!(told.unused(), ["sms/vonage address_failed", "sms/gateway address_failed", "voice/vonage not_needed"]);
    assert_eq!(stage.taken(), [0, 1, 0, 0]);
    assert_eq!(stage.simulator.received_by(VONAGE) + stage.simulator.received_by(GATEWAY), 0);
    stage.end().await;
}

#[tokio::test]
async fn a_provider_that_refuses_its_customer_is_asked_for_nothing_more() {
    let routes = "[[routes]]\nchannel = \"sms\"\nproviders = [\"twilio\"]\n";
    let mut stage = Stage::new("", routes).await;
    stage.simulator.set_mode(TWILIO, Mode::Refuse("20003".into()));
    let told = stage.told("c", json!([sms(MOBILE), call(MOBILE)]), json!({})).await;
    assert_eq!(told.interim, ["retrying sms/twilio provider_unavailable"]);
    assert_eq!(told.attempts(), ["sms/twilio provider", "voice/vonage accepted"]);
    assert_eq!(told.unused(), ["voice/twilio provider_failed"]);
    // Its circuit is open: the next challenge does not even ask it.
    let told = stage.told("d", json!([call(MOBILE)]), json!({})).await;
    assert_eq!(
        (told.attempts(), told.unused()),
        (vec!["voice/vonage accepted".into()], vec!["voice/twilio circuit_open".into()])
    );
    assert_eq!(stage.simulator.received_by(TWILIO), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_provider_that_may_not_reach_a_country_is_used_for_others() {
    let routes = "[[routes]]\nchannel = \"sms\"\nproviders = [\"twilio\"]\n";
    let mut stage = Stage::new("", routes).await;
    let not_enabled = "+14157721408";
    let methods = json!([sms(not_enabled), call(MOBILE), call("+447700900123")]);
    stage.simulator.set_mode(VONAGE, Mode::Refuse("401".into()));
    let told = stage.told("c", methods, json!({})).await;
    assert_eq!(told.attempts(), ["sms/twilio provider", "voice/vonage provider", "voice/twilio accepted"]);
    assert_eq!(told.unused(), ["voice/twilio provider_failed", "voice/vonage provider_failed"]);
    assert_eq!((&told.outcome["country"], &told.outcome["channel"]), (&json!("GB"), &json!("voice")));
    stage.end().await;
}

#[tokio::test]
async fn who_does_not_react_to_a_prompt_gets_a_text_message_and_then_a_call() {
    let delivery = "await_verification = true\nreceipt_timeout = { push = \"300ms\", sms = \"300ms\" }";
    let mut stage = Stage::new(delivery, "").await;
    let methods = json!([device("dev1ce:APA91b"), sms(MOBILE), call(MOBILE)]);
    stage.publish("c", &methods, &json!({}));
    let mut interim = Vec::new();
    while interim.last().is_none_or(|last| last != "sent voice/twilio") {
        let outcome = stage.heard().await;
        assert_eq!(outcome["final"], false, "{outcome}");
        interim.push(format!("{} {}", word(&outcome["status"]), hop(&outcome)));
    }
    stage.verified("c");
    let told = stage.until_final("c").await;
    let expected =
        ["sent push/fcm", "undelivered push/fcm", "sent sms/twilio", "undelivered sms/twilio", "sent voice/twilio"];
    assert_eq!(interim, expected);
    assert_eq!(told.word(), "delivered - -");
    assert_eq!(told.outcome["confirmed_by"], "verification");
    assert_eq!(told.attempts(), ["push/fcm accepted", "sms/twilio accepted", "voice/twilio accepted"]);
    assert_eq!(stage.taken(), [1, 2, 0, 0]);
    stage.end().await;
}

#[tokio::test]
async fn a_prompt_that_is_approved_is_followed_by_nothing() {
    let mut stage = Stage::new("await_verification = true", "").await;
    stage.publish("c", &json!([device("dev1ce:APA91b"), sms(MOBILE)]), &json!({}));
    let sent = stage.heard().await;
    assert_eq!((word(&sent["status"]), hop(&sent)), ("sent".into(), "push/fcm".into()));
    stage.verified("c");
    let told = stage.until_final("c").await;
    assert_eq!((told.word(), &told.outcome["channel"]), ("delivered - -".into(), &json!("push")));
    assert_eq!(stage.taken(), [1, 0, 0, 0]);
    stage.end().await;
}
