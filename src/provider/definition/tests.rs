//! Loading finds every mistake, and whatever a message holds stays a value.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::challenge::{Address, ChallengeId};
use crate::clock::{Clock, Timestamp};
use crate::phone::PhoneNumber;
use crate::provider::Message;
use crate::provider::http::{HttpProvider, ProviderSettings, Request};
use crate::secret::Secret;

/// A definition that uses everything.
const WHOLE: &str = r#"base_url = "https://sms.example.com/api/"
[settings]
account = { required = true }
key = { default = "{settings.account}", secret = true }
mode = { one_of = ["a", "b"] }
[auth]
scheme = "header"
name = "X-Key"
value = "AccessKey {settings.key}"
[sms]
method = "POST"
path = "/v1/{settings.account}/{reference}"
[sms.headers]
Idempotency-Key = "{reference}"
"X-Mode?" = "{settings.mode}"
[sms.json]
to = "{to_digits}"
"from?" = { type = "name", value = "{sender}" }
text = "{text}"
list = ["{tenant}", { purpose = "{purpose}" }]
flag = true
parts = 1
ttl = "{validity}"
ttl_text = "{validity} s"
[sms.validity]
unit = "s"
min = 60
max = 600
[sms.reply]
id = "/id"
code = "/error/code"
error = "/error/code"
detail = "/error/text"
[errors]
other_4xx = "provider"
server_error = "unknown"
other_error = "transient"
[errors.statuses]
402 = "provider"
[errors.codes]
101 = "recipient"
1xx = "content"
[sms.encoding]
gsm7 = { alphabet = "gsm" }
ucs2 = { alphabet = "all" }
[settings.application]
required = "voice"
[settings.private_key]
required = "voice"
secret = true
[voice]
base_url = "https://voice.example.com"
method = "POST"
path = "/calls"
[voice.auth]
scheme = "jwt"
key = "{settings.private_key}"
claims = { application = "{settings.application}" }
lifetime = 900
[voice.json]
to = "{to}"
style = "{language.style}"
says = { xml = { element = "Say", attributes = { lang = "{language.tag}", "from?" = "{sender}" }, children = ["{text}"] } }
[voice.language]
default = { tag = "en-US", style = 0 }
pt-BR = { tag = "pt-BR", style = 1 }
[voice.reply]
id = "/id"
"#;

fn load_edited(from: &str, to: &str) -> Vec<String> {
    assert!(WHOLE.contains(from), "{from}");
    match Definition::parse("test", "test.toml", &WHOLE.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn built_in_definitions_load() {
    let loaded = builtin().expect("valid");
    assert_eq!(
        loaded.keys().map(AsRef::as_ref).collect::<Vec<_>>(),
        BUILTIN.iter().map(|(name, _, _)| *name).collect::<Vec<_>>()
    );
    assert_eq!(load_edited("to = ", "to = "), [""; 0]);
}

/// What is replaced, by what, and a part of what is then told.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("flag = true", "flag = 1.5", "test.toml:21: sms.json.flag: found a value of type float; allowed: a text, a whole"),
    ("[auth]", "[auht]", "test.toml:6: auht: found unknown key `auht`; allowed: base_url, settings, auth, errors"),
    ("[auth]", "[auht]", "test.toml:10: auth: found nothing; allowed: a table [auth], or [sms.auth]"),
    ("{text}", "{txet}", "test.toml:19: sms.json.text: found unknown variable `{txet}`; allowed: channel, code,"),
    ("{text}", "{token}", "test.toml:19: sms.json.text: found unknown variable `{token}`"),
    ("{text}", "{settings.mode}", "sms.json.text: found `{settings.mode}`, which may be unset; allowed: a setting"),
    ("{text}", "{text", "test.toml:19: sms.json.text: found `{` at byte 0 has no partner"),
    ("[settings]\naccount", "[settings]\naccuont", "unknown variable `{settings.account}`"),
    ("key = { default", "rate = { default", "settings.rate: found `rate`; allowed: a name"),
    (
        "server_error = \"unknown\"\n",
        "",
        "test.toml:34: errors.server_error: found nothing; allowed: accepted, transient, throttled, recipient, device_gone",
    ),
    ("other_4xx = \"provider\"\n", "", "errors.other_4xx: found nothing"),
    ("other_error = \"transient\"\n", "", "errors.other_error: found nothing"),
    (
        "\"recipient\"",
        "\"recipent\"",
        "test.toml:41: errors.codes.101: found `recipent`; allowed: accepted, transient, throttled, recipient, device_gone",
    ),
    ("101 = \"recipient\"\n1xx = \"content\"\n", "", "test.toml:40: errors.codes: found an empty table"),
    ("1xx = ", "101 = ", "test.toml:42: "),
    ("402 = \"provider\"", "302 = \"provider\"", "errors.statuses.302: found `302`; allowed: a status from 400"),
    ("402 = \"provider\"", "502 = \"accepted\"", "errors.statuses.502: found `accepted`; allowed: any result but"),
    ("server_error = \"unknown\"", "server_error = \"accepted\"", "errors.server_error: found `accepted`"),
    (
        "101 = \"recipient\"",
        "101 = { result = \"content\", scope = \"country\" }",
        "errors.codes.101.scope: found `country`",
    ),
    ("101 = \"recipient\"", "101 = { result = \"content\", opted_out = true }", "errors.codes.101.opted_out: found"),
    ("101 = \"recipient\"", "101 = { scope = \"country\" }", "errors.codes.101.result: found nothing"),
    ("method = \"POST\"", "method = \"GET\"", "test.toml:11: sms.method: found `GET`; allowed: POST, PUT"),
    ("method = \"POST\"\n", "", "test.toml:10: sms.method: found nothing"),
    ("\"/v1/", "\"v1/", "test.toml:12: sms.path: found `v1/"),
    (
        "key = { default",
        "key = { required = true, default",
        "settings.key.default: found `{settings.account}`; allowed: no",
    ),
    ("[sms.json]", "[sms.jsno]", "sms.form: found nothing; allowed: one table: `form` or `json`"),
    ("[sms.validity]", "[sms.form]\na = \"b\"\n[sms.validity]", "sms.form: found both `form` and `json`"),
    ("[sms.validity]\nunit = \"s\"\nmin = 60\nmax = 600\n", "", "sms.json.ttl: found unknown variable `{validity}`"),
    ("unit = \"s\"", "unit = \"h\"", "sms.validity.unit: found `h`; allowed: s, ms, min"),
    ("max = 600", "max = 6", "sms.validity.max: found `6`; allowed: at least `min`"),
    ("text = \"{text}\"", "\"to?\" = \"{text}\"", "found `to` a second time; allowed: each name once"),
    ("id = \"/id\"", "id = \"id\"", "sms.reply.id: found `id`; allowed: a JSON pointer"),
    ("id = \"/id\"\n", "", "sms.reply.proof: found neither `id` nor `proof`"),
    (
        "scheme = \"header\"",
        "scheme = \"digest\"",
        "auth.scheme: found `digest`; allowed: none, basic, bearer, header,",
    ),
    ("name = \"X-Key\"", "name = \"Host\"", "auth.name: found `Host`; allowed: the name of a header other than host"),
    ("{settings.key}", "{text}", "auth.value: found unknown variable `{text}`; allowed: settings.account"),
    ("https://sms", "ftp://sms", "test.toml:1: base_url: found `ftp://sms.example.com/api/`"),
    ("[sms]\nmethod", "[smss]\nmethod", "found unknown key `smss`"),
    ("flag = true", "flag = ", "test.toml:21: "),
    ("gsm7 = {", "gsm = {", "test.toml:44: sms.encoding.gsm: found `gsm`; allowed: gsm7, ucs2, each once"),
    ("gsm7 = {", "gsm = {", "test.toml:43: sms.encoding.gsm7: found nothing; allowed: a row for each of gsm7"),
    ("\"all\"", "1", "test.toml:45: sms.encoding.ucs2: found other columns than in the first row; allowed: the same"),
    ("style = 1", "stile = 1", "voice.language.pt-BR: found other columns than in the first row"),
    ("style = 1", "style = -1", "voice.language.pt-BR.style: found `-1`; allowed: a whole number from 0"),
    ("default = { tag", "en = { tag", "voice.language.default: found nothing; allowed: the row of all other languages"),
    ("pt-BR = ", "DEFAULT = ", "voice.language.DEFAULT: found `DEFAULT`; allowed: `default` and language tags"),
    ("pt-BR = ", "portuguese-of-Brazil = ", "found `portuguese-of-Brazil`; allowed: `default` and language tags"),
    (
        "{language.tag}",
        "{language.tga}",
        "voice.json.says.xml.attributes.lang: found unknown variable `{language.tga}`",
    ),
    ("{language.tag}", "{encoding.alphabet}", "found unknown variable `{encoding.alphabet}`; allowed: channel, code"),
    (
        "element = \"Say\"",
        "element = \"Say what\"",
        "voice.json.says.xml.element: found `Say what`; allowed: a name of XML",
    ),
    ("lang = ", "\"la<ng\" = ", "voice.json.says.xml.attributes.la<ng: found `la<ng`; allowed: a name of XML"),
    (
        "children = [\"{text}\"]",
        "child = [\"{text}\"]",
        "voice.json.says.xml.child: found unknown key `child`; allowed: element",
    ),
    ("[\"{text}\"]", "[{ name = \"a\" }]", "voice.json.says.xml.children[0].element: found nothing"),
    (
        "required = \"voice\"",
        "required = \"fax\"",
        "settings.application.required: found `fax`; allowed: true, false, sms",
    ),
    (
        "required = \"voice\"",
        "required = \"sms\"",
        "voice.auth.claims.application: found `{settings.application}`, which may be",
    ),
    ("says = { xml", "says = { longest = 0, xml", "voice.json.says.longest: found `0`; allowed: a whole number from 1"),
    (
        "says = { xml",
        "says = { longer = 9, xml",
        "voice.json.says.longer: found unknown key `longer`; allowed: xml, longest",
    ),
    ("lifetime = 900", "lifetime = 5", "voice.auth.lifetime: found `5`; allowed: a whole number from 60 to 86400"),
    ("claims = { application", "claims = { iat", "voice.auth.claims.iat: found `iat`; allowed: claims other than iat"),
    ("https://voice.", "https://u@voice.", "voice.base_url: found `https://u@voice.example.com`; allowed: an http"),
    (
        "base_url = \"https://voice",
        "baseurl = \"https://voice",
        "voice.baseurl: found unknown key `baseurl`; allowed: base_url",
    ),
];

#[test]
fn each_mistake_is_told_with_its_line_and_what_is_allowed() {
    for (from, to, expected) in MISTAKES {
        let found = load_edited(from, to);
        assert!(found.iter().any(|line| line.contains(expected)), "{from} -> {to}\nexpected {expected}\nin {found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = WHOLE.replacen("{text}", "{txet}", 1).replace("\"content\"", "\"spam\"").replace("unit = \"s\"", "");
    let found = Definition::parse("test", "test.toml", &text).expect_err("three mistakes");
    let lines: Vec<_> = found.iter().map(|mistake| (mistake.line, mistake.path.as_str())).collect();
    assert_eq!(lines, [(19, "sms.json.text"), (25, "sms.validity.unit"), (42, "errors.codes.1xx")]);
}

#[test]
fn nothing_is_no_definition() {
    let found = Definition::parse("test", "test.toml", "").expect_err("empty");
    let told: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected =
        "test.toml:1: the file: found no channel; allowed: at least one of the tables [sms], [voice], [push]";
    assert_eq!(told, [expected]);
}

fn provider(definition: Definition, settings: &[(&str, &str)]) -> HttpProvider {
    let mut given = ProviderSettings::new("test");
    given.base_url = Some("https://example.com/base".into());
    given.settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    HttpProvider::new(given, Arc::new(definition), Clock::system()).expect("usable settings")
}

fn whole(settings: &[(&str, &str)]) -> HttpProvider {
    provider(Definition::parse("test", "test.toml", WHOLE).expect("valid"), settings)
}

fn message() -> Message {
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: Address::Sms { to: PhoneNumber::parse("+14155552671", None).expect("valid") },
        sender: None,
        title: None,
        text: Secret::new("481516 is your code"),
        code: Some(Secret::new("481516")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_millis(90_001),
        callback_url: None,
    }
}

fn request(provider: &HttpProvider, message: &Message) -> Request {
    provider.request(message, Timestamp::EPOCH).expect("fits")
}

#[test]
fn a_request_is_what_the_definition_says() {
    let made = request(&whole(&[("account", "AC1")]), &message());
    assert_eq!(made.url.as_str(), "https://example.com/base/v1/AC1/r-1");
    let headers: Vec<_> =
        made.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    let expected = [("content-type", "application/json"), ("idempotency-key", "r-1"), ("x-key", "AccessKey AC1")];
    assert_eq!(headers, expected);
    let body: Value = serde_json::from_slice(&made.body).expect("JSON");
    let expected = serde_json::json!({
        "to": "14155552671", "text": "481516 is your code", "list": ["default", {"purpose": "sign_in"}],
        "flag": true, "parts": 1, "ttl": 91, "ttl_text": "91 s",
    });
    assert_eq!(body, expected, "what has no value is left out");
    assert_eq!(format!("{made:?}"), "Request { method: Post, .. }");
}

#[test]
fn what_is_set_is_there() {
    let provider = whole(&[("account", "AC1"), ("key", "k"), ("mode", "b")]);
    let made = request(&provider, &Message { sender: Some("Contoso".into()), ..message() });
    assert_eq!(
        (&made.headers["x-key"], &made.headers["x-mode"]),
        (&"AccessKey k".parse().expect("v"), &"b".parse().expect("v"))
    );
    let body: Value = serde_json::from_slice(&made.body).expect("JSON");
    assert_eq!(body["from"], serde_json::json!({"type": "name", "value": "Contoso"}));
}

#[test]
fn a_message_that_lacks_what_must_be_there_is_not_sent() {
    let text = WHOLE.replace("\"from?\" = { type = \"name\", value = \"{sender}\" }", "from = \"{sender}\"");
    let definition = Definition::parse("test", "test.toml", &text).expect("a message may lack it: known only then");
    let made = provider(definition, &[("account", "AC1")]).request(&message(), Timestamp::EPOCH);
    assert_eq!(made.expect_err("no sender").to_string(), "`from` asks for `sender`, which this message has not");
}

#[test]
fn segments_of_dots_and_headers_with_line_ends_are_refused() {
    for (account, reference) in [("..", "r"), (".", "r"), ("AC1", "")] {
        let made = whole(&[("account", account), ("key", "k")])
            .request(&Message { reference: reference.into(), ..message() }, Timestamp::EPOCH);
        assert!(made.is_err(), "{account:?} {reference:?}");
    }
    let made =
        whole(&[("account", "AC1")]).request(&Message { reference: "a\u{85}b".into(), ..message() }, Timestamp::EPOCH);
    assert_eq!(made.expect_err("refused").to_string(), "the value of header `idempotency-key` can't stand in a header");
}

#[test]
fn mistakes_in_settings_are_all_told_and_show_no_secret() {
    let mut given = ProviderSettings::new("p");
    given.base_url = Some("https://user:hunter2@example.com".into());
    given.extra_roots = Some("hunter2".into());
    let set = [("accuont", "hunter2"), ("key", "hunter2\n"), ("mode", "c")];
    given.settings = set.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
    let definition = Arc::new(Definition::parse("test", "test.toml", WHOLE).expect("valid"));
    let found = HttpProvider::new(given, definition, Clock::system()).err().expect("five mistakes");
    let told: Vec<_> = found.iter().map(ToString::to_string).collect();
    for part in [
        "providers.p.accuont: found unknown key `accuont`; allowed: account, application, key, mode, private_key, kind",
        "providers.p.account: found nothing; allowed: a value: it is required",
        "providers.p.mode: found `c`; allowed: a, b",
        "providers.p.base_url: found an address that can't be used",
        "providers.p.key: found a value that can't be used; allowed: printable ASCII",
        "providers.p.ca_file: found no certificate",
    ] {
        assert!(told.iter().any(|line| line.starts_with(part)), "{part} in {told:#?}");
    }
    assert!(!told.concat().contains("hunter2"), "{told:#?}");
}

mod pieces;
mod values;
