//! Is "this device is gone" news of a device, or of ourselves: what the answers about other devices say.
//!
//! Devices go one at a time, and rarely. Many that are not related and are gone all at once speak of a wrong topic,
//! environment, project or key: a fault of the configuration first, or everybody would be told to register again.
//! Beside [`super::health`], which counts answers: here devices count, each once, by its latest answer.
//!
//! A wrong alarm costs a closed road for some seconds, a missed one the work of everybody who believed it. Where one
//! device in thirty is gone, fewer than two answers in ten thousand million raise a wrong one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// How many devices are remembered.
const LATEST: usize = 20;
/// How long an answer says something about now.
const WINDOW: Duration = Duration::from_mins(10);
/// Fewer devices than this that are gone are no burst.
const ENOUGH: usize = 5;

/// What one answer says of a device's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It was taken, so it is registered with us.
    Live,
    /// It is called gone.
    Gone,
}

/// The latest answers about the devices of one provider.
#[derive(Debug, Default)]
pub struct Burst {
    /// Oldest first; no device twice.
    heard: VecDeque<(Secret, Registration, Timestamp)>,
}

impl Burst {
    /// Learns what an answer said of `device` at `now`.
    pub fn learn(&mut self, device: &Secret, says: Registration, now: Timestamp) {
        self.heard.retain(|(other, ..)| other != device);
        if self.heard.len() == LATEST {
            self.heard.pop_front();
        }
        self.heard.push_back((device.clone(), says, now));
    }

    /// Whether so many devices are gone that it is no news of any of them: enough of them, and half of all that were
    /// heard of.
    #[must_use]
    pub fn is_on(&self, now: Timestamp) -> bool {
        let recent = || self.heard.iter().filter(|(.., at)| now.since(*at) < WINDOW);
        let gone = recent().filter(|(_, says, _)| *says == Registration::Gone).count();
        gone >= ENOUGH && gone * 2 >= recent().count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Registration::{Gone, Live};
    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn device(n: usize) -> Secret {
        Secret::new(format!("token-{n}"))
    }

    fn after(heard: impl IntoIterator<Item = (usize, Registration)>) -> Burst {
        let mut burst = Burst::default();
        for (n, says) in heard {
            burst.learn(&device(n), says, NOW);
        }
        burst
    }

    #[test]
    fn enough_devices_that_are_half_of_all_are_a_burst() {
        let gone = |count: usize| (0..count).map(|n| (n, Gone));
        let live = |count: usize| (100..100 + count).map(|n| (n, Live));
        for (gone_count, live_count, expected) in
            [(4, 0, false), (5, 0, true), (5, 5, true), (5, 6, false), (9, 11, false), (10, 10, true), (30, 0, true)]
        {
            assert_eq!(after(live(live_count).chain(gone(gone_count))).is_on(NOW), expected, "{gone_count}");
        }
    }

    #[test]
    fn one_device_is_one_however_often_it_is_asked_for() {
        assert!(!after((0..100).map(|n| (n % 4, Gone))).is_on(NOW));
        assert!(!after((0..4).map(|n| (n, Gone)).chain((0..100).map(|_| (9, Live)))).is_on(NOW));
    }

    #[test]
    fn a_burst_ends_when_as_many_are_live_or_with_time() {
        let mut burst = after((0..5).map(|n| (n, Gone)));
        for n in 10..15 {
            burst.learn(&device(n), Live, NOW);
            assert!(burst.is_on(NOW), "{n}");
        }
        assert!(!burst.is_on(NOW + WINDOW), "too long ago");
        burst.learn(&device(0), Live, NOW);
        assert!(!burst.is_on(NOW), "one of them lives after all");
    }

    fn answers() -> impl Strategy<Value = Vec<(usize, bool, u64)>> {
        prop::collection::vec((0..40usize, any::<bool>(), 0..120u64), 0..200)
    }

    proptest! {
        /// Whatever is heard: no more is kept than is needed, no device counts twice, and few devices are no burst.
        #[test]
        fn whatever_is_heard_few_devices_are_no_burst(answers in answers()) {
            let (mut burst, mut now) = (Burst::default(), NOW);
            for (n, live, seconds) in answers {
                now = now + Duration::from_secs(seconds);
                burst.learn(&device(n), if live { Live } else { Gone }, now);
                let names: std::collections::BTreeSet<_> = burst.heard.iter().map(|(d, ..)| d.expose()).collect();
                prop_assert!(names.len() == burst.heard.len() && names.len() <= LATEST);
                let gone = burst.heard.iter().filter(|(_, says, _)| *says == Gone).count();
                prop_assert!(!burst.is_on(now) || gone >= ENOUGH);
                prop_assert!(!burst.is_on(now + WINDOW), "nothing lasts");
            }
        }

        /// One more that lives never starts a burst, one more that is gone never ends one.
        #[test]
        fn each_answer_speaks_for_its_side(answers in answers(), n in 0..40usize) {
            for says in [Live, Gone] {
                let heard = answers.iter().map(|(n, live, _)| (*n, if *live { Live } else { Gone }));
                let mut burst = after(heard);
                let before = burst.is_on(NOW);
                burst.learn(&device(n), says, NOW);
                prop_assert!(before == burst.is_on(NOW) || burst.is_on(NOW) == (says == Gone), "{says:?}");
            }
        }
    }
}
