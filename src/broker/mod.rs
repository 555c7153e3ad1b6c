//! How work arrives and word leaves: the seam between the worker and AMQP.
//!
//! [`rabbit`] speaks to RabbitMQ, [`memory`] is its in-process twin with the same behaviour, on tokio's
//! clock. Guarantees of both: an [`Envelope`] is settled exactly once, by value; a publication that
//! returned `Ok` is stored by the broker; a session that is lost voids its envelopes, and the broker
//! delivers what they held again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Timestamp;

pub mod memory;
pub mod rabbit;
pub mod wire;

/// Which queue something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// New challenges.
    Challenges,
    /// Cancellations, verifications, receipts.
    Signals,
    /// Parked messages whose timer ran out.
    Followups,
    /// What the broker took out of the other queues by itself.
    Dead,
}

impl Source {
    /// Every queue that is consumed.
    pub const ALL: [Self; 4] = [Self::Challenges, Self::Signals, Self::Followups, Self::Dead];

    /// The word used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenges => "challenges",
            Self::Signals => "signals",
            Self::Followups => "followups",
            Self::Dead => "dead",
        }
    }
}

/// The AMQP properties that mean something here. Everything is optional and untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// MIME type of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Compression of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// The publisher's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Echoed in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// A queue that wants a copy of the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// When it was published; whole seconds on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The publishing user, validated by the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The AMQP `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The publishing application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The W3C trace context header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Further headers: short machine words, such as why something is in quarantine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// The broker took a message out of a queue by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub why: DeathWhy,
    /// Out of which queue, where it is one that is consumed here.
    pub from: Option<Source>,
}

/// Why the broker took a message out of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathWhy {
    /// Its time to live ran out.
    Expired,
    /// It was delivered too often.
    DeliveryLimit,
    /// Anything else, by the broker's word.
    Other(String),
}

/// A message that the broker handed over.
#[derive(Debug)]
pub struct Delivered {
    /// Which queue it came from.
    pub source: Source,
    /// The key it was published with.
    pub routing_key: String,
    /// What came beside the body.
    pub properties: Properties,
    /// The body, as published.
    pub body: Bytes,
    /// Whether the broker handed it out before.
    pub redelivered: bool,
    /// Why it was dead-lettered; only ever set on what comes from [`Source::Dead`].
    pub death: Option<Death>,
    /// To be settled last.
    pub envelope: Envelope,
}

/// What becomes of a message in the queue it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Gone: whatever it stood for is stored elsewhere.
    Ack,
    /// Back into the queue.
    Requeue,
}

/// What settles the messages of one session.
pub trait Settle: Send + Sync {
    /// Settles one message. Never blocks; on a lost session it does nothing.
    fn settle(&self, tag: u64, how: Settlement);
    /// Whether the session is gone, so that the broker delivers its messages again.
    fn is_void(&self) -> bool;
}

/// The right and duty to settle one message. Dropped unsettled, it puts the message back.
pub struct Envelope {
    tag: u64,
    session: Option<Arc<dyn Settle>>,
}

impl Envelope {
    /// An envelope for the message `tag` of `session`.
    #[must_use]
    pub fn new(tag: u64, session: Arc<dyn Settle>) -> Self {
        Self { tag, session: Some(session) }
    }

    /// Acks: the last act of handling a message.
    pub fn ack(mut self) {
        if let Some(session) = self.session.take() {
            session.settle(self.tag, Settlement::Ack);
        }
    }

    /// Whether its session is gone: an ack would do nothing, and a copy will come.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.is_void())
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.settle(self.tag, Settlement::Requeue);
        }
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Envelope({}{})", self.tag, if self.is_void() { ", void" } else { "" })
    }
}

/// Where a publication goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The outcomes exchange, with this routing key.
    Outcome(String),
    /// The delay queue of this many milliseconds, one of [`DELAY_LEVELS`].
    Delay(u32),
    /// Straight to the follow-ups.
    Followups,
    /// Straight to the signals.
    Signals,
    /// The quarantine.
    Quarantine,
    /// A queue that a challenge named in `reply_to`; best effort.
    Reply(String),
    /// The challenges exchange, with this routing key: what upstream does, for `send` and tests.
    Challenge(String),
}

/// A message on its way to the broker. Always persistent. A ledger that is shared stores what was decided to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Where to.
    pub route: Route,
    /// What goes beside the body.
    pub properties: Properties,
    /// The body.
    #[serde(with = "as_text")]
    pub body: Bytes,
    /// After how long the broker may drop it; only for the quarantine and tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Duration>,
}

/// Bytes as text, for serde's `with`: what the courier says is JSON. Other bytes can't be written.
mod as_text {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, ser};

    pub(super) fn serialize<S: Serializer>(body: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(body).map_err(ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        String::deserialize(from).map(Bytes::from)
    }
}

/// Why a publication is not known to be stored.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// There is no session, or publishing is blocked by the broker.
    #[error("the broker can't be published to now: {0}")]
    Unavailable(String),
    /// The broker said no; nothing is stored.
    #[error("the broker refused the message")]
    Refused,
    /// No queue takes it; nothing is stored.
    #[error("no queue takes the message")]
    Unroutable,
    /// The session ended or the time ran out before the broker confirmed: it may be stored.
    #[error("the broker did not confirm: {0}")]
    Unknown(String),
}

/// What publishes.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Publishes and waits for the broker's confirm. Many may be under way at once. Bounded in time.
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError>;

    /// Writes out what was settled and hangs up: the last act of a link, after which nothing is published and every
    /// envelope is void. Bounded in time.
    async fn close(&self) {}
}

/// What consumes. Survives lost sessions by itself.
#[async_trait]
pub trait Inbox: Send {
    /// The next message of any queue; `None` once stopped, or when consuming can't go on (see [`LinkState::Failed`]).
    async fn next(&mut self) -> Option<Delivered>;

    /// Stops consuming. What was handed over stays to be settled; what was not goes back.
    async fn stop(&mut self);
}

/// How the connection to the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No session.
    Connecting,
    /// Consuming and publishing.
    Ready,
    /// Consuming, but the broker does not take publications, for this reason.
    Blocked(String),
    /// It can't be used any more: the worker has to stop.
    Failed(String),
}

/// A connection to a broker.
pub struct Link {
    /// What consumes.
    pub inbox: Box<dyn Inbox>,
    /// What publishes.
    pub outbox: Arc<dyn Outbox>,
    /// How it is.
    pub state: watch::Receiver<LinkState>,
}

/// The names of everything the courier declares or checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Topic exchange that upstream publishes to.
    pub challenges_exchange: String,
    /// Topic exchange that the courier publishes to.
    pub outcomes_exchange: String,
    /// Work.
    pub challenges: String,
    /// Signals.
    pub signals: String,
    /// Parked messages whose timer ran out.
    pub followups: String,
    /// What the broker dead-letters.
    pub dead: String,
    /// What could not be read.
    pub quarantine: String,
    /// Prefix of the delay queues; `.<ms>` follows.
    pub delay: String,
    /// Outcomes that nobody was bound for.
    pub unrouted: String,
    /// A queue to declare for final outcomes, for consumers that can't declare their own.
    pub outcomes: Option<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            challenges_exchange: "mfa.challenges".into(),
            outcomes_exchange: "mfa.outcomes".into(),
            challenges: "mfa.courier.challenges".into(),
            signals: "mfa.courier.signals".into(),
            followups: "mfa.courier.followups".into(),
            dead: "mfa.courier.dead".into(),
            quarantine: "mfa.courier.quarantine".into(),
            delay: "mfa.courier.delay".into(),
            unrouted: "mfa.courier.unrouted".into(),
            outcomes: None,
        }
    }
}

impl Names {
    /// The queue that `source` stands for.
    #[must_use]
    pub fn queue(&self, source: Source) -> &str {
        match source {
            Source::Challenges => &self.challenges,
            Source::Signals => &self.signals,
            Source::Followups => &self.followups,
            Source::Dead => &self.dead,
        }
    }

    /// The alternate exchange of the outcomes exchange.
    #[must_use]
    pub fn unrouted_exchange(&self) -> String {
        format!("{}.unrouted", self.outcomes_exchange)
    }

    /// The delay queue of one level.
    #[must_use]
    pub fn delay_queue(&self, level_ms: u32) -> String {
        format!("{}.{level_ms}", self.delay)
    }

    /// Whether `queue` is one of the courier's own, which `reply_to` may not name.
    #[must_use]
    pub fn is_own(&self, queue: &str) -> bool {
        Source::ALL.iter().any(|source| self.queue(*source) == queue)
            || [&self.quarantine, &self.unrouted].iter().any(|own| own.as_str() == queue)
            || self.outcomes.as_deref() == Some(queue)
            || queue.starts_with(&self.delay)
    }
}

/// The waits that the broker offers, in milliseconds, shortest first: 100 ms doubled up to 13 minutes.
pub const DELAY_LEVELS: [u32; 14] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200];

/// The longest level that fits into `wait`; `None` when even the shortest is longer.
#[must_use]
pub fn delay_level(wait: Duration) -> Option<u32> {
    DELAY_LEVELS.iter().rev().copied().find(|level| Duration::from_millis(u64::from(*level)) <= wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_the_longest_level_that_fits() {
        assert_eq!(delay_level(Duration::from_millis(99)), None);
        assert_eq!(delay_level(Duration::from_millis(100)), Some(100));
        assert_eq!(delay_level(Duration::from_millis(3_199)), Some(1_600));
        assert_eq!(delay_level(Duration::from_hours(9)), Some(819_200));
    }

    #[test]
    fn own_queues_are_known() {
        let names = Names::default();
        assert!(names.is_own("mfa.courier.delay.100") && names.is_own("mfa.courier.dead"));
        assert!(!names.is_own("auth.replies"));
    }
}
