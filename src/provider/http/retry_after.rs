//! The `Retry-After` hint: relative, bounded, and nothing at all where it can't be read.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::clock::Timestamp;

/// The longest hint that is believed.
pub const LONGEST_HINT: Duration = Duration::from_hours(24);

/// How long to stay away by the headers' values, at `now`; the longest, where there are several.
///
/// Seconds or an HTTP date; a date that is past says zero. What is neither (negative, a fraction, words,
/// bytes) is no hint. Of a number of any size, a day is believed.
#[must_use]
pub fn retry_after<'h>(values: impl IntoIterator<Item = &'h [u8]>, now: Timestamp) -> Option<Duration> {
    values.into_iter().filter_map(|value| one(value, now)).max()
}

fn one(value: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are still a very long time.
        let seconds = text.parse().map_or(LONGEST_HINT, Duration::from_secs);
        return Some(seconds.min(LONGEST_HINT));
    }
    let date = text.strip_suffix("GMT").filter(|date| date.ends_with(' '))?;
    let at = DateTimeParser::new().parse_timestamp(format!("{date}+0000")).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()).since(now).min(LONGEST_HINT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-24T12:00:00Z, a Tuesday.
    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").expect("valid")
    }

    /// Hostile input 97.
    #[test]
    fn hints_are_read_and_bounded() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, expected) in [
            ("120", seconds(120)),
            (" 7\t", seconds(7)),
            ("0", seconds(0)),
            ("99999999999999999999", Some(LONGEST_HINT)),
            ("1000000000", Some(LONGEST_HINT)),
            ("Tue, 24 Nov 2026 12:02:00 GMT", seconds(120)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", seconds(0)),
            ("Fri, 24 Dec 9999 11:00:00 GMT", Some(LONGEST_HINT)),
            ("-5", None),
            ("+5", None),
            ("1e9", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Tue, 24 Nov 2026 12:02:00", None),
            ("Tuesday, 24-Nov-26 12:02:00 GMT", None),
            ("Tue, 31 Feb 2026 12:02:00 GMT", None),
            ("\u{663}", None),
        ] {
            assert_eq!(retry_after([text.as_bytes()], now()), expected, "{text:?}");
        }
    }

    #[test]
    fn of_several_headers_the_longest_counts() {
        let values: [&[u8]; 4] = [b"5", b"nonsense", b"60", b"\xff"];
        assert_eq!(retry_after(values, now()), Some(Duration::from_mins(1)));
        assert_eq!(retry_after(std::iter::empty(), now()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_hint_beyond_a_day(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
            if let Some(hint) = retry_after(values.iter().map(Vec::as_slice), now()) {
                prop_assert!(hint <= LONGEST_HINT);
            }
        }

        #[test]
        fn a_date_says_how_far_away_it_is(offset in -100_000i64..80_000) {
            let at = jiff::Timestamp::from_second(now().as_millis() / 1_000 + offset).expect("in range");
            let date = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let expected = Duration::from_secs(u64::try_from(offset).unwrap_or(0));
            prop_assert_eq!(retry_after([date.as_bytes()], now()), Some(expected));
        }
    }
}
