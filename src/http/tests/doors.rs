//! The two doors for vendors that have no address of their own for each message, over real sockets: what a call says, and
//! receipts that come to one address.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;

use super::*;
use crate::broker::wire::receipt::Told;
use crate::broker::{Outbox, Publication, PublishError};
use crate::challenge::{ChallengeId, Channel};
use crate::clock::{Clock, Timestamp};
use crate::delivery::outcome::ReceiptStatus;
use crate::provider::Roster;
use crate::provider::callback::Callbacks;
use crate::provider::definition::builtin;
use crate::provider::flow::Flows;
use crate::provider::http::{HttpProvider, ProviderSettings};
use crate::secret::Secret;

const URL: &str = "https://courier.example.com";

#[derive(Default)]
struct Kept(Mutex<Vec<Told>>);

#[async_trait]
impl Outbox for Kept {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let told = Told::read(&publication.body).expect("a receipt");
        self.0.lock().expect("whole").push(told);
        Ok(())
    }
}

fn key() -> Secret {
    Secret::new("a callback key")
}

fn flows() -> Flows {
    Flows::new(&URL.parse().expect("an address"), &key(), None)
}

fn callbacks() -> Callbacks {
    Callbacks::new(&URL.parse().expect("an address"), &key(), None)
}

fn roster(base: &[(&str, &[(&str, &str)])]) -> Roster {
    let mut roster = Roster::default();
    for (kind, settings) in base {
        let mut given = ProviderSettings::new(*kind);
        given.base_url = Some("https://example.com".to_owned());
        given.flows = Some(flows());
        given.settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
        let definition = Arc::clone(&builtin().expect("valid")[*kind]);
        roster.insert(Arc::new(HttpProvider::new(given, definition, Clock::system()).expect("usable")));
    }
    roster
}

const TELNYX: &[(&str, &str)] = &[("api_key", "k"), ("account_sid", "a"), ("application_sid", "b")];
const PLIVO: &[(&str, &str)] = &[("auth_id", "MA1"), ("auth_token", "tok")];
const ALIYUN: &[(&str, &str)] =
    &[("access_key_id", "k"), ("access_key_secret", "s"), ("sign_name", "n"), ("template_code", "t")];

fn soon() -> Timestamp {
    Clock::system().now() + Duration::from_mins(1)
}

#[tokio::test]
async fn a_vendor_fetches_what_a_call_says_and_nobody_else_does() {
    let stage = Stage {
        roster: roster(&[("telnyx", TELNYX), ("plivo", PLIVO)]),
        callbacks: callbacks(),
        flows: flows(),
        clock: Clock::system(),
    };
    let served = serve(flow_routes(stage)).await;
    let said = "<Response><Say>4, 8, 1, 5, 1, 6</Say></Response>";
    let path = |provider: &str, until| {
        let address = flows().address(provider, said, until).expect("short");
        address.expose().strip_prefix(URL).expect("ours").to_owned()
    };
    for method in ["GET", "POST"] {
        let answer = ask(served.address, method, &path("telnyx", soon())).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(said), "{answer}");
        assert!(answer.contains("content-type: application/xml; charset=utf-8"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
    }
    let good = path("telnyx", soon());
    for wrong in [
        path("telnyx", Timestamp::EPOCH),
        path("plivo", soon()), // not signed
        good.replace("/telnyx/", "/plivo/"),
        good.replace("/telnyx/", "/nobody/"),
        good[..good.len() - 2].to_owned(),
    ] {
        let answer = ask(served.address, "GET", &wrong).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with(r#"{"error":"forbidden"}"#), "{answer}");
    }
}

async fn post_json(address: SocketAddr, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    let head = "Host: h\r\nConnection: close\r\nContent-Type: application/json";
    let request = format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    rest_of(connect(address, &request).await).await
}

#[tokio::test]
async fn receipts_at_one_address_are_told_by_their_tokens() {
    let kept = Arc::new(Kept::default());
    let outbox: Arc<dyn Outbox> = kept.clone();
    let (_connected, outbox) = watch::channel(Some(outbox));
    let azure: &[(&str, &str)] = &[("access_key", "pw==")];
    let roster = roster(&[("aliyun", ALIYUN), ("azure", azure), ("plivo", PLIVO)]);
    let served = serve(receipt_routes(Door { roster, callbacks: callbacks(), outbox, clock: Clock::system() })).await;
    let token = |provider: &str, id: &str, channel| {
        let id = ChallengeId::parse(id).expect("an id");
        let (_, address) = callbacks().address(provider, &id, channel, 1, soon()).expect("an address");
        address.expose().rsplit('/').next().expect("a token").to_owned()
    };
    let (first, second) = (token("aliyun", "c-1", Channel::Sms), token("aliyun", "c-2", Channel::Sms));
    let batch = json!([
        {"success": true, "err_code": "DELIVERED", "out_id": first},
        {"success": false, "err_code": "MK:0001", "out_id": second},
        {"success": false, "err_code": "MK:0001", "out_id": "of somebody else"},
        {"success": true},
    ]);
    let answer = post_json(served.address, "/receipts/aliyun/all", &batch).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"code":0,"msg":"ok"}"#), "{answer}");
    let told: Vec<_> = kept.0.lock().expect("whole").iter().map(|told| told.status).collect();
    assert_eq!(told, [ReceiptStatus::Delivered, ReceiptStatus::Undelivered]);

    let of = |out_id: &str| json!([{"success": true, "out_id": out_id}]);
    for (path, body) in [
        ("/receipts/aliyun/all", of("x")),
        ("/receipts/aliyun/all", of(&token("azure", "c-1", Channel::Sms))),
        ("/receipts/aliyun/all", of(&token("aliyun", "c-1", Channel::Voice))),
        ("/receipts/aliyun/all", json!([])),
        ("/receipts/nobody/all", of(&first)),
        ("/receipts/plivo/all", of(&first)),
        (&format!("/receipts/aliyun/{first}"), of(&first)),
    ] {
        let answer = post_json(served.address, path, &body).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path} {body}: {answer}");
    }
    let shake =
        json!([{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "512d"}}]);
    let answer = post_json(served.address, "/receipts/azure/all", &shake).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"validationResponse":"512d"}"#), "{answer}");
    assert_eq!(kept.0.lock().expect("whole").len(), 2);
}
