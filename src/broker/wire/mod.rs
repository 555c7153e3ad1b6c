//! What goes over the wire: versioned JSON ↔ challenges, signals, outcomes, parked deliveries.
//!
//! [`form`] opens a message, [`challenge`] reads what upstream asks, [`parked`] what the courier keeps in the broker for later, and
//! this file writes outcomes. Everything is checked here, once; inside there are only checked types.

use bytes::Bytes;

use super::{Properties, Publication, Route};
use crate::challenge::Origin;
use crate::clock::Timestamp;
use crate::delivery::outcome::Outcome;
use crate::seal::Seal;

pub mod asyncapi;
pub mod challenge;
pub mod form;
pub mod parked;
pub mod receipt;
pub mod schema;
pub mod strict;

/// The AMQP `type` of outcomes.
pub const OUTCOME_TYPE: &str = "mfa.outcome.v1";
/// The AMQP `type` of parked deliveries and signals.
pub const PARKED_TYPE: &str = "mfa.courier.parked.v1";
/// The AMQP `app_id` of everything the courier publishes.
pub const APP_ID: &str = "mfa-courier";

/// An outcome as a publication, for the challenge that came by `origin`.
#[must_use]
pub fn outcome(outcome: &Outcome, origin: &Origin) -> Publication {
    let (content_type, body) = form::write(outcome, origin);
    let properties = Properties {
        content_type: Some(content_type.to_owned()),
        message_id: Some(outcome.id.clone()),
        correlation_id: Some(origin.correlation_id.clone().unwrap_or_else(|| outcome.challenge_id.to_string())),
        timestamp: Some(outcome.occurred_at),
        kind: Some(OUTCOME_TYPE.to_owned()),
        app_id: Some(APP_ID.to_owned()),
        traceparent: origin.traceparent.clone(),
        ..Properties::default()
    };
    Publication { route: Route::Outcome(outcome.routing_key()), properties, body, expiration: None }
}

/// The content type of what is sealed.
pub const SEALED_CONTENT: &str = "application/vnd.mfa-courier.sealed";
/// What the body of a quarantined message is sealed to.
pub const QUARANTINE_PLACE: &str = "quarantine";

/// A message that can't be read, whole, on its way to quarantine; its body sealed where there is a key, and what it
/// was before told by a header.
#[must_use]
pub fn quarantined(
    source: &str,
    why: &str,
    mut properties: Properties,
    mut body: Bytes,
    now: Timestamp,
    keep: std::time::Duration,
    seal: &Seal,
) -> Publication {
    let note = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut headers =
        vec![note("x-courier-why", why), note("x-courier-from", source), note("x-courier-at", &now.to_string())];
    if seal.is_on() {
        let was = properties.content_type.replace(SEALED_CONTENT.to_owned()).unwrap_or_default();
        headers.push(note("x-courier-content-type", &was));
        // Rather nothing than something in clear.
        body = seal.close(QUARANTINE_PLACE, body.to_vec()).unwrap_or_default().into();
    }
    let properties = Properties { headers, ..properties };
    Publication { route: Route::Quarantine, properties, body, expiration: Some(keep) }
}

/// What most outcomes fit into, in bytes.
const USUAL_LENGTH: usize = 1_024;

/// Our own types always have a JSON form: maps with string keys and finite numbers. No byte of room is left in it:
/// what is said last is kept for long.
fn to_json(value: &impl serde::Serialize) -> Bytes {
    let mut json = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut json, value).map(|()| Bytes::from(json.into_boxed_slice())).unwrap_or_default()
}
