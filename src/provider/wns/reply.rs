//! What WNS' answers mean. It says everything in headers, which stand for the body here
//! ([`super::super::http::exchange`]).
//!
//! A 410 means two things: the channel has expired, or its domain is blocked; only the description tells them apart.
//! A 5xx that WNS itself explains was not taken; one that something before it answers is in doubt, as everywhere.

use std::time::Duration;

use serde_json::Value;

use self::Says::{Anything, Blocked, Itself, RetryAfter, Status};
use crate::delivery::verdict::AttemptResult::{
    Accepted, Content, DeviceGone, Provider, Recipient, Throttled, Transient, Unknown,
};
use crate::delivery::verdict::Verdict;
use crate::provider::Reply;
use crate::provider::push::table::{Row, first, is_word, plain_id, row, unanswered};

/// The headers that are read. Documentation and traffic name the status differently.
pub(super) const HEADS: [&str; 6] = [
    "x-wns-status",
    "x-wns-notificationstatus",
    "x-wns-deviceconnectionstatus",
    "x-wns-error-description",
    "x-wns-msg-id",
    "x-wns-debug-trace",
];

/// What an answer has to say for a row to fit, besides its status.
#[derive(Clone, Copy)]
enum Says {
    /// Anything.
    Anything,
    /// That this became of the notification.
    Status(&'static str),
    /// That the domain may not send.
    Blocked,
    /// That it is WNS which answers.
    Itself,
    /// When to come back.
    RetryAfter,
}

/// Answers to a message.
const ANSWERS: [Row<Says>; 23] = [
    // It reached nobody, and would not now: the person blocked notifications, or the device is off.
    row("dropped", (200, 200), Status("dropped"), Recipient),
    // One channel gets too many: others' prompts do not have to wait for it.
    row("channel_throttled", (200, 200), Status("channelthrottled"), Recipient),
    row("accepted", (200, 200), Anything, Accepted),
    row("other_success", (201, 299), Anything, Unknown),
    row("redirect", (300, 399), Anything, Provider),
    row("bad_request", (400, 400), Anything, Content),
    row("unauthorized", (401, 401), Anything, Provider),
    row("forbidden", (403, 403), Anything, Provider),
    row("no_such_channel", (404, 404), Anything, DeviceGone),
    row("bad_method", (405, 405), Anything, Content),
    row("throttled", (406, 406), Anything, Throttled),
    row("nothing_done", (408, 408), Anything, Transient),
    row("domain_blocked", (410, 410), Blocked, Provider),
    row("channel_expired", (410, 410), Anything, DeviceGone),
    row("too_large", (413, 413), Anything, Content),
    row("too_early", (425, 425), Anything, Transient),
    row("too_many", (429, 429), Anything, Throttled),
    row("other_4xx", (400, 499), Anything, Content),
    row("internal", (500, 502), Itself, Transient),
    row("unavailable", (503, 503), Itself, Transient),
    row("busy", (503, 503), RetryAfter, Transient),
    row("server_error", (500, 599), Anything, Unknown),
    row("no_status", (0, u16::MAX), Anything, Unknown),
];

/// Refusals of the token endpoint: no message was sent.
const REFUSALS: [Row<Says>; 2] =
    [row("token_throttled", (429, 429), Anything, Throttled), row("token_refused", (0, u16::MAX), Anything, Provider)];

/// The names of all rows: what recorded conversations have to cover.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().chain(&REFUSALS).map(|row| row.name)
}

/// What is read of an answer.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    told: Value,
}

/// What `reply` means, and the row that says so. Pure.
#[must_use]
pub fn judge(reply: &Reply) -> (Verdict, &'static str) {
    if let Some(judged) = unanswered(reply) {
        return judged;
    }
    let read = |status: u16, retry_after, body: &[u8]| {
        let told = serde_json::from_slice(body).unwrap_or(Value::Null);
        Answer { status, retry_after, told }
    };
    match reply {
        Reply::Answered { status, retry_after, body } => read(*status, *retry_after, body).judge(&ANSWERS),
        Reply::Refused { status, retry_after, body } => read(*status, *retry_after, body).judge(&REFUSALS),
        Reply::Torn { status, why } => {
            let (verdict, name) = read(*status, None, &[]).judge(&ANSWERS);
            (verdict.because(why.as_str()), name)
        }
        Reply::NotSent { .. } | Reply::InDoubt { .. } | Reply::Unfit { .. } => (Verdict::of(Unknown), "no_status"),
    }
}

/// Whether `reply` says that the access token is not taken: then no message was.
pub(super) fn is_access_refused(reply: &Reply) -> bool {
    matches!((reply, judge(reply).1), (Reply::Answered { .. }, "unauthorized"))
}

impl Answer {
    fn judge(&self, rows: &[Row<Says>]) -> (Verdict, &'static str) {
        let (result, name) = first(rows, self.status, |says| self.says(says));
        let mut verdict = Verdict::of(result);
        if result == Accepted {
            verdict.message_id = self.text("x-wns-msg-id").and_then(plain_id);
            return (verdict, name);
        }
        let code = self.notification().or_else(|| self.text("error").map(str::to_owned));
        verdict.code = code.filter(|code| is_word(code));
        verdict.retry_after = self.retry_after;
        let said = self.text("x-wns-error-description").or_else(|| self.text("error_description"));
        let said = said.map_or_else(|| format!("answered with status {}", self.status), str::to_owned);
        (verdict.because(said), name)
    }

    fn says(&self, what: Says) -> bool {
        match what {
            Anything => true,
            Status(word) => self.notification().as_deref() == Some(word),
            Blocked => {
                let said = self.text("x-wns-error-description").unwrap_or_default().to_ascii_lowercase();
                said.contains("domain") || said.contains("blocked")
            }
            Itself => HEADS.iter().any(|head| self.text(head).is_some()),
            RetryAfter => self.retry_after.is_some(),
        }
    }

    /// What became of the notification.
    fn notification(&self) -> Option<String> {
        let said = self.text("x-wns-status").or_else(|| self.text("x-wns-notificationstatus"))?;
        Some(said.to_ascii_lowercase())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.told.get(key)?.as_str().filter(|text| !text.is_empty())
    }
}
