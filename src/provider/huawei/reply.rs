//! What Push Kit's answers mean: a row for each code that Huawei documents, then by status.
//!
//! A success is a code, not a status: a 200 with another code took nothing. One token goes with each request, so what
//! is said of "some" or "all" tokens is said of that device.

use serde_json::Value;

use crate::delivery::verdict::AttemptResult::{Accepted, Content, DeviceGone, Provider, Throttled, Transient, Unknown};
use crate::delivery::verdict::Verdict;
use crate::provider::Reply;
use crate::provider::push::table::{Row, by_word, plain_id, row, status, unanswered, word};
use crate::secret::Secret;

/// Answers to a message.
const ANSWERS: [Row<&'static str>; 40] = [
    row("80000000", (200, 200), "80000000", Accepted),
    word("80100000", DeviceGone),
    word("80300007", DeviceGone),
    // Our message: a field, its structure, its time, its keys, its size.
    word("80100001", Content),
    word("80100003", Content),
    word("80100004", Content),
    word("80100013", Content),
    word("80100016", Content),
    word("80100018", Content),
    word("80100022", Content),
    word("80300008", Content),
    word("80300010", Content),
    word("80200001", Provider),
    word("80200003", Provider),
    word("80200005", Provider),
    word("80200006", Provider),
    word("80300002", Provider),
    word("80300011", Provider),
    word("80300013", Provider),
    word("80300036", Provider),
    word("80300037", Provider),
    word("80600003", Provider),
    word("80100017", Throttled),
    word("80300029", Throttled),
    word("80300030", Throttled),
    word("81000001", Transient),
    row("unknown_code", (200, 200), ANY_CODE, Content),
    status("success_without_code", (200, 299), Unknown),
    status("redirect", (300, 399), Provider),
    status("unauthenticated", (401, 401), Provider),
    status("forbidden", (403, 403), Provider),
    status("not_found", (404, 404), Provider),
    status("nothing_done", (408, 408), Transient),
    status("too_early", (425, 425), Transient),
    status("throttled", (429, 429), Throttled),
    status("other_4xx", (400, 499), Content),
    // How Huawei holds senders back.
    status("flow_control", (503, 503), Throttled),
    row("unknown_code_5xx", (500, 599), ANY_CODE, Transient),
    status("server_error", (500, 599), Unknown),
    status("no_status", (0, u16::MAX), Unknown),
];

/// Refusals of the token endpoint: no message was sent.
const REFUSALS: [Row<&'static str>; 2] =
    [status("token_throttled", (429, 429), Throttled), status("token_refused", (0, u16::MAX), Provider)];

/// Stands for any code at all.
const ANY_CODE: &str = "*";

/// The names of all rows: what recorded conversations have to cover.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.iter().chain(&REFUSALS).map(|row| row.name)
}

/// What `reply` to a message for `token` means, and the row that says so. Pure. Huawei's own words may say the token
/// again; the verdict does not.
#[must_use]
pub fn judge(reply: &Reply, token: &Secret) -> (Verdict, &'static str) {
    if let Some(judged) = unanswered(reply) {
        return judged;
    }
    let (rows, status, retry_after, body) = match reply {
        Reply::Answered { status, retry_after, body } => (&ANSWERS[..], *status, *retry_after, &body[..]),
        Reply::Refused { status, retry_after, body } => (&REFUSALS[..], *status, *retry_after, &body[..]),
        Reply::Torn { status, .. } => (&ANSWERS[..], *status, None, &[][..]),
        Reply::NotSent { .. } | Reply::InDoubt { .. } | Reply::Unfit { .. } => (&ANSWERS[..], 0, None, &[][..]),
    };
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let code = code(&body);
    let known = code.as_deref().and_then(|code| rows.iter().find(|row| row.name == code)).is_some();
    let code_or_any = code.as_deref().map(|code| if known { code } else { ANY_CODE });
    let (result, name) = by_word(rows, status, code_or_any);
    let mut verdict = Verdict::of(result);
    if result == Accepted {
        verdict.message_id = body.get("requestId").and_then(Value::as_str).and_then(plain_id);
        return (verdict, name);
    }
    verdict.code = code;
    verdict.retry_after = retry_after;
    let said = ["msg", "error_description"].iter().find_map(|key| body.get(key)?.as_str());
    let said = said.filter(|said| !said.is_empty() && !token.is_empty()).map(|said| said.replace(token.expose(), "…"));
    let why = match reply {
        Reply::Torn { why, .. } => why.clone(),
        _ => said.unwrap_or_else(|| format!("answered with status {status}")),
    };
    (verdict.because(why), name)
}

/// Whether `reply` says that the access token is not taken: then no message was.
pub(super) fn is_access_refused(reply: &Reply) -> bool {
    let (_, row) = judge(reply, &Secret::default());
    matches!(reply, Reply::Answered { .. })
        && matches!(row, "80200001" | "80200003" | "80200005" | "80600003" | "unauthenticated")
}

/// The code, which is a number in a text, or a number; the token endpoint's is another.
fn code(body: &Value) -> Option<String> {
    let digits = |text: &str| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let said = body.get("code").or_else(|| body.get("error"))?;
    let text = said.as_str().map(str::to_owned).or_else(|| Some(said.as_u64()?.to_string()))?;
    digits(&text).then_some(text)
}
