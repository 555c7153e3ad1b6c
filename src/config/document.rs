//! The layers of the configuration as one tree in which every value knows where it was written.
//!
//! Built-in defaults, the file and the environment are laid over each other here, before any value is
//! understood. [`super::read`] gives the values their types.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::{ConfigError, Origin, Path, Place};

/// What every environment variable that is a setting begins with.
pub const PREFIX: &str = "COURIER__";

/// The longest value of an environment variable, and the largest secret file.
pub(super) const MAX_VALUE_BYTES: usize = 64 * 1024;

/// A value and where it was written.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// The text of an environment variable that was read as an array or a table: a secret may look so.
    pub(super) raw: Option<String>,
}

/// A value as TOML has it. Anything from the environment that is no array or table is `Text`.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// What no setting wants: a date, a number beyond all ranges.
    Other(String),
    List(Vec<Node>),
    Table(Table),
}

/// A table in the order of its file.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// One key of a table.
#[derive(Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Table {
    /// Takes the value of `key` out of the table.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(at))
    }

    /// Lays `upper` over this table: tables are merged, everything else is replaced.
    pub(super) fn merge(&mut self, upper: Self) {
        for entry in upper.0 {
            let Some(own) = self.0.iter_mut().find(|own| own.key == entry.key) else {
                self.0.push(entry);
                continue;
            };
            if own.node.lay(entry.node) == Laid::Over {
                own.place = entry.place;
            }
        }
    }

    /// Whether its keys exclude each other, so that one of them replaces the other.
    fn is_choice(&self) -> bool {
        let only = |words: [&str; 2]| {
            let fits =
                |entry: &Entry| words.contains(&entry.key.as_str()) && !matches!(entry.node.value, Value::Table(_));
            !self.0.is_empty() && self.0.iter().all(fits)
        };
        only(["env", "file"]) || only(["allow", "deny"])
    }
}

/// How a value was laid over another, and so where the key counts as written.
#[derive(PartialEq)]
enum Laid {
    /// It stands for the other now.
    Over,
    /// Its keys joined a table of the operator's, which stays where it was begun.
    Into,
}

impl Node {
    fn lay(&mut self, upper: Self) -> Laid {
        match (&mut self.value, upper.value) {
            (Value::Table(own), Value::Table(table)) if !(own.is_choice() && table.is_choice()) => {
                own.merge(table);
                if self.place.is_own() {
                    return Laid::Into;
                }
                self.place = upper.place;
            }
            (_, value) => *self = Self { value, ..upper },
        }
        Laid::Over
    }
}

/// Reads a TOML document.
///
/// # Errors
/// All that is not TOML in it, and where.
pub(super) fn parse(text: &str, place: &dyn Fn(usize, usize) -> Place) -> Result<Table, Vec<ConfigError>> {
    let lines = Lines::of(text);
    let at = |span: Range<usize>| {
        let (line, column) = lines.locate(text, span.start);
        place(line, column)
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(convert_table(table.get_ref(), &at));
    }
    let broken = |error: &toml::de::Error| {
        let span = error.span().unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        // The one message that is no use without its key, and where the place holds no value.
        let key = text.get(span.clone()).filter(|_| message == "duplicate key");
        let message = key.map_or_else(|| message.clone(), |key| format!("{message} `{key}`"));
        ConfigError::plain(Origin::new(&at(span), &Path::default()), format!("not TOML: {message}"))
    };
    Err(errors.iter().map(broken).collect())
}

fn convert_table(table: &DeTable<'_>, at: &dyn Fn(Range<usize>) -> Place) -> Table {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        place: at(key.span()),
        node: convert(value.get_ref(), at(value.span()), at),
    };
    Table(table.iter().map(entry).collect())
}

fn convert(value: &DeValue<'_>, place: Place, at: &dyn Fn(Range<usize>) -> Place) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| Value::Other(digits.to_string()), Value::Integer),
        DeValue::Float(digits) => {
            digits.as_str().parse().map_or_else(|_| Value::Other(digits.to_string()), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(moment) => Value::Other(moment.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| convert(item.get_ref(), at(item.span()), at)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, at)),
    };
    Node { value, place, raw: None }
}

/// Lays one environment variable over the tree.
///
/// # Errors
/// When its name or its value can't be one of a setting.
pub(super) fn overlay(root: &mut Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let place = Place::Environment(name.into());
    let refuse = |found: &str, allowed: &str| {
        Err(ConfigError::new(Origin::new(&place, &Path::default()), found.to_owned(), allowed.to_owned()))
    };
    let steps: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or(name).split("__").collect();
    if steps.iter().any(|step| step.is_empty()) {
        return refuse("a name with an empty part", "COURIER__SECTION__KEY, with two underscores between levels");
    }
    if let Some(why) = unusable(value) {
        return refuse(why, "at most 64 KiB of text");
    }
    let keys = spelled_as_in(root, &steps);
    let leaf = Node::from_environment(value, &place);
    let node = keys.iter().skip(1).rev().fold(leaf, |node, key| Node::holding(key, node));
    if let Some(key) = keys.into_iter().next() {
        root.merge(Table(vec![Entry { key, place, node }]));
    }
    Ok(())
}

/// Why a text from outside can't be the value of a setting at all.
pub(super) fn unusable(value: &str) -> Option<&'static str> {
    if value.len() > MAX_VALUE_BYTES {
        Some("a value of more than 64 KiB")
    } else if value.contains('\0') {
        Some("a value with a NUL byte")
    } else if value.contains('\u{fffd}') {
        Some("a value that is not UTF-8")
    } else {
        None
    }
}

/// What is left of a name in that of an environment variable.
pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// The existing keys that the parts of a variable's name stand for, else those parts in lower case.
///
/// Shells allow neither lower case by custom nor dashes at all: `TWILIO_US` stands for `twilio-us`.
fn spelled_as_in(root: &Table, steps: &[&str]) -> Vec<String> {
    let mut level = Some(root);
    let mut keys = Vec::new();
    for step in steps {
        let existing = level.and_then(|table| table.0.iter().find(|entry| fold(&entry.key) == fold(step)));
        keys.push(existing.map_or_else(|| step.to_ascii_lowercase(), |entry| entry.key.clone()));
        level = existing.and_then(|entry| match &entry.node.value {
            Value::Table(inner) => Some(inner),
            _ => None,
        });
    }
    keys
}

impl Node {
    /// A table that holds `node` alone.
    fn holding(key: &str, node: Self) -> Self {
        let place = node.place.clone();
        let entry = Entry { key: key.to_owned(), place: place.clone(), node };
        Self { value: Value::Table(Table(vec![entry])), place, raw: None }
    }

    fn from_environment(text: &str, place: &Place) -> Self {
        let as_written = Self { value: Value::Text(text.to_owned()), place: place.clone(), raw: None };
        if !text.trim_start().starts_with(['[', '{']) {
            return as_written;
        }
        let Ok(parsed) = DeValue::parse(text.trim()) else { return as_written };
        let node = convert(parsed.get_ref(), place.clone(), &|_| place.clone());
        Self { raw: Some(text.to_owned()), ..node }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(starts).collect())
    }

    /// Line and column of a byte, both from 1.
    fn locate(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= offset);
        let start = self.0.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(line: usize, column: usize) -> Place {
        Place::File { file: "f".into(), line, column }
    }

    fn read(text: &str) -> Table {
        parse(text, &file).expect("TOML")
    }

    fn place_of(table: &Table, path: &[&str]) -> String {
        let (first, rest) = path.split_first().expect("a path");
        let entry = table.0.iter().find(|entry| entry.key == *first).expect("the key exists");
        match &entry.node.value {
            Value::Table(inner) if !rest.is_empty() => place_of(inner, rest),
            _ => format!("{} {}", entry.place, entry.node.place),
        }
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let table = read("\"é\" = 1\n[a]\nb = \"x\"\r\nc = { d = 1 }\n");
        assert_eq!(place_of(&table, &["é"]), "f:1:1 f:1:7");
        assert_eq!(place_of(&table, &["a", "b"]), "f:3:1 f:3:5");
        assert_eq!(place_of(&table, &["a", "c", "d"]), "f:4:7 f:4:11");
    }

    #[test]
    fn a_variable_finds_the_spelling_of_the_file() {
        let mut table = read("[providers.Twilio-US]\nauth_token = \"x\"\n");
        overlay(&mut table, "COURIER__PROVIDERS__TWILIO_US__AUTH_TOKEN", "y").expect("usable");
        assert_eq!(
            place_of(&table, &["providers", "Twilio-US", "auth_token"]),
            "COURIER__PROVIDERS__TWILIO_US__AUTH_TOKEN COURIER__PROVIDERS__TWILIO_US__AUTH_TOKEN"
        );
        overlay(&mut table, "COURIER__PROVIDERS__NEW__KIND", "y").expect("usable");
        place_of(&table, &["providers", "new", "kind"]);
    }

    #[test]
    fn choices_are_replaced_and_tables_are_merged() {
        let mut table = read("a = { env = \"X\" }\nb = { sms = 1, push = 2 }\n");
        overlay(&mut table, "COURIER__A", "{ file = \"y\" }").expect("usable");
        overlay(&mut table, "COURIER__B", "{ sms = 3 }").expect("usable");
        let keys = |key: &str| match &table.0.iter().find(|entry| entry.key == key).expect("exists").node.value {
            Value::Table(inner) => inner.0.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        assert_eq!((keys("a"), keys("b")), (vec!["file".to_owned()], vec!["sms".to_owned(), "push".to_owned()]));
    }

    /// Hostile input 115.
    #[test]
    fn unusable_variables_are_refused() {
        for (name, value, why) in [
            (
                "COURIER__LOG",
                "a\0b".to_owned(),
                "COURIER__LOG: a value with a NUL byte; allowed: at most 64 KiB of text",
            ),
            (
                "COURIER__LOG",
                "a".repeat(1 << 20),
                "COURIER__LOG: a value of more than 64 KiB; allowed: at most 64 KiB of text",
            ),
            (
                "COURIER__LOG",
                "\u{fffd}".into(),
                "COURIER__LOG: a value that is not UTF-8; allowed: at most 64 KiB of text",
            ),
            (
                "COURIER____LOG",
                "info".into(),
                "COURIER____LOG: a name with an empty part; allowed: COURIER__SECTION__KEY, with two underscores between levels",
            ),
        ] {
            let error = overlay(&mut Table::default(), name, &value).expect_err(why);
            assert_eq!(error.to_string(), why);
        }
    }
}
