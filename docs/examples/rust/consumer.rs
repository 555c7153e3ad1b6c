//! Prints final outcomes: `consumer AMQP_URL [QUEUE]`. One line each: challenge, status, advice.

use std::collections::{HashSet, VecDeque};
use std::error::Error;

use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: consumer AMQP_URL [QUEUE]")?;
    let queue = arguments.next().unwrap_or_else(|| "example.outcomes".to_owned());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    // A queue that outlives this program: what comes meanwhile waits.
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), quorum).await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.as_str().into(), "mfa.outcomes".into(), "outcome.*.*.final".into(), options, none).await?;
    channel.basic_qos(100, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut outcomes = channel.basic_consume(queue.as_str().into(), "".into(), options, none).await?;
    let mut seen = Seen::default();
    while let Some(message) = outcomes.next().await {
        let message = message?;
        let outcome: Value = serde_json::from_slice(&message.data)?;
        let text = |field: &str| outcome[field].as_str().unwrap_or("-").to_owned();
        if seen.is_new(text("id")) {
            println!("{} {} {}", text("challenge_id"), text("status"), text("advice"));
        }
        message.ack(BasicAckOptions::default()).await?;
    }
    Err("the broker closed the connection".into())
}

/// Repeats have the same id and come soon, if ever. A service that stores outcomes uses its database instead.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn is_new(&mut self, id: String) -> bool {
        if self.order.len() == 10_000
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        let is_new = self.ids.insert(id.clone());
        if is_new {
            self.order.push_back(id);
        }
        is_new
    }
}
