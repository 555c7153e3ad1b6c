//! Typed reading: a [`Section`] hands out its keys as [`Item`]s, an item becomes a typed value.
//!
//! Whatever does not fit is recorded with its place and never ends the reading, so that the operator
//! sees all errors at once; whatever was read is noted as the configuration in effect. Built upon
//! [`super::document`]; used by every reader of a section.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::document::{Entry, Node, Table, Value};
use super::origin::{ConfigError, Origin, Path, Place, Step, Warning, closest};

/// What reading found out besides the values.
#[derive(Default)]
pub(super) struct Report {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
    /// The configuration in effect, without secrets.
    pub(super) effective: toml::Table,
}

/// What every reader shares.
#[derive(Default)]
pub(super) struct Context {
    /// The environment, for secrets kept there.
    pub(super) env: BTreeMap<String, String>,
    report: RefCell<Report>,
}

impl Context {
    pub(super) fn with_env(env: BTreeMap<String, String>) -> Self {
        Self { env, report: RefCell::default() }
    }

    pub(super) fn error(&self, error: ConfigError) {
        self.report.borrow_mut().errors.push(error);
    }

    pub(super) fn warn(&self, origin: Origin, text: impl Into<String>) {
        self.report.borrow_mut().warnings.push(Warning { origin, text: text.into() });
    }

    /// Notes a value of the configuration in effect.
    pub(super) fn note(&self, path: &Path, value: toml::Value) {
        note(&mut self.report.borrow_mut().effective, path.steps(), value);
    }

    pub(super) fn into_report(self) -> Report {
        self.report.into_inner()
    }
}

fn note(table: &mut toml::Table, steps: &[Step], value: toml::Value) {
    let Some((Step::Key(key), rest)) = steps.split_first() else { return };
    let slot = table.entry(key.as_ref()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    note_in(slot, rest, value);
}

fn note_in(slot: &mut toml::Value, steps: &[Step], value: toml::Value) {
    match (steps.first(), slot) {
        (None, slot) => *slot = value,
        (Some(Step::Key(_)), toml::Value::Table(table)) => note(table, steps, value),
        (Some(Step::Index(index)), toml::Value::Array(items)) => {
            items.resize(items.len().max(index + 1), toml::Value::Table(toml::Table::new()));
            note_in(&mut items[*index], &steps[1..], value);
        }
        (Some(Step::Key(_)), slot) => {
            *slot = toml::Value::Table(toml::Table::new());
            note_in(slot, steps, value);
        }
        (Some(Step::Index(_)), slot) => {
            *slot = toml::Value::Array(Vec::new());
            note_in(slot, steps, value);
        }
    }
}

/// A table being read. [`Section::finish`] reports what nobody asked for.
pub(super) struct Section<'c> {
    pub(super) cx: &'c Context,
    table: Table,
    path: Path,
    place: Place,
    known: Vec<&'static str>,
    origins: BTreeMap<&'static str, Origin>,
}

impl<'c> Section<'c> {
    pub(super) const fn new(cx: &'c Context, table: Table, path: Path, place: Place) -> Self {
        Self { cx, table, path, place, known: Vec::new(), origins: BTreeMap::new() }
    }

    /// The value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'c>> {
        self.known.push(key);
        let entry = self.table.take(key)?;
        let item = self.item(entry);
        self.origins.insert(key, item.origin());
        Some(item)
    }

    /// Whether `key` is there and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.0.iter().any(|entry| entry.key == key)
    }

    /// The value of `key`; an error where it is missing.
    pub(super) fn require(&mut self, key: &'static str, allowed: &str) -> Option<Item<'c>> {
        let item = self.take(key);
        if item.is_none() {
            self.cx.error(ConfigError::new(self.at(key), "missing", allowed));
        }
        item
    }

    /// The table under `key`; an empty one where it is missing or no table.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.path.key(key);
        let place = self.place.clone();
        self.take(key).and_then(Item::section).unwrap_or_else(|| Self::new(self.cx, Table::default(), path, place))
    }

    /// Where `key` was written, or where it is missing.
    pub(super) fn at(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_else(|| Origin::new(&self.place, &self.path.key(key)))
    }

    /// Where the section itself was written.
    pub(super) fn origin(&self) -> Origin {
        Origin::new(&self.place, &self.path)
    }

    /// Whether the operator wrote `key`.
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.origins.get(key).is_some_and(|origin| origin.place.is_own())
    }

    /// Records an error about `key`.
    pub(super) fn refuse(&self, key: &str, found: impl Into<String>, allowed: impl Into<String>) {
        self.cx.error(ConfigError::new(self.at(key), found, allowed));
    }

    /// Reports keys that are documented but not served yet.
    pub(super) fn later(&mut self, keys: &[&'static str]) {
        for key in keys {
            if let Some(entry) = self.table.take(key) {
                let origin = Origin::new(&entry.place, &self.path.key(key));
                self.cx.error(ConfigError::plain(origin, "this setting comes with a later version"));
            }
        }
    }

    /// Everything not taken yet, by name: for tables whose keys the operator chooses.
    pub(super) fn rest(&mut self) -> Vec<(String, Item<'c>)> {
        let entries = std::mem::take(&mut self.table.0);
        entries.into_iter().map(|entry| (entry.key.clone(), self.item(entry))).collect()
    }

    /// The keys that were asked for so far.
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for entry in &self.table.0 {
            let origin = Origin::new(&entry.place, &self.path.key(&entry.key));
            self.cx.error(ConfigError::unknown_key(origin, &entry.key, &self.known));
        }
    }

    fn item(&self, entry: Entry) -> Item<'c> {
        Item { cx: self.cx, node: entry.node, path: self.path.key(&entry.key), key_place: entry.place }
    }
}

/// One value on its way to a type. Its methods record what is wrong and then give `None`.
pub(super) struct Item<'c> {
    pub(super) cx: &'c Context,
    pub(super) node: Node,
    pub(super) path: Path,
    /// Where its key was written; for an element of an array, where the element was.
    pub(super) key_place: Place,
}

impl<'c> Item<'c> {
    pub(super) fn origin(&self) -> Origin {
        Origin::new(&self.node.place, &self.path)
    }

    /// Where its key was written, for an error about the key itself.
    pub(super) fn key_origin(&self) -> Origin {
        Origin::new(&self.key_place, &self.path)
    }

    /// Records that the value is not what is allowed, and what it is.
    pub(super) fn refuse<T>(&self, allowed: impl Into<String>) -> Option<T> {
        self.refuse_as(format!("found {}", self.node.show()), allowed)
    }

    /// Records an error in own words.
    pub(super) fn refuse_as<T>(&self, found: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        self.cx.error(ConfigError::new(self.origin(), found, allowed));
        None
    }

    pub(super) fn note(&self, value: impl Into<toml::Value>) {
        self.cx.note(&self.path, value.into());
    }

    /// The text as written, where the value is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.node.raw.as_deref(),
        }
    }

    /// A text that `read` accepts.
    pub(super) fn parsed<T>(self, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let Some(text) = self.as_text() else { return self.refuse(allowed) };
        let Some(value) = read(text) else { return self.refuse(allowed) };
        self.note(text);
        Some(value)
    }

    /// One of the given words.
    pub(super) fn word<T: Copy>(self, words: &[(&str, T)]) -> Option<T> {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let Some(text) = self.as_text() else { return self.refuse(quoted.join(", ")) };
        let Some((word, value)) = words.iter().find(|(word, _)| *word == text) else {
            let hint =
                closest(text, words.iter().map(|(word, _)| *word)).map(|meant| format!("; did you mean {meant:?}?"));
            let found = format!("found {}{}", self.node.show(), hint.unwrap_or_default());
            return self.refuse_as(found, quoted.join(", "));
        };
        self.note(*word);
        Some(*value)
    }

    pub(super) fn flag(self) -> Option<bool> {
        let flag = match (&self.node.value, self.environment_text()) {
            (Value::Flag(flag), _) => Some(*flag),
            (_, Some(text)) => text.parse().ok(),
            _ => None,
        };
        let Some(flag) = flag else { return self.refuse("true, false") };
        self.note(flag);
        Some(flag)
    }

    /// A whole number.
    pub(super) fn integer<T>(self, least: T, most: T) -> Option<T>
    where
        T: Copy + PartialOrd + std::fmt::Display + TryFrom<i64>,
    {
        let number = match (&self.node.value, self.environment_text()) {
            (Value::Integer(number), _) => Some(*number),
            (_, Some(text)) => text.parse().ok(),
            _ => None,
        };
        let fits = number.and_then(|n| Some((n, T::try_from(n).ok().filter(|n| *n >= least && *n <= most)?)));
        let Some((number, value)) = fits else { return self.refuse(format!("a whole number from {least} to {most}")) };
        self.note(number);
        Some(value)
    }

    /// A number above zero and up to `most`.
    pub(super) fn positive(self, most: f64) -> Option<f64> {
        let number = match (&self.node.value, self.environment_text()) {
            (Value::Float(number), _) => Some(*number),
            (Value::Integer(number), _) => i32::try_from(*number).ok().map(f64::from),
            (_, Some(text)) => text.parse().ok(),
            _ => None,
        };
        let fits = |number: &f64| number.is_finite() && *number > 0.0 && *number <= most;
        let Some(number) = number.filter(fits) else {
            return self.refuse(format!("a number above 0 and up to {most}"));
        };
        self.note(number);
        Some(number)
    }

    /// A duration from `least` to `most`.
    pub(super) fn duration(self, least: Duration, most: Duration) -> Option<Duration> {
        let duration = self.as_text().and_then(parse_duration).filter(|d| (least..=most).contains(d));
        let Some(duration) = duration else {
            let (least, most) = (show_duration(least), show_duration(most));
            return self.refuse(format!("a duration from \"{least}\" to \"{most}\", with ms, s, m or h"));
        };
        self.note(show_duration(duration));
        Some(duration)
    }

    /// An array; `each` reads one element. Elements that are wrong are left out.
    pub(super) fn list<T>(self, allowed: &str, each: impl Fn(Self) -> Option<T>) -> Option<Vec<T>> {
        if !matches!(self.node.value, Value::List(_)) {
            return self.refuse(allowed);
        }
        self.note(toml::Value::Array(Vec::new()));
        let Value::List(nodes) = self.node.value else { return None };
        let (cx, path) = (self.cx, self.path);
        let items = nodes.into_iter().enumerate().filter_map(|(index, node)| {
            let key_place = node.place.clone();
            each(Item { cx, node, path: path.index(index), key_place })
        });
        Some(items.collect())
    }

    /// A table.
    pub(super) fn section(self) -> Option<Section<'c>> {
        if !matches!(self.node.value, Value::Table(_)) {
            let named = matches!(self.path.steps().last(), Some(Step::Key(_)));
            let header = if named { format!("[{}] or ", self.path) } else { String::new() };
            return self.refuse(format!("a table: {header}{{ key = value }}"));
        }
        self.note(toml::Value::Table(toml::Table::new()));
        let Value::Table(table) = self.node.value else { return None };
        Some(Section::new(self.cx, table, self.path, self.key_place))
    }

    /// Whether it is a table.
    pub(super) const fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    /// How many elements it has, if it is an array.
    pub(super) const fn length(&self) -> Option<usize> {
        match &self.node.value {
            Value::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// The text of an environment variable, which may stand for a number or a flag.
    fn environment_text(&self) -> Option<&str> {
        self.as_text().filter(|_| self.node.place.is_environment()).map(str::trim)
    }
}

impl Node {
    /// What an error may show of it. Not for secrets.
    pub(super) fn show(&self) -> String {
        match &self.value {
            Value::Text(text) if text.chars().count() > 60 => {
                format!("{:?}…", text.chars().take(60).collect::<String>())
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Flag(flag) => flag.to_string(),
            Value::Other(text) => text.clone(),
            Value::List(_) | Value::Table(_) => self.kind().to_owned(),
        }
    }

    /// What kind of value it is, for errors that may not show it.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Flag(_) => "a boolean",
            Value::Other(_) => "a value of another kind",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads `250ms`, `5s`, `2m`, `24h`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis_per_unit).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that it is whole in.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_strictly_and_written_shortly() {
        for (text, millis, shown) in
            [("250ms", 250, "250ms"), ("5s", 5_000, "5s"), ("120s", 120_000, "2m"), ("24h", 86_400_000, "24h")]
        {
            let duration = parse_duration(text).expect(text);
            assert_eq!((duration.as_millis(), show_duration(duration).as_str()), (millis, shown));
        }
        for bad in ["", "5", "s", "5 s", "-5s", "+5s", "1.5s", "5sec", "5S", "1h30m", "99999999999999999999s", "٥s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(parse_duration("18446744073709551615h"), None, "no overflow");
    }

    #[test]
    fn what_is_in_effect_is_put_together_from_paths() {
        let cx = Context::default();
        let senders = Path::default().key("a").key("senders");
        cx.note(&senders, toml::Value::Array(Vec::new()));
        cx.note(&senders.index(0).key("from"), "x".into());
        cx.note(&senders.index(1).key("from"), "y".into());
        cx.note(&Path::default().key("b"), true.into());
        let shown = toml::to_string(&cx.into_report().effective).expect("writable");
        assert_eq!(shown, "b = true\n\n[[a.senders]]\nfrom = \"x\"\n\n[[a.senders]]\nfrom = \"y\"\n");
    }
}
