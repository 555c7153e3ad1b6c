//! What the courier costs beside the least that could do its work: `make bench`.
//!
//! A real RabbitMQ and an instant provider on loopback; the courier's own binary and [`bare`], a loop that
//! consumes, posts, publishes with a confirm and acks, take turns on the same broker within one run, since
//! machines are noisy and only the ratio travels. [`load`] publishes and listens, [`provider`] answers,
//! [`process`] reads what a process used, [`failover`] breaks the first of two providers.
//!
//! `--rounds N`, `--challenges N` and `--seconds N` make it longer or shorter. `--waiting N` measures something else:
//! what N challenges cost while they wait for receipts, and how fast receipts end them ([`waiting`]).

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement that fails has no result")]

mod bare;
mod failover;
mod load;
#[path = "../../tests/it/node.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod node;
mod process;
mod provider;
mod stage;
#[path = "../../tests/it/redis/store.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod store;
mod waiting;

use std::time::Duration;

use load::{Drain, Latency};
use stage::{Side, Stage};

/// How much is measured.
struct Size {
    rounds: usize,
    challenges: usize,
    half_load: Duration,
}

/// What one round of one side came to.
struct Round {
    drain: Drain,
    /// Challenges a second while latencies were measured.
    half: f64,
    latency: Latency,
    peak_mib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", amqp, url] => runtime.block_on(bare::run(amqp, url)),
        ["--waiting", count] => runtime.block_on(waiting::measure(count.parse().expect("a number"))),
        _ => runtime.block_on(measure(&size(&arguments))),
    }
}

fn size(arguments: &[String]) -> Size {
    let asked = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    Size {
        rounds: asked("--rounds", 3),
        challenges: asked("--challenges", 20_000),
        half_load: Duration::from_secs(asked("--seconds", 10).try_into().unwrap()),
    }
}

async fn measure(size: &Size) {
    let stage = Stage::new().await;
    let started = stage.cold_start().await;
    let mut rounds: [Vec<Round>; Side::ALL.len()] = Default::default();
    // Half of what the bare loop does when it is first tried: the courier gets the same load. What does more for each
    // challenge gets half of what it can do itself, where that is less.
    let rate = stage.drain(Side::Bare, size.challenges / 2).await.0.rate / 2.0;
    for round in 0..size.rounds {
        for (side, rounds) in Side::ALL.into_iter().zip(&mut rounds) {
            let (drain, peak_mib) = stage.drain(side, size.challenges).await;
            let same_load = matches!(side, Side::Bare | Side::Courier);
            let half = if same_load { rate } else { rate.min(drain.rate / 2.0) };
            let latency = stage.half_load(side, half, size.half_load).await;
            eprintln!("round {}: {side:?} {:.0}/s", round + 1, drain.rate);
            rounds.push(Round { drain, half, latency, peak_mib });
        }
    }
    report(&rounds);
    println!("cold start to the first request at a provider: {} ms", started.as_millis());
    failover::measure(&stage).await;
}

/// A line of the table.
type Row = (&'static str, fn(&Round) -> f64);

/// Each side beside the bare loop: its median, least and most, and the ratio of the medians.
fn report(sides: &[Vec<Round>; Side::ALL.len()]) {
    let rows: [Row; 6] = [
        ("challenges a second", |round| round.drain.rate),
        ("CPU seconds per 10,000", |round| round.drain.cpu_per_10_000),
        ("peak memory, MiB", |round| round.peak_mib),
        ("half load, a second", |round| round.half),
        ("p50 at half load, ms", |round| round.latency.p50_ms),
        ("p99 at half load, ms", |round| round.latency.p99_ms),
    ];
    print!("{:<24}", "median (least to most)");
    for side in Side::ALL {
        print!(" {:>30}", side.as_str());
    }
    println!();
    for (name, figure) in rows {
        print!("{name:<24}");
        let figures = sides.each_ref().map(|rounds| spread(rounds.iter().map(figure).collect()));
        for (least, median, most) in figures {
            let ratio = median / figures[0].1;
            print!(" {:>30}", format!("{median:.1} ({least:.1}-{most:.1}) x{ratio:.2}"));
        }
        println!();
    }
    println!("each latency is from when a challenge was due to its final outcome");
}

/// Least, median, most.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}
