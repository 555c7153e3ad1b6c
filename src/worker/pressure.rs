//! The shared state that attempts press against: lanes, circuits, permits, and places to sleep.
//!
//! The arithmetic is [`crate::guard`]'s; here it is put behind locks that are never held over I/O. Where workers share
//! their lanes, [`fleet`] asks for slots, and the lanes here hold what is known of the answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::challenge::Channel;
use crate::clock::{Dice, Timestamp};
use crate::delivery::route::Hop;
use crate::delivery::verdict::{AttemptResult, Scope, Verdict};
use crate::delivery::{Condition, Delivery};
use crate::guard::health::{Admission, Change, CircuitState, Health, HealthPolicy};
use crate::guard::quota::{LaneKey, Lanes, Rate};
use crate::ledger::lanes::FleetLanes;
use crate::phone::Country;
use crate::telemetry::metrics;

mod fleet;

pub use fleet::FleetSlot;

/// How one provider is limited on one channel.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Its name.
    pub provider: Arc<str>,
    /// On which channel.
    pub channel: Channel,
    /// As a whole.
    pub rate: Option<Rate>,
    /// Each of its senders that is limited.
    pub senders: Vec<(Arc<str>, Rate)>,
}

/// Lanes, circuits, permits and places to sleep of one worker.
pub struct Pressure {
    lanes: Mutex<Lanes>,
    health: Mutex<Health>,
    permits: HashMap<Arc<str>, (Arc<Semaphore>, u32)>,
    sleepers: Arc<Semaphore>,
    changes: broadcast::Sender<Change>,
    fleet: Option<Arc<dyn FleetLanes>>,
}

/// How many changes of circuits wait for a listener that is slow; it misses the oldest beyond them.
const CHANGES_KEPT: usize = 256;

/// The right to have one more request open at a provider; given back when dropped.
pub struct Permit(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Pressure {
    /// All lanes free, all circuits closed. `in_flight` is per provider; `sleepers` bounds how many
    /// deliveries may wait inside the worker.
    #[must_use]
    pub fn new(
        lanes: &[LaneSettings],
        in_flight: &[(Arc<str>, u32)],
        health: HealthPolicy,
        sleepers: usize,
        now: Timestamp,
    ) -> Self {
        let mut made = Lanes::default();
        for lane in lanes {
            let key = |sender| LaneKey { provider: Arc::clone(&lane.provider), channel: lane.channel, sender };
            made.insert(key(None), lane.rate, now);
            for (sender, rate) in &lane.senders {
                made.insert(key(Some(Arc::clone(sender))), Some(*rate), now);
            }
        }
        let permit = |(provider, most): &(Arc<str>, u32)| {
            (Arc::clone(provider), (Arc::new(Semaphore::new(*most as usize)), *most))
        };
        Self {
            lanes: Mutex::new(made),
            health: Mutex::new(Health::new(health)),
            permits: in_flight.iter().map(permit).collect(),
            sleepers: Arc::new(Semaphore::new(sleepers)),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            fleet: None,
        }
    }

    /// What circuits do from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// How each hop of a plan stands.
    pub fn conditions(&self, delivery: &Delivery, now: Timestamp) -> Vec<Condition> {
        let (lanes, health) = (lock(&self.lanes), lock(&self.health));
        let condition = |hop: &Hop| {
            let country = country(delivery, hop);
            match health.admission(&hop.provider, country, now) {
                Admission::OpenUntil(until) => Condition::OpenUntil(until),
                Admission::Pass => match lanes.earliest(&hop.provider, hop.channel, hop.sender.as_ref(), now) {
                    slot if slot > now => Condition::SlotAt(slot),
                    _ => Condition::Ready,
                },
            }
        };
        delivery.plan().map(condition).collect()
    }

    /// Takes the next slot for a hop in this worker's own lanes, if it comes before `latest`.
    pub fn reserve(&self, hop: &Hop, now: Timestamp, latest: Timestamp) -> Result<Timestamp, Timestamp> {
        lock(&self.lanes).reserve(&hop.provider, hop.channel, hop.sender.as_ref(), now, latest)
    }

    /// A place to sleep inside the worker, if one is free.
    pub fn sleeper(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sleepers).try_acquire_owned().ok()
    }

    /// Waits at most `patience` for the right to open one more request.
    pub async fn permit(&self, provider: &Arc<str>, patience: Duration) -> Option<Permit> {
        let Some((open, _)) = self.permits.get(provider) else { return Some(Permit(None)) };
        if let Ok(held) = Arc::clone(open).try_acquire_owned() {
            return Some(Permit(Some(held)));
        }
        // Whoever waits holds a message: only as many wait as there are places to sleep.
        let _place = self.sleeper()?;
        let held = tokio::time::timeout(patience, Arc::clone(open).acquire_owned()).await.ok()?.ok()?;
        Some(Permit(Some(held)))
    }

    /// Asks the circuit; on [`Admission::Pass`] the answer is to be reported by [`Pressure::learn`], or
    /// [`Pressure::withdraw`] where the request is not made.
    pub fn admit(&self, provider: &Arc<str>, country: Option<Country>, now: Timestamp) -> Admission {
        lock(&self.health).begin(provider, country, now)
    }

    /// The request that the circuit admitted at `begun` was not made.
    pub fn withdraw(&self, provider: &Arc<str>, country: Option<Country>, begun: Timestamp) {
        lock(&self.health).release(provider, country, begun);
    }

    /// Takes in what an answer says about its provider: its circuit, its lane.
    pub fn learn(
        &self,
        hop: &Hop,
        country: Option<Country>,
        verdict: &Verdict,
        (begun, now): (Timestamp, Timestamp),
        dice: &mut Dice,
    ) {
        let provider = &hop.provider;
        let changes = match verdict.result {
            AttemptResult::Provider => self.trip(hop, country, verdict, (begun, now), dice),
            AttemptResult::Transient | AttemptResult::Unknown => {
                lock(&self.health).record(provider, country, false, begun, now, dice)
            }
            AttemptResult::Accepted | AttemptResult::Recipient | AttemptResult::DeviceGone | AttemptResult::Content => {
                lock(&self.health).record(provider, country, true, begun, now, dice)
            }
            // It said when to come back: no news of its health.
            AttemptResult::Throttled => {
                lock(&self.health).release(provider, country, begun);
                Vec::new()
            }
        };
        for change in changes {
            report(&change);
            // Mostly nobody listens.
            let _ = self.changes.send(change);
        }
    }

    fn trip(
        &self,
        hop: &Hop,
        country: Option<Country>,
        verdict: &Verdict,
        (begun, now): (Timestamp, Timestamp),
        dice: &mut Dice,
    ) -> Vec<Change> {
        let code = verdict.code.as_deref().unwrap_or("refused");
        let why = format!("the provider's answer {code} is about credentials, funds, sender or configuration");
        let mut health = lock(&self.health);
        // What trips a circuit is no probe's success or failure: its place is free again.
        if verdict.scope != Scope::Sender {
            health.release(&hop.provider, country, begun);
        }
        match verdict.scope {
            Scope::Provider => health.trip(&hop.provider, None, &why, now, dice).into_iter().collect(),
            Scope::Country => health.trip(&hop.provider, country, &why, now, dice).into_iter().collect(),
            Scope::Sender => health.record(&hop.provider, country, false, begun, now, dice),
        }
    }

    /// Keeps a lane still until `until`, as its provider asked.
    pub fn pause(&self, hop: &Hop, scope: Scope, until: Timestamp) {
        lock(&self.lanes).pause(&lane_of(hop, scope), until);
        metrics::rate_limited(&hop.provider, "provider");
    }

    /// Reports every circuit's state, and how many requests are open.
    pub fn report(&self, now: Timestamp) {
        for (provider, (open, of)) in &self.permits {
            let free = u32::try_from(open.available_permits()).unwrap_or(u32::MAX);
            metrics::in_flight(provider, of.saturating_sub(free));
        }
        for (provider, country, state) in lock(&self.health).states(now) {
            metrics::provider_state(provider, country, state);
        }
    }
}

fn report(change: &Change) {
    metrics::provider_state(&change.provider, change.country, change.to);
    let (provider, country) = (change.provider.as_ref(), change.country.map_or("all", |_| "one"));
    let destination = change.country.map(|country| country.to_string()).unwrap_or_default();
    match change.to {
        CircuitState::Open => {
            tracing::warn!(provider, scope = country, destination, why = change.why, "circuit opened");
        }
        CircuitState::HalfOpen | CircuitState::Closed => {
            tracing::info!(provider, scope = country, destination, why = change.why, "circuit closed");
        }
    }
}

/// The lane that a throttling answer of this scope is about.
fn lane_of(hop: &Hop, scope: Scope) -> LaneKey {
    let sender = match scope {
        Scope::Sender => hop.sender.clone(),
        Scope::Provider | Scope::Country => None,
    };
    LaneKey { provider: Arc::clone(&hop.provider), channel: hop.channel, sender }
}

/// The country that a hop of `delivery` leads to.
pub fn country(delivery: &Delivery, hop: &Hop) -> Option<Country> {
    delivery.challenge().methods.get(hop.method).and_then(crate::challenge::Method::country)
}

/// No code that can panic runs under these locks; a poisoned one is as good as a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
