//! Recorded conversations with providers (`tests/dialects/<provider>/*.json`): a message becomes exactly
//! this request, and an answer means exactly this verdict, by this row of the definition.
//!
//! Every row of every definition must be covered by some answer, and every file must belong to a
//! definition, so neither can be forgotten when the other grows. Kinds in code have theirs below.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use mfa_courier::challenge::{Address, ChallengeId, Channel};
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::outcome::ReceiptStatus;
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::phone::PhoneNumber;
use mfa_courier::provider::definition::receipt::{ReceiptRow, ReceiptRule};
use mfa_courier::provider::definition::reply::Row;
use mfa_courier::provider::definition::{Definition, Dialect, builtin};
use mfa_courier::provider::flow::Flows;
use mfa_courier::provider::http::receipt::{Given, News};
use mfa_courier::provider::http::retry_after::retry_after;
use mfa_courier::provider::http::{HttpProvider, ProviderSettings, Request};
use mfa_courier::provider::kinds::IN_CODE;
use mfa_courier::provider::{Message, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{VONAGE_PRIVATE_KEY, VONAGE_PUBLIC_KEY};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

mod push;

/// When every conversation takes place.
const NOW: &str = "2026-11-24T12:00:00Z";
const PUBLIC_URL: &str = "https://courier.example.com";
/// What stands in a file for a private key.
const A_KEY: &str = "the key of the simulated application";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    #[serde(rename = "about")]
    _about: String,
    settings: BTreeMap<String, Secret>,
    message: Said,
    request: Written,
    /// What the vendor fetches when the call is answered; `…` stands for its token in the request.
    flow: Option<String>,
    replies: Vec<Answer>,
    /// What is later told at the message's callback address.
    #[serde(default)]
    receipts: Vec<Receipt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    row: String,
    /// The body as JSON, or else as a form.
    body: Option<Value>,
    form: Option<String>,
    /// The reference that it gives back, with vendors that have one address for all receipts.
    token: Option<String>,
    /// What it says; `None`: nothing that matters.
    status: Option<ReceiptStatus>,
    code: Option<String>,
}

/// The message, as the file tells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default = "sms")]
    channel: Channel,
    to: String,
    extension: Option<String>,
    sender: Option<String>,
    text: String,
    code: Option<Secret>,
    language: String,
    purpose: String,
    tenant: String,
    reference: String,
    validity_ms: u64,
    callback_url: Option<Secret>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    row: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body as JSON, or else as text.
    body: Option<Value>,
    text: Option<String>,
    /// What it means; what is not said is as in a verdict that says only its result.
    verdict: serde_json::Map<String, Value>,
}

const fn sms() -> Channel {
    Channel::Sms
}

impl Said {
    fn address(&self) -> Address {
        let to = PhoneNumber::parse(&self.to, None).expect("a number");
        match self.channel {
            Channel::Sms => Address::Sms { to },
            Channel::Voice => Address::Voice { to, extension: self.extension.clone() },
            Channel::Push => panic!("no conversation of this form is about push"),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339(NOW).expect("valid")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder for each definition")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects")
}

/// Kinds whose conversations are octets, not texts, and are told in `tests/it/smpp/pdus.rs`.
const IN_OCTETS: [&str; 1] = ["smpp"];

#[test]
fn every_folder_belongs_to_a_kind() {
    let definitions = builtin().expect("valid");
    let in_code = IN_CODE.iter().map(|kind| kind.name).filter(|name| !IN_OCTETS.contains(name));
    let names = definitions.keys().map(AsRef::as_ref).chain(in_code);
    let known: BTreeSet<_> = names.map(|name| root().join(name)).collect();
    assert_eq!(files_below(&root()).into_iter().collect::<BTreeSet<_>>(), known);
}

#[test]
fn conversations_go_as_recorded_and_cover_every_row() {
    for (name, definition) in builtin().expect("valid") {
        let mut covered: BTreeMap<Channel, BTreeSet<Row>> = BTreeMap::new();
        let mut told: BTreeMap<Channel, BTreeSet<ReceiptRow>> = BTreeMap::new();
        for file in files_below(&root().join(name.as_ref())) {
            let text = std::fs::read_to_string(&file).expect("readable");
            let named = |why| format!("{}: {why}", file.display());
            let conversation: Conversation = serde_json::from_str(&text).map_err(named).expect("a conversation");
            check_request(&definition, &conversation, &file);
            let channel = conversation.message.channel;
            let rows = conversation.replies.iter().map(|answer| check_answer(&definition, channel, answer, &file));
            covered.entry(channel).or_default().extend(rows);
            let rows = conversation.receipts.iter().map(|receipt| check_receipt(&definition, channel, receipt, &file));
            told.entry(channel).or_default().extend(rows);
        }
        for channel in definition.channels() {
            let dialect = definition.dialect(channel).expect("its own channel");
            let covered = covered.remove(&channel).unwrap_or_default();
            let missing: Vec<_> = dialect.rows().filter(|row| !covered.contains(row)).collect();
            assert!(missing.is_empty(), "no conversation of {name} about {channel} covers {missing:?}");
            let rows = dialect.receipt().map(ReceiptRule::rows).unwrap_or_default();
            let told = told.remove(&channel).unwrap_or_default();
            let missing: Vec<_> = rows.difference(&told).collect();
            assert!(missing.is_empty(), "no receipt of {name} about {channel} covers {missing:?}");
        }
    }
}

/// What a request came to.
fn written(made: &Request) -> Written {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Written {
        method: format!("{:?}", made.method).to_uppercase(),
        url: made.url.to_string(),
        headers: made
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), without_token(text(value.as_bytes()))))
            .collect(),
        body: text(&made.body),
    }
}

fn check_request(definition: &Arc<Definition>, conversation: &Conversation, file: &Path) {
    let said = &conversation.message;
    let mut given = ProviderSettings::new(definition.name());
    let has_address = definition.base_url(said.channel).is_some();
    given.flows = Some(flows());
    given.base_url = (!has_address).then(|| "https://sms.contoso.example/hook".to_owned());
    given.settings.clone_from(&conversation.settings);
    if let Some(key) = given.settings.get_mut("private_key") {
        assert_eq!(key.expose(), A_KEY, "a file names the key, and holds none");
        *key = Secret::new(VONAGE_PRIVATE_KEY);
    }
    let provider = HttpProvider::new(given, Arc::clone(definition), Clock::system()).expect("usable");
    let message = Message {
        reference: said.reference.clone(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: said.address(),
        sender: said.sender.as_deref().map(Arc::from),
        title: None,
        text: Secret::new(said.text.as_str()),
        code: said.code.clone(),
        language: said.language.clone(),
        purpose: said.purpose.clone(),
        tenant: said.tenant.clone(),
        validity: Duration::from_millis(said.validity_ms),
        callback_url: said.callback_url.clone(),
    };
    let made = provider.request(&message, now()).expect("fits");
    let mut written = written(&made);
    let flow = unsealed(&mut written.body, definition.name());
    assert_eq!((&written, &flow), (&conversation.request, &conversation.flow), "{}", file.display());
}

fn flows() -> Flows {
    Flows::new(&PUBLIC_URL.parse().expect("an address"), &Secret::new("a callback key"), None)
}

/// What stands sealed in an address of ours, whose token differs with each run and so becomes a `…`.
fn unsealed(body: &mut String, name: &str) -> Option<String> {
    let before = format!("{PUBLIC_URL}/voice/{name}/");
    let from = body.find(&before)? + before.len();
    let to = from + body[from..].find('"').expect("the end of a text");
    let said = flows().open(name, &body[from..to], now()).expect("ours");
    body.replace_range(from..to, "…");
    Some(said.expose().to_owned())
}

/// A token differs with each run, so what stands for it in a file is what it claims.
fn without_token(header: String) -> String {
    let Some(token) = header.strip_prefix("Bearer ") else { return header };
    let mut rules = Validation::new(Algorithm::RS256);
    // It holds at `NOW`, whatever the time is here.
    rules.validate_exp = false;
    let key = DecodingKey::from_rsa_pem(VONAGE_PUBLIC_KEY.as_bytes()).expect("a key");
    let Ok(signed) = decode::<BTreeMap<String, Value>>(token, &key, &rules) else { return header };
    let mut claims = signed.claims;
    assert!(claims.remove("jti").is_some_and(|id| id.as_str().is_some_and(|id| id.len() == 36)));
    format!("Bearer {}", serde_json::to_string(&claims).expect("plain"))
}

impl Answer {
    fn retry_after(&self) -> Option<Duration> {
        let hints = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        retry_after(hints.map(|(_, value)| value.as_bytes()), now())
    }

    fn bytes(&self) -> bytes::Bytes {
        let body = self.body.as_ref().map(ToString::to_string).or_else(|| self.text.clone());
        body.expect("either `body` or `text`").into()
    }

    /// That it means what the file says, by the row that the file says.
    fn check(&self, verdict: &Verdict, row: &str, file: &Path) {
        let result: AttemptResult =
            serde_json::from_value(self.verdict.get("result").cloned().expect("a result")).expect("one of the eight");
        let mut expected = serde_json::to_value(Verdict::of(result)).expect("plain");
        expected.as_object_mut().expect("an object").extend(self.verdict.clone());
        let got = serde_json::to_value(verdict).expect("plain");
        assert_eq!((got, row), (expected, self.row.as_str()), "{}: {}", file.display(), self.row);
    }
}

fn check_answer(definition: &Definition, channel: Channel, answer: &Answer, file: &Path) -> Row {
    let reply = Reply::Answered { status: answer.status, retry_after: answer.retry_after(), body: answer.bytes() };
    let (verdict, row) = definition.dialect(channel).expect("carries it").judge(&reply);
    assert_eq!(verdict, definition.classify(channel, &reply));
    answer.check(&verdict, &row.to_string(), file);
    row
}

fn check_receipt(definition: &Definition, channel: Channel, receipt: &Receipt, file: &Path) -> ReceiptRow {
    let media_type = if receipt.body.is_some() { "application/json" } else { "application/x-www-form-urlencoded" };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
    let body =
        receipt.body.as_ref().map(ToString::to_string).or_else(|| receipt.form.clone()).expect("a body or a form");
    let given = Given { url: "https://courier.example.com/", headers: &headers, body: body.as_bytes(), now: now() };
    let rule = definition.dialect(channel).and_then(Dialect::receipt).expect("receipts can come");
    let item = given.items().remove(0);
    let (news, row) = rule.judge(&item);
    assert_eq!((rule.token(&item), rule.is_by_token()), (receipt.token.clone(), receipt.token.is_some()));
    let expected = News { status: receipt.status, code: receipt.code.clone() };
    assert_eq!((news, row.to_string()), (expected, receipt.row.clone()), "{}: {}", file.display(), receipt.row);
    row
}
