//! That the simulated APNs refuses what Apple refuses, with Apple's reason: else nothing that it takes would show
//! anything.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use serde_json::Value;
use tokio::net::TcpStream;

use super::*;

/// A connection of somebody else's.
async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (sender, connection) = h2::client::handshake(stream).await.expect("a greeting");
    tokio::spawn(async move {
        // It ends with the test.
        let _ = connection.await;
    });
    sender
}

/// What came of a request: the status, and the reason where there is one.
async fn answer(sender: &SendRequest<Bytes>, request: Request<()>, body: &[u8]) -> Result<String, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(Bytes::copy_from_slice(body), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut told = Vec::new();
    while let Some(chunk) = body.data().await {
        told.extend_from_slice(&chunk?);
    }
    let told: Value = serde_json::from_slice(&told).unwrap_or_default();
    Ok(format!("{} {}", head.status.as_u16(), told["reason"].as_str().unwrap_or("-")))
}

/// A right request, as the provider writes it: its address, headers and body.
fn right(stage: &Stage) -> (String, HeaderMap, Bytes) {
    let made = stage.apns.request(&message("00aa11"), stage.clock.now()).expect("fits");
    // The provider's own token is its own affair.
    let claims = serde_json::json!({ "iss": APNS_TEAM_ID, "iat": stage.clock.now().as_millis() / 1_000 });
    let mut headers = made.headers;
    headers.insert("authorization", bearer(APNS_KEY_ID, &claims));
    (made.url.to_string(), headers, made.body)
}

fn bearer(key_id: &str, claims: &Value) -> HeaderValue {
    let key = mfa_courier::provider::http::jwt::EcKey::parse(APNS_KEY).expect("a key");
    let token = key.sign_es256(Some(key_id), claims).expect("signed");
    HeaderValue::from_str(&format!("bearer {}", token.expose())).expect("a value")
}

fn request(method: Method, url: &str, headers: &HeaderMap) -> Request<()> {
    let mut request = Request::builder().method(method).uri(url).body(()).expect("valid");
    request.headers_mut().extend(headers.clone());
    request
}

/// What comes of a right request on a connection of its own, once `change` was done to it.
async fn changed(stage: &Stage, change: impl FnOnce(&mut Method, &mut String, &mut HeaderMap, &mut Vec<u8>)) -> String {
    let (mut url, mut headers, body) = right(stage);
    let (mut method, mut body) = (Method::POST, body.to_vec());
    change(&mut method, &mut url, &mut headers, &mut body);
    let sender = connect(stage.simulator.addr()).await;
    answer(&sender, request(method, &url, &headers), &body).await.expect("an answer")
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_said_by_apples_reason() {
    let stage = Stage::new().await;
    assert_eq!(changed(&stage, |_, _, _, _| {}).await, "200 -", "the control");
    assert_eq!(changed(&stage, |method, _, _, _| *method = Method::PUT).await, "405 MethodNotAllowed");
    assert_eq!(changed(&stage, |_, url, _, _| *url = url.replace("/3/", "/2/")).await, "404 BadPath");
    let no_device = |url: &mut String| url.truncate(url.rfind('/').expect("a path") + 1);
    assert_eq!(changed(&stage, |_, url, _, _| no_device(url)).await, "400 MissingDeviceToken");
    assert_eq!(changed(&stage, |_, _, _, body| body.clear()).await, "400 PayloadEmpty");
    assert_eq!(changed(&stage, |_, _, _, body| *body = b"{}".to_vec()).await, "400 PayloadEmpty");
    assert_eq!(changed(&stage, |_, _, _, body| body.extend([b' '; 4_096])).await, "413 PayloadTooLarge");
    for (name, value, expected) in [
        ("apns-topic", None, "400 MissingTopic"),
        ("apns-topic", Some("com.example.other"), "400 BadTopic"),
        ("apns-push-type", None, "400 InvalidPushType"),
        ("apns-push-type", Some("prompt"), "400 InvalidPushType"),
        ("apns-push-type", Some("background"), "400 BadPriority"),
        ("apns-priority", Some("11"), "400 BadPriority"),
        ("apns-expiration", Some("soon"), "400 BadExpirationDate"),
        ("apns-id", Some("5B0C6A52"), "400 BadMessageId"),
        ("apns-collapse-id", Some(&*"c".repeat(65)), "400 BadCollapseId"),
        ("authorization", None, "403 MissingProviderToken"),
        ("authorization", Some("basic x"), "403 InvalidProviderToken"),
        ("authorization", Some("bearer a.b.c"), "403 InvalidProviderToken"),
    ] {
        let came = changed(&stage, |_, _, headers, _| {
            let name = HeaderName::from_static(name);
            match value {
                Some(value) => headers.insert(name, HeaderValue::from_str(value).expect("a value")),
                None => headers.remove(name),
            };
        });
        assert_eq!(came.await, expected, "{name}: {value:?}");
    }
    let twice =
        changed(&stage, |_, _, headers, _| assert!(headers.append("apns-priority", HeaderValue::from_static("5"))));
    assert_eq!(twice.await, "400 DuplicateHeaders");
}

#[tokio::test]
async fn a_provider_token_is_checked_as_apple_does() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_millis() / 1_000;
    for (key_id, team, age, expected) in [
        (APNS_KEY_ID, APNS_TEAM_ID, 3_500, "200 -"),
        (APNS_KEY_ID, APNS_TEAM_ID, 3_700, "403 ExpiredProviderToken"),
        (APNS_KEY_ID, APNS_TEAM_ID, -120, "403 InvalidProviderToken"),
        ("OTHER00001", APNS_TEAM_ID, 0, "403 InvalidProviderToken"),
        (APNS_KEY_ID, "OTHER00001", 0, "403 InvalidProviderToken"),
    ] {
        let claims = serde_json::json!({ "iss": team, "iat": now - age });
        let came = changed(&stage, |_, _, headers, _| drop(headers.insert("authorization", bearer(key_id, &claims))));
        assert_eq!(came.await, expected, "{key_id} {team} {age}");
    }
    let sender = connect(stage.simulator.addr()).await;
    let (url, mut headers, body) = right(&stage);
    for (minutes, age, expected) in
        [(0, 60, "200 -"), (19, 0, "429 TooManyProviderTokenUpdates"), (2, 0, "200 -"), (0, 0, "200 -")]
    {
        push::pass(Duration::from_mins(minutes)).await;
        if minutes > 0 || age > 0 {
            let claims = serde_json::json!({ "iss": APNS_TEAM_ID, "iat": stage.clock.now().as_millis() / 1_000 - age });
            headers.insert("authorization", bearer(APNS_KEY_ID, &claims));
        }
        let came = answer(&sender, request(Method::POST, &url, &headers), &body).await.expect("an answer");
        assert_eq!(came, expected, "{minutes}");
    }
}

#[tokio::test]
async fn a_connection_has_one_stream_until_somebody_is_known_and_then_as_many_as_are_allowed() {
    let stage = Stage::new().await;
    let sender = connect(stage.simulator.addr()).await;
    let (url, headers, body) = right(&stage);
    stage.simulator.set_mode(ENTRY, Mode::Slow(Duration::from_millis(200)));
    let ask = || answer(&sender, request(Method::POST, &url, &headers), &body);
    let (first, second) = tokio::join!(ask(), ask());
    let refused = [first, second].into_iter().filter(|one| {
        one.as_ref().is_err_and(|why| why.is_reset() && why.reason() == Some(h2::Reason::REFUSED_STREAM))
    });
    assert_eq!(refused.count(), 1);
    let (first, second) = tokio::join!(ask(), ask());
    assert_eq!((first.expect("taken"), second.expect("taken")), ("200 -".to_owned(), "200 -".to_owned()));
}
