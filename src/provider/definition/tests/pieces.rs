//! The smaller pieces of the language: queries, approved texts, settings by message and by country, signatures, receipts by
//! token, call flows. Each is refused where a part is missing, and keeps values values.

use proptest::prelude::*;

use super::*;
use crate::provider::flow::Flows;

/// A definition of nothing but these pieces.
const PIECES: &str = r#"base_url = "https://{settings.region}.example.com"
[settings]
region = { required = true }
key = { required = true, secret = true }
template = { required = true, by_message = true }
places = { params = true, by_message = true, default = "code" }
law = { countries = ["IN"] }
[auth]
scheme = "acs3"
key_id = "{settings.region}"
secret = "{settings.key}"
[sms]
method = "POST"
path = "/"
[sms.query]
To = "{to}"
Text = "{text}"
Template = "{settings.template}"
Places = { params_object = "places" }
"Law?" = "{settings.law}"
[sms.reply]
proof = [200]
[sms.receipt]
scheme = "basic"
username = "{settings.region}"
password = "{settings.key}"
token = "/id"
status = "/status"
answer = { code = 0 }
handshake = { echo = "/echo", name = "back" }
[sms.receipt.request]
Id = "{callback_token}"
[sms.receipt.words]
ok = "delivered"
[voice]
method = "POST"
path = "/calls"
media_type = "application/x-json"
json = { to = "{to}", url = "{flow_url}", until = "{expires_at}", places = { params_list = "places" } }
validity = { unit = "min", min = 1, max = 9 }
reply = { id = "/id" }
flow = { signed = false, xml = { element = "Say", children = ["{text}"] } }
[errors]
other_4xx = "provider"
server_error = "unknown"
[errors.codes]
"Auth.*" = "throttled"
"#;

fn pieces() -> Definition {
    Definition::parse("test", "test.toml", PIECES).unwrap_or_else(|found| panic!("{found:#?}"))
}

/// What is replaced, by what, and a part of what is then told.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("https://{settings.region}.", "https://example.com/{settings.region}.", "base_url: found"),
    ("https://{settings.region}.", "https://{settings.law}.", "base_url: found `{settings.law}`, which may be unset"),
    ("countries = [\"IN\"]", "countries = [\"UK\"]", "settings.law.countries[0]: found `UK`; allowed: ISO codes"),
    ("by_message = true }\np", "by_message = 1 }\np", "settings.template.by_message: found `1`; allowed: true, false"),
    ("\"Law?\"", "Law", "sms.query.Law: found `{settings.law}`, which may be unset"),
    ("params_object = \"places\"", "params_object = \"template\"", "sms.query.Places.params_object: found `template`"),
    ("params_object = \"places\"", "params = \"places\"", "sms.query.Places: found a value of type table"),
    ("[sms.query]", "[sms.qurey]", "sms.form: found nothing; allowed: one table"),
    ("key_id = \"{settings.region}\"\n", "", "auth.key_id: found nothing"),
    ("secret = \"{settings.key}\"\n", "", "auth.secret: found nothing"),
    (
        "secret = \"{settings.key}\"\n",
        "secret = \"{settings.key}\"\nregion = \"r\"\n",
        "auth.region: found unknown key",
    ),
    ("\"acs3\"", "\"aws_sigv4\"", "auth.region: found nothing"),
    ("\"acs3\"", "\"aws_sigv4\"", "auth.service: found nothing"),
    ("\"acs3\"", "\"tc3\"", "auth.service: found nothing"),
    ("username = \"{settings.region}\"\n", "", "sms.receipt.username: found nothing"),
    ("scheme = \"basic\"", "scheme = \"telnyx\"", "sms.receipt.public_key: found nothing"),
    ("scheme = \"basic\"", "scheme = \"basics\"", "sms.receipt.scheme: found `basics`; allowed: none, twilio"),
    ("echo = \"/echo\"", "ecco = \"/echo\"", "sms.receipt.handshake.echo: found nothing"),
    ("token = \"/id\"", "token = \"id\"", "sms.receipt.token: found `id`; allowed: a JSON pointer"),
    ("{callback_token}", "{callback_tokens}", "sms.receipt.request.Id: found unknown variable"),
    ("Text = \"{text}\"", "Text = \"{callback_token}\"", "sms.query.Text: found unknown variable `{callback_token}`"),
    ("flow = { signed = false, ", "flow = { ", "voice.flow.signed: found nothing"),
    ("xml = { element = \"Say\", children = [\"{text}\"] }", "signs = 1", "voice.flow.xml: found nothing"),
    (
        "flow = { signed = false, xml = { element = \"Say\", children = [\"{text}\"] } }\n",
        "",
        "unknown variable `{flow_url}`",
    ),
    ("validity = { unit = \"min\", min = 1, max = 9 }\n", "", "unknown variable `{expires_at}`"),
    ("application/x-json", "x-json", "voice.media_type: found `x-json`; allowed: a media type"),
];

#[test]
fn each_missing_or_wrong_part_is_told() {
    drop(pieces());
    for (from, to, expected) in MISTAKES {
        assert!(PIECES.contains(from), "{from}");
        let found = Definition::parse("test", "test.toml", &PIECES.replacen(from, to, 1));
        let found: Vec<_> = found.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|line| line.contains(expected)), "{from} -> {to}\nexpected {expected}\nin {found:#?}");
    }
}

fn given(settings: &[(&str, &str)]) -> ProviderSettings {
    let mut given = ProviderSettings::new("test");
    let url = "https://courier.example.com".parse().expect("an address");
    given.flows = Some(Flows::new(&url, &Secret::new("k"), None));
    given.settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    given
}

const SET: [(&str, &str); 3] = [("region", "eu"), ("key", "s"), ("template.default", "T1")];

fn made_of(settings: &[(&str, &str)], message: &Message) -> Request {
    let provider = HttpProvider::new(given(settings), Arc::new(pieces()), Clock::system()).expect("usable");
    request(&provider, message)
}

fn fields(made: &Request) -> BTreeMap<String, String> {
    made.url.query_pairs().into_owned().collect()
}

#[test]
fn what_is_only_said_in_the_address_has_no_body() {
    let asked = Message { callback_url: Some(Secret::new("https://c.example/receipts/test/TOKEN")), ..message() };
    let made = made_of(&SET, &asked);
    assert_eq!((made.body.len(), made.headers.get("content-type")), (0, None));
    assert_eq!(made.url.host_str(), Some("eu.example.com"));
    let expected = [
        ("Id", "TOKEN"),
        ("Places", r#"{"code":"481516"}"#),
        ("Template", "T1"),
        ("Text", "481516 is your code"),
        ("To", "+14155552671"),
    ];
    assert_eq!(fields(&made), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn settings_that_can_not_serve_are_told() {
    for (settings, expected) in [
        (
            &[("region", "eu"), ("key", "s")][..],
            "providers.test.template: found nothing; allowed: a value: it is required",
        ),
        (&[("region", "eu"), ("key", "s"), ("template.x", "T")], "providers.test.template: found no `default`"),
        (&[("region", "eu"), ("key.default", "s"), ("template", "T")], "unknown key `key.default`"),
        (&[("region", "eu"), ("key", "s"), ("template", "T"), ("places", "cod")], "providers.test.places: found `cod`"),
        (&[("region", "a/b"), ("key", "s"), ("template", "T")], "providers.test.region"),
        (&[("region", "a.b@evil"), ("key", "s"), ("template", "T")], "providers.test.region"),
    ] {
        let found = HttpProvider::new(given(settings), Arc::new(pieces()), Clock::system()).err().expect("refused");
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}\nin {found:#?}");
    }
}

/// Anything, and often what means something to a query, to JSON or to XML.
fn nasty() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "&", "=", "+", "%", "%2B", "*", "~", " ", "\"", "\\", "{code}", "#", "?", "é", "😀", "\0", "\r\n", "</Say>",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_query_and_the_json_in_it_decode_to_the_very_values(text in nasty(), code in nasty(), template in "[^\\PC]{1,9}") {
        let sent = Message { text: Secret::new(text.as_str()), code: Some(Secret::new(code.as_str())), ..message() };
        let made = made_of(&[("region", "eu"), ("key", "s"), ("template", template.as_str()), ("places", "it=code, text")], &sent);
        let fields = fields(&made);
        prop_assert_eq!(fields.len(), 4);
        prop_assert_eq!((&fields["Text"], &fields["Template"]), (&text, &template));
        let places: Value = serde_json::from_str(&fields["Places"]).expect("JSON");
        prop_assert_eq!(places, serde_json::json!({"it": code, "text": text}));
        prop_assert_eq!((made.url.host_str(), made.url.path(), made.url.fragment()), (Some("eu.example.com"), "/", None));
        // As RFC 3986 has it: what is signed is what is sent.
        let query = made.url.query().unwrap_or_default();
        prop_assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%&=".contains(&b)), "{query}");
    }

    #[test]
    fn a_flow_says_the_very_text_and_shows_none_of_it(text in "[a-zA-Z<>&\"' ]{6,60}") {
        let to = PhoneNumber::parse("+14155552671", None).expect("valid");
        let call = Message { address: Address::Voice { to, extension: None }, text: Secret::new(text.as_str()), ..message() };
        let made = made_of(&SET, &call);
        let body: Value = serde_json::from_slice(&made.body).expect("JSON");
        let url = body["url"].as_str().expect("an address");
        prop_assert!(!url.contains(text.as_str()));
        let token = url.strip_prefix("https://courier.example.com/voice/test/").expect("ours");
        let flows = given(&SET).flows.expect("there");
        let said = flows.open("test", token, Timestamp::EPOCH).expect("ours");
        let document = roxmltree::Document::parse(said.expose()).expect("well formed");
        prop_assert_eq!(document.root_element().text(), Some(text.as_str()));
        prop_assert_eq!(&body["until"], "1970-01-01T00:02:00.000Z");
        prop_assert_eq!(&body["places"], &serde_json::json!(["481516"]));
    }
}

#[test]
fn who_can_not_dial_an_extension_is_not_asked_to() {
    let to = PhoneNumber::parse("+14155552671", None).expect("valid");
    let call = Message { address: Address::Voice { to, extension: Some("42".into()) }, ..message() };
    let provider = HttpProvider::new(given(&SET), Arc::new(pieces()), Clock::system()).expect("usable");
    assert_eq!(provider.request(&call, Timestamp::EPOCH).err(), Some(request::Unfit::Extension));
}

#[test]
fn a_batch_is_believed_with_its_password_and_by_its_tokens() {
    use crate::provider::Provider as _;
    use crate::provider::http::receipt::Given;
    use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
    let provider = HttpProvider::new(given(&SET), Arc::new(pieces()), Clock::system()).expect("usable");
    let batch = |password: &'static str, body: &str| {
        let headers = [(CONTENT_TYPE, "application/json"), (AUTHORIZATION, password)];
        let headers: HeaderMap =
            headers.map(|(name, value)| (name, HeaderValue::from_static(value))).into_iter().collect();
        let asked =
            Given { url: "https://c.example/", headers: &headers, body: body.as_bytes(), now: Timestamp::EPOCH };
        assert_eq!(provider.receipt(Channel::Sms, &asked), None, "only at the one address");
        provider.batch(Channel::Sms, &asked)
    };
    let good = "Basic ZXU6cw==";
    let told = batch(good, r#"[{"id":"a","status":"ok"},{"status":"ok"},{"id":"b","status":"?"}]"#).expect("proven");
    let tokens: Vec<_> = told.told.iter().map(|(token, _)| token.as_str()).collect();
    assert_eq!((tokens, told.handshake, told.answer), (vec!["a", "b"], None, Some(serde_json::json!({"code": 0}))));
    assert!(batch("Basic ZXU6cg==", r#"[{"id":"a","status":"ok"}]"#).is_none());
    let echoed = batch(good, r#"[{"echo":"512d38b6"}]"#).expect("proven");
    assert_eq!(echoed.handshake, Some(serde_json::json!({"back": "512d38b6"})));
    let long = format!(r#"[{{"echo":"{}"}}]"#, "x".repeat(300));
    assert_eq!(batch(good, &long).expect("proven").handshake, None);
}

#[test]
fn names_have_families_and_lose_their_space() {
    let judged = |code: &str| {
        let body = serde_json::json!({"code": code}).to_string();
        let text = PIECES.replacen("proof = [200]", "proof = [200]\ncode = \"/code\"", 1);
        let definition = Definition::parse("test", "test.toml", &text).expect("valid");
        let reply = Reply::Answered { status: 400, retry_after: None, body: body.into() };
        definition.dialect(Channel::Sms).expect("there").judge(&reply).1.to_string()
    };
    for (code, row) in [
        ("Auth.Expired", "codes.Auth.*"),
        ("Auth.A.B", "codes.Auth.*"),
        ("Auth", "codes.Auth.*"),
        ("Author.X", "other_4xx"),
        ("com.acme#Auth", "codes.Auth.*"),
        ("a b#Auth", "other_4xx"),
    ] {
        assert_eq!(judged(code), row, "{code}");
    }
}
