//! What upstream does, on either broker: publish challenges and what became of them, hear outcomes.

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::broker::memory::MemoryBroker;
use crate::broker::rabbit::{self, RabbitSettings, UpstreamError};
use crate::broker::{Properties, Publication};
use crate::delivery::outcome::Outcome;

/// A publisher that hears every outcome.
pub(super) enum Upstream {
    Memory(MemoryBroker, UnboundedReceiver<Publication>),
    Rabbit(Box<rabbit::Upstream>),
}

/// The routing key of a challenge.
pub(super) const REQUESTED: &str = "challenge.requested";
/// The routing key of the word that a person entered the code, or approved.
pub(super) const VERIFIED: &str = "challenge.verified";

impl Upstream {
    pub(super) fn of_memory(broker: MemoryBroker) -> Self {
        let outcomes = broker.listen();
        Self::Memory(broker, outcomes)
    }

    pub(super) async fn of_rabbit(settings: &RabbitSettings) -> Result<Self, UpstreamError> {
        Ok(Self::Rabbit(Box::new(rabbit::Upstream::connect(settings).await?)))
    }

    pub(super) async fn publish(&self, key: &str, body: &serde_json::Value) -> Result<(), UpstreamError> {
        let properties = Properties { content_type: Some("application/json".to_owned()), ..Properties::default() };
        let body = Bytes::from(body.to_string());
        match self {
            Self::Memory(broker, _) => {
                broker.publish_challenge(key, properties, body, None);
                Ok(())
            }
            Self::Rabbit(upstream) => upstream.publish(key, &properties, &body, None).await,
        }
    }

    /// The next outcome; `None` once the broker is gone.
    pub(super) async fn next_outcome(&mut self) -> Option<(Outcome, Bytes)> {
        match self {
            Self::Memory(_, outcomes) => {
                let publication = outcomes.recv().await?;
                Some((serde_json::from_slice(&publication.body).ok()?, publication.body))
            }
            Self::Rabbit(upstream) => upstream.next_outcome().await,
        }
    }
}
