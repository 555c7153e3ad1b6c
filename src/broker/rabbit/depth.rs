//! How many messages wait in each queue, as a metric.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::fault::Fault;
use super::line::{Line, bounded};
use super::refusal::OpenError;
use super::topology::short;
use crate::broker::{Names, Source};

const EVERY: Duration = Duration::from_secs(15);

/// Sets `courier_queue_depth` until the session ends. A queue that can't be asked keeps its last value.
pub(super) async fn gauge(line: Arc<Line>, names: Arc<Names>, fault: Fault) {
    let mut channel = None;
    loop {
        if let Err(error) = measure(&line, &names, &mut channel).await {
            tracing::debug!(%error, "the depth of a queue is not known");
            channel = None;
        }
        tokio::select! {
            () = fault.raised() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn measure(line: &Line, names: &Names, slot: &mut Option<Channel>) -> Result<(), OpenError> {
    let channel = match slot.take() {
        Some(channel) => channel,
        None => line.channel().await?,
    };
    let consumed = Source::ALL.map(|source| (source.as_str(), names.queue(source)));
    let kept = [("quarantine", names.quarantine.as_str()), ("unrouted", names.unrouted.as_str())];
    for (word, queue) in consumed.into_iter().chain(kept) {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = bounded(channel.queue_declare(short(queue)?, passive, FieldTable::default())).await?;
        metrics::gauge!("courier_queue_depth", "queue" => word).set(f64::from(found.message_count()));
    }
    *slot = Some(channel);
    Ok(())
}
