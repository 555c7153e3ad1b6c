//! Reads one queue: from lapin's stream into the line that the [`Inbox`](super::inbox) reads.
//!
//! Guarantees: the end of a stream that nobody asked for is the end of the session; once stopped, the consumer is
//! cancelled first and what it still held goes back after, so that nothing comes round twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::acker::Settler;
use super::fault::Fault;
use super::line::{Line, bounded};
use super::properties;
use super::refusal::{OpenError, declaring};
use super::topology::short;
use crate::broker::{Delivered, Envelope, Names, Source};

/// How long a cancelled consumer's last deliveries are waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Signals and dead letters are handled quickly; they need no more than keeps the wire busy.
const QUICK_PREFETCH: u16 = 250;

/// One consumed queue of one session.
pub(super) struct Reader {
    source: Source,
    names: Arc<Names>,
    channel: Channel,
    stream: Consumer,
    settler: Arc<Settler>,
    fault: Fault,
}

impl Reader {
    /// Starts consuming on a channel of its own.
    pub(super) async fn open(
        line: &Line,
        source: Source,
        names: &Arc<Names>,
        prefetch: u16,
        fault: &Fault,
    ) -> Result<Self, OpenError> {
        let channel = line.channel().await?;
        let prefetch = match source {
            Source::Challenges | Source::Followups => prefetch,
            Source::Signals | Source::Dead => prefetch.min(QUICK_PREFETCH),
        };
        bounded(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let queue = names.queue(source);
        let (consume, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let stream = bounded(channel.basic_consume(short(queue)?, source.as_str().into(), consume, arguments))
            .await
            .map_err(|error| declaring(&error, "queue", queue))?;
        let settler = Settler::start(channel.clone(), fault.clone());
        Ok(Self { source, names: Arc::clone(names), channel, stream, settler, fault: fault.clone() })
    }

    /// What settles its deliveries.
    pub(super) fn settler(&self) -> Arc<Settler> {
        Arc::clone(&self.settler)
    }

    /// Reads until the session ends or reading is stopped.
    pub(super) async fn run(mut self, to: UnboundedSender<Delivered>, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = self.fault.raised() => return,
                () = stop.cancelled() => return self.wind_up(None).await,
                next = self.stream.next() => next,
            };
            match next {
                Some(Ok(delivery)) => {
                    if let Err(unread) = to.send(self.delivered(delivery)) {
                        return self.wind_up(Some(unread.0)).await;
                    }
                }
                Some(Err(error)) => return self.fault.raise(format!("reading {}: {error}", self.source.as_str())),
                None => {
                    return self.fault.raise(format!("the broker stopped the consumer of {}", self.source.as_str()));
                }
            }
        }
    }

    /// Cancels, then puts back what came meanwhile.
    async fn wind_up(mut self, unread: Option<Delivered>) {
        let mut unread: Vec<Delivered> = unread.into_iter().collect();
        let cancelled = bounded(self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default())).await;
        if let Err(error) = cancelled {
            return self.fault.raise(format!("the consumer of {} can't be stopped: {error}", self.source.as_str()));
        }
        while let Ok(Some(Ok(delivery))) = tokio::time::timeout(LAST_WORDS, self.stream.next()).await {
            unread.push(self.delivered(delivery));
        }
        drop(unread);
    }

    fn delivered(&self, delivery: Delivery) -> Delivered {
        let Delivery { delivery_tag, routing_key, redelivered, properties, data, .. } = delivery;
        let (properties, death) = properties::inbound(&properties, self.source, &self.names);
        Delivered {
            source: self.source,
            routing_key: routing_key.into(),
            properties,
            body: Bytes::from(data),
            redelivered,
            death,
            envelope: Envelope::new(delivery_tag, self.settler()),
        }
    }
}
