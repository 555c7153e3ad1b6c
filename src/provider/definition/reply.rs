//! The reply side of a definition: which answer means what. Looking an answer up is all that is done here.
//!
//! The order, most telling first: a row for the very code, a row for the status, what a status means with
//! every provider (a redirect is never followed, 401 is the credentials, 429 is a pause), a row for the
//! code's family, and what the definition says of other 4xx and 5xx. Nothing that a 5xx says proves
//! acceptance, and a 2xx proves it only by what the definition calls a proof. Where a 2xx speaks about each part
//! of a long text by itself (`*` in a pointer), all of them have to be accepted; if only some are, the person
//! gets something, so the message is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::delivery::verdict::{AttemptResult, Scope, Verdict};
use crate::provider::Reply;

/// The longest message id and code that are kept.
const LONGEST_ID: usize = 128;
const LONGEST_CODE: usize = 64;
/// Digits in a row from which a code that no row knows could be a number or somebody's one-time code.
const TELLING_DIGITS: usize = 6;

/// Where in an answer's body things are: JSON pointers, of which the first that finds something counts. A
/// segment `*` stands for every item of an array.
#[derive(Clone, Debug, Default)]
pub struct ReplyShape {
    /// The message's id.
    pub(super) id: Vec<String>,
    /// The error code of an answer that isn't a 2xx.
    pub(super) code: Vec<String>,
    /// The error code within a 2xx.
    pub(super) error: Vec<String>,
    /// How many segments were counted.
    pub(super) segments: Vec<String>,
    /// The error in words.
    pub(super) detail: Vec<String>,
    /// The 2xx statuses that prove acceptance, whatever the body.
    pub(super) proof: BTreeSet<u16>,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Which of the eight results.
    pub result: AttemptResult,
    /// How much of the provider it speaks about.
    pub scope: Scope,
    /// Whether the person asked for no more messages.
    pub opted_out: bool,
}

impl From<AttemptResult> for Meaning {
    fn from(result: AttemptResult) -> Self {
        Self { result, scope: Scope::Provider, opted_out: false }
    }
}

/// Which errors mean what.
#[derive(Clone, Debug)]
pub struct ErrorTable {
    pub(super) codes: BTreeMap<String, Meaning>,
    /// `21xxx`: a family of codes of one length by their first digits.
    pub(super) families: BTreeMap<String, Meaning>,
    pub(super) statuses: BTreeMap<u16, Meaning>,
    pub(super) other_4xx: Meaning,
    pub(super) server_error: Meaning,
    /// A 503 that says when to come back; without one it is a server error like any other.
    pub(super) unavailable: Option<Meaning>,
    /// An error within a 2xx whose code has no row.
    pub(super) other_error: Option<Meaning>,
}

/// The part of a definition that decided about an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// `errors.codes`, an exact one.
    Code(String),
    /// `errors.codes`, a family.
    Family(String),
    /// `errors.statuses`.
    Status(u16),
    /// `errors.other_4xx`.
    Other4xx,
    /// `errors.server_error`.
    ServerError,
    /// `errors.unavailable`.
    Unavailable,
    /// `errors.other_error`.
    OtherError,
    /// None: what holds for every definition.
    Common(&'static str),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(key) | Self::Family(key) => write!(f, "codes.{key}"),
            Self::Status(status) => write!(f, "statuses.{status}"),
            Self::Other4xx => f.write_str("other_4xx"),
            Self::ServerError => f.write_str("server_error"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::OtherError => f.write_str("other_error"),
            Self::Common(what) => f.write_str(what),
        }
    }
}

impl ErrorTable {
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        let codes = self.codes.keys().map(|key| Row::Code(key.clone()));
        let families = self.families.keys().map(|key| Row::Family(key.clone()));
        let statuses = self.statuses.keys().map(|status| Row::Status(*status));
        let optional = [self.unavailable.map(|_| Row::Unavailable), self.other_error.map(|_| Row::OtherError)];
        let defaults = [Row::Other4xx, Row::ServerError].into_iter().chain(optional.into_iter().flatten());
        codes.chain(families).chain(statuses).chain(defaults)
    }

    /// The row for the first of `codes` that has one.
    fn by_code(&self, codes: &[String]) -> Option<(Meaning, Row)> {
        codes.iter().find_map(|code| Some((*self.codes.get(code)?, Row::Code(code.clone()))))
    }

    /// Digits first, then names: `FailedOperation.*` is the family of all that begin so.
    fn by_family(&self, codes: &[String]) -> Option<(Meaning, Row)> {
        self.by_digits(codes).or_else(|| {
            codes.iter().find_map(|code| {
                let mut parents = std::iter::successors(Some(code.as_str()), |name| Some(name.rsplit_once('.')?.0));
                parents.find_map(|name| {
                    let family = format!("{name}.*");
                    Some((*self.families.get(&family)?, Row::Family(family)))
                })
            })
        })
    }

    fn by_digits(&self, codes: &[String]) -> Option<(Meaning, Row)> {
        codes.iter().find_map(|code| {
            let most_telling = (1..code.len()).rev().filter(|_| is_number(code));
            most_telling.map(|kept| format!("{}{}", &code[..kept], "x".repeat(code.len() - kept))).find_map(|family| {
                let meaning = *self.families.get(&family)?;
                Some((meaning, Row::Family(family)))
            })
        })
    }

    /// What an error answer of this status means.
    fn by_status(&self, status: u16, may_return: bool, codes: &[String]) -> (Meaning, Row) {
        if let Some(meaning) = self.statuses.get(&status) {
            return (*meaning, Row::Status(status));
        }
        let common = |result: AttemptResult, what| (Meaning::from(result), Row::Common(what));
        match status {
            300..400 => common(AttemptResult::Provider, "a redirect, which is never followed"),
            401 | 403 => common(AttemptResult::Provider, "401 and 403 are the credentials"),
            408 | 425 => common(AttemptResult::Transient, "408 and 425 say that nothing was done"),
            429 => common(AttemptResult::Throttled, "429 is a pause"),
            400..500 => self.by_family(codes).unwrap_or((self.other_4xx, Row::Other4xx)),
            503 if may_return => {
                self.unavailable.map_or((self.server_error, Row::ServerError), |meaning| (meaning, Row::Unavailable))
            }
            500..600 => (self.server_error, Row::ServerError),
            _ => common(AttemptResult::Unknown, "a status that HTTP does not know"),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What `reply` means, and what says so.
pub(super) fn judge(shape: &ReplyShape, errors: &ErrorTable, reply: &Reply) -> (Verdict, Row) {
    match reply {
        Reply::Unfit { why } => {
            (Verdict::of(AttemptResult::Content).because(why.as_str()), Row::Common("no request can be made of it"))
        }
        Reply::Refused { status, .. } => {
            let why = format!("no access: answered with status {status}");
            (Verdict::of(AttemptResult::Provider).because(why), Row::Common("no access"))
        }
        Reply::NotSent { why } => {
            (Verdict::of(AttemptResult::Transient).because(why.as_str()), Row::Common("nothing was sent"))
        }
        Reply::InDoubt { why } => {
            (Verdict::of(AttemptResult::Unknown).because(why.as_str()), Row::Common("no answer came"))
        }
        Reply::Torn { status, why } => {
            let (verdict, row) = judge_answer(shape, errors, *status, false, &Value::Null);
            (verdict.because(why.as_str()), row)
        }
        Reply::Answered { status, retry_after, body } => {
            let body = serde_json::from_slice(body).unwrap_or(Value::Null);
            let (mut verdict, row) = judge_answer(shape, errors, *status, retry_after.is_some(), &body);
            verdict.retry_after = retry_after.filter(|_| verdict.result != AttemptResult::Accepted);
            (verdict, row)
        }
    }
}

fn judge_answer(
    shape: &ReplyShape,
    errors: &ErrorTable,
    status: u16,
    may_return: bool,
    body: &Value,
) -> (Verdict, Row) {
    if (200..300).contains(&status) {
        return judge_success(shape, errors, status, body);
    }
    let codes = if (400..600).contains(&status) { texts(body, &shape.code) } else { Vec::new() };
    let (meaning, row) = errors
        .by_code(&codes)
        .filter(|(meaning, _)| status < 500 || meaning.result != AttemptResult::Accepted)
        .unwrap_or_else(|| errors.by_status(status, may_return, &codes));
    let mut verdict = match meaning.result {
        AttemptResult::Accepted => acceptance(shape, body),
        _ => refusal(shape, meaning, &row, &codes, body),
    };
    verdict.detail = verdict.detail.or_else(|| Some(format!("answered with status {status}")));
    (verdict, row)
}

fn judge_success(shape: &ReplyShape, errors: &ErrorTable, status: u16, body: &Value) -> (Verdict, Row) {
    let parts: Vec<_> = items(body, &shape.error).iter().map(|part| texts(body, part)).collect();
    if parts.iter().any(|codes| !codes.is_empty()) {
        return judge_parts(shape, errors, &parts, body);
    }
    let mut verdict = acceptance(shape, body);
    if shape.proof.contains(&status) || verdict.message_id.is_some() {
        return (verdict, Row::Common("accepted"));
    }
    verdict.result = AttemptResult::Unknown;
    (verdict.because("the answer does not say what was done"), Row::Common("a success without proof"))
}

/// What a 2xx means that has a code for each part of a message; most messages have one part.
fn judge_parts(shape: &ReplyShape, errors: &ErrorTable, parts: &[Vec<String>], body: &Value) -> (Verdict, Row) {
    let fallback = errors.other_error.unwrap_or(Meaning::from(AttemptResult::Unknown));
    let mean = |codes: &Vec<String>| {
        errors.by_code(codes).or_else(|| errors.by_family(codes)).unwrap_or((fallback, Row::OtherError))
    };
    let meanings: Vec<_> = parts.iter().map(mean).collect();
    let is_taken = |(meaning, _): &&(Meaning, Row)| meaning.result == AttemptResult::Accepted;
    let Some(refused) = meanings.iter().position(|meaning| !is_taken(&meaning)) else {
        let row = meanings.into_iter().next().map_or(Row::Common("accepted"), |(_, row)| row);
        return (acceptance(shape, body), row);
    };
    let (meaning, row) = &meanings[refused];
    let verdict = refusal(shape, *meaning, row, &parts[refused], body);
    if !meanings.iter().any(|meaning| is_taken(&meaning)) {
        return (verdict, row.clone());
    }
    let mut taken = acceptance(shape, body);
    taken.result = AttemptResult::Unknown;
    taken.code = verdict.code;
    taken.detail = verdict.detail;
    (taken, Row::Common("only some parts were accepted"))
}

fn acceptance(shape: &ReplyShape, body: &Value) -> Verdict {
    let mut verdict = Verdict::of(AttemptResult::Accepted);
    verdict.message_id = texts(body, &shape.id).into_iter().find(|id| is_plain(id, LONGEST_ID));
    verdict.segments = texts(body, &shape.segments).first().and_then(|count| count.parse().ok());
    verdict
}

fn refusal(shape: &ReplyShape, meaning: Meaning, row: &Row, codes: &[String], body: &Value) -> Verdict {
    let mut verdict = Verdict::of(meaning.result);
    verdict.scope = meaning.scope;
    verdict.opted_out = meaning.opted_out;
    let known = |code: &str| matches!(row, Row::Code(key) if key == code);
    verdict.code = codes.iter().find(|code| known(code) || is_harmless_code(code)).cloned();
    match texts(body, &shape.detail).first() {
        Some(detail) => verdict.because(detail.as_str()),
        None => verdict,
    }
}

/// What the pointers find, as text; nothing for what is absent, null, empty or no scalar. Of a name with the name of its
/// space before it (`com.amazonaws.sms#ThrottlingException`) the name alone.
pub(super) fn texts(body: &Value, pointers: &[String]) -> Vec<String> {
    let text = |pointer: &String| match body.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(without_space(text).to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    items(body, pointers).iter().flatten().filter_map(text).collect()
}

fn without_space(text: &str) -> &str {
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_space = |space: &str| space.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    text.split_once('#').filter(|(space, name)| is_space(space) && is_name(name)).map_or(text, |(_, name)| name)
}

/// The pointers for each item of the arrays that they go through, one list an item; without a `*` one list.
fn items(body: &Value, pointers: &[String]) -> Vec<Vec<String>> {
    let lengths = pointers.iter().filter_map(|pointer| {
        let (array, _) = pointer.split_once("/*")?;
        Some(body.pointer(array)?.as_array().map_or(0, Vec::len))
    });
    let longest = lengths.max().unwrap_or(1);
    let at = |item: usize| pointers.iter().map(|pointer| pointer.replacen("/*", &format!("/{item}"), 1)).collect();
    (0..longest).map(at).collect()
}

/// An id that can stand in outcomes, logs and addresses as it is.
fn is_plain(id: &str, longest: usize) -> bool {
    id.len() <= longest && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A code no row knows is shown only where it can't be a number or a one-time code that came back.
pub(super) fn is_harmless_code(code: &str) -> bool {
    let runs = code.split(|c: char| !c.is_ascii_digit());
    is_plain(code, LONGEST_CODE) && runs.map(str::len).max().unwrap_or(0) < TELLING_DIGITS
}
