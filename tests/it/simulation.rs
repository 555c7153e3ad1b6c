//! The real worker in many small worlds in which everything that can fail does: whole histories, checked.
//!
//! Each world follows from its seed alone ([`plan`]), is played in virtual time ([`run`]), written down by those
//! around the worker ([`history`], [`around`]) and held to the promise ([`check`]). What fails says how to repeat it:
//! `COURIER_SIM_SEED=<seed>` plays that one world, `COURIER_SIM_WORLDS=<n>` plays so many of each kind.

use std::fmt::Write as _;

mod around;
mod check;
mod history;
mod plan;
mod run;

use plan::{Kind, Plan};

/// How many worlds of each kind are played where nothing else is asked for.
const WORLDS: u64 = 100;

/// Plays the worlds of one kind; panics with what was broken and how to repeat it.
fn play(kind: Kind, test: &str) {
    let asked = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match asked("COURIER_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("COURIER_SIM_WORLDS").unwrap_or(WORLDS),
    };
    let (mut asked, mut failures) = (0, String::new());
    for seed in seeds {
        let history = run::run(Plan::new(seed, kind));
        asked += history.asked.len();
        if let Ok(id) = std::env::var("COURIER_SIM_ID") {
            history.tell_of(&id);
        }
        for broken in check::check(&history).iter().take(3) {
            let _ = writeln!(failures, "{}: {}", broken.promise, broken.by);
            let _ = writeln!(failures, "    COURIER_SIM_SEED={seed} cargo test --test it simulation::{test}");
        }
    }
    println!("{test}: {asked} challenges");
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn one_worker_at_a_time() {
    play(Kind::OneWorker, "one_worker_at_a_time");
}

#[test]
fn two_workers_share_a_ledger() {
    play(Kind::TwoWorkers, "two_workers_share_a_ledger");
}

#[test]
fn a_ledger_dies_with_its_worker() {
    play(Kind::MortalLedger, "a_ledger_dies_with_its_worker");
}

#[test]
fn a_ledger_is_emptied_under_two_workers() {
    play(Kind::EmptiedLedger, "a_ledger_is_emptied_under_two_workers");
}

#[test]
fn a_seed_repeats_its_world() {
    for kind in [Kind::OneWorker, Kind::TwoWorkers, Kind::MortalLedger, Kind::EmptiedLedger] {
        let [first, second] = [(); 2].map(|()| run::run(Plan::new(7, kind)));
        assert!(first.requests.len() > 50 && first.heard.len() > 100, "{kind:?} has something to repeat");
        assert_eq!(format!("{:?}", first.requests), format!("{:?}", second.requests), "{kind:?}");
        assert_eq!(format!("{:?}", first.heard), format!("{:?}", second.heard), "{kind:?}");
    }
}
