//! The outcomes that the ledger in memory can find: one ring in the order of their publishing, threaded three times,
//! by challenge, session and user.
//!
//! Lean: an entry has no text but its challenge's id, which it shares with nobody else's copy of it, and for an interim
//! outcome its bytes; a final one's are in its record. Bounded: at most [`MOST`] entries, the oldest forgotten first,
//! and each after its time. To record and to find take no longer however many there are.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

use crate::challenge::ChallengeId;
use crate::clock::Timestamp;
use crate::ledger::outcomes::{About, Published};

/// How many outcomes are found at most: some 250 bytes for a final one, some 1.5 kB for an interim one.
pub(super) const MOST: usize = 50_000;

/// By what it is found; each has a thread through the ring.
const THREADS: usize = 3;

/// No entry.
const NONE: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Ring {
    most: usize,
    /// The number of the first entry; the others follow without a gap.
    first: u64,
    entries: VecDeque<Entry>,
    /// The newest entry of each thread, by its name.
    newest: HashMap<u64, u64>,
    /// Names are hashes of 64 bits, keyed by chance. Where two meet, their threads are one, and whoever finds too
    /// much lets it fall: what is found is held against what was asked for.
    names: RandomState,
}

#[derive(Debug)]
struct Entry {
    challenge: ChallengeId,
    /// An interim outcome's bytes.
    interim: Option<Bytes>,
    keep_until: Timestamp,
    links: [Link; THREADS],
}

/// Where an entry stands in a thread.
#[derive(Clone, Copy, Debug)]
struct Link {
    name: u64,
    before: u64,
}

/// What is found: bytes, or whose record holds them.
#[derive(Debug)]
pub(super) enum Kept {
    Interim(Bytes),
    Final(ChallengeId),
}

impl Ring {
    pub(super) fn new(most: usize) -> Self {
        Self { most, first: 0, entries: VecDeque::new(), newest: HashMap::new(), names: RandomState::new() }
    }

    pub(super) fn push(&mut self, outcome: &Published, keep_until: Timestamp, now: Timestamp) {
        while self.entries.front().is_some_and(|oldest| oldest.keep_until <= now || self.entries.len() >= self.most) {
            self.forget_oldest();
        }
        let number = self.first + self.entries.len() as u64;
        let names = [
            Some(self.name(0, outcome.challenge.as_str())),
            outcome.session.as_deref().map(|session| self.name(1, session)),
            outcome.user.as_deref().map(|user| self.name(2, user)),
        ];
        let links = names.map(|name| match name {
            Some(name) => Link { name, before: self.newest.insert(name, number).unwrap_or(NONE) },
            None => Link { name: 0, before: NONE },
        });
        let interim = (!outcome.is_final).then(|| outcome.body.clone());
        self.entries.push_back(Entry { challenge: outcome.challenge.clone(), interim, keep_until, links });
    }

    /// The newest `most` that are not over their time, newest first; repeats are among them.
    pub(super) fn find(&self, about: &About, most: usize, now: Timestamp) -> Vec<Kept> {
        let (thread, mut at) = match about {
            About::Challenge(id) => (Some(0), self.newest_of(0, id.as_str())),
            About::Session(session) => (Some(1), self.newest_of(1, session)),
            About::User(user) => (Some(2), self.newest_of(2, user)),
            About::Anything => (None, self.first + self.entries.len() as u64 - u64::from(!self.entries.is_empty())),
        };
        let mut found = Vec::new();
        while let Some(entry) = self.entry(at)
            && found.len() < most
        {
            if entry.keep_until > now {
                let of_final = || Kept::Final(entry.challenge.clone());
                found.push(entry.interim.clone().map_or_else(of_final, Kept::Interim));
            }
            at = match thread {
                Some(thread) => entry.links[thread].before,
                None => at.checked_sub(1).unwrap_or(NONE),
            };
        }
        found
    }

    fn name(&self, thread: u8, text: &str) -> u64 {
        self.names.hash_one((thread, text))
    }

    fn newest_of(&self, thread: u8, text: &str) -> u64 {
        self.newest.get(&self.name(thread, text)).copied().unwrap_or(NONE)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        for Link { name, .. } in oldest.links {
            if self.newest.get(&name) == Some(&self.first) {
                self.newest.remove(&name);
            }
        }
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::suite::published;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn until(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    fn of_session(ring: &Ring, session: &str, now: Timestamp) -> usize {
        ring.find(&About::Session(session.to_owned()), usize::MAX, now).len()
    }

    #[test]
    fn it_holds_no_more_than_it_may_and_the_newest() {
        let mut ring = Ring::new(10);
        for n in 0..1_000 {
            ring.push(&published(&format!("c{n}"), "1:sent", "s", Some(&format!("u{n}"))), until(9), NOW);
        }
        assert_eq!((ring.entries.len(), ring.newest.len()), (10, 21), "10 challenges, 10 users, one session");
        assert_eq!(of_session(&ring, "s", NOW), 10);
        let user = |n: u32| ring.find(&About::User(format!("u{n}")), 9, NOW).len();
        assert_eq!((user(989), user(990), user(999)), (0, 1, 1));
        assert_eq!(ring.find(&About::Anything, 3, NOW).len(), 3);
    }

    #[test]
    fn what_is_over_its_time_is_not_found_and_then_gone() {
        let mut ring = Ring::new(10);
        ring.push(&published("a", "final", "s", None), until(5), NOW);
        ring.push(&published("b", "final", "s", None), until(9), NOW);
        assert_eq!((of_session(&ring, "s", until(4)), of_session(&ring, "s", until(5))), (2, 1));
        ring.push(&published("c", "final", "t", None), until(20), until(9));
        assert_eq!((ring.entries.len(), ring.newest.len()), (1, 2));
        assert_eq!(of_session(&ring, "s", NOW), 0);
    }

    #[test]
    fn an_empty_one_finds_nothing() {
        assert!(Ring::new(0).find(&About::Anything, 9, NOW).is_empty());
    }
}
