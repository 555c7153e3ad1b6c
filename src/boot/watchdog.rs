//! Ends a worker that stopped making progress: its messages go to others, which a frozen one would keep.

use std::time::Duration;

/// The exit code of a process that was ended so (`EX_SOFTWARE`).
const EXIT_CODE: i32 = 70;
const LOOKS: u32 = 10;

/// Watches `pulse` from a thread of its own, since what it guards against may hold every other.
pub(super) fn start(pulse: impl Fn() -> u64 + Send + 'static, standstill: Duration) {
    let watching = std::thread::Builder::new().name("watchdog".to_owned());
    let watch = move || {
        let (mut last, mut still) = (pulse(), 0);
        loop {
            std::thread::sleep(standstill / LOOKS);
            let now = pulse();
            still = if now == last { still + 1 } else { 0 };
            last = now;
            if still >= LOOKS {
                tracing::error!(seconds = standstill.as_secs(), "the worker stands still; ending it");
                std::process::exit(EXIT_CODE);
            }
        }
    };
    if let Err(why) = watching.spawn(watch) {
        tracing::warn!(%why, "there is no watchdog");
    }
}
