//! Receipts that the vendors' own libraries sign are believed, and no others.

use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::provider::http::receipt::{Given, Proof, SigMethod};
use mfa_courier::secret::Secret;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::ask;

const TOKEN: &str = "an-auth-token";
const SECRET: &str = "a-signature-secret";
const URL: &str = "https://courier.example.com/receipts/p/AAECAwQFBgcIAAFrBsAAAAECAwQFBgcI";
/// What tells encodings, orders and separators apart.
const HARD: [&str; 5] = ["delivered", "a&b=c", "é 😀 +%2B", "", "100% \"sure\""];

fn holds(proof: &Proof, url: &str, headers: &[(HeaderName, &str)], fields: &[(&str, &str)]) -> bool {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let value = |text: &str| HeaderValue::from_str(text).expect("a value");
    let mut all: HeaderMap = headers.iter().map(|(name, text)| (name.clone(), value(text))).collect();
    all.insert(CONTENT_TYPE, value("application/x-www-form-urlencoded"));
    proof.holds(&Given { url, headers: &all, body: body.as_bytes(), now: Clock::system().now() })
}

fn seconds(now: Timestamp) -> String {
    (now.as_millis() / 1_000).to_string()
}

#[test]
fn what_twilio_and_vonage_sign_is_believed_and_nothing_else() {
    let urls = [URL.to_owned(), format!("{URL}?a=1&b=%20c"), URL.replace(".com/", ".com:8443/")];
    let twilio =
        urls.iter().flat_map(|url| HARD.map(|hard| json!({"url": url, "fields": {"Zz": "1", "Status": hard}})));
    let twilio: Vec<Value> = twilio.collect();
    let (now, methods) = (seconds(Clock::system().now()), ["sha256", "sha512", "sha1", "md5"]);
    let of =
        |method: &str, hard: &str| json!({"method": method, "fields": {"status": hard, "b": "2", "timestamp": now}});
    let vonage: Vec<Value> = methods.iter().flat_map(|method| HARD.map(|hard| of(method, hard))).collect();
    let told = json!({"twilio_token": TOKEN, "vonage_secret": SECRET, "twilio": twilio, "vonage": vonage});
    let answer = ask("check_receipts.py", &told);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();

    let name = HeaderName::from_static("x-twilio-signature");
    for (case, signature) in twilio.iter().zip(answer["twilio"].as_array().expect("one each")) {
        let (url, status, signature) = (text(&case["url"]), text(&case["fields"]["Status"]), text(signature));
        let signed = |status: &str| {
            holds(&Proof::twilio(TOKEN), &url, &[(name.clone(), &signature)], &[("Status", status), ("Zz", "1")])
        };
        assert!(signed(&status) && !signed("failed"), "{case}");
    }
    for (case, signature) in vonage.iter().zip(answer["vonage"].as_array().expect("one each")) {
        // What the library calls `md5` is an HMAC.
        let method = Value::from(text(&case["method"]).replace("md5", "md5_hmac"));
        let method: SigMethod = serde_json::from_value(method).expect("a method");
        let (status, sig) = (text(&case["fields"]["status"]), text(signature));
        let signed = |status: &str| {
            let fields = [("b", "2"), ("sig", &sig), ("status", status), ("timestamp", &now)];
            holds(&Proof::VonageSms(Secret::new(SECRET), method), URL, &[], &fields)
        };
        assert!(signed(&status) && !signed("failed"), "{case}");
    }
}
