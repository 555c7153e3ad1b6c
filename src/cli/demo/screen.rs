//! What a person sees of the demo: sentences as things happen, figures each second, tables at the end.
//!
//! On a terminal the figures are a table that is redrawn in place below the sentences; elsewhere, or with `NO_COLOR`,
//! they are lines without any escape code. With `--json` everything is one object a line. A reader that went away
//! stops nothing: the demo's result is its exit code.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::graph::{self, Line};
use super::tally::{Row, Tally, percentile};
use super::{FIRST, people};
use crate::guard::health::{Change, CircuitState};

/// The width where there is no terminal to ask.
const WIDTH: u16 = 80;
/// After how many lines their head is said again.
const HEAD_EVERY: usize = 20;

pub(super) struct Screen {
    form: Form,
    seconds: u64,
}

enum Form {
    /// A table redrawn in place, and how many lines of it stand there.
    Live { drawn: usize },
    /// Lines, and how many there are since their head.
    Lines { since_head: usize },
    /// Objects.
    Json,
}

impl Screen {
    pub(super) fn new(json: bool, seconds: u64) -> Self {
        let form = match (json, is_live()) {
            (true, _) => Form::Json,
            (false, true) => Form::Live { drawn: 0 },
            (false, false) => Form::Lines { since_head: HEAD_EVERY },
        };
        Self { form, seconds }
    }

    pub(super) fn begin(&self, rate: u64, real_broker: bool) {
        if matches!(self.form, Form::Json) {
            return;
        }
        let broker = if real_broker { "your broker" } else { "a broker in memory" };
        let (seconds, ttl) = (self.seconds, people::TTL);
        put(&format!(
            "{rate} sign-ins a second for {seconds} s through {broker}, each worth {ttl} s.\n\
             Who has the app gets a prompt, then a text message, then a call; who has only\n\
             a phone a text message, then a call. Most of them answer, some devices and\n\
             numbers are gone. The providers are simulated; the requests are real HTTP.\n\n"
        ));
    }

    /// The figures of a second.
    pub(super) fn second(&mut self, tally: &Tally) {
        match &mut self.form {
            Form::Json => put_json(&second(tally)),
            Form::Live { .. } => self.draw(tally),
            Form::Lines { since_head } => {
                if *since_head >= HEAD_EVERY {
                    *since_head = 0;
                    put(&(graph::line_head(tally) + "\n"));
                }
                *since_head += 1;
                put(&(graph::line(tally) + "\n"));
            }
        }
    }

    pub(super) fn outage(&mut self, tally: &Tally, begins: bool) {
        let sentence = format!("{FIRST} {}", if begins { "stops answering" } else { "answers again" });
        self.tell(tally, &sentence, &json!({ "event": "outage", "provider": FIRST, "begins": begins }));
    }

    pub(super) fn circuit(&mut self, tally: &Tally, change: &Change, was_open: bool) {
        let (provider, why) = (&change.provider, &change.why);
        let (what, word) = match (change.to, was_open) {
            (CircuitState::Open, false) => ("opens", "open"),
            (CircuitState::Open, true) => ("stays open", "open"),
            (CircuitState::HalfOpen, _) => ("is tried", "half_open"),
            (CircuitState::Closed, _) => ("closes", "closed"),
        };
        let so = if change.to == CircuitState::Closed { "; it is used again" } else { "" };
        let event = json!({ "event": "circuit", "provider": provider.as_ref(), "state": word, "why": why });
        self.tell(tally, &format!("{provider}'s circuit {what}: {why}{so}"), &event);
    }

    pub(super) fn load_is_over(&mut self, tally: &Tally) {
        let open = tally.open();
        let event = json!({ "event": "load_is_over", "open": open });
        self.tell(tally, &format!("the load is over; {open} people are not done yet"), &event);
    }

    /// Says what happened, above the table where there is one.
    fn tell(&mut self, tally: &Tally, sentence: &str, event: &Value) {
        if matches!(self.form, Form::Json) {
            return put_json(event);
        }
        let second = tally.elapsed_secs();
        self.erase();
        put(&format!("{second:>4} s  {sentence}\n"));
        if matches!(self.form, Form::Live { .. }) {
            self.draw(tally);
        }
    }

    /// Takes the table away.
    fn erase(&mut self) {
        if let Form::Live { drawn } = &mut self.form
            && *drawn > 0
        {
            put(&format!("\x1b[{drawn}F\x1b[J"));
            *drawn = 0;
        }
    }

    /// Puts the table where it stood.
    fn draw(&mut self, tally: &Tally) {
        let lines = graph::table(tally, self.seconds, usize::from(width()));
        let Form::Live { drawn } = &mut self.form else { return };
        // In one write and without clearing first, so that nothing flickers.
        let mut text = if *drawn > 0 { format!("\x1b[{drawn}F") } else { String::new() };
        for Line { text: line, is_alarm } in &lines {
            let (begin, end) = if *is_alarm { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            // A string takes everything.
            let _ = writeln!(text, "{begin}{line}{end}\x1b[K");
        }
        *drawn = lines.len();
        put(&text);
    }

    /// What it all came to.
    pub(super) fn end(&mut self, tally: &mut Tally) {
        let lost = tally.open();
        if matches!(self.form, Form::Json) {
            return put_json(&summary(tally, lost));
        }
        // The last figures stay: they show the outage as a whole.
        put(&format!("\n{}\n\n{}\n", outcomes(tally), attempts(tally)));
        let (p50, p95) = (percentile(&mut tally.taken_ms, 50), percentile(&mut tally.taken_ms, 95));
        let slowest = tally.taken_ms.last().copied().unwrap_or_default();
        let published = tally.published;
        put(&format!(
            "\nuntil a provider took it: p50 {p50} ms, p95 {p95} ms, at most {slowest} ms\n\
             moved on by silence: {}\n\
             challenges: {published}   lost: {lost}\n",
            moved(tally)
        ));
    }
}

/// Whether escape codes are understood and wanted.
fn is_live() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// How wide the terminal is now.
fn width() -> u16 {
    Table::new().width().filter(|width| *width > 0).unwrap_or(WIDTH)
}

fn put(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Nobody is left to be told that nobody reads.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn put_json(value: &Value) {
    put(&format!("{value}\n"));
}

fn second(tally: &Tally) -> Value {
    let row = |row: &Row| {
        json!({
            "provider": row.provider, "channel": row.channel, "accepted": row.last.taken, "failed": row.last.failed,
            "circuit": if tally.is_circuit_open(row.provider) { "open" } else { "closed" },
        })
    };
    json!({
        "second": tally.elapsed_secs(), "published": tally.published, "concluded": tally.concluded,
        "open": tally.open(), "p50_ms": tally.second.p50, "p95_ms": tally.second.p95,
        "providers": tally.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn summary(tally: &mut Tally, lost: usize) -> Value {
    let finals = tally.finals.iter();
    let finals: Vec<_> =
        finals.map(|((status, reason), n)| json!({ "status": status, "reason": reason, "count": n })).collect();
    let row = |row: &mut Row| {
        json!({
            "provider": row.provider, "channel": row.channel, "attempts": row.attempts(), "results": row.by_result,
            "p50_ms": percentile(&mut row.took_ms, 50), "p95_ms": percentile(&mut row.took_ms, 95),
        })
    };
    let attempts: Vec<_> = tally.rows.iter_mut().map(row).collect();
    let moved = tally.moved.iter().map(|((from, to), n)| json!({ "from": from, "to": to, "count": n }));
    let moved: Vec<_> = moved.collect();
    json!({ "published": tally.published, "finals": finals, "attempts": attempts, "moved": moved, "lost": lost })
}

/// From which channel to which, how often.
fn moved(tally: &Tally) -> String {
    let moves: Vec<_> = tally.moved.iter().map(|((from, to), count)| format!("{from} to {to} {count}")).collect();
    if moves.is_empty() { "nobody".to_owned() } else { moves.join(", ") }
}

fn outcomes(tally: &Tally) -> Table {
    let mut table = table(["final outcome", "reason", "challenges"]);
    for ((status, reason), count) in &tally.finals {
        table.add_row([(*status).to_owned(), (*reason).to_owned(), count.to_string()]);
    }
    right_align(&mut table, &[2]);
    table
}

fn attempts(tally: &mut Tally) -> Table {
    let mut table = table(["provider", "channel", "attempts", "results", "p50 ms", "p95 ms"]);
    for row in tally.rows.iter_mut().filter(|row| row.attempts() > 0) {
        // Lines break between results, not within one.
        let results: Vec<_> = row.by_result.iter().map(|(result, count)| format!("{result}\u{a0}{count}")).collect();
        let times = [50, 95].map(|percent| percentile(&mut row.took_ms, percent).to_string());
        let [p50, p95] = times;
        let (provider, channel) = (row.provider.to_owned(), row.channel.as_str().to_owned());
        table.add_row([provider, channel, row.attempts().to_string(), results.join(", "), p50, p95]);
    }
    right_align(&mut table, &[2, 4, 5]);
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
    table
}

fn right_align(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
