//! What the demo counts: challenges, their ends, and what each provider did on each channel.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ROWS;
use crate::challenge::Channel;
use crate::clock::{Clock, Timestamp};
use crate::delivery::outcome::{AttemptReport, Outcome, Reason};
use crate::delivery::verdict::AttemptResult;
use crate::guard::health::{Change, CircuitState};

pub(super) struct Tally {
    clock: Clock,
    pub(super) begin: Timestamp,
    open: HashMap<String, Open>,
    pub(super) published: u64,
    pub(super) concluded: u64,
    pub(super) finals: BTreeMap<(&'static str, &'static str), u64>,
    /// How often a channel that had taken a message gave way to another, since nobody answered it.
    pub(super) moved: BTreeMap<(Channel, Channel), u64>,
    pub(super) rows: Vec<Row>,
    /// From the challenge to the moment at which a provider had taken it.
    pub(super) taken_ms: Vec<u64>,
    pub(super) second: Second,
    open_circuits: BTreeSet<String>,
    /// Of each second so far: whether the first provider was silent.
    pub(super) outages: Vec<bool>,
    pub(super) is_out: bool,
}

/// A challenge without a final outcome.
struct Open {
    n: u64,
    published: Timestamp,
    /// How many of its attempts are counted.
    counted: usize,
    is_taken: bool,
}

/// One provider on one channel.
pub(super) struct Row {
    pub(super) provider: &'static str,
    pub(super) channel: Channel,
    pub(super) by_result: BTreeMap<&'static str, u64>,
    pub(super) took_ms: Vec<u64>,
    /// How many it took in each second so far.
    pub(super) history: Vec<u64>,
    taken: u64,
    failed: u64,
    /// In the last whole second.
    pub(super) last: Last,
}

/// What a provider did in a second.
#[derive(Clone, Copy, Default)]
pub(super) struct Last {
    pub(super) taken: u64,
    /// Through its own fault: a number that nobody has is none.
    pub(super) failed: u64,
}

/// How long it took, in a second, from challenges to providers that took them; in milliseconds.
#[derive(Default)]
pub(super) struct Second {
    taken: Vec<u64>,
    /// Of the last whole second.
    pub(super) p50: u64,
    pub(super) p95: u64,
}

impl Row {
    const fn new(provider: &'static str, channel: Channel) -> Self {
        Self {
            provider,
            channel,
            by_result: BTreeMap::new(),
            took_ms: Vec::new(),
            history: Vec::new(),
            taken: 0,
            failed: 0,
            last: Last { taken: 0, failed: 0 },
        }
    }

    fn count(&mut self, attempt: &AttemptReport) {
        *self.by_result.entry(attempt.result.as_str()).or_default() += 1;
        self.took_ms.push(attempt.duration_ms);
        match attempt.result {
            AttemptResult::Accepted => self.taken += 1,
            AttemptResult::Recipient | AttemptResult::DeviceGone | AttemptResult::Content => {}
            AttemptResult::Transient | AttemptResult::Throttled | AttemptResult::Provider | AttemptResult::Unknown => {
                self.failed += 1;
            }
        }
    }

    fn end_second(&mut self) {
        self.last = Last { taken: self.taken, failed: self.failed };
        self.history.push(self.taken);
        (self.taken, self.failed) = (0, 0);
    }

    pub(super) fn attempts(&self) -> u64 {
        self.by_result.values().sum()
    }
}

impl Tally {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            begin: clock.now(),
            clock,
            open: HashMap::new(),
            published: 0,
            concluded: 0,
            finals: BTreeMap::new(),
            moved: BTreeMap::new(),
            rows: ROWS.into_iter().map(|(provider, channel)| Row::new(provider, channel)).collect(),
            taken_ms: Vec::new(),
            second: Second::default(),
            open_circuits: BTreeSet::new(),
            outages: Vec::new(),
            is_out: false,
        }
    }

    pub(super) fn elapsed_secs(&self) -> u64 {
        self.clock.now().since(self.begin).as_secs()
    }

    pub(super) fn published(&mut self, n: u64, id: String) {
        self.open.insert(id, Open { n, published: self.clock.now(), counted: 0, is_taken: false });
        self.published += 1;
    }

    /// Challenges without a final outcome: at the end, those that are lost.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Counts what is new in an outcome; gives the number of the challenge where it is an open one of ours.
    pub(super) fn heard(&mut self, outcome: &Outcome) -> Option<u64> {
        // A repeat, or somebody else's, is not open.
        let open = self.open.get_mut(outcome.challenge_id.as_str())?;
        for attempt in outcome.attempts.iter().skip(open.counted) {
            let ours = |row: &&mut Row| row.provider == attempt.provider && row.channel == attempt.channel;
            if let Some(row) = self.rows.iter_mut().find(ours) {
                row.count(attempt);
            }
            if attempt.result == AttemptResult::Accepted && !open.is_taken {
                open.is_taken = true;
                let waited = millis(attempt.started_at.since(open.published)) + attempt.duration_ms;
                self.taken_ms.push(waited);
                self.second.taken.push(waited);
            }
        }
        open.counted = open.counted.max(outcome.attempts.len());
        let n = open.n;
        if outcome.is_final {
            self.open.remove(outcome.challenge_id.as_str());
            self.concluded += 1;
            let reason = outcome.reason.map_or("", Reason::as_str);
            *self.finals.entry((outcome.status.as_str(), reason)).or_default() += 1;
            // No receipts come here: whoever goes on after a message was taken does so because of silence.
            for pair in outcome.attempts.windows(2) {
                if let [taken, next] = pair
                    && taken.result == AttemptResult::Accepted
                    && taken.channel != next.channel
                {
                    *self.moved.entry((taken.channel, next.channel)).or_default() += 1;
                }
            }
        }
        Some(n)
    }

    /// Whether the circuit was open before.
    pub(super) fn circuit(&mut self, change: &Change) -> bool {
        let provider = change.provider.as_ref();
        match change.to {
            CircuitState::Open => !self.open_circuits.insert(provider.to_owned()),
            CircuitState::HalfOpen | CircuitState::Closed => self.open_circuits.remove(provider),
        }
    }

    pub(super) fn is_circuit_open(&self, provider: &str) -> bool {
        self.open_circuits.contains(provider)
    }

    /// `was_out` says whether the first provider was silent in most of it.
    pub(super) fn end_second(&mut self, was_out: bool) {
        self.rows.iter_mut().for_each(Row::end_second);
        self.outages.push(was_out);
        self.second.p50 = percentile(&mut self.second.taken, 50);
        self.second.p95 = percentile(&mut self.second.taken, 95);
        self.second.taken.clear();
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The value that `percent` of them do not exceed; sorts them.
pub(super) fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_so_many_do_not_exceed() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        let all = [0, 1, 50, 95, 100].map(|percent| percentile(&mut values, percent));
        assert_eq!(all, [1, 1, 50, 95, 100]);
        assert_eq!((percentile(&mut [], 95), percentile(&mut [7], 50)), (0, 7));
        assert_eq!(percentile(&mut [3, 1, 2], 95), 3);
    }
}
