//! A text message put together: the lines for autofill, and the operator's way with texts of several segments.
//!
//! [`super::message`] chooses the text and gives its pieces. What is fixed (the template's own words, the
//! code, the lines for autofill) is never cut; what came from outside is made printable first. Pure.
//!
//! Guarantee: one segment more than needed is never caused here, and a text is changed only where that saves
//! a segment.

use std::fmt::Write as _;

use unicode_segmentation::UnicodeSegmentation as _;

use super::plain;
use super::segments::{Encoding, Size, measure};

/// What is done with a text message that needs more than one segment. Each does what those before it do, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oversize {
    /// It is sent as it is.
    Keep,
    /// Typographic quotes, dashes and spaces become plain ones.
    #[default]
    LookAlikes,
    /// Letters lose the accents that GSM-7 lacks.
    Transliterate,
    /// Long values of variables are cut.
    Shorten,
}

/// The lines by which phones fill in a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autofill {
    /// The website whose code it is, for browsers and iOS: `@example.com #123456`, the last line (WICG,
    /// "Origin-bound one-time codes delivered via SMS").
    pub domain: Option<String>,
    /// What Android's SMS Retriever knows the app by: 11 characters, on a line of their own.
    pub android_hash: Option<String>,
}

/// How text messages are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The way with those of several segments.
    pub oversize: Oversize,
    /// What stands below each.
    pub autofill: Autofill,
}

/// A part of a text that is being put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Never cut.
    Fixed(String),
    /// What came from outside, made printable.
    Value(String),
}

/// A value is cut to no less than this, in characters as people count them, so that it can be recognised.
const LEAST_KEPT: usize = 10;
/// What shows that a value was cut.
const CUT: &str = "...";

impl Style {
    /// The text of `pieces` with the lines for autofill, and what it takes.
    pub(super) fn text_message(&self, mut pieces: Vec<Piece>, code: &str) -> (String, Size) {
        pieces.push(Piece::Fixed(self.autofill.lines(code)));
        let whole = joined(&pieces, usize::MAX);
        let size = measure(&whole);
        let mut best = (whole, size);
        for (step, rewrite) in REWRITES {
            if step <= self.oversize && best.1.segments > 1 {
                best = fewer(rewritten(rewrite, &pieces, usize::MAX), best);
            }
        }
        if self.oversize == Oversize::Shorten && best.1.segments > 1 { shortened(&pieces, best) } else { best }
    }
}

impl Autofill {
    /// Each on a line of its own; the website's is the last, as its rule asks. Android finds its own anywhere.
    fn lines(&self, code: &str) -> String {
        let mut lines = String::new();
        if let Some(hash) = &self.android_hash {
            let _ = write!(lines, "\n{hash}");
        }
        if let Some(domain) = &self.domain {
            let _ = write!(lines, "\n@{domain} #{code}");
        }
        lines
    }
}

type Rewrite = fn(&str) -> String;

/// The ways to write a text in GSM-7, the gentler one first.
const REWRITES: [(Oversize, Rewrite); 2] =
    [(Oversize::LookAlikes, plain::look_alikes), (Oversize::Transliterate, plain::transliterated)];

/// The text with values of at most `most` characters, rewritten; nothing where that does not make it GSM-7.
fn rewritten(rewrite: Rewrite, pieces: &[Piece], most: usize) -> Option<(String, Size)> {
    let text = rewrite(&joined(pieces, most));
    let size = measure(&text);
    (size.encoding == Encoding::Gsm7).then_some((text, size))
}

/// The candidate where it takes fewer segments, else `best`.
fn fewer(candidate: Option<(String, Size)>, best: (String, Size)) -> (String, Size) {
    candidate.filter(|(_, size)| size.segments < best.1.segments).unwrap_or(best)
}

/// Cuts values only as far as it needs for the fewest segments that cutting can reach.
fn shortened(pieces: &[Piece], best: (String, Size)) -> (String, Size) {
    let as_it_is = |most| {
        let text = joined(pieces, most);
        let size = measure(&text);
        Some((text, size))
    };
    let made = |way: usize, most| match way.checked_sub(1) {
        Some(rewrite) => rewritten(REWRITES[rewrite].1, pieces, most),
        None => as_it_is(most),
    };
    let shortest = (0..=REWRITES.len()).filter_map(|way| Some((way, made(way, LEAST_KEPT)?)));
    let Some((way, shortest)) = shortest.min_by_key(|(_, (_, size))| size.segments) else { return best };
    if shortest.1.segments >= best.1.segments {
        return best;
    }
    let (mut kept, mut fits, mut too_long) = (shortest, LEAST_KEPT, longest(pieces));
    while too_long - fits > 1 {
        let middle = fits.midpoint(too_long);
        match made(way, middle).filter(|(_, size)| size.segments <= kept.1.segments) {
            Some(longer) => (kept, fits) = (longer, middle),
            None => too_long = middle,
        }
    }
    kept
}

fn longest(pieces: &[Piece]) -> usize {
    let length = |piece: &Piece| match piece {
        Piece::Value(value) => value.graphemes(true).count(),
        Piece::Fixed(_) => 0,
    };
    pieces.iter().map(length).max().unwrap_or(0).max(LEAST_KEPT)
}

/// The whole text, with values of at most `most` characters.
fn joined(pieces: &[Piece], most: usize) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Fixed(fixed) => text.push_str(fixed),
            Piece::Value(value) => cut(value, most, &mut text),
        }
    }
    text
}

/// Writes a value of at most `most` characters. One with a digit stays whole: a cut amount is another amount.
fn cut(value: &str, most: usize, text: &mut String) {
    if value.chars().any(char::is_numeric) || value.graphemes(true).nth(most).is_none() {
        return text.push_str(value);
    }
    let kept: String = value.graphemes(true).take(most.saturating_sub(CUT.len())).collect();
    text.push_str(kept.trim_end());
    text.push_str(CUT);
}

/// A value from outside as one printable line: no control characters, no line ends, nothing invisible that
/// turns the direction of what follows. `None` where nothing is left.
pub(super) fn printable(value: &str) -> Option<String> {
    let seen: String = value
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    let line = seen.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

/// Marks that show nothing themselves. The joiners stay: Persian, Indic scripts and emoji need them.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::segments::tests::oracle;
    use super::*;

    const CODE: &str = "481516";
    const EVERY: [Oversize; 4] = [Oversize::Keep, Oversize::LookAlikes, Oversize::Transliterate, Oversize::Shorten];

    fn style(oversize: Oversize) -> Style {
        Style { oversize, autofill: Autofill::default() }
    }

    /// `481516 is your … code.` with a value and enough fixed words that the text is `fixed` characters without it.
    fn made(oversize: Oversize, fixed: usize, value: &str) -> (String, u32) {
        let pieces = vec![
            Piece::Fixed(CODE.to_owned()),
            Piece::Fixed("x".repeat(fixed - CODE.len())),
            Piece::Value(value.to_owned()),
        ];
        let (text, size) = style(oversize).text_message(pieces, CODE);
        (text[fixed..].to_owned(), size.segments)
    }

    #[test]
    fn a_text_is_changed_only_where_that_saves_a_segment() {
        for oversize in EVERY {
            assert_eq!(made(oversize, 60, "Zoë’s"), ("Zoë’s".to_owned(), 1), "one segment of UCS-2");
            assert_eq!(made(oversize, 160, "Zoes"), ("Zoes".to_owned(), 2), "too short to be cut");
            assert_eq!(made(oversize, 100, "微信"), ("微信".to_owned(), 2), "GSM-7 can't say it");
        }
    }

    #[test]
    fn each_setting_does_what_those_before_it_do_and_more() {
        let told = |fixed, value| EVERY.map(|oversize| made(oversize, fixed, value));
        let owned = |all: [(&str, u32); 4]| all.map(|(text, segments)| (text.to_owned(), segments));
        let plain = [("Zed’s", 2), ("Zed's", 1), ("Zed's", 1), ("Zed's", 1)];
        assert_eq!(told(120, "Zed’s"), owned(plain));
        let accents = [("Zoë’s", 2), ("Zoë’s", 2), ("Zoe's", 1), ("Zoe's", 1)];
        assert_eq!(told(120, "Zoë’s"), owned(accents));
        let long = "The Long Café";
        assert_eq!(told(148, long), owned([(long, 2), (long, 2), (long, 2), ("The Long...", 1)]));
        assert_eq!(told(150, long), owned([(long, 2), (long, 2), (long, 2), ("The Lon...", 1)]));
        assert_eq!(told(151, long), owned([(long, 2), (long, 2), (long, 2), (long, 2)]), "not to nothing");
    }

    #[test]
    fn an_amount_is_never_cut() {
        let amount = "1,000,000 euros to Fabrikam";
        assert_eq!(made(Oversize::Shorten, 150, amount), (amount.to_owned(), 2));
    }

    #[test]
    fn cut_values_keep_whole_characters() {
        // Each family is one character of 7 parts and 11 units.
        let families = "👨‍👩‍👧‍👦".repeat(12);
        let (text, segments) = made(Oversize::Shorten, 20, &families);
        assert_eq!((text, segments), ("👨‍👩‍👧‍👦".repeat(8) + CUT, 2));
    }

    #[test]
    fn the_lines_for_autofill_are_the_last() {
        let autofill = |domain: Option<&str>, hash: Option<&str>| {
            let autofill = Autofill { domain: domain.map(str::to_owned), android_hash: hash.map(str::to_owned) };
            let style = Style { oversize: Oversize::Shorten, autofill };
            style.text_message(vec![Piece::Fixed("481516 is your code.".to_owned())], CODE)
        };
        let (both, size) = autofill(Some("example.com"), Some("FA+9qCX9VSu"));
        assert_eq!(both, "481516 is your code.\nFA+9qCX9VSu\n@example.com #481516");
        assert_eq!(size, oracle(&both));
        assert_eq!(size.units, 20 + 12 + 21, "all of it counts");
        assert_eq!(autofill(Some("example.com"), None).0, "481516 is your code.\n@example.com #481516");
        assert_eq!(autofill(None, Some("FA+9qCX9VSu")).0, "481516 is your code.\nFA+9qCX9VSu");
    }

    #[test]
    fn values_become_one_printable_line() {
        for (value, expected) in [
            ("Contoso", Some("Contoso")),
            (" a\r\n\tb\0\u{7f}c\u{85}d\u{2028}e ", Some("a b c d e")),
            ("\u{202e}evil\u{2066}\u{200f}", Some("evil")),
            ("نرم\u{200c}افزار", Some("نرم\u{200c}افزار")),
            ("{code}", Some("{code}")),
            (" \u{202e}\n", None),
            ("", None),
        ] {
            assert_eq!(printable(value).as_deref(), expected, "{value:?}");
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let nasty = proptest::sample::select(vec!["’", "ë", "中", "😀", "€", " ", "e\u{301}", "👨‍👩‍👧", "7", "\u{202e}"]);
        let value = prop_oneof![
            "\\PC{0,90}",
            "[a-zA-Z ]{0,120}",
            proptest::collection::vec(nasty, 0..60).prop_map(|parts| parts.concat()),
        ];
        let value = value.prop_filter_map("blank", |value| printable(&value)).prop_map(Piece::Value);
        let fixed = "[a-z .,€’éç{}]{0,80}".prop_map(Piece::Fixed);
        let code = Just(Piece::Fixed(CODE.to_owned()));
        (code, proptest::collection::vec(prop_oneof![value, fixed], 0..5))
            .prop_map(|(code, rest)| std::iter::once(code).chain(rest).collect())
    }

    proptest! {
        #[test]
        fn no_setting_takes_more_segments_than_a_gentler_one(pieces in pieces(), hash in any::<bool>()) {
            let hash = hash.then(|| "FA+9qCX9VSu".to_owned());
            let autofill = Autofill { domain: Some("example.com".to_owned()), android_hash: hash };
            let mut last = u32::MAX;
            for oversize in EVERY {
                let style = Style { oversize, autofill: autofill.clone() };
                let (text, size) = style.text_message(pieces.clone(), CODE);
                prop_assert_eq!(size, oracle(&text));
                prop_assert!(size.segments <= last, "{:?}", oversize);
                prop_assert!(text.starts_with(CODE) && text.ends_with("\n@example.com #481516"), "{}", text);
                if size.segments == last || oversize == Oversize::Keep {
                    last = size.segments;
                    continue;
                }
                last = size.segments;
                prop_assert_ne!(text, joined(&pieces, usize::MAX));
            }
        }

        /// Cutting goes no further than it has to: one character more would take another segment.
        #[test]
        fn values_are_cut_as_little_as_possible(fixed in 20_usize..150, value in "[a-z]{12,60}") {
            let (text, segments) = made(Oversize::Shorten, fixed, &value);
            if text != value {
                prop_assert_eq!(segments, 1);
                prop_assert_eq!(fixed + text.len(), 160);
            } else if segments > 1 {
                prop_assert!(fixed + LEAST_KEPT > 160, "it could have been cut");
            }
        }

        #[test]
        fn what_is_printable_stays_so(value in any::<String>()) {
            if let Some(line) = printable(&value) {
                prop_assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)));
                prop_assert_eq!(printable(&line), Some(line.clone()));
            }
        }
    }
}
