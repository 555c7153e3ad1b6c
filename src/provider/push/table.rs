//! Tables of what answers mean, for push providers in code: the first row that fits counts.
//!
//! Every row has a name, so that recorded conversations can be held to cover all of them.

use crate::delivery::verdict::AttemptResult::{Content, Transient, Unknown};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::provider::Reply;

/// The longest id that is kept.
const LONGEST_ID: usize = 128;

/// One row: which answers of these statuses mean what. `S` is what an answer has to say besides.
pub(in crate::provider) struct Row<S> {
    pub(in crate::provider) name: &'static str,
    statuses: (u16, u16),
    says: S,
    result: AttemptResult,
}

pub(in crate::provider) const fn row<S>(
    name: &'static str,
    statuses: (u16, u16),
    says: S,
    result: AttemptResult,
) -> Row<S> {
    Row { name, statuses, says, result }
}

/// The row of a word that a service has for itself, whatever the status beside it.
pub(in crate::provider) const fn word(name: &'static str, result: AttemptResult) -> Row<&'static str> {
    Row { name, statuses: (0, u16::MAX), says: name, result }
}

/// The row of a status, whatever is said with it.
pub(in crate::provider) const fn status(
    name: &'static str,
    statuses: (u16, u16),
    result: AttemptResult,
) -> Row<&'static str> {
    Row { name, statuses, says: "", result }
}

/// What the first row says that fits, and its name. The last row of a table fits everything.
pub(in crate::provider) fn first<S: Copy>(
    rows: &[Row<S>],
    status: u16,
    says: impl Fn(S) -> bool,
) -> (AttemptResult, &'static str) {
    let fits = |row: &&Row<S>| (row.statuses.0..=row.statuses.1).contains(&status) && says(row.says);
    rows.iter().find(fits).map_or((Unknown, "no row"), |row| (row.result, row.name))
}

/// The same in a table of words; an empty one fits every word.
pub(in crate::provider) fn by_word(
    rows: &[Row<&'static str>],
    status: u16,
    word: Option<&str>,
) -> (AttemptResult, &'static str) {
    first(rows, status, |wanted| wanted.is_empty() || word == Some(wanted))
}

/// What a reply means that is no answer, whoever did not answer; `None` of an answer.
pub(in crate::provider) fn unanswered(reply: &Reply) -> Option<(Verdict, &'static str)> {
    let (result, why, name) = match reply {
        Reply::Answered { .. } | Reply::Refused { .. } | Reply::Torn { .. } => return None,
        Reply::NotSent { why } => (Transient, why, "nothing was sent"),
        Reply::InDoubt { why } => (Unknown, why, "no answer came"),
        Reply::Unfit { why } => (Content, why, "the message does not fit"),
    };
    Some((Verdict::of(result).because(why.as_str()), name))
}

/// Whether a code can be shown: it is a word, and no token or number that came back.
pub(in crate::provider) fn is_word(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// An id that can be kept: plain, and of some length.
pub(in crate::provider) fn plain_id(id: &str) -> Option<String> {
    let plain = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| id.to_owned())
}
