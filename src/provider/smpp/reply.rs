//! What an SMSC's answers mean: the table of `command_status`.
//!
//! An answer in this protocol is definite: any status but 0 says that the message was not taken. What vendors add of
//! their own an operator says ([`super::settings`]); of the rest nobody knows whose fault it is, so it is tried again
//! and then elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wire::Frame;
use crate::delivery::verdict::AttemptResult::{Accepted, Content, Provider, Recipient, Throttled, Transient, Unknown};
use crate::delivery::verdict::{AttemptResult, Scope, Verdict};
use crate::provider::Reply;

/// How long a full server is left alone at least.
const PAUSE: Duration = Duration::from_secs(1);

/// Each status that the specification has, and what it means here.
pub const STATUSES: [(u32, AttemptResult); 38] = [
    (0x01, Provider),
    (0x02, Provider),
    (0x03, Provider),
    (0x04, Transient),
    (0x05, Provider),
    (0x06, Provider),
    (0x07, Provider),
    (0x08, Transient),
    (0x0a, Provider),
    (0x0b, Recipient),
    (0x0d, Provider),
    (0x0e, Provider),
    (0x0f, Provider),
    (0x14, Throttled),
    (0x15, Provider),
    (0x43, Provider),
    (0x45, Transient),
    (0x48, Provider),
    (0x49, Provider),
    (0x50, Recipient),
    (0x51, Recipient),
    (0x53, Provider),
    (0x58, Throttled),
    (0x61, Provider),
    (0x62, Provider),
    (0x64, Transient),
    (0x65, Recipient),
    (0x66, Content),
    (0xc0, Provider),
    (0xc1, Provider),
    (0xc2, Provider),
    (0xc3, Provider),
    (0xc4, Provider),
    (0xfe, Recipient),
    (0xff, Unknown),
    // Of later versions: an operation that is not allowed, and one that can't be done now.
    (0x100, Provider),
    (0x101, Provider),
    (0x111, Transient),
];

/// Those about the sender alone.
const ABOUT_SENDER: [u32; 3] = [0x0a, 0x48, 0x49];

/// What `reply` means; `own` are the statuses that the operator explains. Pure.
#[must_use]
pub fn judge(reply: &Reply, own: &BTreeMap<u32, AttemptResult>) -> Verdict {
    match reply {
        Reply::Answered { body, .. } => Frame::read(body).map_or_else(
            || Verdict::of(Unknown).because("an answer that can't be read"),
            |answer| of_answer(&answer, own),
        ),
        Reply::Refused { body, .. } => {
            let status = Frame::read(body).map(|answer| answer.status);
            let said = status.map(|status| of_status(status, own));
            // Whatever else a server says of a bind, nothing can be sent by it.
            let result = said.filter(|result| matches!(result, Throttled | Transient)).unwrap_or(Provider);
            refused(result, status.unwrap_or_default()).because("the server takes no session")
        }
        Reply::Torn { why, .. } | Reply::InDoubt { why } => Verdict::of(Unknown).because(why.as_str()),
        Reply::NotSent { why } => Verdict::of(Transient).because(why.as_str()),
        Reply::Unfit { why } => Verdict::of(Content).because(why.as_str()),
    }
}

fn of_answer(answer: &Frame, own: &BTreeMap<u32, AttemptResult>) -> Verdict {
    if answer.status == 0 {
        return Verdict { message_id: answer.message_id(), ..Verdict::of(Accepted) };
    }
    refused(of_status(answer.status, own), answer.status)
}

fn of_status(status: u32, own: &BTreeMap<u32, AttemptResult>) -> AttemptResult {
    let known = || STATUSES.iter().find(|(known, _)| *known == status).map(|(_, result)| *result);
    own.get(&status).copied().or_else(known).unwrap_or(Transient)
}

fn refused(result: AttemptResult, status: u32) -> Verdict {
    Verdict {
        code: Some(format!("0x{status:X}")),
        scope: if ABOUT_SENDER.contains(&status) { Scope::Sender } else { Scope::Provider },
        retry_after: (result == Throttled).then_some(PAUSE),
        ..Verdict::of(result)
    }
}
