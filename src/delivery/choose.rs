//! Which hop is next: the first of the plan that can go now, or soon enough; else the one that can go soonest.

use super::outcome::UnusedWhy;
use super::{Condition, Delivery, DueWhy, HopState, LEAST_TIME, PATIENCE, Step, Track};
use crate::clock::Timestamp;

/// When a hop can be tried.
#[derive(Clone, Copy)]
struct Way {
    /// The earliest moment at which it could go out.
    at: Timestamp,
    /// When there is something to do about it: earlier than `at` where a slot has to be asked for first.
    act: Timestamp,
    /// It goes before later hops, though they might go at once.
    preferred: bool,
}

impl Delivery {
    /// The next hop to try or to wait for; `None` when none is left that could still be answered in time.
    pub(super) fn choose(&mut self, conditions: &[Condition], now: Timestamp) -> Option<Step> {
        let mut best: Option<(usize, Way)> = None;
        for (i, track) in self.hops.iter().enumerate() {
            let Some(way) = track.state.way(condition_of(conditions, i), now) else { continue };
            if way.at + LEAST_TIME > self.challenge.expires_at {
                continue;
            }
            if way.preferred {
                best = Some((i, way));
                break;
            }
            if best.is_none_or(|(_, other)| way.at < other.at) {
                best = Some((i, way));
            }
        }
        let (chosen, way) = best?;
        if way.act > now {
            return Some(Step::Wait(way.act));
        }
        for (i, track) in self.hops.iter_mut().enumerate().take(chosen) {
            track.passed_over = track.hindrance(condition_of(conditions, i)).or(track.passed_over);
        }
        Some(Step::Attempt(chosen))
    }

    /// Whether a hop is left that was not tried to its end.
    pub(super) fn has_open_hop(&self) -> bool {
        self.hops.iter().any(|track| track.state.is_open())
    }
}

/// A hop that the facts say nothing about is ready.
fn condition_of(conditions: &[Condition], hop: usize) -> Condition {
    conditions.get(hop).copied().unwrap_or(Condition::Ready)
}

impl HopState {
    /// When the hop can be tried; `None` when it is over, or barred.
    fn way(self, condition: Condition, now: Timestamp) -> Option<Way> {
        let (due, committed) = match self {
            Self::Fresh => (now, false),
            // A slot that is reserved is used; the circuit is asked when the time comes.
            Self::Due { at, why: DueWhy::Slot } if !matches!(condition, Condition::Barred(_)) => {
                let at = at.max(now);
                return Some(Way { at, act: at, preferred: true });
            }
            Self::Due { at, why: DueWhy::Retry } => (at.max(now), true),
            Self::Due { at, why: DueWhy::Throttled | DueWhy::Circuit | DueWhy::Slot } => (at.max(now), false),
            Self::Awaiting { .. } | Self::Closed(_) => return None,
        };
        match condition {
            Condition::Ready => Some(Way { at: due, act: due, preferred: committed || due <= now }),
            // A slot is the worker's to reserve, so it is asked for as soon as the hop is due.
            Condition::SlotAt(slot) => {
                let at = due.max(slot);
                let soon = at <= now + PATIENCE && (committed || due <= now);
                Some(Way { at, act: due, preferred: soon })
            }
            Condition::OpenUntil(until) => {
                let at = due.max(until);
                Some(Way { at, act: at, preferred: at <= now })
            }
            Condition::Barred(_) => None,
        }
    }
}

impl Track {
    /// What keeps the hop from being tried now, other than time.
    pub(super) const fn hindrance(&self, condition: Condition) -> Option<UnusedWhy> {
        match (self.state, condition) {
            (HopState::Fresh | HopState::Due { .. }, Condition::Barred(why)) => Some(why),
            (HopState::Fresh | HopState::Due { .. }, Condition::OpenUntil(_))
            | (HopState::Due { why: DueWhy::Circuit, .. }, _) => Some(UnusedWhy::CircuitOpen),
            (HopState::Fresh, Condition::SlotAt(_))
            | (HopState::Due { why: DueWhy::Throttled | DueWhy::Slot, .. }, _) => Some(UnusedWhy::RateLimited),
            _ => None,
        }
    }
}
