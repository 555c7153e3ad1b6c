//! Lanes: may this provider or sender spend one more message, and if not, when.
//!
//! A lane gives out slots. The arithmetic is governor's (GCRA); it is asked at the earliest instant it
//! names, so a slot in the future is reserved exactly and no two messages wait for the same one. Where workers share
//! lanes ([`crate::ledger::lanes`]), [`Pace`] says the same rate to whoever does the arithmetic there.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use crate::challenge::Channel;
use crate::clock::Timestamp;

/// How many messages a lane takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// On average; above zero and finite.
    pub per_second: f64,
    /// At once, after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// The same in whole microseconds, rounded so that it is never faster.
    #[must_use]
    pub fn pace(self) -> Pace {
        let period = Duration::try_from_secs_f64(1.0 / self.per_second).unwrap_or(Duration::MAX);
        let period = u64::try_from(period.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).clamp(1, LONGEST_PERIOD);
        let tolerance = period.saturating_mul(u64::from(self.burst.saturating_sub(1))).min(MOST_TOLERANCE);
        Pace { period, tolerance }
    }
}

/// A rate in whole microseconds. Small enough that it can be added to a time of this millennium in an `f64` exactly,
/// which is all that Lua has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// From one message to the next; zero where nothing is limited.
    pub period: u64,
    /// How far the lane may be behind: what a burst takes beyond its first message.
    pub tolerance: u64,
}

/// A month.
const LONGEST_PERIOD: u64 = 30 * 24 * 3_600 * 1_000_000;
/// 31 years.
const MOST_TOLERANCE: u64 = 1_000_000_000_000_000;

/// The hand of a clock that a lane turns itself.
#[derive(Clone, Debug, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

/// governor's state of one lane, which can also be asked without being changed.
#[derive(Clone, Debug)]
struct Tat {
    /// The theoretical arrival time in nanoseconds; `u64::MAX` before the first message.
    nanos: Arc<AtomicU64>,
    dry: Arc<AtomicBool>,
}

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let held = self.nanos.load(Ordering::Relaxed);
        let (granted, next) = decide((held != u64::MAX).then(|| Nanos::from(held)))?;
        if !self.dry.load(Ordering::Relaxed) {
            self.nanos.store(next.as_u64(), Ordering::Relaxed);
        }
        Ok(granted)
    }
}

/// governor's limiter of one lane, with its state and its clock in our hands.
#[derive(Debug)]
struct Limiter {
    governor: RateLimiter<NotKeyed, Tat, Hand, NoOpMiddleware<Nanos>>,
    tat: Tat,
    hand: Hand,
}

/// One limited way out: a provider on a channel, or one of its senders.
#[derive(Debug)]
struct Lane {
    rate: Option<Rate>,
    limiter: Option<Limiter>,
    epoch: Timestamp,
    paused_until: Timestamp,
}

impl Lane {
    fn new(rate: Option<Rate>, now: Timestamp) -> Self {
        let limiter = rate.and_then(quota).map(|quota| {
            let tat = Tat { nanos: Arc::new(AtomicU64::new(u64::MAX)), dry: Arc::default() };
            let hand = Hand::default();
            Limiter { governor: RateLimiter::new(quota, tat.clone(), hand.clone()), tat, hand }
        });
        // An hour of slack, so that a clock set back a little does not turn into a lane standing still.
        Self { rate, limiter, epoch: now - Duration::from_hours(1), paused_until: Timestamp::EPOCH }
    }

    /// The earliest instant at or after `nanos` at which one more may go; nothing is spent.
    fn earliest(&self, nanos: u64) -> u64 {
        let Some(Limiter { governor, tat, hand }) = &self.limiter else { return nanos };
        tat.dry.store(true, Ordering::Relaxed);
        hand.0.store(nanos, Ordering::Relaxed);
        let earliest = match governor.check() {
            Ok(()) => nanos,
            Err(not_until) => not_until.earliest_possible().as_u64().max(nanos),
        };
        tat.dry.store(false, Ordering::Relaxed);
        earliest
    }

    /// Spends one at `nanos`, which [`Lane::earliest`] named.
    fn spend(&self, nanos: u64) {
        if let Some(Limiter { governor, hand, .. }) = &self.limiter {
            hand.0.store(nanos, Ordering::Relaxed);
            let granted = governor.check().is_ok();
            debug_assert!(granted, "a slot that was named is granted");
        }
    }

    fn nanos_at(&self, now: Timestamp) -> u64 {
        let from = now.max(self.paused_until);
        u64::try_from(from.since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Rounded up, so that whoever waits for it is never early.
    fn timestamp_of(&self, nanos: u64) -> Timestamp {
        self.epoch + Duration::from_millis(nanos.div_ceil(1_000_000))
    }
}

fn quota(rate: Rate) -> Option<Quota> {
    let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
    let period = Duration::try_from_secs_f64(1.0 / rate.per_second).ok()?;
    Some(Quota::with_period(period.max(Duration::from_nanos(1)))?.allow_burst(burst))
}

/// What a lane is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The provider.
    pub provider: Arc<str>,
    /// On which channel.
    pub channel: Channel,
    /// The sender; `None` is the provider as a whole.
    pub sender: Option<Arc<str>>,
}

/// A lane and what limits it: all that has to be known of it where the fleet's lanes are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneLimit {
    /// Which one.
    pub key: LaneKey,
    /// Without one it only takes pauses.
    pub rate: Option<Rate>,
}

impl LaneLimit {
    /// Its rate in whole microseconds.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.rate.map(Rate::pace).unwrap_or_default()
    }
}

/// Every lane of this worker.
#[derive(Debug, Default)]
pub struct Lanes(HashMap<LaneKey, Lane>);

impl Lanes {
    /// Adds a lane that `rate` limits; without one it only takes pauses.
    pub fn insert(&mut self, key: LaneKey, rate: Option<Rate>, now: Timestamp) {
        self.0.insert(key, Lane::new(rate, now));
    }

    /// Adds a lane, unless it is there.
    pub fn ensure(&mut self, limit: &LaneLimit, now: Timestamp) {
        self.0.entry(limit.key.clone()).or_insert_with(|| Lane::new(limit.rate, now));
    }

    /// The lanes of a message by `provider` on `channel` from `sender`; none where none of them is limited.
    #[must_use]
    pub fn limits(&self, provider: &Arc<str>, channel: Channel, sender: Option<&Arc<str>>) -> Vec<LaneLimit> {
        let limit = |sender: Option<&Arc<str>>| {
            let key = LaneKey { provider: Arc::clone(provider), channel, sender: sender.cloned() };
            let rate = self.0.get(&key)?.rate;
            Some(LaneLimit { key, rate })
        };
        let limits: Vec<_> = limit(None).into_iter().chain(sender.and_then(|own| limit(Some(own)))).collect();
        if limits.iter().all(|limit| limit.rate.is_none()) { Vec::new() } else { limits }
    }

    /// When one more message may go by `provider` on `channel` from `sender`. Nothing is spent.
    #[must_use]
    pub fn earliest(
        &self,
        provider: &Arc<str>,
        channel: Channel,
        sender: Option<&Arc<str>>,
        now: Timestamp,
    ) -> Timestamp {
        earliest(self.of(provider, channel, sender), now)
    }

    /// Takes the next slot for one message, if it comes before `latest`.
    ///
    /// # Errors
    /// When the slot would come too late, when it would come; nothing is spent then.
    pub fn reserve(
        &self,
        provider: &Arc<str>,
        channel: Channel,
        sender: Option<&Arc<str>>,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Timestamp, Timestamp> {
        reserve(|| self.of(provider, channel, sender), now, latest)
    }

    /// When the lane has its next slot; at once where there is no such lane.
    #[must_use]
    pub fn earliest_of(&self, key: &LaneKey, now: Timestamp) -> Timestamp {
        earliest(self.0.get(key).into_iter(), now)
    }

    /// [`Lanes::reserve`] on the lanes of these limits.
    ///
    /// # Errors
    /// Likewise.
    pub fn reserve_on(&self, limits: &[LaneLimit], now: Timestamp, latest: Timestamp) -> Result<Timestamp, Timestamp> {
        reserve(|| limits.iter().filter_map(|limit| self.0.get(&limit.key)), now, latest)
    }

    /// Keeps a lane still until `until`: the provider said so.
    pub fn pause(&mut self, key: &LaneKey, until: Timestamp) {
        if let Some(lane) = self.0.get_mut(key) {
            lane.paused_until = lane.paused_until.max(until);
        }
    }

    fn of(&self, provider: &Arc<str>, channel: Channel, sender: Option<&Arc<str>>) -> impl Iterator<Item = &Lane> {
        let key =
            |sender: Option<&Arc<str>>| LaneKey { provider: Arc::clone(provider), channel, sender: sender.cloned() };
        let whole = self.0.get(&key(None));
        let own = sender.and_then(|sender| self.0.get(&key(Some(sender))));
        whole.into_iter().chain(own)
    }
}

fn earliest<'l>(lanes: impl Iterator<Item = &'l Lane>, now: Timestamp) -> Timestamp {
    lanes.fold(now, |at, lane| at.max(lane.timestamp_of(lane.earliest(lane.nanos_at(now)))))
}

fn reserve<'l, I: Iterator<Item = &'l Lane>>(
    lanes: impl Fn() -> I,
    now: Timestamp,
    latest: Timestamp,
) -> Result<Timestamp, Timestamp> {
    let slot = earliest(lanes(), now);
    if slot >= latest {
        return Err(slot);
    }
    for lane in lanes() {
        // A lane that is free earlier spends at its own exact instant only where it alone decides; beside
        // another that decides, it spends when the message really goes.
        let own = lane.earliest(lane.nanos_at(now));
        let nanos = if lane.timestamp_of(own) == slot { own } else { lane.earliest(lane.nanos_at(slot)) };
        lane.spend(nanos);
    }
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn lanes(provider: Option<Rate>, sender: Option<Rate>) -> (Lanes, Arc<str>, Arc<str>) {
        let (name, from): (Arc<str>, Arc<str>) = ("p".into(), "+1".into());
        let mut lanes = Lanes::default();
        let key = |sender| LaneKey { provider: Arc::clone(&name), channel: Channel::Sms, sender };
        lanes.insert(key(None), provider, NOW);
        lanes.insert(key(Some(Arc::clone(&from))), sender, NOW);
        (lanes, name, from)
    }

    #[test]
    fn slots_are_exact_and_each_is_given_once() {
        let (lanes, p, _) = lanes(Some(Rate { per_second: 300.0, burst: 1 }), None);
        let slots: Vec<_> =
            (0..301).map(|_| lanes.reserve(&p, Channel::Sms, None, NOW, Timestamp::MAX).expect("free")).collect();
        assert_eq!(slots[0], NOW);
        assert_eq!(slots[300], at(1_000), "300 a second are 300 a second, not 250");
        assert!(slots.is_sorted());
    }

    #[test]
    fn a_burst_goes_at_once() {
        let (lanes, p, _) = lanes(Some(Rate { per_second: 10.0, burst: 5 }), None);
        let slots: Vec<_> = (0..7)
            .map(|_| lanes.reserve(&p, Channel::Sms, None, NOW, Timestamp::MAX).expect("free").as_millis())
            .collect();
        assert_eq!(slots, [0, 0, 0, 0, 0, 100, 200]);
    }

    #[test]
    fn the_slower_of_provider_and_sender_decides() {
        let (lanes, p, from) =
            lanes(Some(Rate { per_second: 100.0, burst: 1 }), Some(Rate { per_second: 1.0, burst: 1 }));
        let reserve = |sender| lanes.reserve(&p, Channel::Sms, sender, NOW, Timestamp::MAX).expect("free").as_millis();
        assert_eq!([reserve(Some(&from)), reserve(Some(&from)), reserve(Some(&from))], [0, 1_000, 2_000]);
    }

    #[test]
    fn nothing_is_spent_on_a_slot_that_comes_too_late() {
        let (lanes, p, _) = lanes(Some(Rate { per_second: 1.0, burst: 1 }), None);
        assert_eq!(lanes.reserve(&p, Channel::Sms, None, NOW, at(1_000)), Ok(NOW));
        assert_eq!(lanes.reserve(&p, Channel::Sms, None, NOW, at(1_000)), Err(at(1_000)));
        assert_eq!(lanes.reserve(&p, Channel::Sms, None, NOW, at(1_001)), Ok(at(1_000)));
    }

    #[test]
    fn a_pace_is_never_faster_than_its_rate_and_small_enough_for_lua() {
        let pace = |per_second, burst| Rate { per_second, burst }.pace();
        assert_eq!(pace(300.0, 1), Pace { period: 3_334, tolerance: 0 });
        assert_eq!(pace(100.0, 100), Pace { period: 10_000, tolerance: 990_000 });
        assert_eq!(pace(0.5, 2), Pace { period: 2_000_000, tolerance: 2_000_000 });
        for (per_second, burst) in [(1e9, 1), (1e-9, u32::MAX), (f64::MIN_POSITIVE, 0)] {
            let Pace { period, tolerance } = pace(per_second, burst);
            let year_2100 = 4_102_444_800_000_000;
            assert!(period >= 1 && year_2100 + period + tolerance < 1 << 53, "{per_second} {period} {tolerance}");
        }
    }

    #[test]
    fn only_what_is_limited_has_limits() {
        let rate = Some(Rate { per_second: 1.0, burst: 1 });
        let senders = |lanes: (Lanes, Arc<str>, Arc<str>), sender: bool| {
            let (lanes, p, from) = lanes;
            let limits = lanes.limits(&p, Channel::Sms, sender.then_some(&from));
            limits.into_iter().map(|limit| (limit.key.sender, limit.rate)).collect::<Vec<_>>()
        };
        assert_eq!(senders(lanes(None, None), true), []);
        assert_eq!(senders(lanes(None, rate), false), [], "from another sender");
        assert_eq!(senders(lanes(None, rate), true), [(None, None), (Some("+1".into()), rate)], "pauses hold for both");
        assert_eq!(senders(lanes(rate, None), false), [(None, rate)]);
    }

    #[test]
    fn a_pause_holds_even_an_unlimited_lane() {
        let (mut lanes, p, _) = lanes(None, None);
        lanes.pause(&LaneKey { provider: Arc::clone(&p), channel: Channel::Sms, sender: None }, at(5_000));
        assert_eq!(lanes.earliest(&p, Channel::Sms, None, NOW), at(5_000));
        assert_eq!(lanes.earliest(&p, Channel::Sms, None, at(6_000)), at(6_000));
    }

    proptest::proptest! {
        /// Whatever provider and sender allow, neither gives out more than its own rate and burst.
        #[test]
        fn both_limits_hold_together(whole in 1u32..50, own in 1u32..50, bursts in (1u32..10, 1u32..10), gaps in proptest::collection::vec(0i64..60, 1..200)) {
            let rate = |per_second: u32, burst| Some(Rate { per_second: f64::from(per_second), burst });
            let (lanes, p, from) = lanes(rate(whole, bursts.0), rate(own, bursts.1));
            let mut now = 0;
            let mut slots = Vec::new();
            for gap in gaps {
                now += gap;
                let named = lanes.earliest(&p, Channel::Sms, Some(&from), at(now));
                let slot = lanes.reserve(&p, Channel::Sms, Some(&from), at(now), Timestamp::MAX).expect("free");
                proptest::prop_assert_eq!(named, slot, "what was named is what is given");
                slots.push(slot.as_millis());
            }
            slots.sort_unstable();
            let most = (whole + bursts.0).min(own + bursts.1);
            for (i, start) in slots.iter().enumerate() {
                let held = slots[i..].iter().take_while(|slot| **slot < start + 1_000).count();
                proptest::prop_assert!(held <= most as usize, "{held} in one second");
            }
        }

        /// I9: whatever the order of asking, no window of a second holds more than rate + burst.
        #[test]
        fn no_second_holds_more_than_rate_and_burst(per_second in 1u32..400, burst in 1u32..50, gaps in proptest::collection::vec(0i64..50, 1..400)) {
            let (lanes, p, _) = lanes(Some(Rate { per_second: f64::from(per_second), burst }), None);
            let mut now = 0;
            let mut slots: Vec<i64> = gaps.iter().map(|gap| {
                now += gap;
                lanes.reserve(&p, Channel::Sms, None, at(now), Timestamp::MAX).expect("free").as_millis()
            }).collect();
            slots.sort_unstable();
            for (i, start) in slots.iter().enumerate() {
                let held = slots[i..].iter().take_while(|slot| **slot < start + 1_000).count();
                proptest::prop_assert!(held <= (per_second + burst) as usize, "{held} in one second");
            }
        }
    }
}
