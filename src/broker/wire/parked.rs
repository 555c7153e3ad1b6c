//! What the courier keeps in the broker for later: continuations, shadows, signals that wait.
//!
//! The whole delivery travels (`work`, or `sealed` where there is a key), under a small plain envelope: id, tenant,
//! deadline, where to answer, how it stands. So even a message whose work can't be opened any more gets its challenge a final
//! outcome before it goes to quarantine.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{APP_ID, PARKED_TYPE};
use crate::broker::{Properties, Publication, Route};
use crate::challenge::{Challenge, ChallengeId, Form};
use crate::clock::Timestamp;
use crate::delivery::outcome::Status;
use crate::delivery::version::Version;
use crate::delivery::{Delivery, Fact};
use crate::seal::Seal;

/// What a message asks the worker to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// Start, or go on.
    pub work: Work,
    /// Set on a shadow: the state in which somebody else was found working on the challenge.
    pub seen: Option<Version>,
    /// Whether the broker gave it up, and if so whether because its time ran out.
    pub dead: Option<Dead>,
    /// When it is to be looked at.
    pub due: Timestamp,
}

/// What a message is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A challenge as upstream published it.
    Fresh(Arc<Challenge>),
    /// A delivery that was parked in this state.
    Continued {
        /// Which state.
        version: Version,
        /// The delivery.
        delivery: Arc<Delivery>,
    },
}

/// Why the broker gave a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dead {
    /// Its time in the queue ran out.
    Expired,
    /// It was delivered too often, or for another reason.
    GivenUp,
}

impl Job {
    /// The challenge.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        match &self.work {
            Work::Fresh(challenge) => challenge,
            Work::Continued { delivery, .. } => delivery.challenge(),
        }
    }
}

/// The plain envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    v: u8,
    /// Which challenge.
    pub id: ChallengeId,
    /// Whose.
    pub tenant: String,
    /// Its deadline.
    pub expires_at: Timestamp,
    /// Where to answer, beside the outcomes exchange.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<String>,
    /// What to answer with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// In which form.
    #[serde(skip_serializing_if = "Form::is_json", default)]
    pub form: Form,
    /// How it stands: `sent` or `unknown` where something was accepted or is in doubt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<Status>,
    /// Which life of the ledger it belongs to.
    pub epoch: u64,
    due: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seen: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    dead: Option<Dead>,
}

#[derive(Serialize)]
struct Written<'j> {
    #[serde(flatten)]
    envelope: Envelope,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<&'j Work>,
    /// The same in base64, where there is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'j Fact>,
}

/// What came back from a delay.
#[derive(Debug)]
pub enum Returned {
    /// Work.
    Job(Box<Job>),
    /// A signal that could not be recorded before.
    Signal {
        /// Of which challenge.
        id: ChallengeId,
        /// What it says.
        fact: Fact,
        /// Until when recording it makes sense.
        until: Timestamp,
        /// When to try.
        due: Timestamp,
    },
    /// The envelope can be read, but not the work.
    Unopenable(Box<Envelope>),
    /// Nothing of it can be read.
    Garbage,
}

/// A job as a publication by `route`.
#[must_use]
pub fn job(job: &Job, epoch: u64, route: Route, seal: &Seal) -> Publication {
    let challenge = job.challenge();
    let status = match &job.work {
        Work::Fresh(_) => job.seen.map(|_| Status::Unknown),
        Work::Continued { delivery, .. } => delivery.may_have_arrived().then_some(Status::Unknown),
    };
    let envelope = Envelope {
        v: 1,
        id: challenge.id.clone(),
        tenant: challenge.tenant.clone(),
        expires_at: challenge.expires_at,
        reply_to: challenge.origin.reply_to.clone(),
        correlation_id: challenge.origin.correlation_id.clone(),
        form: challenge.origin.form,
        status,
        epoch,
        due: job.due,
        seen: job.seen,
        dead: job.dead,
    };
    let sealed = seal.is_on().then(|| close(&job.work, &challenge.id, seal)).flatten();
    let work = (!seal.is_on()).then_some(&job.work);
    publication(&Written { envelope, work, sealed, signal: None }, &challenge.id, route)
}

/// A signal that could not be recorded, as a publication by `route`.
#[must_use]
pub fn signal(
    id: &ChallengeId,
    fact: &Fact,
    until: Timestamp,
    due: Timestamp,
    epoch: u64,
    route: Route,
) -> Publication {
    let envelope = Envelope {
        v: 1,
        id: id.clone(),
        tenant: String::new(),
        expires_at: until,
        reply_to: None,
        correlation_id: None,
        form: Form::default(),
        status: None,
        epoch,
        due,
        seen: None,
        dead: None,
    };
    publication(&Written { envelope, work: None, sealed: None, signal: Some(fact) }, id, route)
}

fn publication(content: &Written<'_>, id: &ChallengeId, route: Route) -> Publication {
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        message_id: Some(id.to_string()),
        kind: Some(PARKED_TYPE.to_owned()),
        app_id: Some(APP_ID.to_owned()),
        ..Properties::default()
    };
    Publication { route, properties, body: super::to_json(content), expiration: None }
}

fn close(work: &Work, id: &ChallengeId, seal: &Seal) -> Option<String> {
    seal.close(&place(id), serde_json::to_vec(work).ok()?).map(|sealed| BASE64_STANDARD.encode(sealed))
}

fn open(sealed: &str, id: &ChallengeId, seal: &Seal) -> Option<Work> {
    let work = seal.open(&place(id), &BASE64_STANDARD.decode(sealed).ok()?).ok()?;
    serde_json::from_slice(&work).ok()
}

/// The work of one challenge can't be put under the envelope of another.
fn place(id: &ChallengeId) -> String {
    format!("parked {id}")
}

/// What the envelope is about, opened only once the envelope itself was read.
#[derive(Deserialize)]
struct Contents<'b> {
    #[serde(borrow, default)]
    work: Option<&'b RawValue>,
    #[serde(borrow, default)]
    sealed: Option<&'b RawValue>,
    #[serde(borrow, default)]
    signal: Option<&'b RawValue>,
}

/// Reads what came back.
#[must_use]
pub fn read(body: &[u8], seal: &Seal) -> Returned {
    let Some(envelope) = envelope(body) else { return Returned::Garbage };
    let contents = serde_json::from_slice::<Contents<'_>>(body).ok().filter(|_| envelope.v == 1);
    match contents {
        Some(Contents { work: Some(work), .. }) => returned(serde_json::from_str(work.get()).ok(), envelope),
        Some(Contents { sealed: Some(sealed), .. }) => {
            let sealed = serde_json::from_str::<&str>(sealed.get()).ok();
            returned(sealed.and_then(|sealed| open(sealed, &envelope.id, seal)), envelope)
        }
        Some(Contents { signal: Some(signal), .. }) => match serde_json::from_str(signal.get()) {
            Ok(fact) => Returned::Signal { id: envelope.id, fact, until: envelope.expires_at, due: envelope.due },
            Err(_) => Returned::Garbage,
        },
        Some(Contents { work: None, sealed: None, signal: None }) | None => Returned::Unopenable(Box::new(envelope)),
    }
}

fn returned(work: Option<Work>, envelope: Envelope) -> Returned {
    let Some(work) = work else { return Returned::Unopenable(Box::new(envelope)) };
    let Envelope { seen, dead, due, .. } = envelope;
    Returned::Job(Box::new(Job { work, seen, dead, due }))
}

/// The envelope is written before the work, so it can be read even where that is cut off.
fn envelope(body: &[u8]) -> Option<Envelope> {
    const WORK: [&[u8]; 2] = [b",\"work\":", b",\"sealed\":"];
    serde_json::from_slice(body).ok().or_else(|| {
        let begins = |mark: &[u8]| body.windows(mark.len()).position(|window| window == mark);
        let end = WORK.into_iter().filter_map(begins).min()?;
        serde_json::from_slice(&[&body[..end], b"}"].concat()).ok()
    })
}
