//! The [`Inbox`] of RabbitMQ: four lines that outlive sessions, read in turn.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::broker::{Delivered, Inbox, Source};

/// How long a stop waits for the broker to have stopped.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// The ends that readers write to. Unbounded, since the prefetch bounds what the broker hands out.
#[derive(Clone)]
pub(super) struct Lines([UnboundedSender<Delivered>; 4]);

impl Lines {
    pub(super) fn of(&self, source: Source) -> UnboundedSender<Delivered> {
        let [signals, followups, dead, challenges] = &self.0;
        match source {
            Source::Signals => signals,
            Source::Followups => followups,
            Source::Dead => dead,
            Source::Challenges => challenges,
        }
        .clone()
    }
}

/// Reads the lines: news about challenges in flight before new ones.
pub(super) struct RabbitInbox {
    lines: [UnboundedReceiver<Delivered>; 4],
    turn: usize,
    stop: CancellationToken,
    readers: TaskTracker,
    _alive: Arc<DropGuard>,
}

impl RabbitInbox {
    /// An inbox, and the lines that fill it. Cancelling `stop` stops the `readers`.
    pub(super) fn new(stop: CancellationToken, readers: TaskTracker, alive: Arc<DropGuard>) -> (Self, Lines) {
        let (signals, followups, dead, challenges) =
            (unbounded_channel(), unbounded_channel(), unbounded_channel(), unbounded_channel());
        let lines = [signals.1, followups.1, dead.1, challenges.1];
        let ends = Lines([signals.0, followups.0, dead.0, challenges.0]);
        (Self { lines, turn: 0, stop, readers, _alive: alive }, ends)
    }

    /// The next delivery of any line; ready with none once all have ended.
    fn poll_lines(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivered>> {
        let mut ended = 0;
        for line in order(self.turn) {
            match self.lines[line].poll_recv(cx) {
                Poll::Ready(Some(delivered)) => return Poll::Ready(Some(delivered)),
                Poll::Ready(None) => ended += 1,
                Poll::Pending => {}
            }
        }
        if ended == self.lines.len() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// In which order the lines are looked at: signals, follow-ups, dead letters, challenges; but every fourth time
/// challenges come first, and every sixteenth dead letters, so that no flood of one starves another.
const fn order(turn: usize) -> [usize; 4] {
    match turn % 16 {
        15 => [2, 1, 0, 3],
        3 | 7 | 11 => [3, 0, 1, 2],
        odd if odd % 2 == 1 => [1, 0, 2, 3],
        _ => [0, 1, 2, 3],
    }
}

#[async_trait]
impl Inbox for RabbitInbox {
    async fn next(&mut self) -> Option<Delivered> {
        while !self.stop.is_cancelled() {
            let delivered = poll_fn(|cx| self.poll_lines(cx)).await?;
            self.turn = self.turn.wrapping_add(1);
            // What a lost session had handed out comes again from the next one.
            if !delivered.envelope.is_void() {
                return Some(delivered);
            }
        }
        None
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        self.readers.close();
        let _slow = tokio::time::timeout(STOPPED_WITHIN, self.readers.wait()).await;
        for line in &mut self.lines {
            line.close();
            while line.try_recv().is_ok() {}
        }
    }
}

impl Drop for RabbitInbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Envelope, Properties, Settle, Settlement};

    struct Open;

    impl Settle for Open {
        fn settle(&self, _: u64, _: Settlement) {}
        fn is_void(&self) -> bool {
            false
        }
    }

    fn delivered(source: Source) -> Delivered {
        Delivered {
            source,
            routing_key: String::new(),
            properties: Properties::default(),
            body: bytes::Bytes::new(),
            redelivered: false,
            death: None,
            envelope: Envelope::new(1, Arc::new(Open)),
        }
    }

    fn new_inbox() -> (RabbitInbox, Lines) {
        let alive = Arc::new(CancellationToken::new().drop_guard());
        RabbitInbox::new(CancellationToken::new(), TaskTracker::new(), alive)
    }

    #[tokio::test]
    async fn news_comes_first_and_nothing_starves() {
        let (mut inbox, lines) = new_inbox();
        for source in Source::ALL {
            for _ in 0..160 {
                lines.of(source).send(delivered(source)).expect("open");
            }
        }
        let mut seen = std::collections::HashMap::new();
        for _ in 0..160 {
            *seen.entry(inbox.next().await.expect("full").source).or_insert(0) += 1;
        }
        assert_eq!((seen[&Source::Signals], seen[&Source::Followups]), (80, 40));
        assert_eq!((seen[&Source::Challenges], seen[&Source::Dead]), (30, 10));
    }

    #[tokio::test]
    async fn it_ends_with_its_lines_and_when_stopped() {
        let (mut inbox, lines) = new_inbox();
        lines.of(Source::Dead).send(delivered(Source::Dead)).expect("open");
        drop(lines);
        assert_eq!(inbox.next().await.map(|delivered| delivered.source), Some(Source::Dead));
        assert!(inbox.next().await.is_none());

        let (mut inbox, lines) = new_inbox();
        lines.of(Source::Signals).send(delivered(Source::Signals)).expect("open");
        inbox.stop().await;
        assert!(inbox.next().await.is_none());
        assert!(lines.of(Source::Signals).send(delivered(Source::Signals)).is_err());
    }
}
