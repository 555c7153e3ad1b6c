//! The figures of the demo as lines of text: a small table with a graph for terminals, one line a second elsewhere.
//!
//! Pure: from the tally and a width to lines, none of which is wider.

use super::FIRST;
use super::tally::Tally;

/// A line, and whether it should catch the eye.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_alarm: bool,
}

/// What a row of the table needs before its graph.
const LABELS: usize = 45;
/// How many seconds of the graph are kept for what comes after the load.
const TAIL: u64 = 8;
/// The most characters that a second of the graph takes.
const WIDEST_SECOND: usize = 6;
const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The table of the moment, for a load of `seconds`.
pub(super) fn table(tally: &Tally, seconds: u64, width: usize) -> Vec<Line> {
    let plain = |text: String| Line { text, is_alarm: false };
    let elapsed = tally.elapsed_secs();
    let when = match elapsed.checked_sub(seconds) {
        None | Some(0) => format!("second {elapsed} of {seconds}"),
        Some(over) => format!("over for {over} s"),
    };
    let (published, concluded, open) = (tally.published, tally.concluded, tally.open());
    let (p50, p95) = (tally.second.p50, tally.second.p95);
    let graph = Graph::new(tally, seconds, width);
    let mut lines = vec![
        plain(String::new()),
        plain(format!("{when}   challenges: {published} in, {concluded} concluded, {open} open")),
        plain(format!("until a provider took it: p50 {p50} ms, p95 {p95} ms (those of the last second)")),
        plain(String::new()),
        plain(labels("channel", "provider", "circuit", "taken/s", "failed/s") + "taken each second"),
    ];
    lines.extend(tally.rows.iter().map(|row| {
        let is_alarm = tally.is_circuit_open(row.provider);
        let circuit = if is_alarm { "OPEN" } else { "closed" };
        let (taken, failed) = (row.last.taken.to_string(), row.last.failed.to_string());
        let labels = labels(row.channel.as_str(), row.provider, circuit, &taken, &failed);
        Line { text: labels + &graph.of(&row.history), is_alarm }
    }));
    lines.push(Line { text: graph.outages(&tally.outages), is_alarm: true });
    for line in &mut lines {
        line.text = line.text.trim_end().chars().take(width).collect();
    }
    lines
}

fn labels(channel: &str, provider: &str, circuit: &str, taken: &str, failed: &str) -> String {
    let line = format!("{channel:<7}  {provider:<8}  {circuit:<7} {taken:>7} {failed:>8}");
    format!("{line:<LABELS$}")
}

/// How seconds are drawn.
struct Graph {
    /// How many of them fit, the latest ones.
    seconds: usize,
    /// How wide each is.
    each: usize,
    highest: u64,
}

impl Graph {
    fn new(tally: &Tally, seconds: u64, width: usize) -> Self {
        let room = width.saturating_sub(LABELS).max(1);
        let all = usize::try_from(seconds + TAIL).unwrap_or(usize::MAX);
        let each = (room / all).clamp(1, WIDEST_SECOND);
        let fit = room / each;
        let shown = tally.rows.iter().flat_map(|row| latest(&row.history, fit));
        Self { seconds: fit, each, highest: shown.copied().max().unwrap_or_default().max(1) }
    }

    fn of(&self, history: &[u64]) -> String {
        let level = |taken: &u64| {
            let level = (taken * 8).div_ceil(self.highest);
            usize::try_from(level).ok().and_then(|level| LEVELS.get(level)).copied().unwrap_or('█')
        };
        latest(history, self.seconds).flat_map(|taken| std::iter::repeat_n(level(taken), self.each)).collect()
    }

    /// Below which seconds the first provider was silent.
    fn outages(&self, outages: &[bool]) -> String {
        let mark = |is_out: &bool| if *is_out { '━' } else { ' ' };
        let line: String =
            latest(outages, self.seconds).flat_map(|is_out| std::iter::repeat_n(mark(is_out), self.each)).collect();
        let label = if line.contains('━') { format!("{FIRST} does not answer:") } else { String::new() };
        format!("{label:<LABELS$}{line}")
    }
}

fn latest<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    all.iter().skip(all.len().saturating_sub(most))
}

/// The head of [`line()`].
pub(super) fn line_head(tally: &Tally) -> String {
    let providers = providers(tally).map(|provider| format!("{provider:>9}")).collect::<Vec<_>>().concat();
    let start = columns("second", "in", "done", "open");
    format!("{start}{providers}{:>8}{:>7}", "failed", "p95 ms")
}

/// The last second as one line: challenges, how many messages each provider took, how many it failed, how long the
/// way to a provider was.
pub(super) fn line(tally: &Tally) -> String {
    let [second, published, concluded] =
        [tally.elapsed_secs(), tally.published, tally.concluded].map(|n| n.to_string());
    let start = columns(&second, &published, &concluded, &tally.open().to_string());
    let taken_by = |provider| {
        let taken: u64 = tally.rows.iter().filter(|row| row.provider == provider).map(|row| row.last.taken).sum();
        format!("{taken:>9}")
    };
    let taken = providers(tally).map(taken_by).collect::<Vec<_>>().concat();
    let failed: u64 = tally.rows.iter().map(|row| row.last.failed).sum();
    format!("{start}{taken}{failed:>8}{:>7}", tally.second.p95)
}

fn columns(second: &str, published: &str, concluded: &str, open: &str) -> String {
    format!("{second:>6}{published:>8}{concluded:>8}{open:>7}")
}

/// Each provider once, in the order of the rows.
fn providers(tally: &Tally) -> impl Iterator<Item = &'static str> {
    let first = |at: usize| tally.rows.iter().position(|row| row.provider == tally.rows[at].provider) == Some(at);
    (0..tally.rows.len()).filter(move |at| first(*at)).map(|at| tally.rows[at].provider)
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::*;
    use crate::clock::Clock;

    /// A busy quarter of a minute, with the first provider out for a third of it.
    fn tally() -> Tally {
        let mut tally = Tally::new(Clock::system());
        for second in 0..15_u64 {
            let is_out = (5..10).contains(&second);
            tally.end_second(is_out);
            for (n, row) in (1..).zip(&mut tally.rows) {
                row.history.pop();
                row.history.push(if row.provider == FIRST && is_out { 0 } else { n * 300 });
                row.last.taken = n * 300;
            }
        }
        (tally.published, tally.concluded) = (7_200_000, 7_190_000);
        tally
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_a_wide_one_is_used() {
        let tally = tally();
        for (width, load) in [(1, 15), (40, 15), (80, 3), (80, 15), (80, 3_600), (160, 15), (160, 3_600)] {
            let lines = table(&tally, load, width);
            assert_eq!(lines.len(), 5 + ROWS.len() + 1, "always as many, so that they can be redrawn in place");
            let widest = lines.iter().map(|line| line.text.chars().count()).max().unwrap_or_default();
            assert!(widest <= width, "{widest} of {width}");
        }
        let graph = |width| table(&tally, 15, width)[5].text.chars().filter(|c| LEVELS.contains(c)).count();
        assert_eq!((graph(80), graph(160)), (15, 75), "a second is as wide as there is room for");
        for line in [line_head(&tally), line(&tally)] {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn the_graph_shows_where_traffic_went() {
        let lines = table(&tally(), 15, 80);
        let graph = |row: usize| lines[row].text.chars().skip(LABELS).collect::<String>();
        assert_eq!(graph(6), "▃▃▃▃▃·····▃▃▃▃▃");
        assert_eq!(graph(10), "███████████████");
        assert_eq!(graph(11), "     ━━━━━");
    }
}
