//! The rules that make copies harmless, each held by a test of the whole worker.
//!
//! Each test here fails under a weaker reading of one rule: `tests/readings/<rule>.patch` makes it, and
//! `tests/readings/check.sh` sees that it is caught. `docs/promise.md` says what the rules are for.

mod copies;
mod crash;
mod fence;
mod lost_ledger;
mod signals;

use std::time::Duration;

use mfa_courier::broker::{Publication, Route};
use mfa_courier::challenge::Channel;
use mfa_courier::delivery::verdict::AttemptResult::{self, Accepted};

use crate::world::{Act, Sent, Setup, World};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Providers `a`, `b` and so on, all for text messages.
fn sms(providers: &[&str]) -> Setup {
    Setup::with(&providers.iter().map(|name| (*name, Channel::Sms)).collect::<Vec<_>>())
}

/// As [`sms`], and every provider sends receipts.
fn sms_with_receipts(providers: &[&str]) -> Setup {
    let mut setup = sms(providers);
    setup.policy.providers.iter_mut().for_each(|provider| provider.receipts = true);
    setup
}

/// Every provider answers so, after a second.
fn answer(result: AttemptResult) -> impl FnMut(&Sent) -> Act + Send + 'static {
    move |_| Act::answer(result, 1_000)
}

/// The first request of all hangs; everything after it is accepted.
fn hang_once() -> impl FnMut(&Sent) -> Act + Send + 'static {
    let mut hung = false;
    move |_| if std::mem::replace(&mut hung, true) { Act::answer(Accepted, 1_000) } else { Act::hang() }
}

/// The first request is told to come back in ten seconds; everything after it is accepted.
fn throttle_once() -> impl FnMut(&Sent) -> Act + Send + 'static {
    let mut throttled = false;
    move |_| {
        if std::mem::replace(&mut throttled, true) {
            Act::answer(Accepted, 1_000)
        } else {
            Act { retry_after: Some(seconds(10)), ..Act::answer(AttemptResult::Throttled, 100) }
        }
    }
}

/// Which providers got requests, in order.
fn providers(world: &World) -> Vec<String> {
    world.sent().into_iter().map(|sent| sent.provider).collect()
}

/// Nothing was sent after the final outcome of `c`.
#[track_caller]
fn assert_nothing_sent_after_the_end(world: &World) {
    let end = world.outcome("c").occurred_at;
    assert!(world.sent().iter().all(|sent| sent.at <= end), "sent after {end}: {:?}", world.sent());
}

/// The parked messages so far, as they would come back now.
fn parked(world: &World) -> Vec<Publication> {
    let is_parked = |publication: &Publication| matches!(publication.route, Route::Delay(_) | Route::Followups);
    let parked = world.published().into_iter().filter(is_parked);
    parked.map(|publication| Publication { route: Route::Followups, ..publication }).collect()
}
