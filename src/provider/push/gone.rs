//! When a push provider's "this device is gone" is believed.
//!
//! Whoever is told that a device is gone has to register again, so a mistake is dear: an answer about a time before
//! the registration says nothing of it, and many devices gone at once speak of our own configuration
//! ([`crate::guard::burst`], which decides).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::challenge::PushTarget;
use crate::clock::Timestamp;
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::guard::burst::{Burst, Registration};

/// What is known of the registrations at one provider.
#[derive(Default)]
pub(in crate::provider) struct Gone(Mutex<Burst>);

impl Gone {
    /// Learns what became of a message to `target`; most results say nothing of its registration.
    pub(in crate::provider) fn learn(&self, target: &PushTarget, result: AttemptResult, now: Timestamp) {
        let says = match result {
            AttemptResult::Accepted => Registration::Live,
            AttemptResult::DeviceGone => Registration::Gone,
            _ => return,
        };
        self.burst().learn(&target.token, says, now);
    }

    /// What a verdict comes to for `target`, where the provider spoke of the time `as_of`.
    pub(in crate::provider) fn judge(
        &self,
        mut verdict: Verdict,
        target: &PushTarget,
        as_of: Timestamp,
        now: Timestamp,
    ) -> Verdict {
        if verdict.result != AttemptResult::DeviceGone {
            return verdict;
        }
        if target.registered_at.is_some_and(|at| at > as_of) {
            // It registered anew: this token is of no use now, and registering once more would not help.
            verdict.result = AttemptResult::Recipient;
        } else if self.burst().is_on(now) {
            verdict.result = AttemptResult::Provider;
            return verdict.because("many devices are gone at once: is this the right key, app and environment?");
        }
        verdict
    }

    fn burst(&self) -> MutexGuard<'_, Burst> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::challenge::Platform;
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn device(n: usize, registered_at: Option<i64>) -> PushTarget {
        PushTarget {
            platform: Platform::Android,
            token: Secret::new(format!("token-{n}")),
            app: None,
            registered_at: registered_at.map(Timestamp::from_millis),
            number_match: None,
            context: BTreeMap::new(),
        }
    }

    fn judged(gone: &Gone, device: &PushTarget) -> AttemptResult {
        gone.judge(Verdict::of(AttemptResult::DeviceGone), device, NOW, NOW).result
    }

    #[test]
    fn a_device_that_registered_later_is_not_gone() {
        let gone = Gone::default();
        for (registered_at, expected) in [
            (None, AttemptResult::DeviceGone),
            (Some(-1), AttemptResult::DeviceGone),
            (Some(0), AttemptResult::DeviceGone),
            (Some(1), AttemptResult::Recipient),
        ] {
            assert_eq!(judged(&gone, &device(1, registered_at)), expected, "{registered_at:?}");
        }
    }

    #[test]
    fn only_what_speaks_of_a_registration_is_learnt() {
        let gone = Gone::default();
        let tell = |n, result| {
            gone.learn(&device(n, None), result, NOW);
            judged(&gone, &device(n, None))
        };
        for n in 0..4 {
            assert_eq!(tell(n, AttemptResult::DeviceGone), AttemptResult::DeviceGone);
        }
        for result in AttemptResult::ALL {
            if !matches!(result, AttemptResult::Accepted | AttemptResult::DeviceGone) {
                assert_eq!(tell(9, result), AttemptResult::DeviceGone, "{result:?}");
            }
        }
        assert_eq!(tell(4, AttemptResult::DeviceGone), AttemptResult::Provider);
        for n in 10..16 {
            gone.learn(&device(n, None), AttemptResult::Accepted, NOW);
        }
        assert_eq!(judged(&gone, &device(4, None)), AttemptResult::DeviceGone);
    }

    #[test]
    fn other_verdicts_stay_as_they_are() {
        let gone = Gone::default();
        for result in AttemptResult::ALL.into_iter().filter(|result| *result != AttemptResult::DeviceGone) {
            let verdict = Verdict::of(result).because("so");
            assert_eq!(gone.judge(verdict.clone(), &device(1, Some(1)), NOW, NOW), verdict);
        }
    }
}
