//! Outcomes as rows that fit the terminal, whatever is in them. Pure but for [`width`].
//!
//! Guarantee: a row is one line, no wider than the terminal, of characters that can be seen and nothing else.

use std::fmt::Write as _;

use crate::challenge::Channel;
use crate::delivery::outcome::{Advice, Outcome, Reason};

/// A column: its head, its least width, and the width that shows all of most values.
struct Column {
    head: &'static str,
    least: usize,
    whole: usize,
    /// Below this width of the terminal it is left out.
    from: usize,
    value: fn(&Outcome) -> String,
}

/// What stands for a character that is not shown.
const HIDDEN: char = '?';
/// What shows that a value was cut.
const CUT: char = '~';

/// In the order in which they get room beyond their least.
const COLUMNS: [Column; 10] = [
    Column { head: "TIME", least: 8, whole: 8, from: 0, value: time },
    Column { head: "STATUS", least: 13, whole: 13, from: 0, value: status },
    Column { head: "CHAN", least: 5, whole: 5, from: 0, value: |one| one.channel.map_or("-", Channel::as_str).into() },
    Column { head: "PROVIDER", least: 8, whole: 12, from: 0, value: |one| or_dash(one.provider.as_deref()) },
    Column { head: "WHY", least: 21, whole: 21, from: 0, value: |one| one.reason.map_or("-", Reason::as_str).into() },
    Column { head: "TO", least: 12, whole: 15, from: 0, value: |one| or_dash(one.destination.as_deref()) },
    Column { head: "SESSION", least: 7, whole: 36, from: 0, value: |one| or_dash(one.session_id.as_deref()) },
    Column { head: "TENANT", least: 8, whole: 16, from: 120, value: |one| one.tenant.clone() },
    Column { head: "ADVICE", least: 18, whole: 18, from: 120, value: advice },
    Column { head: "CHALLENGE", least: 10, whole: 36, from: 100, value: |one| one.challenge_id.to_string() },
];

/// Rows below a head, which is said again when the terminal changes its width.
#[derive(Default)]
pub(super) struct Table {
    has_head: bool,
    /// The width that the last head was for.
    width: Option<usize>,
}

impl Table {
    /// One outcome as a line, with the head before it where one is due. Without a width nothing is cut.
    pub(super) fn row(&mut self, outcome: &Outcome, width: Option<usize>) -> String {
        let layout = layout(width);
        let mut lines = String::new();
        if !self.has_head || self.width != width {
            *self = Self { has_head: true, width };
            write_line(&mut lines, layout.iter().map(|(column, room)| (column.head.to_owned(), *room)), width);
        }
        write_line(&mut lines, layout.iter().map(|(column, room)| ((column.value)(outcome), *room)), width);
        lines
    }
}

/// The columns that there is room for, and how much each has.
fn layout(width: Option<usize>) -> Vec<(&'static Column, usize)> {
    let Some(width) = width else { return COLUMNS.iter().map(|column| (column, column.whole)).collect() };
    let shown: Vec<_> = COLUMNS.iter().filter(|column| column.from <= width).collect();
    let taken = shown.iter().map(|column| column.least + 1).sum::<usize>() - 1;
    let mut left = width.saturating_sub(taken);
    let room = |column: &'static Column| {
        let more = (column.whole - column.least).min(left);
        left -= more;
        (column, column.least + more)
    };
    shown.into_iter().map(room).collect()
}

fn write_line(lines: &mut String, cells: impl Iterator<Item = (String, usize)>, width: Option<usize>) {
    let mut line = String::new();
    for (text, room) in cells {
        let text: String = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { HIDDEN }).collect();
        let cut = if width.is_some() && text.len() > room {
            format!("{}{CUT}", text.chars().take(room.saturating_sub(1)).collect::<String>())
        } else {
            text
        };
        let _ = write!(line, "{cut:room$} ");
    }
    let whole = line.trim_end();
    lines.extend(whole.chars().take(width.unwrap_or(usize::MAX)));
    lines.push('\n');
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// UTC, to the second.
fn time(outcome: &Outcome) -> String {
    outcome.occurred_at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// What is not the last word stands in brackets.
fn status(outcome: &Outcome) -> String {
    let word = outcome.status.as_str();
    if outcome.is_final { word.to_owned() } else { format!("({word})") }
}

fn advice(outcome: &Outcome) -> String {
    let word = |advice: Advice| serde_json::to_value(advice).ok()?.as_str().map(str::to_owned);
    outcome.advice.and_then(word).unwrap_or_else(|| "-".to_owned())
}

/// How wide the terminal is now: its own word, else `COLUMNS`; nothing where there is no terminal.
pub(super) fn width() -> Option<usize> {
    let told = || std::env::var("COLUMNS").ok()?.parse::<u16>().ok();
    comfy_table::Table::new().width().or_else(told).filter(|width| *width > 0).map(usize::from)
}

/// JSON that was checked, as one line of ASCII: the same value, and nothing in it that a terminal takes for a command.
pub(super) fn ascii_json(body: &[u8]) -> String {
    let mut line = String::with_capacity(body.len() + 1);
    for c in String::from_utf8_lossy(body).chars() {
        match c {
            // Between the parts of JSON; within its strings they are escaped already.
            '\n' | '\r' | '\t' => line.push(' '),
            ' '..='~' => line.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An outcome whose texts from outside are this.
    fn outcome(text: &str) -> Outcome {
        let outcome = json!({
            "id": "c:final", "version": 1, "challenge_id": "8d0d6f0e-3c1b-4d0e-9a53-1f5b8a0f7a11", "session_id": text,
            "user_id": text, "tenant": text, "purpose": text, "status": "undelivered", "final": false,
            "reason": "recipient_unreachable", "advice": "use_another_method", "channel": "sms", "method_id": text,
            "provider": text, "destination": "+1********71", "country": "US", "sent_at": null, "receipt_by": null,
            "expires_at": null, "occurred_at": "2026-11-24T01:02:03.000Z", "confirmed_by": null, "attempts": [],
            "unused": [], "notes": [],
        });
        serde_json::from_value(outcome).expect("an outcome")
    }

    const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{9b}31m\u{202e}live\u{2066}\u{200b}\u{7f}\0שלום\u{301}😀";

    #[test]
    fn rows_fit_every_terminal_whatever_is_in_them() {
        for text in ["s-77", &"x".repeat(256), HOSTILE, &HOSTILE.repeat(9), ""] {
            for width in [1, 20, 79, 80, 81, 100, 120, 160, 300] {
                let lines = Table::default().row(&outcome(text), Some(width));
                assert_eq!(lines.lines().count(), 2, "a head and one line: {lines:?}");
                for line in lines.lines() {
                    assert!(line.chars().count() <= width, "{width}: {line:?}");
                    assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn the_head_comes_once_for_each_width() {
        let mut table = Table::default();
        assert!(table.row(&outcome("a"), Some(80)).starts_with("TIME"));
        let row = table.row(&outcome("a"), Some(80));
        assert!(row.starts_with("01:02:03 (undelivered) sms"), "{row}");
        assert!(row.contains(" recipient_unreachable ") && row.contains(" +1********71"), "{row}");
        let wide = table.row(&outcome("a"), Some(160));
        assert!(wide.starts_with("TIME") && wide.contains("use_another_method"), "{wide}");
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let long = "x".repeat(256);
        assert!(Table::default().row(&outcome(&long), None).contains(&long));
    }

    #[test]
    fn json_is_the_same_value_on_one_line_of_ascii() {
        let value = json!({ "session_id": HOSTILE, "b": "\\u0041\"" });
        let body = format!("{}\n", serde_json::to_string_pretty(&value).expect("JSON"));
        let line = ascii_json(body.as_bytes());
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
        let shown = line.strip_suffix('\n').expect("a line");
        assert!(shown.chars().all(|c| (' '..='~').contains(&c)), "{shown:?}");
    }
}
