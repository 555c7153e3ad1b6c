//! A code that is said: a challenge for a call, from the queue to the simulated phone and back.

use std::time::Duration;

use mfa_courier::challenge::Channel;
use mfa_courier::simulator::{API_KEY, API_SECRET, APPLICATION_ID, Mode, VONAGE_PRIVATE_KEY};
use serde_json::json;

use super::{Courier, Heard, Stage};
use crate::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_next_provider_and_speaks_the_language_of_its_text() {
    let stage = Stage::new(Node::shared()).await;
    let vonage = format!(
        "[providers.vonage]\nkind = \"vonage\"\nbase_url = \"{}\"\napi_key = \"{API_KEY}\"\napi_secret = \"{API_SECRET}\"\n\
         application_id = \"{APPLICATION_ID}\"\nprivate_key = \"\"\"{VONAGE_PRIVATE_KEY}\"\"\"\nsenders = [\"+15005550006\"]\n\
         [[routes]]\nchannel = \"voice\"\nproviders = [\"twilio\", \"vonage\"]\n",
        stage.simulator.base_url("vonage/second")
    );
    let messages = stage.dir.path().join("messages");
    std::fs::create_dir(&messages).expect("a folder");
    std::fs::write(messages.join("de.toml"), "language = \"de\"\n[voice]\ndefault = \"Ihr Code ist {code}.\"\n")
        .expect("written");
    let config = stage.config(&vonage);
    let rest = std::fs::read_to_string(&config).expect("there");
    std::fs::write(&config, format!("messages_dir = \"{}\"\n{rest}", messages.display())).expect("written");
    let _courier = Courier::start(&config).await;
    let client = stage.listener().await;
    stage.simulator.set_mode("twilio/first", Mode::Refuse("10005".into()));
    let body = json!({
        "id": "call-0", "code": "481516", "ttl": 60, "locale": "de-AT",
        "methods": [{ "channel": "voice", "to": "+4930901820", "extension": "42" }],
    });
    client.publish_challenge(&body.to_string()).await;
    let heard = Heard::collect(&client, 1, Duration::from_secs(20)).await;
    let outcome = heard.one_each("call-", 1).remove(0);
    assert_eq!(
        (&outcome["status"], &outcome["provider"], &outcome["channel"]),
        (&json!("sent"), &json!("vonage"), &json!("voice"))
    );
    assert_eq!(outcome["attempts"][0]["code"], "10005");
    let calls = stage.simulator.received();
    let told: Vec<_> = calls.iter().map(|call| (call.provider.as_str(), call.channel, call.taken)).collect();
    assert_eq!(told, [("twilio/first", Channel::Voice, false), ("vonage/second", Channel::Voice, true)]);
    assert!(calls[0].text.expose().contains("language=\"de-DE\""), "{}", calls[0].text.expose());
    assert!(calls[1].text.expose().starts_with("<speak><break time=\"1s\"/>Ihr Code ist "));
}
