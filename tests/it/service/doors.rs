//! The address that receipts come to, as vendors and proxies use it: by POST and GET, behind another address, and while
//! there is no broker to tell.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mfa_courier::challenge::{ChallengeId, Channel};
use mfa_courier::clock::Clock;
use mfa_courier::provider::callback::Callbacks;
use mfa_courier::secret::Secret;
use mfa_courier::simulator::AUTH_TOKEN;

use super::front::CALLBACK_KEY;
use super::receipts::hearing;
use super::{Courier, Stage};
use crate::node::Node;

/// Below this address, one that an attempt by Twilio would have: the part after it.
fn callback(public: &str) -> String {
    let url = public.parse().expect("an address");
    let callbacks = Callbacks::new(&url, &Secret::new(CALLBACK_KEY), None);
    let id = ChallengeId::parse("d-1").expect("an id");
    let until = Clock::system().now() + Duration::from_mins(5);
    let (_, address) = callbacks.address("twilio", &id, Channel::Sms, 1, until).expect("an address");
    address.expose().strip_prefix(public).expect("below it").to_owned()
}

/// <https://www.twilio.com/docs/usage/security#validating-requests>
fn signed(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, AUTH_TOKEN.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// What is answered to a receipt that Twilio sent to `url` and that came to `at`.
async fn told(url: &str, at: &str) -> u16 {
    let sent = reqwest::Client::new()
        .post(at)
        .header("x-twilio-signature", signed(&format!("{url}MessageStatusdelivered")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("MessageStatus=delivered");
    sent.send().await.expect("answered").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_twilio_signed_is_known_behind_a_proxy_with_another_address() {
    let stage = Stage::new(Node::shared()).await;
    let (config, inside) = hearing(&stage, "");
    let public = "https://courier.example.com:8443/mfa/eu";
    let text = std::fs::read_to_string(&config).expect("there");
    std::fs::write(&config, text.replacen(&inside, public, 1)).expect("written");
    let _courier = Courier::start(&config).await;
    let below = callback(public);
    let url = format!("{public}{below}");
    // A proxy may take the path off or leave it, and Twilio may sign with the port or without.
    assert_eq!(told(&url, &format!("{inside}{below}")).await, 204);
    assert_eq!(told(&url, &format!("{inside}/mfa/eu{below}")).await, 204);
    assert_eq!(told(&url.replace(":8443", ""), &format!("{inside}{below}")).await, 204);
    let query = "?a=1&b=%2F+%20";
    assert_eq!(told(&format!("{url}{query}"), &format!("{inside}{below}{query}")).await, 204);
    // By what it was asked for inside, and by another path outside, it was not signed.
    assert_eq!(told(&format!("{inside}{below}"), &format!("{inside}{below}")).await, 403);
    assert_eq!(told(&url.replace("/eu", ""), &format!("{inside}{below}")).await, 403);
    assert_eq!(told(&format!("{inside}{below}"), &format!("{inside}/other{below}")).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_by_get_is_in_its_query() {
    let stage = Stage::new(Node::shared()).await;
    let (config, public) = hearing(&stage, "");
    let courier = Courier::start(&config).await;
    let url = format!("{public}{}?MessageStatus=delivered", callback(&public));
    for (signature, status) in [(signed(&url), 204), (signed(&url.replace("delivered", "sent")), 403)] {
        let asked = reqwest::Client::new().get(&url).header("x-twilio-signature", signature);
        assert_eq!(asked.send().await.expect("answered").status().as_u16(), status);
    }
    let (_, figures) = courier.get("/metrics").await.expect("figures");
    assert!(figures.contains("courier_receipts_total{provider=\"twilio\",status=\"delivered\"} 1"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_no_broker_has_is_to_be_sent_again() {
    let node = Node::start();
    let stage = Stage::new(&node).await;
    let (config, public) = hearing(&stage, "");
    let courier = Courier::start(&config).await;
    let url = format!("{public}{}", callback(&public));
    assert_eq!(told(&url, &url).await, 204, "while there is one");
    node.kill9();
    assert_eq!(told(&url, &url).await, 503, "once it is gone");
    courier.kill9().await;
    // A worker that never had one listens too.
    let courier = Courier::spawn(&config);
    crate::node::eventually("it listens", async || courier.get("/healthz").await).await;
    assert_eq!(told(&url, &url).await, 503, "before it comes");
    let (_, figures) = courier.get("/metrics").await.expect("figures");
    assert!(figures.contains("courier_receipts_total{provider=\"twilio\",status=\"unpublished\"} 1"), "{figures}");
}
