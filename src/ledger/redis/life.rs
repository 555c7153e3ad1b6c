//! Which life of the store this worker knows, and how far.
//!
//! An epoch begins with the time at which it began, so a later one is above an earlier one, and a store that came
//! back as it once was is recognised by an epoch below the known one, or by fewer writes in it.

use crate::clock::Timestamp;

/// How many bits of an epoch are chance; the others are milliseconds, enough of them for 139 years.
const CHANCE_BITS: u32 = 22;

/// A life, and how many writes of it were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Which one; 0 for none.
    pub(super) epoch: u64,
    /// How many writes at least.
    pub(super) writes: u64,
}

impl Life {
    /// From what the store says.
    pub(super) fn read(epoch: &str, writes: u64) -> Option<Self> {
        let epoch = u64::from_str_radix(epoch, 16).ok().filter(|epoch| *epoch != 0)?;
        Some(Self { epoch, writes })
    }

    pub(super) const fn is_known(self) -> bool {
        self.epoch != 0
    }

    /// The epoch as the store has it: as text it has the same order.
    pub(super) fn epoch_text(self) -> String {
        if self.is_known() { format!("{:016x}", self.epoch) } else { String::new() }
    }

    /// An epoch above this one that begins now.
    pub(super) fn following(self, now: Timestamp, chance: u64) -> String {
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        let fresh = (millis << CHANCE_BITS) | (chance >> (u64::BITS - CHANCE_BITS));
        format!("{:016x}", fresh.max(self.epoch.saturating_add(1)))
    }

    /// Takes in an answer. Answers come in any order: what is older than what is known says nothing.
    pub(super) fn see(&mut self, other: Self) {
        if (other.epoch, other.writes) > (self.epoch, self.writes) {
            *self = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: i64 = 1_800_000_000_000;

    #[test]
    fn a_later_life_is_above_an_earlier_one_as_number_and_as_text() {
        let read = |text: &str| Life::read(text, 0).expect("an epoch");
        let at = Timestamp::from_millis;
        let first = read(&Life::default().following(at(MILLIS), u64::MAX));
        let second = read(&first.following(at(MILLIS + 1), 0));
        assert!(second.epoch > first.epoch && second.epoch_text() > first.epoch_text());
        let clock_went_back = read(&second.following(at(MILLIS), 0));
        assert!(clock_went_back.epoch > second.epoch && clock_went_back.epoch_text() > second.epoch_text());
        assert_eq!(Life::read("0000000000000000", 0), None);
        assert_eq!(Life::read("none", 0), None);
    }

    #[test]
    fn answers_may_come_in_any_order() {
        let mut life = Life { epoch: 5, writes: 7 };
        life.see(Life { epoch: 5, writes: 6 });
        assert_eq!(life, Life { epoch: 5, writes: 7 });
        life.see(Life { epoch: 6, writes: 0 });
        life.see(Life { epoch: 5, writes: 9 });
        assert_eq!(life, Life { epoch: 6, writes: 0 });
    }
}
