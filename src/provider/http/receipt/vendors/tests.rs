//! Each scheme against published vectors, and against one changed bit in every place that is signed.

use std::fmt::Write as _;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::clock::Timestamp;

struct Case<'c> {
    url: &'c str,
    headers: Vec<(&'static str, String)>,
    body: &'c [u8],
    seconds: i64,
}

impl Case<'_> {
    fn holds(&self, proof: &VendorProof) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        let now = Timestamp::from_millis(self.seconds * 1_000);
        proof.holds(&Given { url: self.url, headers: &headers, body: self.body, now })
    }
}

fn proof(scheme: VendorScheme, parts: &[&str]) -> VendorProof {
    let parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
    VendorProof::new(scheme, &parts).unwrap_or_else(|why| panic!("{why}"))
}

/// No request passes in which one bit of the signature or of the body is another.
fn assert_holds_only_as_it_is(case: &Case<'_>, proof: &VendorProof, signature: usize) {
    assert!(case.holds(proof));
    let encoded = case.headers[signature].1.clone();
    let bytes = BASE64_STANDARD.decode(&encoded).expect("base64");
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut headers = case.headers.clone();
        headers[signature].1 = BASE64_STANDARD.encode(changed);
        assert!(!Case { headers, ..*case }.holds(proof), "bit {bit} of the signature");
    }
    for at in 0..case.body.len() {
        let mut body = case.body.to_vec();
        body[at] ^= 1;
        assert!(!Case { headers: case.headers.clone(), body: &body, ..*case }.holds(proof), "byte {at} of the body");
    }
    for wrong in ["", "x", "AAAA"] {
        let mut headers = case.headers.clone();
        wrong.clone_into(&mut headers[signature].1);
        assert!(!Case { headers, ..*case }.holds(proof), "{wrong}");
    }
    assert!(!Case { headers: Vec::new(), ..*case }.holds(proof), "no signature");
}

/// Computed by the documented algorithm with Python's `cryptography` of the seed 00 01 … 1f; Telnyx' own tests make
/// their keys as they run. `tests/it/peers` has Telnyx' own library check what this accepts.
#[test]
fn telnyx_signs_the_time_and_the_body() {
    let key = proof(VendorScheme::Telnyx, &["A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="]);
    let signature = "hHtgBaNO9FdQP78ZPngR0Ac17P2wtsBLqtb18Kxgb2q3Pd3RnqFXXe1AzevkiOcf+0hRDyCIy+F8kCqSnHMJDQ==";
    let headers =
        |time: &str| vec![("telnyx-signature-ed25519", signature.to_owned()), ("telnyx-timestamp", time.to_owned())];
    let body = br#"{"data":{"event_type":"message.finalized"}}"#;
    let at = |seconds, time| Case { url: "https://c.example/r", headers: headers(time), body, seconds };
    assert_holds_only_as_it_is(&at(1_760_000_000, "1760000000"), &key, 0);
    assert!(at(1_760_000_300, "1760000000").holds(&key) && at(1_759_999_700, "1760000000").holds(&key));
    assert!(!at(1_760_000_301, "1760000000").holds(&key), "too old");
    for time in ["1760000001", "01760000000", "", "now"] {
        assert!(!at(1_760_000_000, time).holds(&key), "{time}");
    }
    for bad in ["", "AAAA", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMb", "!"] {
        assert!(VendorProof::new(VendorScheme::Telnyx, &[bad.to_owned()]).is_err(), "{bad}");
    }
}

/// Computed by the documented algorithm; the vector of sinch-sdk-node's `authorization.helper.test.ts` has the same
/// secret, nonce and time, and a body of some pages.
#[test]
fn sinch_signs_the_body_a_nonce_and_the_time() {
    let key = proof(VendorScheme::Sinch, &["foo_secret1234"]);
    let headers = vec![
        ("x-sinch-webhook-signature", "WUa26E0Fx7tP7KVi71zg+viL9j1iE0vvqCQfqtyQf2Q=".to_owned()),
        ("x-sinch-webhook-signature-nonce", "01FJA8B4A7BM43YGWSG9GBV067".to_owned()),
        ("x-sinch-webhook-signature-timestamp", "1634579353".to_owned()),
    ];
    let body = br#"{"type":"recipient_delivery_report_sms"}"#;
    let case = Case { url: "https://c.example/r", headers, body, seconds: 1_634_579_400 };
    assert_holds_only_as_it_is(&case, &key, 0);
    for (at, other) in [(1, "01FJA8B4A7BM43YGWSG9GBV068"), (2, "1634579354"), (2, "x")] {
        let mut headers = case.headers.clone();
        other.clone_into(&mut headers[at].1);
        assert!(!Case { headers, ..case }.holds(&key), "{other}");
    }
    assert!(!Case { headers: case.headers.clone(), seconds: 1_634_679_400, ..case }.holds(&key), "too old");
}

const PLIVO_URL: &str = "https://plivobin.non-prod.plivops.com/api/v1/validate_signature03.xml";

fn plivo<'c>(url: &'c str, signature: &str, body: &'c [u8]) -> Case<'c> {
    let headers =
        vec![("x-plivo-signature-v3", signature.to_owned()), ("x-plivo-signature-v3-nonce", "12345".to_owned())];
    Case { url, headers, body, seconds: 1_760_000_000 }
}

/// Computed by the documented algorithm; `tests/it/peers` has Plivo's own library sign more of them.
#[test]
fn plivo_signs_the_address_and_the_form() {
    let key = proof(VendorScheme::Plivo, &["tok"]);
    let form = b"MessageUUID=m-1&Status=delivered&To=33612345678";
    for (url, signature) in [
        ("https://hooks.example.com/plivo/dlr?t=abc", "riKGdmmI9gNbY6NNTBDrBjb8NmUxNgvcriw4hrSfeOs="),
        ("https://hooks.example.com/plivo/dlr", "VFukKJ4A66cJlfTfzWpfVyXjPvi0LjLI8m7Aqy7TzaI="),
    ] {
        assert_holds_only_as_it_is(&plivo(url, signature, form), &key, 0);
        let several = plivo(url, &format!("AAAA, {signature}"), form);
        assert!(several.holds(&key), "one of several is enough");
        let other = plivo("https://hooks.example.com/plivo/dlR", signature, form);
        assert!(!other.holds(&key), "another address");
    }
}

/// The vector of Plivo's pages for text messages.
#[test]
fn plivo_signs_the_address_alone_in_version_two() {
    let key = proof(VendorScheme::Plivo, &["my_auth_token"]);
    let headers = vec![
        ("x-plivo-signature-v2", "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=".to_owned()),
        ("x-plivo-signature-v2-nonce", "12345".to_owned()),
    ];
    let case = Case { url: "https://answer.url", headers, body: b"", seconds: 0 };
    assert_holds_only_as_it_is(&case, &key, 0);
    assert!(Case { url: "https://answer.url?a=b", headers: case.headers.clone(), ..case }.holds(&key), "without query");
    assert!(!Case { url: "https://answer.uri", headers: case.headers.clone(), ..case }.holds(&key));
}

#[test]
fn plivo_writes_what_it_signs_in_order() {
    let made = |query, form: &str| signed_by_plivo(PLIVO_URL, query, form.as_bytes());
    let mut expected = PLIVO_URL.to_owned();
    assert_eq!(made("", ""), expected);
    expected.push('?');
    assert_eq!(made("", "b=2&a=1&a=0"), format!("{expected}a0a1b2"));
    assert_eq!(made("d=%20&c=1", ""), format!("{expected}c=1&d= "));
    let _ = write!(expected, "c=1.a1");
    assert_eq!(made("c=1", "a=1"), expected);
}

const MESSAGEBIRD_KEY: &str = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb";
const MESSAGEBIRD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiJjOTQ2YWY3Ny1lMTgyLTRlYWEtYjJmZi0xYTU0NWI1ZTk5MWEiLCJ1cmxfaGFzaCI6IjQxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAifQ.huo2ou6JDoDc7sV25d75UMWeYhBeavQlLsqIibSZuac";

/// A vector of go-rest-api's `signature_jwt/testdata/reference.json`.
#[test]
fn messagebird_signs_the_hash_of_the_address() {
    let key = proof(VendorScheme::Messagebird, &[MESSAGEBIRD_KEY]);
    let case = |url, token: &str, body, seconds| {
        Case { url, headers: vec![("messagebird-signature-jwt", token.to_owned())], body, seconds }.holds(&key)
    };
    let (url, at) = ("https://example.com/path?bar=1&foo=2", 1_625_479_200);
    assert!(case(url, MESSAGEBIRD_TOKEN, b"", at));
    assert!(case(url, MESSAGEBIRD_TOKEN, b"", at + 60) && case(url, MESSAGEBIRD_TOKEN, b"", at - 1));
    assert!(!case(url, MESSAGEBIRD_TOKEN, b"", at + 61) && !case(url, MESSAGEBIRD_TOKEN, b"", at - 2), "out of time");
    assert!(!case("https://example.com/path?foo=2&bar=1", MESSAGEBIRD_TOKEN, b"", at), "another order");
    assert!(!case(url, MESSAGEBIRD_TOKEN, b"a body", at), "a body that is not signed");
    let claims = MESSAGEBIRD_TOKEN.split('.').nth(1).expect("claims");
    for wrong in ["", &MESSAGEBIRD_TOKEN[..MESSAGEBIRD_TOKEN.len() - 2], &format!("eyJhbGciOiJub25lIn0.{claims}.")] {
        assert!(!case(url, wrong, b"", at), "{wrong}");
    }
    let other = proof(VendorScheme::Messagebird, &["another"]);
    let headers = vec![("messagebird-signature-jwt", MESSAGEBIRD_TOKEN.to_owned())];
    assert!(!Case { url, headers, body: b"", seconds: at }.holds(&other));
}

/// RFC 7617, section 2.
#[test]
fn a_password_is_the_whole_of_it() {
    let key = proof(VendorScheme::Basic, &["Aladdin", "open sesame"]);
    let case = |header: &str| {
        Case { url: "", headers: vec![("authorization", header.to_owned())], body: b"", seconds: 0 }.holds(&key)
    };
    assert!(case("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    for wrong in ["", "Basic ", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic QQ=="]
    {
        assert!(!case(wrong), "{wrong}");
    }
}
