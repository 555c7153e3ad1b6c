//! Each scheme against published vectors, and that every part of a request counts.

use reqwest::header::HeaderValue;

use super::*;

fn signer(scheme: SigningScheme, key_id: &str, secret: &str, region: &str, service: &str) -> Signer {
    let [key_id, region, service] = [key_id, region, service].map(str::to_owned);
    Signer { scheme, key_id, secret: Secret::new(secret), region, service }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

/// What stands behind `Signature=`.
fn signature(signer: &Signer, before: &HeaderMap, request: &Unsigned<'_>) -> String {
    let mut headers = before.clone();
    signer.sign(&mut headers, request).expect("fits");
    let header = headers[AUTHORIZATION].to_str().expect("text");
    assert!(headers[AUTHORIZATION].is_sensitive());
    header.rsplit_once("Signature=").expect("a signature").1.to_owned()
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("an address")
}

fn post<'r>(url: &'r Url, body: &'r str, now: Timestamp) -> Unsigned<'r> {
    Unsigned { method: "POST", url, body: body.as_bytes(), id: "r-1", now }
}

const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// botocore's `aws4_testsuite`, post-x-www-form-urlencoded.
#[test]
fn aws_signs_as_published() {
    let aws = signer(SigningScheme::AwsSigv4, "AKIDEXAMPLE", AWS_SECRET, "us-east-1", "service");
    let (address, now) = (url("https://example.amazonaws.com/"), at("2015-08-30T12:36:00Z"));
    let before = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    let mut signed = before.clone();
    aws.sign(&mut signed, &post(&address, "Param1=value1", now)).expect("fits");
    assert_eq!(signed["x-amz-date"], "20150830T123600Z");
    assert_eq!(
        signed[AUTHORIZATION],
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    );
}

/// Computed by the documented algorithm, with the headers that the service asks for; `tests/it/peers` has botocore sign
/// the same.
#[test]
fn aws_signs_what_it_is_asked() {
    let aws = signer(SigningScheme::AwsSigv4, "AKIDEXAMPLE", AWS_SECRET, "us-east-1", "sms-voice");
    let before = headers(&[
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "PinpointSMSVoiceV2.SendTextMessage"),
        ("accept", "is not signed"),
    ]);
    let body =
        r#"{"DestinationPhoneNumber":"+15555550123","OriginationIdentity":"+15555550100","MessageBody":"123456"}"#;
    let address = url("https://sms-voice.us-east-1.amazonaws.com/");
    let made = signature(&aws, &before, &post(&address, body, at("2026-11-24T12:00:00Z")));
    assert_eq!(made, "d4e54a7551d7c34b38fe0541de0150db528b7497eefec64922a3758be7c49a05");
}

const ALIBABA_NONCE: &str = "3156853299f313e23d1673dc12e1703d";

/// The example of the vendor's page on the signature.
#[test]
fn alibaba_signs_as_published() {
    let acs = signer(SigningScheme::Acs3, "YourAccessKeyId", "YourAccessKeySecret", "", "");
    let before = headers(&[("x-acs-action", "RunInstances"), ("x-acs-version", "2014-05-26")]);
    let address = url(
        "https://ecs.cn-shanghai.aliyuncs.com/?RegionId=cn-shanghai&ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
    );
    let request = Unsigned { id: ALIBABA_NONCE, ..post(&address, "", at("2023-10-26T10:22:32Z")) };
    let mut signed = before;
    acs.sign(&mut signed, &request).expect("fits");
    assert_eq!(
        signed[AUTHORIZATION],
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
         x-acs-signature-nonce;x-acs-version,\
         Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    );
    assert_eq!(
        (&signed["x-acs-date"], &signed["x-acs-signature-nonce"]),
        (&HeaderValue::from_static("2023-10-26T10:22:32Z"), &HeaderValue::from_static(ALIBABA_NONCE))
    );
}

/// Computed by the documented algorithm: the vendor's page masks the keys of its own. `tests/it/peers` has Tencent's
/// library sign the same.
#[test]
fn tencent_signs_as_documented() {
    let tencent = signer(SigningScheme::Tc3, "id", "EXAMPLESECRETKEY", "", "sms");
    let before = headers(&[("content-type", "application/json; charset=utf-8"), ("x-tc-action", "is not signed")]);
    let body = r#"{"PhoneNumberSet":["+8613711112222"],"SmsSdkAppId":"1400006666","TemplateId":"1110","SignName":"Example","TemplateParamSet":["123456","5"]}"#;
    let address = url("https://sms.tencentcloudapi.com/");
    let made = signature(&tencent, &before, &post(&address, body, Timestamp::from_millis(1_760_000_000_999)));
    assert_eq!(made, "06cc27a4719235464b526c776cd9f9939af92d2c1f7aa564f57da02dd33e23b5");
}

/// azure-sdk-for-python's `test_hmac.py`, which signs requests without a body, and one more with a body.
#[test]
fn azure_signs_as_published() {
    let azure = signer(SigningScheme::AzureHmac, "", "pw==", "", "");
    let now = at("2022-04-13T18:09:12Z");
    for (path, expected) in [
        ("/", "88MDmJhUR3m5QhFxb8ztShsSwlGrg7g/6XPnWf7QEO4="),
        ("/testPath", "RoCrHjw7fb9fpHSbqvRUY2xa8RBS0YvI1cxI1x8AS38="),
        ("/testPath?testQuery=yes", "il99+rd6V5O136roX/zVePCNle78HmvC4B7tu9zRH3I="),
    ] {
        let address = url(&format!("https://contoso.communicationservices.azure.com{path}"));
        let request = Unsigned { method: "GET", ..post(&address, "", now) };
        assert_eq!(signature(&azure, &HeaderMap::new(), &request), expected, "{path}");
    }
    let address = url("https://contoso.communicationservices.azure.com/sms?api-version=2026-01-23");
    let request = post(&address, r#"{"from":"+15555550100"}"#, at("2026-11-24T12:00:00Z"));
    let made = signature(&azure, &HeaderMap::new(), &request);
    assert_eq!(made, "OOQ8ymbKMMhF48gWVmd22QCGeeyIhK++Wr9BO/pM1aA=");
    assert!(azure.is_usable() && !signer(SigningScheme::AzureHmac, "", "no base64!", "", "").is_usable());
}

/// Whatever is changed in a request, or in who signs it, gives another signature.
#[test]
fn every_part_counts() {
    use SigningScheme::{Acs3, AwsSigv4, AzureHmac, Tc3};
    let (address, now) = (url("https://api.example.com/sms?a=1&b=2"), at("2026-11-24T12:00:00Z"));
    let before = headers(&[("content-type", "application/json")]);
    for scheme in [AwsSigv4, Acs3, Tc3, AzureHmac] {
        let by = |secret, region, service| signer(scheme, "id", secret, region, service);
        let (usual, request) = (by("c2VjcmV0", "r", "s"), post(&address, "{}", now));
        let expected = signature(&usual, &before, &request);
        assert_eq!(signature(&usual, &before, &request), expected);
        for other in [
            "https://api.example.org/sms?a=1&b=2",
            "https://api.example.com/sms?a=1&b=3",
            "https://api.example.com/smt?a=1&b=2",
            "https://api.example.com:8443/sms?a=1&b=2",
        ] {
            let other = url(other);
            assert_ne!(signature(&usual, &before, &post(&other, "{}", now)), expected, "{other}");
        }
        assert_ne!(signature(&usual, &before, &post(&address, "{} ", now)), expected);
        assert_ne!(signature(&usual, &before, &Unsigned { method: "PUT", ..request }), expected);
        let later = now + std::time::Duration::from_secs(1);
        assert_ne!(signature(&usual, &before, &post(&address, "{}", later)), expected);
        assert_ne!(signature(&by("c2VjcmV1", "r", "s"), &before, &request), expected);
    }
}
