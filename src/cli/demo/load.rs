//! The demo's load: challenges at an even rate, an outage in the middle third, until every one has its word.

use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::upstream::Upstream;
use super::tally::Tally;
use crate::clock::Clock;

/// What is published.
pub(super) struct Plan {
    pub(super) seconds: u64,
    pub(super) rate: u64,
    pub(super) ttl: u64,
}

/// One in so many goes to a number that no provider can reach.
const UNREACHABLE: u64 = 50;
/// How long after the last deadline an outcome is still waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes and listens; `outage` is told when the first provider stops answering and when it answers again.
pub(super) async fn run(
    plan: &Plan,
    upstream: &mut Upstream,
    tally: &mut Tally,
    stop: &CancellationToken,
    outage: impl Fn(bool),
) -> Result<(), Failure> {
    let begin = Clock::instant();
    let total = plan.seconds * plan.rate;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let (mut published, mut is_out, mut stopped) = (0, false, false);
    let latest = begin + Duration::from_secs(plan.seconds + plan.ttl) + PATIENCE;
    loop {
        let everything_published = published == total || stopped;
        if everything_published && tally.open() == 0 || Clock::instant() > latest {
            return Ok(());
        }
        tokio::select! {
            outcome = upstream.next_outcome() => match outcome {
                Some((outcome, _)) => tally.heard(&outcome),
                None => return Err(Failure::Service("the broker closed the connection".to_owned())),
            },
            _ = tick.tick(), if !everything_published => {
                let elapsed = begin.elapsed();
                let third = Duration::from_secs(plan.seconds) / 3;
                let out = elapsed >= third && elapsed < third * 2;
                if out != is_out {
                    is_out = out;
                    outage(out);
                    tally.outage(out);
                }
                let due = (elapsed.as_millis() * u128::from(plan.rate) / 1_000).min(u128::from(total));
                while u128::from(published) < due {
                    upstream.publish(&challenge(published, plan.ttl)).await?;
                    tally.published(published);
                    published += 1;
                }
            }
            _ = second.tick() => tally.line(),
            () = stop.cancelled(), if !stopped => stopped = true,
        }
    }
}

pub(super) fn id(n: u64) -> String {
    format!("demo-{n}")
}

fn challenge(n: u64, ttl: u64) -> serde_json::Value {
    // Numbers reserved for fiction; some end as the simulator's table says for "not a mobile phone".
    let to = match n % UNREACHABLE {
        7 => "+12127721614".to_owned(),
        _ => format!("+1{}55501{:02}", 201 + n / 100 % 700, n % 100),
    };
    let code = format!("{:06}", (n * 7_919 + 104_729) % 1_000_000);
    json!({
        "id": id(n), "session_id": format!("session-{n}"), "code": code, "ttl": ttl,
        "methods": [{ "channel": "sms", "to": to }],
    })
}
