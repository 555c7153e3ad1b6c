//! The demo's load: challenges at an even rate, people who answer them, an outage in the middle third, until every
//! challenge has its word.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::upstream::{REQUESTED, Upstream, VERIFIED};
use super::people;
use super::screen::Screen;
use super::tally::Tally;
use crate::clock::Clock;
use crate::delivery::outcome::{Outcome, Status};
use crate::guard::health::Change;

/// What is published.
pub(super) struct Plan {
    pub(super) seconds: u64,
    pub(super) rate: u64,
    /// What the ids of this run begin with.
    pub(super) run: String,
}

impl Plan {
    fn id(&self, n: u64) -> String {
        format!("{}-{n}", self.run)
    }

    fn is_out(&self, elapsed: Duration) -> bool {
        let third = Duration::from_secs(self.seconds) / 3;
        elapsed >= third && elapsed < third * 2
    }

    /// How many are published by then.
    fn due(&self, elapsed: Duration) -> u64 {
        let due = elapsed.as_millis() * u128::from(self.rate) / 1_000;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.seconds * self.rate)
    }
}

/// How long after the last deadline an outcome is still waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A load under way.
pub(super) struct Load<'d> {
    pub(super) plan: &'d Plan,
    pub(super) upstream: &'d mut Upstream,
    pub(super) tally: &'d mut Tally,
    pub(super) screen: &'d mut Screen,
    /// When which challenge is answered by its person.
    pub(super) answers: BTreeSet<(Instant, u64)>,
}

impl Load<'_> {
    /// Publishes and listens; `outage` is told when the first provider stops answering and when it answers again.
    pub(super) async fn run(
        &mut self,
        circuits: &mut Receiver<Change>,
        stop: &CancellationToken,
        outage: impl Fn(bool),
    ) -> Result<(), Failure> {
        let begin = Clock::instant();
        let latest = begin + Duration::from_secs(self.plan.seconds + people::TTL) + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut second = tokio::time::interval_at(begin + Duration::from_secs(1), Duration::from_secs(1));
        let mut everything_is_published = false;
        while !(everything_is_published && self.tally.open() == 0 || Clock::instant() > latest) {
            tokio::select! {
                outcome = self.upstream.next_outcome() => match outcome {
                    Some((outcome, _)) => self.heard(&outcome),
                    None => return Err(Failure::Service("the broker closed the connection".to_owned())),
                },
                _ = tick.tick() => {
                    let elapsed = begin.elapsed();
                    self.outage(elapsed, &outage);
                    if !everything_is_published {
                        self.publish_due(elapsed).await?;
                        everything_is_published = self.tally.published == self.plan.seconds * self.plan.rate;
                        if everything_is_published {
                            self.screen.load_is_over(self.tally);
                        }
                    }
                    self.answer_due().await?;
                }
                // Changes that were missed are no news.
                Ok(change) = circuits.recv() => self.circuit(&change),
                _ = second.tick() => {
                    let middle = Duration::from_secs(self.tally.outages.len() as u64) + Duration::from_millis(500);
                    self.tally.end_second(self.plan.is_out(middle));
                    self.screen.second(self.tally);
                }
                () = stop.cancelled(), if !everything_is_published => everything_is_published = true,
            }
        }
        Ok(())
    }

    fn heard(&mut self, outcome: &Outcome) {
        let Some(n) = self.tally.heard(outcome) else { return };
        let taken_by = outcome.channel.filter(|_| outcome.status == Status::Sent && !outcome.is_final);
        if let Some(after) = taken_by.and_then(|channel| people::answers_after(n, channel)) {
            self.answers.insert((Clock::instant() + after, n));
        }
    }

    fn outage(&mut self, elapsed: Duration, tell: &impl Fn(bool)) {
        let is_out = self.plan.is_out(elapsed);
        if is_out != self.tally.is_out {
            self.tally.is_out = is_out;
            tell(is_out);
            self.screen.outage(self.tally, is_out);
        }
    }

    fn circuit(&mut self, change: &Change) {
        let was_open = self.tally.circuit(change);
        self.screen.circuit(self.tally, change, was_open);
    }

    async fn publish_due(&mut self, elapsed: Duration) -> Result<(), Failure> {
        while self.tally.published < self.plan.due(elapsed) {
            let n = self.tally.published;
            let id = self.plan.id(n);
            self.upstream.publish(REQUESTED, &people::challenge(n, &id)).await?;
            self.tally.published(n, id);
        }
        Ok(())
    }

    /// Who got the message and has read it approves, or enters the code.
    async fn answer_due(&mut self) -> Result<(), Failure> {
        while let Some((_, n)) = self.answers.first().copied().filter(|(at, _)| *at <= Clock::instant()) {
            self.answers.pop_first();
            self.upstream.publish(VERIFIED, &json!({ "id": self.plan.id(n) })).await?;
        }
        Ok(())
    }
}
