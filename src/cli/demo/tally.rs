//! What the demo counts and shows: a line each second, a table at the end.

use std::collections::{BTreeMap, HashMap};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde_json::json;

use super::load;
use super::{FIRST, SECOND};
use crate::clock::{Clock, Timestamp};
use crate::delivery::outcome::{Outcome, Reason};
use crate::delivery::verdict::AttemptResult;

pub(super) struct Tally {
    clock: Clock,
    json: bool,
    begin: Timestamp,
    open: HashMap<String, Timestamp>,
    published: u64,
    finals: BTreeMap<(&'static str, &'static str), u64>,
    concluded: u64,
    took_ms: Vec<u64>,
    /// Since the last line.
    recent: BTreeMap<String, Recent>,
    recent_took_ms: Vec<u64>,
    providers: BTreeMap<String, Attempts>,
}

#[derive(Default)]
struct Recent {
    accepted: u64,
    failed: u64,
}

#[derive(Default)]
struct Attempts {
    by_result: BTreeMap<&'static str, u64>,
    took_ms: Vec<u64>,
}

impl Tally {
    pub(super) fn new(clock: Clock, json: bool) -> Self {
        Self {
            begin: clock.now(),
            clock,
            json,
            open: HashMap::new(),
            published: 0,
            finals: BTreeMap::new(),
            concluded: 0,
            took_ms: Vec::new(),
            recent: BTreeMap::new(),
            recent_took_ms: Vec::new(),
            providers: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&self, seconds: u64, rate: u64, real_broker: bool) {
        if self.json {
            return;
        }
        let broker = if real_broker { "your broker" } else { "a broker in memory" };
        println!("{rate} sign-ins a second for {seconds} s through {broker}; each needs a text message within 20 s.");
        println!("Two simulated providers: {} first, {} when that fails.\n", FIRST.1, SECOND.1);
    }

    pub(super) fn published(&mut self, n: u64) {
        self.open.insert(load::id(n), self.clock.now());
        self.published += 1;
    }

    /// Challenges without a final outcome.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    pub(super) fn lost(&self) -> usize {
        self.open.len()
    }

    pub(super) fn heard(&mut self, outcome: &Outcome) {
        if !outcome.is_final {
            return;
        }
        // A repeat, or somebody else's.
        let Some(published) = self.open.remove(outcome.challenge_id.as_str()) else { return };
        let took = u64::try_from(self.clock.now().since(published).as_millis()).unwrap_or(u64::MAX);
        self.took_ms.push(took);
        self.recent_took_ms.push(took);
        self.concluded += 1;
        let reason = outcome.reason.map_or("", Reason::as_str);
        *self.finals.entry((outcome.status.as_str(), reason)).or_default() += 1;
        for attempt in &outcome.attempts {
            let recent = self.recent.entry(attempt.provider.clone()).or_default();
            // A number that can't be reached is no failure of the provider.
            match attempt.result {
                AttemptResult::Accepted | AttemptResult::Recipient => recent.accepted += 1,
                _ => recent.failed += 1,
            }
            let all = self.providers.entry(attempt.provider.clone()).or_default();
            *all.by_result.entry(attempt.result.as_str()).or_default() += 1;
            all.took_ms.push(attempt.duration_ms);
        }
    }

    pub(super) fn outage(&self, begins: bool) {
        let what = if begins { "stops answering" } else { "answers again" };
        if self.json {
            println!("{}", json!({ "event": "outage", "provider": FIRST.1, "begins": begins }));
        } else {
            println!("        ── {} {what} ──", FIRST.1);
        }
    }

    /// What happened since the last line.
    pub(super) fn line(&mut self) {
        let elapsed = self.clock.now().since(self.begin).as_secs();
        let (p50, p99) = (percentile(&mut self.recent_took_ms, 50), percentile(&mut self.recent_took_ms, 99));
        let recent = |name: &str| self.recent.get(name).map_or((0, 0), |recent| (recent.accepted, recent.failed));
        let (first, second) = (recent(FIRST.1), recent(SECOND.1));
        if self.json {
            println!(
                "{}",
                json!({
                    "second": elapsed, "published": self.published, "concluded": self.concluded, "open": self.open.len(),
                    "p50_ms": p50, "p99_ms": p99,
                    FIRST.1: { "answered": first.0, "failed": first.1 }, SECOND.1: { "answered": second.0, "failed": second.1 },
                })
            );
        } else {
            println!(
                "{elapsed:>4} s  {:>6} in  {:>6} done  {:>4} open   {} {:>4} ok {:>3} failed   {} {:>4} ok   p50 {p50:>4} ms  p99 {p99:>5} ms",
                self.published,
                self.concluded,
                self.open.len(),
                FIRST.1,
                first.0,
                first.1,
                SECOND.1,
                second.0,
            );
        }
        self.recent.clear();
        self.recent_took_ms.clear();
    }

    pub(super) fn end(&mut self, received: u64) {
        if self.json {
            let finals: Vec<_> = self
                .finals
                .iter()
                .map(|((status, reason), n)| json!({ "status": status, "reason": reason, "count": n }))
                .collect();
            println!(
                "{}",
                json!({ "published": self.published, "finals": finals, "requests": received, "lost": self.lost() })
            );
            return;
        }
        println!("\n{}", self.outcomes());
        println!("\n{}", self.attempts());
        let (p50, p99) = (percentile(&mut self.took_ms, 50), percentile(&mut self.took_ms, 99));
        let slowest = self.took_ms.last().copied().unwrap_or_default();
        println!("\nfrom challenge to final outcome: p50 {p50} ms, p99 {p99} ms, slowest {slowest} ms");
        println!("published: {}  requests to providers: {received}  lost: {}", self.published, self.lost());
    }

    fn outcomes(&self) -> Table {
        let mut table = table(&["final outcome", "reason", "challenges"]);
        for ((status, reason), count) in &self.finals {
            table.add_row([(*status).to_owned(), (*reason).to_owned(), count.to_string()]);
        }
        right_align(&mut table, 2..3);
        table
    }

    fn attempts(&mut self) -> Table {
        let mut table = table(&["provider", "attempts", "accepted", "no answer", "refused", "p50 ms", "p95 ms"]);
        for (name, attempts) in &mut self.providers {
            let count = |result: AttemptResult| attempts.by_result.get(result.as_str()).copied().unwrap_or_default();
            let (accepted, unknown) = (count(AttemptResult::Accepted), count(AttemptResult::Unknown));
            let all: u64 = attempts.by_result.values().sum();
            let counts = [all, accepted, unknown, all - accepted - unknown];
            let times = [percentile(&mut attempts.took_ms, 50), percentile(&mut attempts.took_ms, 95)];
            table.add_row(std::iter::once(name.clone()).chain(counts.into_iter().chain(times).map(|n| n.to_string())));
        }
        right_align(&mut table, 1..7);
        table
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.iter().copied());
    table
}

fn right_align(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The value that `percent` of them do not exceed; sorts them.
fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let index = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}
