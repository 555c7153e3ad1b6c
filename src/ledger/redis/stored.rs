//! What a record is as bytes: JSON with a version, so that workers of two versions can share a ledger; sealed where
//! there is a key, each part to its place.
//!
//! JSON rather than something denser: it is what parked messages carry too, and a hash of Redis with a few
//! fields below the limit of a list pack costs little beside it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::challenge::{ChallengeId, ContentHash};
use crate::clock::Timestamp;
use crate::delivery::version::Version;
use crate::delivery::{Delivery, Fact};
use crate::ledger::{Entry, Phase, Record, Word};
use crate::seal::Seal;

/// The version that is written. Others are not read: what they hold is set aside.
const FORMAT: u8 = 1;

/// The fields of a record in Redis; `life.lua` names them.
pub(super) type Fields = HashMap<String, Vec<u8>>;

/// What an owner stores.
#[derive(Serialize, Deserialize)]
struct Body {
    v: u8,
    content: ContentHash,
    phase: Stored,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Working(Arc<Delivery>),
    Parked { delivery: Arc<Delivery>, due: Timestamp },
    Concluded(Arc<Word>),
}

/// The record can't be read: another version wrote it, or somebody with another key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A state as text.
pub(super) fn state(version: Option<Version>) -> String {
    version.map(|version| format!("{}:{}", version.lineage, version.step)).unwrap_or_default()
}

/// What an owner writes, as bytes; `None` where it holds nothing that an owner can write.
pub(super) fn body(id: &ChallengeId, entry: &Entry, seal: &Seal) -> Option<Vec<u8>> {
    let phase = match &entry.phase {
        Phase::FactsOnly => return None,
        Phase::Working(delivery) => Stored::Working(Arc::clone(delivery)),
        Phase::Parked { delivery, due } => Stored::Parked { delivery: Arc::clone(delivery), due: *due },
        Phase::Concluded(word) => Stored::Concluded(Arc::clone(word)),
    };
    let body = serde_json::to_vec(&Body { v: FORMAT, content: entry.content, phase }).ok()?;
    seal.close(&place_of_body(id, &state(Some(entry.version))), body)
}

/// A state can't be put in the place of another one, nor that of another challenge.
fn place_of_body(id: &ChallengeId, state: &str) -> String {
    format!("ledger state {id} {state}")
}

fn place_of_fact(id: &ChallengeId, number: usize) -> String {
    format!("ledger fact {id} {number}")
}

/// Fact `number` of a challenge, 1 for the first, as bytes.
pub(super) fn fact(id: &ChallengeId, number: usize, fact: &Fact, seal: &Seal) -> Option<Vec<u8>> {
    seal.close(&place_of_fact(id, number), serde_json::to_vec(fact).ok()?)
}

/// The record that these fields hold; `None` where there are none.
pub(super) fn record(id: &ChallengeId, fields: &Fields, seal: &Seal) -> Result<Option<Record>, Unreadable> {
    if fields.is_empty() {
        return Ok(None);
    }
    let facts = Arc::new(facts(id, fields, seal)?);
    let Some(version) = fields.get("v") else {
        let version = Version { lineage: 0, step: 0 };
        return Ok(Some(Record { version, phase: Phase::FactsOnly, content: None, facts, published: false }));
    };
    let version = read_state(version).ok_or(Unreadable)?;
    let body = fields.get("b").ok_or(Unreadable)?;
    let body = seal.open(&place_of_body(id, &state(Some(version))), body).map_err(|_| Unreadable)?;
    let Body { v: FORMAT, content, phase } = serde_json::from_slice(&body).map_err(|_| Unreadable)? else {
        return Err(Unreadable);
    };
    let phase = match phase {
        Stored::Working(delivery) => Phase::Working(delivery),
        Stored::Parked { delivery, due } => Phase::Parked { delivery, due },
        Stored::Concluded(word) => Phase::Concluded(word),
    };
    Ok(Some(Record { version, phase, content: Some(content), facts, published: fields.contains_key("p") }))
}

/// How many facts these fields say there are, as text.
pub(super) fn facts_count(fields: &Fields) -> &[u8] {
    fields.get("n").map_or(b"0", Vec::as_slice)
}

fn facts(id: &ChallengeId, fields: &Fields, seal: &Seal) -> Result<Vec<Fact>, Unreadable> {
    let count = std::str::from_utf8(facts_count(fields)).ok().and_then(|count| count.parse::<usize>().ok());
    let count = count.filter(|count| *count <= fields.len()).ok_or(Unreadable)?;
    let read = |number: usize| {
        let fact = fields.get(&number.to_string()).ok_or(Unreadable)?;
        let fact = seal.open(&place_of_fact(id, number), fact).map_err(|_| Unreadable)?;
        serde_json::from_slice(&fact).map_err(|_| Unreadable)
    };
    (1..=count).map(read).collect()
}

fn read_state(text: &[u8]) -> Option<Version> {
    let (lineage, step) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Version { lineage: lineage.parse().ok()?, step: step.parse().ok()? })
}
