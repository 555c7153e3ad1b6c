//! The clouds' signatures are those that their own libraries make of the same request; receipts that Plivo's library
//! signs, and tokens that `MessageBird`'s believes, are believed, and no others.

use mfa_courier::clock::Clock;
use mfa_courier::provider::definition::receipt::VendorScheme;
use mfa_courier::provider::http::receipt::Given;
use mfa_courier::provider::http::receipt::vendors::VendorProof;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{TEXTS, ask, authorization, message, provider, request, sms};

const SIGNING_KEY: &str = "a-signing-key-of-32-bytes-at-least";
const URLS: [&str; 3] = [
    "https://hooks.example.com/r/t",
    "https://hooks.example.com/r/t?b=2&a=1",
    "https://hooks.example.com/r?x=%20y&x=1",
];

fn holds(scheme: VendorScheme, secret: &str, url: &str, headers: &[(&'static str, &str)], body: &str) -> bool {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
        .collect();
    let proof = VendorProof::new(scheme, &[secret.to_owned()]).unwrap_or_else(|why| panic!("{why}"));
    proof.holds(&Given { url, headers: &headers, body: body.as_bytes(), now: Clock::system().now() })
}

fn signed(kind: &str, settings: &[(&str, &str)]) -> Vec<(Value, String)> {
    let ours = provider(kind, settings);
    let case = |text: &&str| {
        let made = request(&ours, &message(sms(), "Contoso", text, "en"));
        let headers: Map<String, Value> =
            made.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("text").into())).collect();
        let body = std::str::from_utf8(&made.body).expect("UTF-8");
        let told = json!({"url": made.url.as_str(), "host": made.url.host_str(), "headers": headers, "body": body});
        (told, authorization(&made).to_owned())
    };
    TEXTS.iter().map(case).collect()
}

#[test]
fn the_clouds_libraries_sign_alike_and_what_vendors_sign_is_believed() {
    let aws =
        signed("aws", &[("region", "eu-west-1"), ("access_key_id", "AKIDEXAMPLE"), ("secret_access_key", "secret")]);
    let set = [("secret_id", "id"), ("secret_key", "key"), ("sdk_app_id", "1"), ("template_id", "2")];
    let tencent = signed("tencent", &[&set[..], &[("template_params", "text, code")]].concat());
    let hard = ["delivered", "a&b=c", "é 😀 +%2B", "100% \"sure\""];
    let cases = URLS.iter().flat_map(|url| hard.map(|text| (*url, text)));
    // Plivo's library for Python takes each byte of UTF-8 for a character and encodes it again; that for Go does not, and
    // which of them Plivo's servers are like is not documented. Receipts have numbers, ids and words, so ASCII alone.
    let plivo: Vec<Value> = cases
        .clone()
        .filter(|(_, text)| text.is_ascii())
        .map(|(url, text)| json!({"method": "POST", "url": url, "fields": {"To": "1", "Status": text}}))
        .chain(URLS.map(|url| json!({"method": "GET", "url": url, "fields": {}})))
        .collect();
    let bird: Vec<Value> = cases
        .map(|(url, text)| json!({"url": url, "body": text}))
        .filter(|case| case["body"].as_str().is_some_and(str::is_ascii))
        .chain(URLS.map(|url| json!({"url": url, "body": ""})))
        .collect();
    let told_of = |cases: &[(Value, String)]| cases.iter().map(|(told, _)| told.clone()).collect::<Vec<_>>();
    let now = Clock::system().now().as_millis() / 1_000;
    let told =
        json!({"aws": told_of(&aws), "tencent": told_of(&tencent), "plivo": plivo, "messagebird": bird, "now": now});
    let answer = ask("check_vendors.py", &told);

    let theirs = |name: &str| answer[name].as_array().expect("one each").clone();
    let ours: Vec<Value> = aws.into_iter().map(|(_, ours)| ours.into()).collect();
    assert_eq!(theirs("aws"), ours);
    for ((_, ours), theirs) in tencent.iter().zip(theirs("tencent")) {
        assert_eq!(ours.rsplit_once("Signature=").expect("signed").1, theirs);
    }
    for (case, signature) in plivo.iter().zip(theirs("plivo")) {
        let (url, signature) = (case["url"].as_str().expect("text"), signature.as_str().expect("text").to_owned());
        let is_believed = |status: Option<&str>| {
            let pairs = status.map(|status| [("To", "1"), ("Status", status)]);
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.iter().flatten()).finish();
            let headers = [("x-plivo-signature-v3", signature.as_str()), ("x-plivo-signature-v3-nonce", "12345")];
            holds(VendorScheme::Plivo, "tok", url, &headers, &body)
        };
        assert!(is_believed(case["fields"]["Status"].as_str()) && !is_believed(Some("failed")), "{case}");
    }
    for (case, token) in bird.iter().zip(theirs("messagebird")) {
        let token = token.as_str().expect("text").to_owned();
        let is_believed = |url: &str, body: &str| {
            holds(VendorScheme::Messagebird, SIGNING_KEY, url, &[("messagebird-signature-jwt", &token)], body)
        };
        let (url, body) = (case["url"].as_str().expect("text"), case["body"].as_str().expect("text"));
        assert!(is_believed(url, body) && !is_believed("https://hooks.example.com/", body), "{case}");
        assert!(!is_believed(url, "another"), "{case}");
    }
}
