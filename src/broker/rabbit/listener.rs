//! Who only listens: outcomes as they are published, by a queue of its own that goes with the connection. For `tail`.
//!
//! Guarantee: whoever listens slowly costs the broker no more than [`MOST_WAITING`] messages; the oldest are dropped.

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::line::{Line, bounded};
use super::refusal::declaring;
use super::upstream::UpstreamError;
use super::{RabbitSettings, address};

/// How many outcomes the broker keeps for a listener that does not take them.
const MOST_WAITING: i32 = 10_000;
/// How many it hands out ahead.
const AHEAD: u16 = 500;

/// Hears outcomes.
pub struct OutcomeListener {
    line: Line,
    outcomes: Consumer,
}

/// An outcome as it was published.
pub struct Heard {
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl OutcomeListener {
    /// Connects and listens from now on to what is published with a routing key that one of `bindings` takes.
    ///
    /// # Errors
    /// Where the broker can't be reached, refuses, or has no outcomes exchange.
    pub async fn connect(settings: &RabbitSettings, bindings: &[String]) -> Result<Self, UpstreamError> {
        let line = Line::dial(&address(settings)?, "tail").await?;
        let channel = line.channel().await?;
        bounded(channel.basic_qos(AHEAD, BasicQosOptions::default())).await?;
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let mut bound = FieldTable::default();
        bound.insert("x-max-length".into(), AMQPValue::LongInt(MOST_WAITING));
        let queue = bounded(channel.queue_declare("".into(), exclusive, bound)).await?;
        let (queue, exchange) = (queue.name().clone(), settings.names.outcomes_exchange.as_str());
        for key in bindings {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            let binding = channel.queue_bind(queue.clone(), exchange.into(), key.as_str().into(), options, none);
            bounded(binding).await.map_err(|error| declaring(&error, "exchange", exchange))?;
        }
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let outcomes = bounded(channel.basic_consume(queue, "".into(), options, none)).await?;
        Ok(Self { line, outcomes })
    }

    /// The next outcome; `None` once the connection is gone.
    pub async fn next(&mut self) -> Option<Heard> {
        let delivery = self.outcomes.next().await?.ok()?;
        delivery.ack(BasicAckOptions::default()).await.ok()?;
        let content_type = delivery.properties.content_type().as_ref().map(|text| text.as_str().to_owned());
        Some(Heard { content_type, body: Bytes::from(delivery.data) })
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.line.hang_up().await;
    }
}
