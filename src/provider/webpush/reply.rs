//! What the answers of browsers' push services mean, by status (RFC 8030) and by the words that some add.
//!
//! A 5xx that the service itself explains was not taken; one without a word of its own is in doubt, as everywhere.

use std::time::Duration;

use serde_json::Value;

use self::Says::{Anything, Explains, RetryAfter, Word};
use crate::delivery::verdict::AttemptResult::{Accepted, Content, DeviceGone, Provider, Throttled, Transient, Unknown};
use crate::delivery::verdict::Verdict;
use crate::provider::Reply;
use crate::provider::push::table::{Row, first, is_word, row, unanswered};

/// What an answer has to say for a row to fit, besides its status.
#[derive(Clone, Copy)]
enum Says {
    /// Anything.
    Anything,
    /// Apple's word.
    Word(&'static str),
    /// What went wrong, in words of the service's own.
    Explains,
    /// When to come back.
    RetryAfter,
}

/// Answers to a message.
const ANSWERS: [Row<Says>; 20] = [
    row("accepted", (200, 204), Anything, Accepted),
    row("other_success", (205, 299), Anything, Unknown),
    row("redirect", (300, 399), Anything, Provider),
    // A subscription is bound for life to the key that it was made with; for all of them `gone` says whose fault it is.
    row("VapidPkHashMismatch", (400, 403), Word("VapidPkHashMismatch"), DeviceGone),
    row("BadJwtToken", (400, 403), Word("BadJwtToken"), Provider),
    row("bad_request", (400, 400), Anything, Content),
    row("unauthorized", (401, 401), Anything, Provider),
    row("forbidden", (403, 403), Anything, Provider),
    row("no_such_subscription", (404, 404), Anything, DeviceGone),
    // Said by Windows' service, which some browsers use.
    row("throttled_by_windows", (406, 406), Anything, Throttled),
    row("nothing_done", (408, 408), Anything, Transient),
    row("expired", (410, 410), Anything, DeviceGone),
    row("too_large", (413, 413), Anything, Content),
    row("too_early", (425, 425), Anything, Transient),
    row("throttled", (429, 429), Anything, Throttled),
    row("other_4xx", (400, 499), Anything, Content),
    row("explained", (500, 599), Explains, Transient),
    row("busy", (503, 503), RetryAfter, Transient),
    row("server_error", (500, 599), Anything, Unknown),
    row("no_status", (0, u16::MAX), Anything, Unknown),
];

/// The names of all rows: what recorded conversations have to cover.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().map(|row| row.name)
}

/// What `reply` means, and the row that says so. Pure.
#[must_use]
pub fn judge(reply: &Reply) -> (Verdict, &'static str) {
    if let Some(judged) = unanswered(reply) {
        return judged;
    }
    let (status, retry_after, body) = match reply {
        Reply::Answered { status, retry_after, body } | Reply::Refused { status, retry_after, body } => {
            (*status, *retry_after, &body[..])
        }
        Reply::Torn { status, .. } => (*status, None, &[][..]),
        Reply::NotSent { .. } | Reply::InDoubt { .. } | Reply::Unfit { .. } => (0, None, &[][..]),
    };
    let word = word(body);
    let says = |what| says(what, word.as_deref(), retry_after);
    let (result, name) = first(&ANSWERS, status, says);
    let mut verdict = Verdict::of(result);
    if result == Accepted {
        return (verdict, name);
    }
    verdict.code = word;
    verdict.retry_after = retry_after;
    let why = match reply {
        Reply::Torn { why, .. } => why.clone(),
        _ => format!("answered with status {status}"),
    };
    (verdict.because(why), name)
}

fn says(what: Says, word: Option<&str>, retry_after: Option<Duration>) -> bool {
    match what {
        Anything => true,
        Word(wanted) => word == Some(wanted),
        Explains => word.is_some(),
        RetryAfter => retry_after.is_some(),
    }
}

/// Apple's reason, Mozilla's number, or FCM's status, as the verdict's code.
fn word(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |pointer| body.pointer(pointer).and_then(Value::as_str).filter(|text| is_word(text));
    let number = body.get("errno").and_then(Value::as_u64).filter(|number| *number < 1_000);
    let word = text("/reason").or_else(|| text("/error/status")).map(str::to_owned);
    word.or_else(|| number.map(|number| number.to_string()))
}
