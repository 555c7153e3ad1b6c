//! Settles the deliveries of one channel: many envelopes in, few frames out.
//!
//! [`Settler`] is what every envelope of a channel holds; a task turns what it is told into frames. Guarantees: an ack
//! is never combined over a delivery that is not settled; what goes back has gone back before anything is acked over
//! it; nothing is written for a session that is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::{mpsc, oneshot};

use super::fault::Fault;
use super::line::bounded;
use crate::broker::{Settle, Settlement};

/// How many settlements are looked at together.
const BATCH: usize = 1024;

enum Order {
    Settle(u64, Settlement),
    Flush(oneshot::Sender<()>),
}

/// Takes the settlements of one channel.
pub(super) struct Settler {
    orders: mpsc::UnboundedSender<Order>,
    fault: Fault,
}

impl Settler {
    /// Starts settling on `channel`, until the session fails or the last envelope is gone.
    pub(super) fn start(channel: Channel, fault: Fault) -> Arc<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        tokio::spawn(run(channel, ordered, fault.clone()));
        Arc::new(Self { orders, fault })
    }

    /// Waits until everything settled so far is written, or the session is gone.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _gone = written.await;
        }
    }
}

impl Settle for Settler {
    fn settle(&self, tag: u64, how: Settlement) {
        if !self.is_void() {
            let _gone = self.orders.send(Order::Settle(tag, how));
        }
    }

    fn is_void(&self) -> bool {
        self.fault.is_raised()
    }
}

async fn run(channel: Channel, mut orders: mpsc::UnboundedReceiver<Order>, fault: Fault) {
    let mut tags = Tags::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            biased;
            () = fault.raised() => return,
            count = orders.recv_many(&mut batch, BATCH) => count,
        };
        if count == 0 {
            return;
        }
        let mut flushed = Vec::new();
        for order in batch.drain(..) {
            match order {
                Order::Settle(tag, how) => tags.settle(tag, how),
                Order::Flush(done) => flushed.push(done),
            }
        }
        if let Err(error) = write(&channel, tags.frames()).await {
            fault.raise(format!("settling failed: {error}"));
            return;
        }
        for done in flushed {
            let _gone = done.send(());
        }
    }
}

async fn write(channel: &Channel, frames: Frames) -> Result<(), lapin::Error> {
    let back = BasicNackOptions { multiple: false, requeue: true };
    bounded(try_join_all(frames.requeued.into_iter().map(|tag| channel.basic_nack(tag, back)))).await?;
    if let Some(tag) = frames.acked_up_to {
        bounded(channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
    }
    let single = BasicAckOptions::default();
    bounded(try_join_all(frames.acked.into_iter().map(|tag| channel.basic_ack(tag, single)))).await?;
    Ok(())
}

/// What to write, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Frames {
    requeued: Vec<u64>,
    acked_up_to: Option<u64>,
    acked: Vec<u64>,
}

/// Which deliveries of a channel are settled. Tags count from 1, without gaps.
#[derive(Debug, Default)]
struct Tags {
    /// Every tag up to here is settled.
    floor: u64,
    /// Settled tags above the floor.
    above: BTreeSet<u64>,
    acks: BTreeSet<u64>,
    requeues: Vec<u64>,
}

impl Tags {
    fn settle(&mut self, tag: u64, how: Settlement) {
        if tag <= self.floor || !self.above.insert(tag) {
            return;
        }
        match how {
            Settlement::Ack => drop(self.acks.insert(tag)),
            Settlement::Requeue => self.requeues.push(tag),
        }
    }

    fn frames(&mut self) -> Frames {
        while self.above.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
        let scattered = self.acks.split_off(&(self.floor + 1));
        let mut prefix = std::mem::replace(&mut self.acks, scattered);
        // The broker wants the tag of a combined ack to be one that it still waits for: one of these.
        let acked_up_to = if prefix.len() > 1 { prefix.pop_last() } else { None };
        let mut acked: Vec<u64> = if acked_up_to.is_some() { Vec::new() } else { prefix.into_iter().collect() };
        acked.extend(std::mem::take(&mut self.acks));
        Frames { requeued: std::mem::take(&mut self.requeues), acked_up_to, acked }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the broker still waits for, and what became of the rest.
    #[derive(Default)]
    struct Broker {
        waiting: BTreeSet<u64>,
        acked: BTreeSet<u64>,
        requeued: BTreeSet<u64>,
    }

    impl Broker {
        fn read(&mut self, frames: Frames) {
            for tag in frames.requeued {
                assert!(self.waiting.remove(&tag) && self.requeued.insert(tag));
            }
            if let Some(tag) = frames.acked_up_to {
                assert!(self.waiting.contains(&tag), "a combined ack names a delivery that is waited for");
                let later = self.waiting.split_off(&(tag + 1));
                self.acked.append(&mut self.waiting);
                self.waiting = later;
            }
            for tag in frames.acked {
                assert!(self.waiting.remove(&tag) && self.acked.insert(tag));
            }
        }
    }

    #[test]
    fn a_row_of_acks_is_one_frame() {
        let mut tags = Tags::default();
        (1..=100).rev().for_each(|tag| tags.settle(tag, Settlement::Ack));
        tags.settle(103, Settlement::Ack);
        assert_eq!(tags.frames(), Frames { requeued: vec![], acked_up_to: Some(100), acked: vec![103] });
        tags.settle(101, Settlement::Requeue);
        tags.settle(102, Settlement::Ack);
        assert_eq!(tags.frames(), Frames { requeued: vec![101], acked_up_to: None, acked: vec![102] });
        assert_eq!((tags.floor, tags.above.len()), (103, 0));
    }

    proptest! {
        /// In whatever order and batches envelopes are settled, each ends as it was settled, once.
        #[test]
        fn every_delivery_ends_as_it_was_settled(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            kept in proptest::collection::vec(proptest::bool::weighted(0.8), 60),
            batch in 1_usize..20,
            settled in 0_usize..=60,
        ) {
            let mut tags = Tags::default();
            let mut broker = Broker { waiting: (1..=60).collect(), ..Broker::default() };
            for chunk in order[..settled].chunks(batch) {
                for tag in chunk {
                    let ack = kept[usize::try_from(*tag).expect("small") - 1];
                    tags.settle(*tag, if ack { Settlement::Ack } else { Settlement::Requeue });
                }
                broker.read(tags.frames());
            }
            for tag in &order[..settled] {
                let ack = kept[usize::try_from(*tag).expect("small") - 1];
                prop_assert_eq!((broker.acked.contains(tag), broker.requeued.contains(tag)), (ack, !ack));
            }
            prop_assert_eq!(broker.waiting.len(), 60 - settled);
        }
    }
}
