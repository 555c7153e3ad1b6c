//! When a push provider's "this device is gone" is believed.
//!
//! For kinds of push providers in code. Whoever is told that a device is gone has to register again, so a
//! mistake is dear: an answer about a time before the registration says nothing of it, and many devices
//! gone in a row speak of our own credentials or project rather than of the devices.

use std::sync::{Mutex, PoisonError};

use crate::challenge::PushTarget;
use crate::clock::Timestamp;
use crate::delivery::verdict::AttemptResult;
use crate::secret::Secret;

/// How many different devices in a row, with none accepted between them, are a fault of the provider's.
const IN_A_ROW: usize = 5;

/// The latest devices that were called gone since one was accepted.
#[derive(Default)]
pub(super) struct Gone(Mutex<Vec<Secret>>);

impl Gone {
    /// Learns what became of a message to `target`.
    pub(super) fn learn(&self, target: &PushTarget, result: AttemptResult) {
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            AttemptResult::Accepted => row.clear(),
            AttemptResult::DeviceGone if row.len() < IN_A_ROW && !row.contains(&target.token) => {
                row.push(target.token.clone());
            }
            _ => {}
        }
    }

    /// What "gone" comes to for `target`, where the provider spoke of the time `as_of`.
    pub(super) fn judge(&self, target: &PushTarget, as_of: Timestamp) -> AttemptResult {
        if target.registered_at.is_some_and(|at| at > as_of) {
            // It registered anew: this token is of no use now, and registering once more would not help.
            return AttemptResult::Recipient;
        }
        let row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if row.len() >= IN_A_ROW { AttemptResult::Provider } else { AttemptResult::DeviceGone }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::challenge::Platform;

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

    #[test]
    fn a_device_that_registered_later_is_not_gone() {
        let gone = Gone::default();
        for (registered_at, expected) in [
            (None, AttemptResult::DeviceGone),
            (Some(-1), AttemptResult::DeviceGone),
            (Some(0), AttemptResult::DeviceGone),
            (Some(1), AttemptResult::Recipient),
        ] {
            assert_eq!(gone.judge(&device(1, registered_at), NOW), expected, "{registered_at:?}");
        }
    }

    #[test]
    fn many_devices_gone_in_a_row_are_our_own_fault_until_one_is_accepted() {
        let gone = Gone::default();
        let tell = |n, result| {
            gone.learn(&device(n, None), result);
            gone.judge(&device(n, None), NOW)
        };
        for _ in 0..10 {
            assert_eq!(tell(1, AttemptResult::DeviceGone), AttemptResult::DeviceGone, "one device, however often");
        }
        for n in 2..5 {
            assert_eq!(tell(n, AttemptResult::DeviceGone), AttemptResult::DeviceGone);
        }
        assert_eq!(tell(6, AttemptResult::Transient), AttemptResult::DeviceGone, "says nothing of devices");
        assert_eq!(tell(5, AttemptResult::DeviceGone), AttemptResult::Provider);
        assert_eq!(tell(1, AttemptResult::DeviceGone), AttemptResult::Provider);
        gone.learn(&device(9, None), AttemptResult::Accepted);
        assert_eq!(tell(7, AttemptResult::DeviceGone), AttemptResult::DeviceGone);
    }
}
