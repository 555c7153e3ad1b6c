//! What a definition says of receipts: how they are asked for, signed and read.

use std::collections::BTreeMap;

use super::answers::read_pointer;
use super::body::read_more;
use super::{Scope, Variable, read_template};
use crate::delivery::outcome::ReceiptStatus;
use crate::provider::definition::reader::{Mistakes, Node, Section};
use crate::provider::definition::receipt::{ReceiptRule, Scheme};
use crate::provider::definition::request::Body;
use crate::provider::definition::variables::CALLBACK_URL;

const SCHEMES: &str = "none, twilio, vonage_sms, vonage_jwt, standard_webhooks";
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
    scope.insert(CALLBACK_URL.to_owned(), Variable { may_lack: false, is_number: false });
    let request = table.need("request", "what a request carries so that receipts come", mistakes);
    let request = request.and_then(|node| read_more(&node, body?, &scope, mistakes));
    let longest = table.take("longest").map(|node| node.number(1..10_001, mistakes));
    let mut pointers = |key: &str| {
        let nodes = table.take(key).map(|node| node.elements()).unwrap_or_default();
        nodes.iter().filter_map(|node| read_pointer(node, mistakes)).collect::<Vec<_>>()
    };
    let (status, code) = (pointers("status"), pointers("code"));
    if status.is_empty() {
        mistakes.add(table.at, &table.path_of("status"), "nothing", "where the word for the status is");
    }
    let words = read_words(&mut table, mistakes);
    let codes = read_codes(&mut table, mistakes);
    table.finish(&["scheme", "secret", "method", "request", "longest", "status", "code", "words", "codes"], mistakes);
    let longest = longest.unwrap_or_default().and_then(|longest| usize::try_from(longest).ok());
    Some(ReceiptRule { scheme: scheme?, request: request?, longest, status, code, words, codes })
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
            scheme.wrong(SCHEMES, mistakes);
            None
        }
    }
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
