//! The worker's lock: an exclusive queue, which the broker frees when the connection that consumes goes.
//!
//! A ledger in memory serves one worker, so a second one must not consume. Guarantee: whoever reads deliveries on a
//! line holds the lock on that very line.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use super::fault::Fault;
use super::line::{Line, bounded};
use super::refusal::{OpenError, StartError, declaring, is_locked};
use super::topology::short;
use crate::clock::Clock;

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// A lock that is held as long as its line lives.
pub(super) struct Lock {
    queue: String,
    watched: Consumer,
    _channel: Channel,
}

impl Lock {
    /// Takes the lock, waiting up to `patience` for a holder that may have vanished.
    pub(super) async fn acquire(line: &Line, queue: &str, patience: Duration) -> Result<Self, OpenError> {
        let until = Clock::instant() + patience;
        let mut waiting = false;
        loop {
            match Self::attempt(line, queue).await? {
                Some(lock) => return Ok(lock),
                None if Clock::instant() >= until => {
                    return Err(StartError::LockHeld { queue: queue.to_owned() }.into());
                }
                None if !waiting => {
                    waiting = true;
                    tracing::warn!(queue, ?patience, "another worker holds the lock; waiting in case it has vanished");
                }
                None => {}
            }
            tokio::time::sleep_until(Instant::min(until, Clock::instant() + RETRY)).await;
        }
    }

    async fn attempt(line: &Line, queue: &str) -> Result<Option<Self>, OpenError> {
        let channel = match line.channel().await {
            Ok(channel) => channel,
            // lapin may give a new channel the error that closed the one before.
            Err(error) if is_locked(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        match bounded(channel.queue_declare(short(queue)?, options, FieldTable::default())).await {
            Ok(_) => {}
            Err(error) if is_locked(&error) => return Ok(None),
            Err(error) => return Err(declaring(&error, "queue", queue)),
        }
        let consume = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let watched = bounded(channel.basic_consume(short(queue)?, "lock".into(), consume, FieldTable::default()))
            .await
            .map_err(|error| declaring(&error, "queue", queue))?;
        Ok(Some(Self { queue: queue.to_owned(), watched, _channel: channel }))
    }

    /// Ends the session when the lock is lost while the line lives: somebody deleted its queue.
    pub(super) async fn guard(mut self, fault: Fault) {
        loop {
            tokio::select! {
                biased;
                () = fault.raised() => return,
                next = self.watched.next() => match next {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return fault.raise(format!("the lock queue {} is gone", self.queue)),
                },
            }
        }
    }
}
