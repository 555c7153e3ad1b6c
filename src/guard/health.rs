//! Circuits: is this provider well for this destination — closed, open until a moment, or being probed.
//!
//! A provider has one circuit for everything and, where its answers blame a country, one more for that
//! country. Both must let a message pass. Every change of state comes with its reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Dice, Timestamp};
use crate::phone::Country;

/// When a circuit opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthPolicy {
    /// Over how long answers are counted.
    pub window: Duration,
    /// Fewer answers than this in the window say nothing.
    pub min_sample: u32,
    /// At or above this share of bad answers it opens. Twice the sample in a row opens it too: where much goes out,
    /// an outage would otherwise have to outweigh all that went well before it.
    pub failure_ratio: f64,
    /// How long it stays open the first time; doubled each time a probe fails.
    pub open: Duration,
    /// The longest it stays open.
    pub max_open: Duration,
    /// How many probes run at once while half-open, and how many must succeed in a row to close.
    pub probes: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_sample: 10,
            failure_ratio: 0.5,
            open: Duration::from_secs(10),
            max_open: Duration::from_mins(2),
            probes: 3,
        }
    }
}

/// A probe whose end nobody reported (its worker died) stops counting after this.
const PROBE_LOST_AFTER: Duration = Duration::from_secs(30);
/// How soon it is worth asking again while every probe is out.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
const BUCKETS: u32 = 10;

/// Which state a circuit is in; the numbers are those of the metric `courier_provider_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything passes.
    Closed = 0,
    /// A few probes pass.
    HalfOpen = 1,
    /// Nothing passes.
    Open = 2,
}

/// A change of state, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub provider: Arc<str>,
    /// For which destination; `None`: all.
    pub country: Option<Country>,
    /// Into which state.
    pub to: CircuitState,
    /// Why.
    pub why: String,
}

/// May a message pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Pass,
    /// Not before this moment.
    OpenUntil(Timestamp),
}

#[derive(Debug, Default)]
struct Circuit {
    open_until: Option<Timestamp>,
    openings: u32,
    probes_out: Vec<Timestamp>,
    probe_successes: u32,
    /// Bad answers in a row, and when the first of them came.
    run: Option<(u32, Timestamp)>,
    buckets: [Bucket; BUCKETS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: i64,
    good: u32,
    bad: u32,
}

impl Circuit {
    fn state(&self, now: Timestamp) -> CircuitState {
        match self.open_until {
            None => CircuitState::Closed,
            Some(until) if now < until => CircuitState::Open,
            Some(_) => CircuitState::HalfOpen,
        }
    }

    fn admission(&self, now: Timestamp, policy: &HealthPolicy) -> Admission {
        match self.open_until {
            None => Admission::Pass,
            Some(until) if now < until => Admission::OpenUntil(until),
            Some(_) => {
                let running = self.probes_out.iter().filter(|begun| now.since(**begun) < PROBE_LOST_AFTER).count();
                let free = running < policy.probes.max(1) as usize;
                if free { Admission::Pass } else { Admission::OpenUntil(now + PROBE_PATIENCE) }
            }
        }
    }

    /// The request that began at `begun` is over.
    fn end(&mut self, begun: Timestamp) {
        if let Some(probe) = self.probes_out.iter().position(|probe| *probe == begun) {
            self.probes_out.swap_remove(probe);
        }
    }

    fn begin(&mut self, now: Timestamp) {
        if self.state(now) == CircuitState::HalfOpen {
            self.probes_out.retain(|begun| now.since(*begun) < PROBE_LOST_AFTER);
            self.probes_out.push(now);
        }
    }

    fn bucket(&mut self, now: Timestamp, policy: &HealthPolicy) -> &mut Bucket {
        let number = bucket_number(now, policy);
        let index = usize::try_from(number.rem_euclid(i64::from(BUCKETS))).unwrap_or(0);
        let bucket = &mut self.buckets[index];
        if bucket.number != number {
            *bucket = Bucket { number, good: 0, bad: 0 };
        }
        bucket
    }

    fn counts(&self, now: Timestamp, policy: &HealthPolicy) -> (u32, u32) {
        let oldest = bucket_number(now, policy) - i64::from(BUCKETS);
        let recent = self.buckets.iter().filter(|bucket| bucket.number > oldest);
        recent.fold((0, 0), |(good, bad), bucket| (good + bucket.good, bad + bucket.bad))
    }

    fn open(&mut self, now: Timestamp, policy: &HealthPolicy, dice: &mut Dice) {
        let doubled = policy.open.saturating_mul(1 << self.openings.min(16)).min(policy.max_open);
        // Jitter upwards by a tenth: workers that opened together don't probe together.
        self.open_until = Some(now + doubled + dice.up_to(doubled / 10));
        self.openings = self.openings.saturating_add(1);
        self.probes_out.clear();
        self.probe_successes = 0;
        self.run = None;
    }

    fn close(&mut self) {
        *self = Self::default();
    }

    /// Counts an answer; says why the state changed, if it did.
    fn record(
        &mut self,
        good: bool,
        begun: Timestamp,
        now: Timestamp,
        policy: &HealthPolicy,
        dice: &mut Dice,
    ) -> Option<(CircuitState, String)> {
        self.end(begun);
        match self.state(now) {
            // The answer to a request from before it opened says nothing about now.
            _ if self.open_until.is_some_and(|until| begun < until) => None,
            CircuitState::Open => None,
            CircuitState::HalfOpen => {
                if !good {
                    self.open(now, policy, dice);
                    return Some((CircuitState::Open, "a probe failed".to_owned()));
                }
                self.probe_successes += 1;
                if self.probe_successes < policy.probes.max(1) {
                    return None;
                }
                let why = format!("{} probes succeeded", self.probe_successes);
                self.close();
                Some((CircuitState::Closed, why))
            }
            CircuitState::Closed => {
                let why = self.count(good, now, policy)?;
                self.open(now, policy, dice);
                Some((CircuitState::Open, why))
            }
        }
    }

    /// Counts an answer while closed; says why it must open, if it must.
    fn count(&mut self, good: bool, now: Timestamp, policy: &HealthPolicy) -> Option<String> {
        let bucket = self.bucket(now, policy);
        if good {
            bucket.good += 1;
            self.run = None;
            return None;
        }
        bucket.bad += 1;
        let (before, since) = self.run.unwrap_or((0, now));
        let run = before + 1;
        self.run = Some((run, since));
        let (all_good, all_bad) = self.counts(now, policy);
        let sample = all_good + all_bad;
        let enough = policy.min_sample.max(1);
        if sample >= enough && f64::from(all_bad) >= f64::from(sample) * policy.failure_ratio {
            return Some(format!("{all_bad} of {sample} requests failed within {} s", policy.window.as_secs()));
        }
        let in_a_row = run >= enough.saturating_mul(2) && now.since(since) <= policy.window;
        in_a_row.then(|| format!("{run} requests failed in a row"))
    }
}

fn bucket_number(now: Timestamp, policy: &HealthPolicy) -> i64 {
    let width = i64::try_from(policy.window.as_millis() / u128::from(BUCKETS)).unwrap_or(i64::MAX).max(1);
    // One up, so that a bucket of the number 0 is one that was never used.
    now.as_millis().div_euclid(width) + 1
}

/// Every circuit of this worker.
#[derive(Debug)]
pub struct Health {
    policy: HealthPolicy,
    circuits: HashMap<(Arc<str>, Option<Country>), Circuit>,
}

impl Health {
    /// All circuits closed.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self { policy, circuits: HashMap::new() }
    }

    /// May a message to `country` pass now. Nothing is counted.
    #[must_use]
    pub fn admission(&self, provider: &Arc<str>, country: Option<Country>, now: Timestamp) -> Admission {
        let mut verdict = Admission::Pass;
        for circuit in self.of(provider, country) {
            match (circuit.admission(now, &self.policy), verdict) {
                (Admission::OpenUntil(until), Admission::OpenUntil(other)) => {
                    verdict = Admission::OpenUntil(until.max(other));
                }
                (open @ Admission::OpenUntil(_), Admission::Pass) => verdict = open,
                (Admission::Pass, _) => {}
            }
        }
        verdict
    }

    /// Asks and counts: on [`Admission::Pass`] the caller sends, and reports the end by [`Health::record`] or, where
    /// it says nothing about the provider, by [`Health::release`].
    pub fn begin(&mut self, provider: &Arc<str>, country: Option<Country>, now: Timestamp) -> Admission {
        let admission = self.admission(provider, country, now);
        if admission == Admission::Pass {
            for key in keys(provider, country) {
                if let Some(circuit) = self.circuits.get_mut(&key) {
                    circuit.begin(now);
                }
            }
        }
        admission
    }

    /// The request that passed at `begun` ended and says nothing about the provider: it was not written, or it was
    /// answered by something that [`Health::trip`] took care of.
    pub fn release(&mut self, provider: &Arc<str>, country: Option<Country>, begun: Timestamp) {
        for key in keys(provider, country) {
            if let Some(circuit) = self.circuits.get_mut(&key) {
                circuit.end(begun);
            }
        }
    }

    /// Counts the answer to the request that passed at `begun`.
    pub fn record(
        &mut self,
        provider: &Arc<str>,
        country: Option<Country>,
        good: bool,
        begun: Timestamp,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in keys(provider, country) {
            // The circuit of a country exists only once an answer blamed the country.
            let circuit = match &key.1 {
                None => self.circuits.entry(key.clone()).or_default(),
                Some(_) => match self.circuits.get_mut(&key) {
                    Some(circuit) => circuit,
                    None => continue,
                },
            };
            if let Some((to, why)) = circuit.record(good, begun, now, &self.policy, dice) {
                changes.push(Change { provider: Arc::clone(provider), country: key.1, to, why });
            }
        }
        changes
    }

    /// Opens a circuit at once: the provider refused for a reason that will not pass by itself. Beside
    /// [`Health::release`]: the country that is blamed may not be the one that was probed.
    pub fn trip(
        &mut self,
        provider: &Arc<str>,
        country: Option<Country>,
        why: &str,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Option<Change> {
        let circuit = self.circuits.entry((Arc::clone(provider), country)).or_default();
        if circuit.state(now) == CircuitState::Open {
            return None;
        }
        circuit.open(now, &self.policy, dice);
        Some(Change { provider: Arc::clone(provider), country, to: CircuitState::Open, why: why.to_owned() })
    }

    /// The state of every circuit that was ever used.
    pub fn states(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, Option<Country>, CircuitState)> {
        self.circuits.iter().map(move |((provider, country), circuit)| (provider, *country, circuit.state(now)))
    }

    fn of(&self, provider: &Arc<str>, country: Option<Country>) -> impl Iterator<Item = &Circuit> {
        keys(provider, country).filter_map(|key| self.circuits.get(&key))
    }
}

fn keys(provider: &Arc<str>, country: Option<Country>) -> impl Iterator<Item = (Arc<str>, Option<Country>)> + use<> {
    let provider = Arc::clone(provider);
    std::iter::once(None).chain(country.map(Some)).map(move |country| (Arc::clone(&provider), country))
}

#[cfg(test)]
mod tests;
