//! Signatures against the vectors that their vendors publish, and what else says it is a receipt.

use reqwest::header::{HeaderName, HeaderValue};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_521_600_000)
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    pairs.iter().map(header).collect()
}

fn twilio_holds(url: &str, media_type: &str, body: &str, signature: &str) -> bool {
    let headers = headers(&[("content-type", media_type), ("x-twilio-signature", signature)]);
    Proof::twilio("12345").holds(&Given { url, headers: &headers, body: body.as_bytes(), now: now() })
}

const TWILIO_URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
const TWILIO_FORM: &str =
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";

/// The vectors of twilio-python's `tests/unit/test_request_validator.py`.
#[test]
fn twilio_signs_the_address_and_the_form() {
    for (url, signature) in [
        (TWILIO_URL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        // Signed with the port where we are known without it, and the other way round.
        (TWILIO_URL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ] {
        assert!(twilio_holds(url, FORM, TWILIO_FORM, signature), "{url} {signature}");
    }
    let several = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
    assert!(twilio_holds(TWILIO_URL, FORM, several, "IK+Dwps556ElfBT0I3Rgjkr1wJU="));
}

#[test]
fn twilio_signs_the_hash_of_another_body() {
    let body = r#"{"property": "value", "boolean": true}"#;
    let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let url = format!("{TWILIO_URL}&bodySHA256={hash}");
    let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
    assert!(twilio_holds(&url, JSON, body, signature));
    assert!(!twilio_holds(&url, JSON, &body.replace("true", "false"), signature));
    assert!(!twilio_holds(&url.replace("foo=1", "foo=2"), JSON, body, signature));
}

#[test]
fn nobody_else_signs_as_twilio() {
    let good = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    assert!(!twilio_holds("https://mycompany.com/myapp.php?foo=1&bar=3", FORM, TWILIO_FORM, good));
    assert!(!twilio_holds(TWILIO_URL, FORM, &TWILIO_FORM.replace("1234&", "1235&"), good));
    for wrong in ["", "x", "AAAA", "RSOYDt4T1cUTdK1PDd93/VVr8B9="] {
        assert!(!twilio_holds(TWILIO_URL, FORM, TWILIO_FORM, wrong), "{wrong}");
    }
}

fn vonage_sms_holds(method: SigMethod, media_type: &str, body: &str, now: i64) -> bool {
    let headers = headers(&[("content-type", media_type)]);
    let now = Timestamp::from_millis(now * 1_000);
    let given = Given { url: "https://courier.example.com/r", headers: &headers, body: body.as_bytes(), now };
    Proof::VonageSms(Secret::new("signature_secret"), method).holds(&given)
}

/// The vector of vonage-python-sdk's `http_client/tests/test_auth.py`.
#[test]
fn vonage_signs_every_parameter_of_a_text_message() {
    let sig = "280c4320703dbc98bfa22db676655ed2acfbfe8792b062ff7622e67f1183c287";
    let form = format!("param2=value2&sig={sig}&param1=value1&timestamp=1234567890");
    let at = 1_234_567_890;
    assert!(vonage_sms_holds(SigMethod::Sha256, FORM, &form, at));
    assert!(vonage_sms_holds(SigMethod::Sha256, FORM, &form.replace(sig, &sig.to_uppercase()), at + 86_400));
    let json = format!(r#"{{"param1":"value1","param2":"value2","timestamp":1234567890,"sig":"{sig}"}}"#);
    assert!(vonage_sms_holds(SigMethod::Sha256, JSON, &json, at));
    assert!(!vonage_sms_holds(SigMethod::Sha256, FORM, &form, at + 100_000), "older than Vonage repeats one");
    assert!(!vonage_sms_holds(SigMethod::Sha512, FORM, &form, at), "another method");
    for (from, to) in [("value1", "value2"), ("&timestamp=1234567890", ""), (sig, "00"), (sig, "zz"), (sig, "")] {
        assert!(!vonage_sms_holds(SigMethod::Sha256, FORM, &form.replace(from, to), at), "{from} as {to}");
    }
}

/// The first two are vectors of the same file, the third was computed by the vendor's description.
#[test]
fn vonage_signs_with_md5_where_an_account_says_so() {
    let (plain, hard) = ("param1=value1&param2=value2", "param1=value%261&param2=value%3D2");
    for (method, fields, sig) in [
        (SigMethod::Md5Hmac, plain, "724c2bf6ca423c36e20631b11d1c5753"),
        (SigMethod::Md5Hmac, hard, "2bbf0abafb2c55e5af6231513896a2ac"),
        (SigMethod::Md5Hash, plain, "d72f75ac8cda9bbce891c4fa62bee6cd"),
    ] {
        let form = |fields: &str, sig: &str| format!("{fields}&timestamp=1234567890&sig={sig}");
        let holds = |form: &str| vonage_sms_holds(method, FORM, form, 1_234_567_890);
        assert!(holds(&form(fields, sig)) && holds(&form(fields, &sig.to_uppercase())), "{method:?} {fields}");
        for nibble in 0..sig.len() {
            for bit in 0..4 {
                let digit = u8::from_str_radix(&sig[nibble..=nibble], 16).expect("hex") ^ 1 << bit;
                let other = format!("{}{digit:x}{}", &sig[..nibble], &sig[nibble + 1..]);
                assert!(!holds(&form(fields, &other)), "{method:?}: bit {bit} of digit {nibble}");
            }
        }
        for at in 0..fields.len() {
            let mut bytes = fields.as_bytes().to_vec();
            bytes[at] ^= 1;
            let other = form(std::str::from_utf8(&bytes).expect("still ASCII"), sig);
            assert!(!holds(&other), "{method:?}: {other}");
        }
        assert!(!holds(&form(fields, "")) && !holds(&form(fields, &sig[..16])), "a part of it is none");
        assert!(!holds(&format!("{fields}&timestamp=1234567891&sig={sig}")), "another time");
    }
}

#[test]
fn vonage_signs_what_would_part_values_as_underscores() {
    let fields = Map::from_iter([("b".to_owned(), "value&1=x".into()), ("a".to_owned(), 7.into())]);
    assert_eq!(signed_by_vonage(&fields), "&a=7&b=value_1_x");
}

const CALL: &str = r#"{"message_uuid":"aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab","status":"delivered"}"#;
const CALL_TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpYXQiOjE3NjAwMDAwMDAsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImQ1ZWNiYzdhYjc3YjM3NmIyY2Y2MzVhNjg2OWQ0ZGJiMTUzMjIxNzVmOTViNWMxOTI2MGEyN2Y2MjE3ZTRlZmYiLCJhcGlfa2V5IjoiYWJjZDEyMzQiLCJhcHBsaWNhdGlvbl9pZCI6ImFhYWFhYWFhLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMCJ9.riAukECMl_J7MuZoSUcZevkJgqd2mBHz4gwXsB38T94";

fn vonage_call_holds(token: &str, body: &str, secret: &str, now: i64) -> bool {
    let headers = headers(&[("content-type", JSON), ("authorization", &format!("Bearer {token}"))]);
    let now = Timestamp::from_millis(now * 1_000);
    let given = Given { url: "https://courier.example.com/r", headers: &headers, body: body.as_bytes(), now };
    Proof::VonageJwt(Secret::new(secret)).holds(&given)
}

#[test]
fn vonage_signs_the_hash_of_what_it_says_of_a_call() {
    let (secret, at) = ("example-signature-secret-32-bytes!", 1_760_000_000);
    assert!(vonage_call_holds(CALL_TOKEN, CALL, secret, at));
    assert!(!vonage_call_holds(CALL_TOKEN, &CALL.replace("delivered", "rejected"), secret, at), "another body");
    assert!(!vonage_call_holds(CALL_TOKEN, CALL, "another", at));
    assert!(!vonage_call_holds(CALL_TOKEN, CALL, secret, at + 100_000), "too old");
    // {"alg":"none"}, and a signature of nothing.
    let claims = CALL_TOKEN.split('.').nth(1).expect("claims");
    assert!(!vonage_call_holds(&format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{claims}."), CALL, secret, at));
    assert!(!vonage_call_holds("", CALL, secret, at));
}

#[test]
fn a_gateway_signs_by_standard_webhooks() {
    let key = || WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
    let signed = |body: &[u8], at: i64| {
        let signature = key().sign("m1", at, body);
        let headers =
            headers(&[("webhook-id", "m1"), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)]);
        let given = Given { url: "https://courier.example.com/r", headers: &headers, body: b"{}", now: now() };
        Proof::StandardWebhooks(vec![key()]).holds(&given)
    };
    let now = now().as_millis() / 1_000;
    assert!(signed(b"{}", now) && signed(b"{}", now - 299));
    assert!(!signed(b"{}", now - 301) && !signed(b"{}", now + 301), "outside the tolerance of the specification");
    assert!(!signed(b"[]", now), "another body");
}

#[test]
fn a_receipt_comes_as_a_form_as_json_or_as_a_query() {
    let fields = |media_type: &str, url: &str, body: &str| {
        let headers = headers(&[("content-type", media_type)]);
        Value::from(Given { url, headers: &headers, body: body.as_bytes(), now: now() }.fields()).to_string()
    };
    let url = "https://courier.example.com/r";
    assert_eq!(fields(FORM, url, "a=1+2&b=%2B3"), r#"{"a":"1 2","b":"+3"}"#);
    assert_eq!(fields("application/json; charset=utf-8", url, r#"{"a":{"b":1}}"#), r#"{"a":{"b":1}}"#);
    assert_eq!(fields("text/plain", &format!("{url}?a=1"), ""), r#"{"a":"1"}"#);
    assert_eq!(fields(JSON, &format!("{url}?a=1"), ""), r#"{"a":"1"}"#, "a query, whatever a GET says of no body");
    for wrong in ["", "[]", "{", "7", "\u{0}"] {
        assert_eq!(fields(JSON, url, wrong), "{}", "{wrong}");
    }
}
