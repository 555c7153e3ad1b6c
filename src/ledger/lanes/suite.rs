//! What every keeper of a fleet's lanes must do: one suite, run against each of them.
//!
//! Public so that the integration tests can run it against lanes that need a server. It may take time to ask, so
//! paces here are slow beside it, and waits are judged with [`SLACK`].
#![expect(clippy::expect_used, reason = "a test suite: a broken rule is a panic")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{FleetLanes, SlotAnswer};
use crate::challenge::Channel;
use crate::guard::quota::{LaneKey, LaneLimit, Rate};

/// How much time a few questions may take.
pub const SLACK: Duration = Duration::from_secs(5);
/// One message in so many seconds.
const PERIOD: Duration = Duration::from_secs(100);
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Runs every check on lanes made by `make`, each on free ones.
///
/// # Panics
/// Where the lanes break a rule.
pub async fn run<F: Future<Output = Arc<dyn FleetLanes>>>(make: &impl Fn() -> F) {
    a_burst_goes_at_once_and_then_one_a_period(&*make().await).await;
    nothing_is_spent_on_a_slot_that_comes_too_late(&*make().await).await;
    both_lanes_are_spent_or_neither(&*make().await).await;
    lanes_of_others_are_others(&*make().await).await;
    what_is_not_limited_is_never_spent(&*make().await).await;
    a_pause_holds_for_all_who_ask(&*make().await).await;
    of_many_at_once_each_has_its_own_slot(make().await).await;
}

async fn a_burst_goes_at_once_and_then_one_a_period(lanes: &dyn FleetLanes) {
    let lane = [limit(None, slow(3))];
    for _ in 0..3 {
        assert_eq!(reserve(lanes, &lane).await.slot, Ok(Duration::ZERO));
    }
    for n in 1..4 {
        let answer = reserve(lanes, &lane).await;
        assert_about(answer.slot.expect("not too late"), PERIOD * n);
        assert_about(answer.next[0], PERIOD * (n + 1));
    }
}

async fn nothing_is_spent_on_a_slot_that_comes_too_late(lanes: &dyn FleetLanes) {
    let lane = [limit(None, slow(1))];
    reserve(lanes, &lane).await.slot.expect("free");
    for _ in 0..3 {
        let answer = lanes.reserve(&lane, Duration::from_secs(10)).await.expect("usable");
        assert_about(answer.slot.expect_err("too late"), PERIOD);
        assert_about(answer.next[0], PERIOD);
    }
    assert_about(reserve(lanes, &lane).await.slot.expect("spent by nobody"), PERIOD);
    let never = lanes.reserve(&[limit(Some("free"), slow(1))], Duration::ZERO).await.expect("usable");
    assert_eq!(never.slot, Err(Duration::ZERO), "within less than nothing nothing comes");
}

async fn both_lanes_are_spent_or_neither(lanes: &dyn FleetLanes) {
    let (whole, own) = (limit(None, slow(2)), limit(Some("+1"), slow(1)));
    let both = [whole.clone(), own.clone()];
    assert_eq!(reserve(lanes, &both).await.slot, Ok(Duration::ZERO));
    let refused = lanes.reserve(&both, Duration::from_secs(1)).await.expect("usable");
    assert_about(refused.slot.expect_err("the sender is busy"), PERIOD);
    assert_eq!(refused.next[0], Duration::ZERO, "and its provider's lane not spent");
    assert_eq!(reserve(lanes, &[whole]).await.slot, Ok(Duration::ZERO), "so another sender may have it");
    assert_about(reserve(lanes, &both).await.slot.expect("not too late"), PERIOD);
    assert_about(reserve(lanes, &[own]).await.slot.expect("not too late"), PERIOD * 2);
}

async fn lanes_of_others_are_others(lanes: &dyn FleetLanes) {
    let lane = limit(None, slow(1));
    let named = |name: &str| LaneLimit { key: LaneKey { provider: name.into(), ..lane.key.clone() }, ..lane.clone() };
    let voice = LaneLimit { key: LaneKey { channel: Channel::Voice, ..lane.key.clone() }, ..lane.clone() };
    for lane in
        [lane.clone(), voice, named("q"), named("p:sms"), limit(Some("+1"), slow(1)), limit(Some("+2"), slow(1))]
    {
        assert_eq!(reserve(lanes, std::slice::from_ref(&lane)).await.slot, Ok(Duration::ZERO), "{lane:?}");
    }
}

async fn what_is_not_limited_is_never_spent(lanes: &dyn FleetLanes) {
    let (whole, own) = (limit(None, None), limit(Some("+1"), slow(1)));
    for n in 0..3 {
        let answer = reserve(lanes, &[whole.clone(), own.clone()]).await;
        assert_about(answer.slot.expect("not too late"), PERIOD * n);
        assert_eq!(answer.next[0], Duration::ZERO);
    }
    assert_eq!(reserve(lanes, &[whole, limit(Some("+2"), slow(1))]).await.slot, Ok(Duration::ZERO));
}

async fn a_pause_holds_for_all_who_ask(lanes: &dyn FleetLanes) {
    let (whole, own, other) = (limit(None, None), limit(Some("+1"), slow(2)), limit(Some("+2"), slow(2)));
    lanes.pause(&own, PERIOD).await.expect("usable");
    lanes.pause(&own, PERIOD / 2).await.expect("usable");
    assert_about(reserve(lanes, &[whole.clone(), own]).await.slot.expect("not too late"), PERIOD);
    assert_eq!(reserve(lanes, &[whole.clone(), other.clone()]).await.slot, Ok(Duration::ZERO), "one sender's alone");
    lanes.pause(&whole, PERIOD * 2).await.expect("usable");
    let answer = reserve(lanes, &[whole, other]).await;
    assert_about(answer.slot.expect("not too late"), PERIOD * 2);
    assert_about(answer.next[0], PERIOD * 2);
}

async fn of_many_at_once_each_has_its_own_slot(lanes: Arc<dyn FleetLanes>) {
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..50u32 {
        let lanes = Arc::clone(&lanes);
        askers.spawn(async move { reserve(&*lanes, &[limit(None, slow(10))]).await.slot.expect("not too late") });
    }
    let mut waits = askers.join_all().await;
    waits.sort_unstable();
    assert!(waits[..10].iter().all(Duration::is_zero), "{waits:?}");
    for (n, wait) in (1u32..).zip(&waits[10..]) {
        assert_about(*wait, PERIOD * n);
    }
}

async fn reserve(lanes: &dyn FleetLanes, limits: &[LaneLimit]) -> SlotAnswer {
    lanes.reserve(limits, FOREVER).await.expect("usable")
}

/// The lane of provider `p` for text messages, or of one of its senders.
#[must_use]
pub fn limit(sender: Option<&str>, rate: impl Into<Option<Rate>>) -> LaneLimit {
    let key = LaneKey { provider: "p".into(), channel: Channel::Sms, sender: sender.map(Into::into) };
    LaneLimit { key, rate: rate.into() }
}

fn slow(burst: u32) -> Rate {
    Rate { per_second: 1.0 / PERIOD.as_secs_f64(), burst }
}

/// Time has passed since what it counts from.
#[track_caller]
fn assert_about(wait: Duration, expected: Duration) {
    assert!(
        wait <= expected + Duration::from_millis(1) && wait + SLACK >= expected,
        "{wait:?} instead of {expected:?}"
    );
}
