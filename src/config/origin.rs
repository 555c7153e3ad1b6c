//! Where a setting was written, and what is wrong with it.
//!
//! Every setting carries its [`Origin`] from the first byte read, so that each [`ConfigError`] can
//! name the file and line or the environment variable, the path of the key, what was found and what
//! is allowed. Nothing here ever holds the value of a secret.

use std::fmt;
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The defaults that the program carries.
    BuiltIn {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A file.
    File {
        /// Its path, as the operator wrote it.
        file: Arc<str>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable, by name.
    Environment(Arc<str>),
}

impl Place {
    /// Whether the operator wrote it.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        !matches!(self, Self::BuiltIn { .. })
    }

    /// Whether it came from an environment variable, where everything is text.
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        matches!(self, Self::Environment(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn { line, column } => write!(f, "built-in defaults:{line}:{column}"),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// One step from a table or an array to what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(Arc<str>),
    Index(usize),
}

/// The way from the top of the document to a key: `providers.twilio.senders[0].from`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        self.and(Step::Key(key.into()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.and(Step::Index(index))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn and(&self, step: Step) -> Self {
        let mut longer = self.clone();
        longer.0.push(step);
        longer
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
                    let dot = if nth == 0 { "" } else { "." };
                    if !key.is_empty() && key.bytes().all(bare) {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where a setting was written and the path of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file and line, or the variable.
    pub place: Place,
    /// `providers.twilio.senders[0].from`; empty for a whole file.
    pub path: String,
}

impl Origin {
    pub(super) fn new(place: &Place, path: &Path) -> Self {
        Self { place: place.clone(), path: path.to_string() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { write!(f, "{}", self.place) } else { write!(f, "{}: {}", self.place, self.path) }
    }
}

/// One thing that is wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What was found, or what is missing.
    pub found: String,
    /// What may stand there.
    pub allowed: Option<String>,
}

impl ConfigError {
    /// An error at `origin`; `found` must not hold a secret's value.
    #[must_use]
    pub fn new(origin: Origin, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { origin, found: found.into(), allowed: Some(allowed.into()) }
    }

    /// An error whose text says all there is to say.
    #[must_use]
    pub fn plain(origin: Origin, found: impl Into<String>) -> Self {
        Self { origin, found: found.into(), allowed: None }
    }

    /// A key that nobody knows; `known` are those that could have been meant.
    #[must_use]
    pub fn unknown_key(origin: Origin, key: &str, known: &[&str]) -> Self {
        let hint = closest(key, known.iter().copied()).map(|meant| format!("; did you mean `{meant}`?"));
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        Self::new(origin, format!("unknown key{}", hint.unwrap_or_default()), sorted.join(", "))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.found)?;
        match &self.allowed {
            Some(allowed) => write!(f, "; allowed: {allowed}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Something that works but should not stay so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub origin: Origin,
    /// What and why.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// The candidate that `word` is most likely a slip of.
#[must_use]
pub fn closest<'k>(word: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let slips_allowed = match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_ascii_lowercase(), candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant() {
        let known = ["prefetch", "heartbeat", "url", "declare"];
        for (slip, meant) in [
            ("prefech", Some("prefetch")),
            ("PREFETCH", Some("prefetch")),
            ("heartbaet", Some("heartbeat")),
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("x", None),
            ("password", None),
            ("", None),
        ] {
            assert_eq!(closest(slip, known), meant, "{slip}");
        }
    }

    #[test]
    fn paths_read_as_they_are_written() {
        let path = Path::default().key("providers").key("a b").key("senders").index(2).key("from");
        assert_eq!(path.to_string(), "providers.\"a b\".senders[2].from");
    }
}
