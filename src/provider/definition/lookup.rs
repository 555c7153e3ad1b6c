//! Tables of a definition: what a vendor wants to be told depends on what a message is, and a table says how.
//!
//! Two things are looked up: the language of the text, and the alphabet that it takes as a text message. So a
//! definition needs no conditions: a message has exactly one row, and every row has every column.

use std::collections::BTreeMap;

use crate::provider::Message;

/// The row for every language that has none of its own.
pub(super) const DEFAULT_ROW: &str = "default";
/// The rows of [`Lookups::encoding`]: the texts that fit the alphabet of GSM (3GPP TS 23.038), and all others.
pub(super) const ENCODINGS: [&str; 2] = ["gsm7", "ucs2"];
/// How a column is written in a template: `{language.voice}`, `{encoding.type}`.
pub(super) const LANGUAGE: &str = "language.";
pub(super) const ENCODING: &str = "encoding.";

/// The basic table of GSM 7-bit, without its escape, and then its extension.
const GSM7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
    abcdefghijklmnopqrstuvwxyzäöñüà\u{c}^{}\\[~]|€";

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A number, which stays one in JSON.
    Number(u64),
}

/// Rows of the same columns.
pub(super) type Rows = BTreeMap<String, BTreeMap<String, Cell>>;

/// The tables of one channel.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// By language: keys are BCP 47 tags in lower case, or [`DEFAULT_ROW`], which is always there.
    pub(super) language: Rows,
    /// By alphabet: [`ENCODINGS`].
    pub(super) encoding: Rows,
}

impl Lookups {
    /// The value that `name` has for `message`, where it names a column.
    pub(super) fn get(&self, name: &str, message: &Message) -> Option<&Cell> {
        if let Some(column) = name.strip_prefix(LANGUAGE) {
            return of_language(&self.language, &message.language)?.get(column);
        }
        let column = name.strip_prefix(ENCODING)?;
        let encoding = ENCODINGS[usize::from(!is_gsm7(message.text.expose()))];
        self.encoding.get(encoding)?.get(column)
    }

    /// Every column by its name in templates, and whether it holds numbers.
    pub(super) fn columns(&self) -> impl Iterator<Item = (String, bool)> {
        let tables = [(LANGUAGE, &self.language), (ENCODING, &self.encoding)];
        tables.into_iter().flat_map(|(prefix, rows)| {
            let columns = rows.values().next().into_iter().flatten();
            columns.map(move |(name, cell)| (format!("{prefix}{name}"), matches!(cell, Cell::Number(_))))
        })
    }
}

/// `zh-Hant-TW`, then `zh-Hant`, then `zh`, then the default.
fn of_language<'r>(rows: &'r Rows, language: &str) -> Option<&'r BTreeMap<String, Cell>> {
    let language = language.to_ascii_lowercase();
    let mut tags = std::iter::successors(Some(language.as_str()), |tag| Some(tag.rsplit_once('-')?.0));
    tags.find_map(|tag| rows.get(tag)).or_else(|| rows.get(DEFAULT_ROW))
}

/// Whether every character is in the alphabet of GSM.
fn is_gsm7(text: &str) -> bool {
    text.chars().all(|c| GSM7.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_falls_back_to_its_parents_and_then_to_the_default() {
        let row = |name: &str| BTreeMap::from([("voice".to_owned(), Cell::Text(name.to_owned()))]);
        let rows = Rows::from(["default", "zh", "zh-hant", "en-gb"].map(|tag| (tag.to_owned(), row(tag))));
        for (language, expected) in [
            ("zh-Hant-TW", "zh-hant"),
            ("zh-CN", "zh"),
            ("zh", "zh"),
            ("en-GB", "en-gb"),
            ("en", "default"),
            ("", "default"),
            ("zhx", "default"),
        ] {
            assert_eq!(of_language(&rows, language), Some(&row(expected)), "{language}");
        }
    }

    /// The alphabet has 127 characters beside its escape, and 10 behind that.
    #[test]
    fn the_alphabet_is_whole() {
        assert_eq!(GSM7.chars().count(), 127 + 10);
        for text in ["481516 is your code", "Größe: 5€ {a} [b] ~^|\\", "Ørsted å ñ à Ç", ""] {
            assert!(is_gsm7(text), "{text}");
        }
        for text in ["ç", "naïve", "“481516”", "код 481516", "代码", "481516 👍", "a\tb", "`"] {
            assert!(!is_gsm7(text), "{text}");
        }
    }
}
