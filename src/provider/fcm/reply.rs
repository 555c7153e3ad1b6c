//! What FCM's answers mean: one table, of which the first row that fits counts.
//!
//! FCM's own word (`details[].errorCode`) tells more than the canonical `status`, and that more than HTTP's.
//! Look-alikes are told apart by it: a 404 is a device that is gone only where FCM says `UNREGISTERED`, else
//! a wrong project; a 400 is one only where the token is what is wrong, else our message.
//!
//! A 5xx that FCM itself explains was not taken, and Google says to try it again. One that something before
//! FCM answers says nothing of that, so it is in doubt, as everywhere.

use std::time::Duration;

use serde_json::Value;

use self::Says::{Anything, BadToken, Code, Name, RetryAfter, TooManyForDevice};
use crate::delivery::verdict::AttemptResult::{
    Accepted, Content, DeviceGone, Recipient, Throttled, Transient, Unknown,
};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::provider::Reply;
use crate::provider::push::table::{Row, first, is_word, plain_id, row, unanswered};
use crate::secret::Secret;

/// How long a 429 without a hint is heeded: the project's quota is by the minute.
const QUOTA_PAUSE: Duration = Duration::from_mins(1);

/// What an answer has to say for a row to fit, besides its status.
#[derive(Clone, Copy)]
enum Says {
    /// Anything.
    Anything,
    /// This, as FCM's own code or, where there is none, as the canonical status.
    Code(&'static str),
    /// That the token is what is wrong.
    BadToken,
    /// That one device gets too many.
    TooManyForDevice,
    /// The id of a message.
    Name,
    /// When to come back.
    RetryAfter,
}

/// Answers to a message.
const ANSWERS: [Row<Says>; 23] = [
    row("accepted", (200, 299), Name, Accepted),
    row("success_without_name", (200, 299), Anything, Unknown),
    row("redirect", (300, 399), Anything, AttemptResult::Provider),
    row("unregistered", (400, 499), Code("UNREGISTERED"), DeviceGone),
    // For one device: it registered with another project. For all of them `gone` says whose fault it is.
    row("sender_id_mismatch", (400, 499), Code("SENDER_ID_MISMATCH"), DeviceGone),
    row("third_party_auth_error", (400, 499), Code("THIRD_PARTY_AUTH_ERROR"), AttemptResult::Provider),
    row("apns_auth_error", (400, 499), Code("APNS_AUTH_ERROR"), AttemptResult::Provider),
    row("invalid_token", (400, 400), BadToken, DeviceGone),
    row("invalid_argument", (400, 400), Anything, Content),
    row("unauthenticated", (401, 401), Anything, AttemptResult::Provider),
    row("permission_denied", (403, 403), Anything, AttemptResult::Provider),
    row("not_found", (404, 404), Anything, AttemptResult::Provider),
    row("nothing_done", (408, 408), Anything, Transient),
    row("too_large", (413, 413), Anything, Content),
    row("too_early", (425, 425), Anything, Transient),
    // Others' prompts do not have to wait for one device.
    row("device_quota", (429, 429), TooManyForDevice, Recipient),
    row("quota_exceeded", (429, 429), Anything, Throttled),
    row("other_4xx", (400, 499), Anything, AttemptResult::Provider),
    row("internal", (500, 599), Code("INTERNAL"), Transient),
    row("unavailable", (500, 599), Code("UNAVAILABLE"), Transient),
    row("busy", (503, 503), RetryAfter, Transient),
    row("server_error", (500, 599), Anything, Unknown),
    row("no_status", (0, u16::MAX), Anything, Unknown),
];

/// Refusals of the token endpoint: no message was sent.
const REFUSALS: [Row<Says>; 2] = [
    row("token_throttled", (429, 429), Anything, Throttled),
    row("token_refused", (0, u16::MAX), Anything, AttemptResult::Provider),
];

/// The names of all rows: what recorded conversations have to cover.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().chain(&REFUSALS).map(|row| row.name)
}

/// What is read of an answer.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Value,
}

/// What `reply` to a message for `token` means, and the row that says so. Pure. Some of FCM's own words say
/// the token again; the verdict does not.
#[must_use]
pub fn judge(reply: &Reply, token: &Secret) -> (Verdict, &'static str) {
    let (rows, answer) = match reply {
        Reply::Answered { status, retry_after, body } => (&ANSWERS[..], Answer::read(*status, *retry_after, body)),
        Reply::Refused { status, retry_after, body } => (&REFUSALS[..], Answer::read(*status, *retry_after, body)),
        // FCM puts every refusal into another status, so a 200 proves by itself that the message was taken.
        Reply::Torn { status: 200, why } => return (Verdict::of(Accepted).because(why.as_str()), "accepted"),
        Reply::Torn { status, why } => {
            let (verdict, name) = Answer::read(*status, None, &[]).judge(&ANSWERS, token);
            return (verdict.because(why.as_str()), name);
        }
        Reply::NotSent { .. } | Reply::InDoubt { .. } | Reply::Unfit { .. } => {
            return unanswered(reply).unwrap_or((Verdict::of(Unknown), "no answer came"));
        }
    };
    answer.judge(rows, token)
}

/// Whether `reply` says that the access token is not taken: then no message was.
pub(super) fn is_access_refused(reply: &Reply) -> bool {
    matches!(judge(reply, &Secret::default()), (_, "unauthenticated"))
}

impl Answer {
    fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        Self { status, retry_after, body: serde_json::from_slice(body).unwrap_or(Value::Null) }
    }

    fn judge(&self, rows: &[Row<Says>], token: &Secret) -> (Verdict, &'static str) {
        let (result, name) = first(rows, self.status, |says| self.says(says));
        let mut verdict = Verdict::of(result);
        if result == Accepted {
            verdict.message_id = self.name().and_then(plain_id);
            return (verdict, name);
        }
        verdict.code = self.code().filter(|code| is_word(code)).map(str::to_owned);
        verdict.retry_after = self.retry_after.or((name == "quota_exceeded").then_some(QUOTA_PAUSE));
        let said = self.body.pointer("/error/message").or_else(|| self.body.pointer("/error_description"));
        let said = said.and_then(Value::as_str).filter(|said| !said.is_empty());
        let said = said.map(|said| if token.is_empty() { said.to_owned() } else { said.replace(token.expose(), "…") });
        (verdict.because(said.unwrap_or_else(|| format!("answered with status {}", self.status))), name)
    }

    fn says(&self, what: Says) -> bool {
        match what {
            Anything => true,
            Code(code) => self.code() == Some(code),
            Name => self.name().is_some(),
            RetryAfter => self.retry_after.is_some(),
            BadToken => {
                self.violations("field").any(|field| field == "message.token")
                    || self.message().contains("not a valid fcm registration token")
            }
            TooManyForDevice => {
                let mut told = self.violations("subject").chain(self.violations("description"));
                self.message().contains("device") || told.any(|text| text.to_ascii_lowercase().contains("device"))
            }
        }
    }

    /// The id of an accepted message.
    fn name(&self) -> Option<&str> {
        self.body.get("name")?.as_str().filter(|name| !name.is_empty())
    }

    /// FCM's own code, else the canonical status, else the word of the token endpoint.
    fn code(&self) -> Option<&str> {
        let own = self.details().find_map(|detail| detail.get("errorCode")?.as_str());
        let text = |pointer| self.body.pointer(pointer).and_then(Value::as_str);
        own.or_else(|| text("/error/status")).or_else(|| text("/error"))
    }

    fn message(&self) -> String {
        let message = self.body.pointer("/error/message").and_then(Value::as_str);
        message.unwrap_or_default().to_ascii_lowercase()
    }

    fn details(&self) -> impl Iterator<Item = &Value> {
        self.body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten()
    }

    /// What the violations of `google.rpc.BadRequest` and `google.rpc.QuotaFailure` say under `key`.
    fn violations(&self, key: &'static str) -> impl Iterator<Item = &str> {
        let lists = self.details().flat_map(|detail| [detail.get("fieldViolations"), detail.get("violations")]);
        let all = lists.flatten().filter_map(Value::as_array).flatten();
        all.filter_map(move |violation| violation.get(key)?.as_str())
    }
}
