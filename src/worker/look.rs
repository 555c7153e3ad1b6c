//! What a message means, given what the ledger holds of its challenge: the rules that make copies harmless.
//!
//! Pure, one table. Which weaker readings of it lose a challenge or speak twice was searched by a model
//! (see `docs/promise.md`); each of those has a test of the whole worker in `tests/it/readings.rs`.

use crate::broker::wire::parked::{Job, Work};
use crate::clock::Timestamp;
use crate::ledger::{Phase, Record};

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nobody has begun: start, or go on with what the message carries.
    Open,
    /// The ledger lost a record that must have existed: conclude as it stood.
    AsItStood {
        /// Whether more may have been sent than the message knows.
        in_doubt: bool,
    },
    /// Its timer ran out and it is the current state: go on.
    Fire,
    /// Its owner is gone: go on in its place.
    TakeOver,
    /// Somebody works on it: park a shadow that remembers the state, ack.
    Shadow,
    /// What the record stores is not known to be published, or was asked for again: publish it, mark it, ack.
    PublishStored,
    /// What the record stores is published: ack.
    Ack,
    /// The id stands for another content: say so, ack.
    Conflict,
}

/// Decides. `record` is what the ledger holds now.
#[must_use]
pub fn look(job: &Job, record: Option<&Record>, now: Timestamp) -> Look {
    let Some(record) = record else { return unrecorded(job) };
    if is_original(job) && record.content.is_some_and(|content| content != job.challenge().content) {
        return Look::Conflict;
    }
    match &record.phase {
        Phase::FactsOnly => unrecorded(job),
        // Whoever publishes the same challenge again gets the same answer again.
        Phase::Concluded(_) if is_original(job) => Look::PublishStored,
        Phase::Parked { .. } if is_current(job, record) => Look::Fire,
        Phase::Concluded(_) | Phase::Parked { .. } if record.published => Look::Ack,
        Phase::Concluded(_) | Phase::Parked { .. } => Look::PublishStored,
        Phase::Working(delivery) => {
            let unchanged = job.seen == Some(record.version);
            if unchanged || now >= delivery.challenge().expires_at { Look::TakeOver } else { Look::Shadow }
        }
    }
}

fn unrecorded(job: &Job) -> Look {
    match &job.work {
        // A shadow was made because there was a record: how far that had come is lost.
        _ if job.seen.is_some() => Look::AsItStood { in_doubt: true },
        Work::Continued { delivery, .. } if delivery.may_have_arrived() => Look::AsItStood { in_doubt: false },
        Work::Continued { .. } | Work::Fresh(_) => Look::Open,
    }
}

const fn is_original(job: &Job) -> bool {
    job.seen.is_none() && matches!(job.work, Work::Fresh(_))
}

fn is_current(job: &Job, record: &Record) -> bool {
    job.seen.is_none() && matches!(&job.work, Work::Continued { version, .. } if *version == record.version)
}
