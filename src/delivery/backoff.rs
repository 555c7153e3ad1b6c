//! How long to wait before a hop is tried again: the schedule is the `backoff` crate's, the dice are ours.
//!
//! The crate reads its own chance and jitters past its cap, so it is used without randomisation, as a
//! plain schedule, in this one file. The jitter is drawn from [`Dice`] and stays within policy.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

use super::policy::RetryPolicy;
use crate::clock::Dice;

/// Beyond this many tries the schedule no longer grows.
const LAST_STEP: u32 = 20;
/// A schedule that begins with no wait at all would never leave it.
const LEAST_WAIT: Duration = Duration::from_millis(10);
/// The longest a lane is kept still at a provider's word.
pub const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The schedule's wait before try `tries + 1`, not longer than `max`, without jitter.
fn scheduled(initial: Duration, max: Duration, tries: u32) -> Duration {
    let (initial, max) = (initial.max(LEAST_WAIT), max.max(LEAST_WAIT));
    let mut schedule = ExponentialBackoffBuilder::new()
        .with_initial_interval(initial)
        .with_max_interval(max)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_elapsed_time(None)
        .build();
    let mut wait = initial;
    for _ in 0..tries.clamp(1, LAST_STEP) {
        wait = schedule.next_backoff().unwrap_or(max);
    }
    wait.min(max)
}

/// The wait after a `transient` answer, the `tries`-th on this hop: the schedule with its upper half
/// jittered, or the provider's hint where that is longer, never beyond policy.
#[must_use]
pub fn after_transient(policy: &RetryPolicy, tries: u32, hint: Option<Duration>, dice: &mut Dice) -> Duration {
    let wait = scheduled(policy.initial, policy.max_delay, tries);
    let jittered = wait / 2 + dice.up_to(wait / 2);
    hint.map_or(jittered, |hint| hint.clamp(jittered, policy.max_delay.max(jittered)))
}

/// The longest that all waits of one hop can be together after `transient` answers.
#[must_use]
pub fn longest(policy: &RetryPolicy) -> Duration {
    (0..policy.max)
        .fold(Duration::ZERO, |all, _| all.saturating_add(policy.max_delay.max(policy.initial).max(LEAST_WAIT)))
}

/// How long a lane pauses after a `throttled` answer: the provider's hint where there is one, never less
/// than the schedule (a hint of zero must not become a storm) and never more than [`MAX_PAUSE`].
#[must_use]
pub fn after_throttled(policy: &RetryPolicy, tries: u32, hint: Option<Duration>, dice: &mut Dice) -> Duration {
    let wait = scheduled(policy.initial, MAX_PAUSE, tries);
    let jittered = wait / 2 + dice.up_to(wait / 2);
    hint.unwrap_or_default().clamp(jittered, MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_schedule_doubles_up_to_its_cap() {
        let waits: Vec<_> = (1..=6).map(|tries| scheduled(millis(200), millis(2_000), tries).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 2_000, 2_000]);
    }

    proptest! {
        #[test]
        fn waits_stay_within_policy(initial in 0u64..5_000, extra in 0u64..60_000, tries in 0u32..100, hint in proptest::option::of(0u64..10_000_000), seed: u64) {
            let policy = RetryPolicy { max: 3, initial: millis(initial), max_delay: millis(initial + extra) };
            let mut dice = Dice::seeded(seed);
            let transient = after_transient(&policy, tries, hint.map(millis), &mut dice);
            prop_assert!(transient >= policy.initial / 2 && transient <= policy.max_delay.max(LEAST_WAIT));
            let throttled = after_throttled(&policy, tries, hint.map(millis), &mut dice);
            prop_assert!(transient >= LEAST_WAIT / 2 && throttled >= LEAST_WAIT / 2);
            prop_assert!(throttled >= policy.initial.min(MAX_PAUSE) / 2 && throttled <= MAX_PAUSE);
            if let Some(hint) = hint {
                prop_assert!(throttled >= millis(hint).min(MAX_PAUSE), "a provider that names a time is not asked before it");
            }
        }
    }
}
