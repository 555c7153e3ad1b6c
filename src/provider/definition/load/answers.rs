//! What an answer means: where things are in it, and the tables of errors.

use std::collections::{BTreeMap, BTreeSet};

use crate::delivery::verdict::AttemptResult;
use crate::provider::definition::reader::{Mistakes, Node, Section};
use crate::provider::definition::reply::{ErrorTable, Meaning, ReplyShape};

/// The words for what an answer means.
pub(super) const RESULTS: &str = "accepted, transient, throttled, recipient, device_gone, content, provider, unknown";

pub(super) fn read_reply(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<ReplyShape> {
    let mut table = node.table(mistakes)?;
    let mut pointers = |key: &str| {
        let nodes = table.take(key).map(|node| node.elements()).unwrap_or_default();
        nodes.iter().filter_map(|node| read_pointer(node, mistakes)).collect()
    };
    let mut shape = ReplyShape {
        id: pointers("id"),
        code: pointers("code"),
        error: pointers("error"),
        segments: pointers("segments"),
        detail: pointers("detail"),
        proof: BTreeSet::new(),
    };
    let proof = table.take("proof").map(|node| node.elements()).unwrap_or_default();
    let statuses = proof.iter().filter_map(|node| node.number(200..300, mistakes));
    shape.proof = statuses.filter_map(|status| u16::try_from(status).ok()).collect();
    if shape.id.is_empty() && shape.proof.is_empty() {
        let path = table.path_of("proof");
        mistakes.add(
            table.at,
            &path,
            "neither `id` nor `proof`",
            "what proves acceptance: where the id is, or statuses",
        );
    }
    table.finish(&["id", "code", "error", "segments", "detail", "proof"], mistakes);
    Some(shape)
}

pub(super) fn read_pointer(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<String> {
    let allowed = "a JSON pointer such as `/messages/0/id`, or `/messages/*/id` for all of them";
    let text = node.text(allowed, mistakes)?;
    if !text.starts_with('/') {
        node.wrong(allowed, mistakes);
    }
    Some(text.to_owned())
}

pub(super) fn read_errors(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<ErrorTable> {
    let mut table = node.table(mistakes)?;
    let mut row = |key: &str, required: bool| {
        let node = if required { table.need(key, RESULTS, mistakes) } else { table.take(key) };
        node.and_then(|node| read_meaning(&node, true, mistakes))
    };
    let (other_4xx, server_error) = (row("other_4xx", true), row("server_error", true));
    let (unavailable, other_error) = (row("unavailable", false), row("other_error", false));
    let (mut codes, mut families, mut statuses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (code, node) in rows(&mut table, "codes", mistakes) {
        let Some(meaning) = read_meaning(&node, false, mistakes) else { continue };
        if is_family(code) { &mut families } else { &mut codes }.insert(code.to_owned(), meaning);
    }
    for (key, node) in rows(&mut table, "statuses", mistakes) {
        let status = key.parse().ok().filter(|status| (400..600).contains(status) && key.len() == 3);
        if status.is_none() {
            mistakes.add(node.at, &node.path, format!("`{key}`"), "a status from 400 to 599");
        }
        let meaning = read_meaning(&node, status.is_none_or(|status| status >= 500), mistakes);
        statuses.extend(status.zip(meaning));
    }
    let keys = ["other_4xx", "server_error", "unavailable", "other_error", "codes", "statuses"];
    table.finish(&keys, mistakes);
    let (other_4xx, server_error) = (other_4xx?, server_error?);
    Some(ErrorTable { codes, families, statuses, other_4xx, server_error, unavailable, other_error })
}

fn rows<'t>(errors: &mut Section<'t>, key: &str, mistakes: &Mistakes<'_>) -> Vec<(&'t str, Node<'t>)> {
    let Some(mut table) = errors.take(key).and_then(|node| node.table(mistakes)) else { return Vec::new() };
    if table.is_empty() {
        mistakes.add(table.at, &table.path, "an empty table", "at least one row");
    }
    table.entries()
}

/// `21xxx`: as vendors write the family of all codes from 21000 to 21999; `AuthFailure.*`: of all that begin so.
fn is_family(code: &str) -> bool {
    if code.strip_suffix(".*").is_some_and(|name| !name.is_empty()) {
        return true;
    }
    let digits = code.trim_end_matches('x');
    digits.len() < code.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `"recipient"`, or a table that says more. `refused`: acceptance can't stand here.
fn read_meaning(node: &Node<'_>, refused: bool, mistakes: &Mistakes<'_>) -> Option<Meaning> {
    let (result, mut table) = if node.value.is_table() {
        let mut table = node.table(mistakes)?;
        let result = table.need("result", RESULTS, mistakes).and_then(|node| node.word(RESULTS, mistakes));
        (result, Some(table))
    } else {
        (node.word(RESULTS, mistakes), None)
    };
    let scopes = "provider, country, sender";
    let mut take = |key| table.as_mut().and_then(|table| table.take(key));
    let scope = take("scope").map(|node| (node.word(scopes, mistakes), node));
    let opted_out = take("opted_out").map(|node| (node.flag(mistakes), node));
    if let Some(table) = table {
        table.finish(&["result", "scope", "opted_out"], mistakes);
    }
    let result: AttemptResult = result?;
    if refused && result == AttemptResult::Accepted {
        node.wrong("any result but `accepted`", mistakes);
    }
    if let Some((_, node)) =
        scope.as_ref().filter(|_| !matches!(result, AttemptResult::Provider | AttemptResult::Throttled))
    {
        node.wrong("a scope only with `provider` and `throttled`", mistakes);
    }
    if let Some((_, node)) = opted_out.as_ref().filter(|_| result != AttemptResult::Recipient) {
        node.wrong("`opted_out` only with `recipient`", mistakes);
    }
    Some(Meaning {
        result,
        scope: scope.and_then(|(scope, _)| scope).unwrap_or_default(),
        opted_out: opted_out.and_then(|(flag, _)| flag).unwrap_or_default(),
    })
}
