//! What the courier needs to exist on the broker: the contract's topology as data, and how it is declared or checked.
//!
//! [`session`](super::session) applies it at every start of a session. Guarantees: durable throughout, the same
//! declaration on RabbitMQ 3.10 and 4.x, and nothing leaves a queue without either a consumer or the dead queue.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::line::bounded;
use super::refusal::{OpenError, declaring};
use crate::broker::{DELAY_LEVELS, Names};

/// RabbitMQ 4 limits deliveries to 20 unless told otherwise, and 3.10 does not know -1.
const NO_DELIVERY_LIMIT: i64 = 2_000_000_000;
/// The longest that anything stays in quarantine; a shorter time travels with the message.
pub(super) const QUARANTINE_KEPT: Duration = Duration::from_hours(7 * 24);
const UNROUTED_KEPT: Duration = Duration::from_hours(24);
const UNROUTED_MOST: i64 = 100_000;

/// Everything that has to exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topology {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) alternate: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) arguments: Vec<(&'static str, Argument)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Number(i64),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) queue: String,
    pub(super) exchange: String,
    pub(super) key: &'static str,
}

impl Topology {
    /// The contract's topology under these names.
    pub(super) fn new(names: &Names, delivery_limit: u32) -> Self {
        Self { exchanges: exchanges(names), queues: queues(names, delivery_limit), bindings: bindings(names) }
    }

    /// Declares all of it.
    pub(super) async fn declare(&self, on: &Channel) -> Result<(), OpenError> {
        for exchange in &self.exchanges {
            exchange.declare(on, false).await?;
        }
        for queue in &self.queues {
            queue.declare(on, false).await?;
        }
        for binding in &self.bindings {
            binding.declare(on).await?;
        }
        Ok(())
    }

    /// Checks that all of it exists.
    pub(super) async fn check(&self, on: &Channel) -> Result<(), OpenError> {
        for exchange in &self.exchanges {
            exchange.declare(on, true).await?;
        }
        for queue in &self.queues {
            queue.declare(on, true).await?;
        }
        Ok(())
    }
}

impl Exchange {
    fn new(name: &str, kind: ExchangeKind, alternate: Option<String>) -> Self {
        Self { name: name.to_owned(), kind, alternate }
    }

    async fn declare(&self, on: &Channel, passive: bool) -> Result<(), OpenError> {
        let mut arguments = FieldTable::default();
        if let Some(alternate) = &self.alternate {
            arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
        }
        let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
        bounded(on.exchange_declare(short(&self.name)?, self.kind.clone(), options, arguments))
            .await
            .map_err(|error| declaring(&error, "exchange", &self.name))
    }
}

impl Queue {
    /// A quorum queue.
    fn quorum(name: &str) -> Self {
        Self { name: name.to_owned(), arguments: Vec::new() }.with("x-queue-type", "quorum")
    }

    fn with(mut self, argument: &'static str, value: impl Into<Argument>) -> Self {
        self.arguments.push((argument, value.into()));
        self
    }

    /// What leaves it goes to queue `dead`, and stays here until it has arrived there.
    fn dying_into(self, dead: &str) -> Self {
        self.with("x-dead-letter-exchange", "")
            .with("x-dead-letter-routing-key", dead)
            .with("x-dead-letter-strategy", "at-least-once")
            .with("x-overflow", "reject-publish")
    }

    fn keeping(self, time: Duration) -> Self {
        self.with("x-message-ttl", i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }

    async fn declare(&self, on: &Channel, passive: bool) -> Result<(), OpenError> {
        let mut arguments = FieldTable::default();
        for (argument, value) in &self.arguments {
            arguments.insert((*argument).into(), value.on_the_wire());
        }
        let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
        bounded(on.queue_declare(short(&self.name)?, options, arguments))
            .await
            .map(drop)
            .map_err(|error| declaring(&error, "queue", &self.name))
    }
}

impl Argument {
    fn on_the_wire(&self) -> AMQPValue {
        match self {
            Self::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Self::Number(number) => AMQPValue::LongLongInt(*number),
        }
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Binding {
    fn new(queue: &str, exchange: &str, key: &'static str) -> Self {
        Self { queue: queue.to_owned(), exchange: exchange.to_owned(), key }
    }

    async fn declare(&self, on: &Channel) -> Result<(), OpenError> {
        let (queue, exchange) = (short(&self.queue)?, short(&self.exchange)?);
        bounded(on.queue_bind(queue, exchange, self.key.into(), QueueBindOptions::default(), FieldTable::default()))
            .await
            .map_err(|error| declaring(&error, "queue", &self.queue))
    }
}

/// A name as AMQP carries it.
pub(super) fn short(name: &str) -> Result<ShortString, OpenError> {
    ShortString::try_new(name).map_err(|error| OpenError::Later(format!("'{name}': {error}")))
}

fn exchanges(names: &Names) -> Vec<Exchange> {
    let unrouted = names.unrouted_exchange();
    vec![
        Exchange::new(&names.challenges_exchange, ExchangeKind::Topic, None),
        Exchange::new(&unrouted, ExchangeKind::Fanout, None),
        Exchange::new(&names.outcomes_exchange, ExchangeKind::Topic, Some(unrouted)),
    ]
}

/// Targets of dead letters come before what dies into them.
fn queues(names: &Names, delivery_limit: u32) -> Vec<Queue> {
    let unlimited = |name: &str| Queue::quorum(name).with("x-delivery-limit", NO_DELIVERY_LIMIT);
    let worked =
        |name: &str| Queue::quorum(name).with("x-delivery-limit", i64::from(delivery_limit)).dying_into(&names.dead);
    let delay = |level: &u32| {
        Queue::quorum(&names.delay_queue(*level))
            .keeping(Duration::from_millis(u64::from(*level)))
            .dying_into(&names.followups)
    };
    let mut queues = vec![
        unlimited(&names.quarantine).keeping(QUARANTINE_KEPT),
        unlimited(&names.dead),
        worked(&names.challenges),
        worked(&names.signals),
        worked(&names.followups),
        unlimited(&names.unrouted).keeping(UNROUTED_KEPT).with("x-max-length", UNROUTED_MOST),
    ];
    queues.extend(DELAY_LEVELS.iter().map(delay));
    queues.extend(names.outcomes.as_deref().map(unlimited));
    queues
}

fn bindings(names: &Names) -> Vec<Binding> {
    let mut bindings = vec![
        Binding::new(&names.challenges, &names.challenges_exchange, "challenge.requested.#"),
        Binding::new(&names.signals, &names.challenges_exchange, "challenge.cancelled.#"),
        Binding::new(&names.signals, &names.challenges_exchange, "challenge.verified.#"),
        Binding::new(&names.unrouted, &names.unrouted_exchange(), ""),
    ];
    if let Some(outcomes) = &names.outcomes {
        bindings.push(Binding::new(outcomes, &names.outcomes_exchange, "outcome.*.*.final"));
    }
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology::new(&Names { outcomes: Some("finals".into()), ..Names::default() }, 100)
    }

    #[test]
    fn nothing_dies_into_a_queue_that_is_not_declared_before() {
        let queues = topology().queues;
        for (position, queue) in queues.iter().enumerate() {
            for (argument, value) in &queue.arguments {
                if *argument == "x-dead-letter-routing-key" {
                    assert!(queues[..position].iter().any(|target| Argument::Text(target.name.clone()) == *value));
                }
            }
        }
    }

    #[test]
    fn at_least_once_comes_with_all_that_it_needs() {
        for queue in topology().queues {
            let has = |name| queue.arguments.iter().any(|(argument, _)| *argument == name);
            assert!(has("x-queue-type"), "{}", queue.name);
            assert_eq!(has("x-dead-letter-strategy"), has("x-overflow"), "{}", queue.name);
            assert!(has("x-delivery-limit") || queue.name.starts_with("mfa.courier.delay."), "{}", queue.name);
        }
    }

    #[test]
    fn every_binding_joins_what_is_declared() {
        let Topology { exchanges, queues, bindings } = topology();
        for binding in bindings {
            assert!(exchanges.iter().any(|exchange| exchange.name == binding.exchange));
            assert!(queues.iter().any(|queue| queue.name == binding.queue));
        }
    }
}
