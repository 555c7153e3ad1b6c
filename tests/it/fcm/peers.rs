//! Google's own library against ours ([`crate::peers`]): it reads our assertion, and our simulator takes what it
//! sends.

use std::collections::BTreeMap;

use mfa_courier::clock::Clock;
use mfa_courier::provider::fcm::account::SCOPE;
use mfa_courier::simulator::PROJECT_ID;
use serde_json::{Value, json};

use super::{ENTRY, Simulator, SimulatorSettings, fcm};
use crate::peers::ask;

const PUBLIC_KEY: &str = include_str!("../../../src/simulator/signing_key.pub.pem");

#[tokio::test]
async fn google_reads_our_assertion_and_our_simulator_takes_googles() {
    let clock = Clock::system();
    let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
    let account: Value = serde_json::from_str(&simulator.service_account(ENTRY)).expect("JSON");
    let fcm = fcm(&simulator.base_url(ENTRY), &account.to_string(), &clock);
    let request = fcm.token_request(clock.now()).expect("signed");
    let form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
    let another = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let told = json!({
        "account": account, "scope": SCOPE, "assertion": form["assertion"], "public_key": PUBLIC_KEY,
        "another_key": pem_of(&another),
        "send_url": format!("{}/v1/projects/{PROJECT_ID}/messages:send", simulator.base_url(ENTRY)),
        "message": {
            "token": "device-x", "data": { "challenge_id": "c-1" },
            "android": { "priority": "high", "ttl": "60s", "notification": { "body": "Open to confirm" } },
        },
    });
    let answer = tokio::task::spawn_blocking(move || ask("check_fcm.py", &told)).await.expect("an answer");
    let claims = &answer["claims"];
    assert_eq!(claims["iss"], account["client_email"]);
    assert_eq!((claims["scope"].as_str(), &claims["aud"]), (Some(SCOPE), &account["token_uri"]));
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(3_600));
    assert_eq!(answer["header"], json!({ "alg": "RS256", "typ": "JWT", "kid": account["private_key_id"] }));
    assert_eq!((&answer["sent"][0], &answer["lives_beyond_now"]), (&json!(200), &json!(true)), "{answer}");
    assert_eq!(
        answer["refused"],
        json!({ "another key": "invalid_grant", "another account": "invalid_grant", "another scope": "invalid_scope" })
    );
    assert_eq!(simulator.received_by(ENTRY), 1);
}

/// The key as a service account's file has it.
fn pem_of(key: &aws_lc_rs::rsa::KeyPair) -> String {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use base64::Engine as _;
    let der: Pkcs8V1Der<'_> = key.as_der().expect("PKCS#8");
    let body = base64::prelude::BASE64_STANDARD.encode(der.as_ref());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
