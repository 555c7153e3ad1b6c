//! The first of two providers starts to hang under a steady load: who loses how much?

use std::time::Duration;

use tokio::time::sleep;

use crate::load;
use crate::stage::{Stage, end};

/// Challenges a second.
const RATE: f64 = 200.0;
/// Steady before, then hanging.
const STEADY: Duration = Duration::from_secs(5);
const HANGING: Duration = Duration::from_secs(15);
/// What a text message's provider has to answer within, by default.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints what the outage cost those before, during and after the circuit's opening.
pub(crate) async fn measure(stage: &Stage) {
    let worker = stage.courier(&[("first", &stage.first), ("second", &stage.second)]);
    let client = stage.another_client().await;
    let breaking = async {
        sleep(STEADY).await;
        stage.first.set_hanging(true);
        let before = stage.first.requests();
        sleep(HANGING).await;
        stage.first.requests() - before
    };
    let (took, victims) = tokio::join!(load::keep_up(&client, "failover", RATE, STEADY + HANGING), breaking);
    stage.first.set_hanging(false);
    end(worker).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hundreds")]
    let (steady, settled) =
        ((STEADY.as_secs_f64() * RATE) as usize, ((STEADY + ATTEMPT_TIMEOUT).as_secs_f64() * RATE) as usize);
    // Those in flight when the circuit opens are told within their own attempt timeout.
    let opened = took.iter().rposition(|took| *took >= ATTEMPT_TIMEOUT).map_or(steady, |last| last + 1).max(settled);
    let most = took[steady..].iter().max().unwrap();
    println!(
        "failover at {RATE}/s: {victims} requests hung; the slowest of all was told after {:.3} s; \
         p50 {:.1} ms before, {:.1} ms once the circuit was open; p99 {:.1} ms before, {:.1} ms then",
        most.as_secs_f64(),
        load::percentile(&took[..steady - 100], 50),
        load::percentile(&took[opened..], 50),
        load::percentile(&took[..steady - 100], 99),
        load::percentile(&took[opened..], 99),
    );
}
