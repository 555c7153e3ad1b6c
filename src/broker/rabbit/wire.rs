//! The publishing half of a session: confirm channels, and what came back on them.
//!
//! Built by [`session`](super::session), used by the [`Outbox`](super::outbox). Guarantees: `Ok` means that the broker
//! confirmed the message and did not return it; a channel whose confirms can't be trusted any more ends the session.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::fault::Fault;
use super::line::{Line, bounded};
use super::properties;
use super::refusal::OpenError;
use crate::broker::{Publication, PublishError};

/// Several, since the broker handles each channel by a process of its own.
const CHANNELS: usize = 4;
/// How many publications may await their confirms.
const WINDOW: usize = 2_048;
/// How long the broker may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// Where a publication goes, in AMQP's terms.
pub(super) struct Address<'p> {
    pub(super) exchange: &'p str,
    pub(super) routing_key: Cow<'p, str>,
}

/// What publishes during one session.
pub(super) struct Wire {
    line: Arc<Line>,
    channels: Vec<Channel>,
    turn: AtomicUsize,
    window: Semaphore,
    /// For answers to queues that upstream chose: whatever happens to it, the session goes on.
    replies: Mutex<Option<Channel>>,
    /// Told when one of the courier's own routes leads nowhere.
    pub(super) astray: Notify,
    fault: Fault,
}

impl Wire {
    /// Opens the channels.
    pub(super) async fn open(line: Arc<Line>, fault: Fault) -> Result<Self, OpenError> {
        let mut channels = Vec::with_capacity(CHANNELS);
        for _ in 0..CHANNELS {
            channels.push(confirming(&line).await?);
        }
        let (turn, window) = (AtomicUsize::new(0), Semaphore::new(WINDOW));
        Ok(Self { line, channels, turn, window, replies: Mutex::new(None), astray: Notify::new(), fault })
    }

    /// Publishes on one of the courier's own routes.
    pub(super) async fn publish(&self, to: Address<'_>, publication: &Publication) -> Result<(), PublishError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let Some(channel) = self.channels.get(turn) else { return Err(unavailable("it has no channel")) };
        let outcome = self.confirmed(channel, to, publication).await;
        match &outcome {
            Err(PublishError::Unroutable) => self.astray.notify_one(),
            // A late confirm could be taken for that of another message; while blocked, it is only waited for.
            Err(PublishError::Unknown(why)) if !self.line.is_blocked() => self.fault.raise(why.clone()),
            _ => {}
        }
        outcome
    }

    /// Publishes to a queue that upstream chose. Best effort.
    pub(super) async fn reply(&self, to: Address<'_>, publication: &Publication) -> Result<(), PublishError> {
        let Ok(channel) = tokio::time::timeout(CONFIRM_WITHIN, self.reply_channel()).await else {
            return Err(unavailable("it opens no channel"));
        };
        let channel = channel?;
        let outcome = self.confirmed(&channel, to, publication).await;
        if matches!(outcome, Err(PublishError::Unknown(_))) {
            self.replies.lock().await.take();
        }
        outcome
    }

    async fn reply_channel(&self) -> Result<Channel, PublishError> {
        let mut slot = self.replies.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = confirming(&self.line).await.map_err(|error| unavailable(&error.to_string()))?;
        Ok(slot.insert(channel).clone())
    }

    async fn confirmed(
        &self,
        channel: &Channel,
        to: Address<'_>,
        publication: &Publication,
    ) -> Result<(), PublishError> {
        tokio::select! {
            biased;
            answer = tokio::time::timeout(CONFIRM_WITHIN, self.exchange(channel, to, publication)) => match answer {
                Ok(answer) => answer,
                Err(_) => Err(PublishError::Unknown(format!("no confirm within {CONFIRM_WITHIN:?}"))),
            },
            () = self.fault.raised() => Err(PublishError::Unknown(self.fault.why().to_owned())),
        }
    }

    async fn exchange(
        &self,
        channel: &Channel,
        to: Address<'_>,
        publication: &Publication,
    ) -> Result<(), PublishError> {
        let Ok(_place) = self.window.acquire().await else { return Err(unavailable("it was closed")) };
        let Publication { properties, body, expiration, .. } = publication;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let short = |text: &str| ShortString::try_new(text).map_err(|_| PublishError::Unroutable);
        let (exchange, routing_key) = (short(to.exchange)?, short(&to.routing_key)?);
        let outbound = properties::outbound(properties, *expiration);
        let number = self.line.returns.begin();
        let sent = channel.basic_publish(exchange, routing_key, options, body, outbound);
        let confirm = async { sent.await?.await };
        let unknown = |error: lapin::Error| PublishError::Unknown(error.to_string());
        let came_back = || {
            let message_id = properties::message_id(properties);
            self.line.returns.came_back(number, to.exchange, &to.routing_key, message_id)
        };
        match confirm.await.map_err(unknown)? {
            Confirmation::Nack(_) => Err(PublishError::Refused),
            Confirmation::NotRequested => Err(PublishError::Unknown("the channel does not confirm".into())),
            Confirmation::Ack(_) if came_back() => Err(PublishError::Unroutable),
            Confirmation::Ack(_) => Ok(()),
        }
    }
}

/// That nothing was published, and why.
pub(super) fn unavailable(why: &str) -> PublishError {
    PublishError::Unavailable(why.to_owned())
}

async fn confirming(line: &Line) -> Result<Channel, OpenError> {
    let channel = line.channel().await?;
    bounded(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}
