//! What a definition says of receipts: how they are asked for, signed and read.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::DeValue;

use super::answers::read_pointer;
use super::body::read_more;
use super::{Scope, Variable, read_template};
use crate::delivery::outcome::ReceiptStatus;
use crate::provider::definition::reader::{Mistakes, Node, Section};
use crate::provider::definition::receipt::{Handshake, ReceiptRule, Scheme, VendorScheme};
use crate::provider::definition::request::Body;
use crate::provider::definition::variables::{CALLBACK_TOKEN, CALLBACK_URL};

const SCHEMES: &str =
    "none, twilio, vonage_sms, vonage_jwt, standard_webhooks, basic, messagebird, plivo, sinch, telnyx";
const KEYS: [&str; 12] = [
    "scheme",
    "secret",
    "method",
    "request",
    "longest",
    "status",
    "code",
    "words",
    "codes",
    "token",
    "answer",
    "handshake",
];
/// What a word may mean; `nothing` is none of the contract's.
const STATUSES: &str = "sent, delivered, undelivered, failed, expired, rejected, answered, busy, no_answer, machine, \
                        cancelled, unknown";
const NOTHING: &str = "nothing";

/// Reads `[<channel>.receipt]` beside the channel's `body`. `of_messages` is what its request may use.
pub(super) fn read_receipt(
    node: &Node<'_>,
    body: Option<&Body>,
    of_messages: &Scope,
    of_settings: &Scope,
    mistakes: &Mistakes<'_>,
) -> Option<ReceiptRule> {
    let mut table = node.table(mistakes)?;
    let scheme = read_scheme(&mut table, of_settings, mistakes);
    let mut scope = of_messages.clone();
    scope.extend([CALLBACK_URL, CALLBACK_TOKEN].map(|name| (name.to_owned(), Variable::TEXT)));
    let request = table.need("request", "what a request carries so that receipts come", mistakes);
    let request = request.and_then(|node| read_more(&node, body?, &scope, mistakes));
    let longest = table.take("longest").map(|node| node.number(1..10_001, mistakes));
    let mut pointers = |key: &str| {
        let nodes = table.take(key).map(|node| node.elements()).unwrap_or_default();
        nodes.iter().filter_map(|node| read_pointer(node, mistakes)).collect::<Vec<_>>()
    };
    let (status, code, token) = (pointers("status"), pointers("code"), pointers("token"));
    if status.is_empty() {
        mistakes.add(table.at, &table.path_of("status"), "nothing", "where the word for the status is");
    }
    let words = read_words(&mut table, mistakes);
    let codes = read_codes(&mut table, mistakes);
    let answer = table.take("answer").and_then(|node| read_constant(&node, mistakes));
    let handshake = table.take("handshake").and_then(|node| read_handshake(&node, mistakes));
    let of_scheme = match &scheme {
        Some(Scheme::Vendor(scheme, _)) => scheme.keys(),
        _ => &[],
    };
    table.finish(&[&KEYS, of_scheme].concat(), mistakes);
    let longest = longest.unwrap_or_default().and_then(|longest| usize::try_from(longest).ok());
    let (scheme, request) = (scheme?, request?);
    Some(ReceiptRule { scheme, request, longest, token, answer, handshake, status, code, words, codes })
}

fn read_scheme(table: &mut Section<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Scheme> {
    let scheme = table.need("scheme", SCHEMES, mistakes)?;
    // Where it is not set, there is nothing to check a signature with.
    let mut setting = |key: &str, optional| {
        let node = table.need(key, "a template over the settings", mistakes)?;
        read_template(&node, scope, optional, mistakes)
    };
    match scheme.text(SCHEMES, mistakes)? {
        "none" => Some(Scheme::None),
        "twilio" => Some(Scheme::Twilio { secret: setting("secret", false)? }),
        "vonage_sms" => {
            let (secret, method) = (setting("secret", true), setting("method", false));
            Some(Scheme::VonageSms { secret: secret?, method: method? })
        }
        "vonage_jwt" => Some(Scheme::VonageJwt { secret: setting("secret", true)? }),
        "standard_webhooks" => Some(Scheme::StandardWebhooks { secret: setting("secret", true)? }),
        _ => {
            let scheme: VendorScheme = scheme.word(SCHEMES, mistakes)?;
            let parts: Vec<_> = scheme.keys().iter().map(|key| setting(key, true)).collect();
            Some(Scheme::Vendor(scheme, parts.into_iter().collect::<Option<_>>()?))
        }
    }
}

/// JSON that is always the same.
fn read_constant(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Value> {
    match node.value {
        DeValue::Table(_) => {
            let entries = node.table(mistakes)?.entries();
            let entry = |(key, node): (&str, Node<'_>)| Some((key.to_owned(), read_constant(&node, mistakes)?));
            entries.into_iter().map(entry).collect::<Option<_>>().map(Value::Object)
        }
        DeValue::Integer(_) => node.number(0..u64::from(u32::MAX), mistakes).map(Value::from),
        _ => node.text("a table of texts and whole numbers", mistakes).map(Value::from),
    }
}

fn read_handshake(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Handshake> {
    let mut table = node.table(mistakes)?;
    let echo = table.need("echo", "where the text stands that is given back", mistakes);
    let echo = echo.and_then(|node| read_pointer(&node, mistakes));
    let name = table.need("name", "under which name it is given back", mistakes);
    let name = name.and_then(|node| node.text("a name", mistakes)).map(str::to_owned);
    table.finish(&["echo", "name"], mistakes);
    Some(Handshake { echo: echo?, name: name? })
}

fn read_words(table: &mut Section<'_>, mistakes: &Mistakes<'_>) -> BTreeMap<String, Option<ReceiptStatus>> {
    let node = table.need("words", "what each word for a status means", mistakes);
    let entries = node.and_then(|node| node.table(mistakes)).map(|mut table| table.entries()).unwrap_or_default();
    let word = |(word, node): (&str, Node<'_>)| {
        let means_nothing = node.value.as_str() == Some(NOTHING);
        let status = if means_nothing { None } else { Some(node.word(&format!("{STATUSES}, {NOTHING}"), mistakes)?) };
        Some((word.to_owned(), status))
    };
    entries.into_iter().filter_map(word).collect()
}

fn read_codes(table: &mut Section<'_>, mistakes: &Mistakes<'_>) -> BTreeMap<String, ReceiptStatus> {
    let Some(mut codes) = table.take("codes").and_then(|node| node.table(mistakes)) else { return BTreeMap::new() };
    let code = |(code, node): (&str, Node<'_>)| {
        let status: ReceiptStatus = node.word(STATUSES, mistakes)?;
        if !status.is_failure() {
            node.wrong("a failure: the code of one says more than its word", mistakes);
        }
        Some((code.to_owned(), status))
    };
    codes.entries().into_iter().filter_map(code).collect()
}
