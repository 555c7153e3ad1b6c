//! Reading TOML so that every mistake is found and has its line: a walk over the parsed document in which
//! each key is asked for by name, and those nobody asked for are mistakes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DefinitionError;

/// What is wrong with one file, collected while it is read.
pub(super) struct Mistakes<'f> {
    file: &'f str,
    text: &'f str,
    found: RefCell<Vec<DefinitionError>>,
}

impl<'f> Mistakes<'f> {
    pub(super) const fn new(file: &'f str, text: &'f str) -> Self {
        Self { file, text, found: RefCell::new(Vec::new()) }
    }

    pub(super) fn add(&self, at: usize, path: &str, found: impl Into<String>, allowed: impl Into<String>) {
        let before = self.text.get(..at).unwrap_or(self.text);
        self.found.borrow_mut().push(DefinitionError {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            path: path.to_owned(),
            found: found.into(),
            allowed: allowed.into(),
        });
    }

    /// The mistakes in the order of their lines.
    pub(super) fn into_sorted(self) -> Vec<DefinitionError> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        found
    }
}

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Node<'t> {
    pub(super) path: String,
    pub(super) at: usize,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Node<'t> {
    /// What is there, for a mistake's `found`.
    pub(super) fn shown(&self) -> String {
        match self.value {
            DeValue::String(text) => format!("`{text}`"),
            DeValue::Integer(number) => format!("`{number}`"),
            DeValue::Boolean(flag) => format!("`{flag}`"),
            other => format!("a value of type {}", other.type_str()),
        }
    }

    pub(super) fn wrong(&self, allowed: &str, mistakes: &Mistakes<'_>) {
        mistakes.add(self.at, &self.path, self.shown(), allowed);
    }

    pub(super) fn text(&self, allowed: &str, mistakes: &Mistakes<'_>) -> Option<&'t str> {
        let text = self.value.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong(allowed, mistakes);
        }
        text
    }

    /// One word of a closed set: an enum whose variants serde knows by name.
    pub(super) fn word<T: DeserializeOwned>(&self, allowed: &str, mistakes: &Mistakes<'_>) -> Option<T> {
        let text = self.text(allowed, mistakes)?;
        let word = T::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).ok();
        if word.is_none() {
            self.wrong(allowed, mistakes);
        }
        word
    }

    pub(super) fn flag(&self, mistakes: &Mistakes<'_>) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.wrong("true, false", mistakes);
        }
        flag
    }

    pub(super) fn number(&self, allowed: Range<u64>, mistakes: &Mistakes<'_>) -> Option<u64> {
        let number = self.value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        let number = number.filter(|number| allowed.contains(number));
        if number.is_none() {
            self.wrong(&format!("a whole number from {} to {}", allowed.start, allowed.end - 1), mistakes);
        }
        number
    }

    /// The elements of an array, or the one value that stands for an array of one.
    pub(super) fn elements(&self) -> Vec<Self> {
        let Some(array) = self.value.as_array() else { return vec![self.clone()] };
        let element = |(n, item): (usize, &'t Spanned<DeValue<'t>>)| Self {
            path: format!("{}[{n}]", self.path),
            at: item.span().start,
            value: item.get_ref(),
        };
        array.iter().enumerate().map(element).collect()
    }

    pub(super) fn table(&self, mistakes: &Mistakes<'_>) -> Option<Section<'t>> {
        let table = self.value.as_table();
        if table.is_none() {
            self.wrong("a table", mistakes);
        }
        Some(Section { path: self.path.clone(), at: self.at, table: table?, taken: BTreeSet::new() })
    }
}

/// One table, of which each key is taken at most once.
pub(super) struct Section<'t> {
    pub(super) path: String,
    pub(super) at: usize,
    table: &'t DeTable<'t>,
    taken: BTreeSet<String>,
}

impl<'t> Section<'t> {
    pub(super) const fn root(table: &'t DeTable<'t>) -> Self {
        Self { path: String::new(), at: 0, table, taken: BTreeSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<Node<'t>> {
        let (name, value) = self.table.get_key_value(key)?;
        self.taken.insert(key.to_owned());
        Some(Node { path: self.path_of(key), at: name.span().start, value: value.get_ref() })
    }

    /// The value of `key`, which must be there.
    pub(super) fn need(&mut self, key: &str, allowed: &str, mistakes: &Mistakes<'_>) -> Option<Node<'t>> {
        let node = self.take(key);
        if node.is_none() {
            mistakes.add(self.at, &self.path_of(key), "nothing", allowed);
        }
        node
    }

    /// All entries, where the keys are the definition's own.
    pub(super) fn entries(&mut self) -> Vec<(&'t str, Node<'t>)> {
        let table = self.table;
        table.keys().filter_map(|key| Some((key.get_ref().as_ref(), self.take(key.get_ref())?))).collect()
    }

    /// Reports the keys that nobody took; `allowed` names those that might have been.
    pub(super) fn finish(self, allowed: &[&str], mistakes: &Mistakes<'_>) {
        for key in self.table.keys().filter(|key| !self.taken.contains(key.get_ref().as_ref())) {
            let path = self.path_of(key.get_ref());
            mistakes.add(key.span().start, &path, format!("unknown key `{}`", key.get_ref()), allowed.join(", "));
        }
    }
}
