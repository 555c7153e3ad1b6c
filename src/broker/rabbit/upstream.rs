//! What upstream does: publish challenges, hear outcomes. For `send`, `demo --amqp` and tests.
//!
//! A connection of its own, without recovery: who uses it lives for one errand.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Consumer};

use super::line::{Line, bounded};
use super::properties::outbound;
use super::refusal::{OpenError, StartError};
use super::{RabbitSettings, address};
use crate::broker::Properties;
use crate::delivery::outcome::Outcome;

/// A publisher of challenges that hears every outcome.
pub struct Upstream {
    line: Line,
    channel: Channel,
    outcomes: Consumer,
    exchange: String,
}

/// Why upstream's errand failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Something has to be changed first.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The broker can't be reached or does not do as asked.
    #[error("the broker: {0}")]
    Broker(String),
    /// No queue takes challenges.
    #[error("no queue takes challenges from the exchange '{0}': has a worker been started on this broker?")]
    Unroutable(String),
}

impl From<OpenError> for UpstreamError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Final(error) => Self::Start(error),
            OpenError::Later(why) => Self::Broker(why),
        }
    }
}

impl From<lapin::Error> for UpstreamError {
    fn from(error: lapin::Error) -> Self {
        Self::Broker(error.to_string())
    }
}

impl Upstream {
    /// Connects and begins to listen to outcomes, by a queue that goes with the connection.
    pub async fn connect(settings: &RabbitSettings) -> Result<Self, UpstreamError> {
        let line = Line::dial(&address(settings)?, "upstream").await?;
        let channel = line.channel().await?;
        bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = bounded(channel.queue_declare("".into(), exclusive, FieldTable::default())).await?;
        let (queue, outcomes) = (queue.name().clone(), settings.names.outcomes_exchange.as_str());
        let bind = channel.queue_bind(
            queue.clone(),
            outcomes.into(),
            "outcome.#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bounded(bind).await?;
        let unacked = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let outcomes = bounded(channel.basic_consume(queue, "".into(), unacked, FieldTable::default())).await?;
        Ok(Self { line, channel, outcomes, exchange: settings.names.challenges_exchange.clone() })
    }

    /// Publishes as upstream would; returns once the broker has stored it.
    pub async fn publish(
        &self,
        routing_key: &str,
        properties: &Properties,
        body: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), UpstreamError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = outbound(properties, ttl);
        let published =
            self.channel.basic_publish(self.exchange.as_str().into(), routing_key.into(), options, body, properties);
        match bounded(async { published.await?.await }).await? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(_)) => Err(UpstreamError::Unroutable(self.exchange.clone())),
            Confirmation::Nack(_) => Err(UpstreamError::Broker("it refused the message".to_owned())),
        }
    }

    /// The next outcome that anybody published; `None` once the connection is gone.
    pub async fn next_outcome(&mut self) -> Option<(Outcome, Bytes)> {
        loop {
            let delivery = self.outcomes.next().await?.ok()?;
            let body = Bytes::from(delivery.data);
            if let Ok(outcome) = serde_json::from_slice(&body) {
                return Some((outcome, body));
            }
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.line.hang_up().await;
    }
}

/// Connects and leaves: whether the broker can be reached and takes the credentials. Declares nothing.
pub async fn try_out(settings: &RabbitSettings) -> Result<(), UpstreamError> {
    let line = Line::dial(&address(settings)?, "check").await?;
    line.hang_up().await;
    Ok(())
}
