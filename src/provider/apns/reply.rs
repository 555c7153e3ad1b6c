//! What APNs' answers mean: a row for each reason that Apple documents, then by status.
//!
//! A 5xx that APNs itself explains was not taken. One that something before it answers says nothing of that, so it is
//! in doubt, as everywhere.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::delivery::verdict::AttemptResult::{
    Accepted, Content, DeviceGone, Recipient, Throttled, Transient, Unknown,
};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::provider::Reply;
use crate::provider::push::table::{Row, by_word, is_word, row, status, unanswered, word};

/// Every reason that Apple documents, the one that it writes in two ways twice; what an answer without one means.
const ANSWERS: [Row<&'static str>; 45] = [
    status("accepted", (200, 200), Accepted),
    status("other_success", (201, 299), Unknown),
    status("redirect", (300, 399), AttemptResult::Provider),
    // Of one device: it is gone, or is another environment's. Of all of them: `gone` says whose fault it is.
    word("BadDeviceToken", DeviceGone),
    word("DeviceTokenNotForTopic", DeviceGone),
    word("Unregistered", DeviceGone),
    word("ExpiredToken", DeviceGone),
    word("BadTopic", AttemptResult::Provider),
    word("MissingTopic", AttemptResult::Provider),
    word("TopicDisallowed", AttemptResult::Provider),
    word("BadCollapseId", Content),
    word("BadExpirationDate", Content),
    word("BadMessageId", Content),
    word("BadPriority", Content),
    word("DuplicateHeaders", Content),
    word("InvalidPushType", Content),
    word("MissingDeviceToken", Content),
    word("PayloadEmpty", Content),
    word("PayloadTooLarge", Content),
    word("BadPath", Content),
    word("MethodNotAllowed", Content),
    word("IdleTimeout", Transient),
    word("ExpiredProviderToken", AttemptResult::Provider),
    word("InvalidProviderToken", AttemptResult::Provider),
    word("MissingProviderToken", AttemptResult::Provider),
    word("Forbidden", AttemptResult::Provider),
    word("BadCertificate", AttemptResult::Provider),
    word("BadCertificateEnvironment", AttemptResult::Provider),
    word("UnrelatedKeyIdInToken", AttemptResult::Provider),
    word("BadEnvironmentKeyIdInToken", AttemptResult::Provider),
    word("BadEnvironmentKeyInToken", AttemptResult::Provider),
    // It is about one device: others' prompts do not have to wait for it.
    word("TooManyRequests", Recipient),
    word("TooManyProviderTokenUpdates", AttemptResult::Provider),
    word("InternalServerError", Transient),
    word("ServiceUnavailable", Transient),
    word("Shutdown", Transient),
    status("forbidden", (401, 403), AttemptResult::Provider),
    status("nothing_done", (408, 408), Transient),
    status("gone", (410, 410), DeviceGone),
    status("too_early", (425, 425), Transient),
    status("throttled", (429, 429), Throttled),
    // A reason that this version does not know: our message is the likeliest cause.
    status("other_4xx", (400, 499), Content),
    row("unknown_reason", (500, 599), ANY_WORD, Transient),
    status("server_error", (500, 599), Unknown),
    status("no_status", (0, u16::MAX), Unknown),
];

/// Stands for any reason at all.
const ANY_WORD: &str = "*";

/// The names of all rows: what recorded conversations have to cover.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().map(|row| row.name)
}

/// What may help at once, where nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Another token.
    Token,
    /// Another connection.
    Connection,
}

/// What is read of an answer.
#[derive(Default)]
struct Said {
    reason: Option<String>,
    /// When the device's token was known to be dead.
    timestamp: Option<Timestamp>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let reason = body.get("reason").and_then(Value::as_str).filter(|reason| is_word(reason));
        let timestamp = body.get("timestamp").and_then(Value::as_i64).map(Timestamp::from_millis);
        Self { reason: reason.map(str::to_owned), timestamp }
    }

    fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Answered { body, .. } => Self::read(body),
            _ => Self::default(),
        }
    }
}

/// What `reply` means, and the row that says so. Pure.
#[must_use]
pub fn judge(reply: &Reply) -> (Verdict, &'static str) {
    if let Some(judged) = unanswered(reply) {
        return judged;
    }
    let (status, retry_after) = match reply {
        Reply::Answered { status, retry_after, .. } | Reply::Refused { status, retry_after, .. } => {
            (*status, *retry_after)
        }
        Reply::Torn { status, .. } => (*status, None),
        Reply::NotSent { .. } | Reply::InDoubt { .. } | Reply::Unfit { .. } => (0, None),
    };
    let said = Said::of(reply);
    let reason = said.reason.as_deref();
    let (result, name) = match by_word(&ANSWERS, status, reason) {
        // A reason that is not in the table is one all the same.
        (_, "server_error") if reason.is_some() => by_word(&ANSWERS, status, Some(ANY_WORD)),
        judged => judged,
    };
    let mut verdict = Verdict::of(result);
    if result == Accepted {
        return (verdict, name);
    }
    verdict.code = said.reason;
    verdict.retry_after = retry_after;
    let why = match reply {
        Reply::Torn { why, .. } => why.clone(),
        _ => format!("answered with status {status}"),
    };
    (verdict.because(why), name)
}

/// The moment that an answer speaks of, where it says one.
pub(super) fn as_of(reply: &Reply) -> Option<Timestamp> {
    Said::of(reply).timestamp
}

/// What may help, where `reply` says that it is not the message's fault.
pub(super) fn remedy(reply: &Reply) -> Option<Remedy> {
    match Said::of(reply).reason?.as_str() {
        "ExpiredProviderToken" => Some(Remedy::Token),
        "UnrelatedKeyIdInToken" | "TooManyProviderTokenUpdates" | "IdleTimeout" | "Shutdown" => {
            Some(Remedy::Connection)
        }
        _ => None,
    }
}
