//! The eight results of an attempt, and what each blames.
//!
//! A provider answers with a fact; its definition turns that into a [`Verdict`]; [`super::follow`]
//! turns the verdict into a step. No code does two of these at once.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one request to a provider came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptResult {
    /// Taken by the provider. Never a proof of delivery.
    Accepted,
    /// Not taken; may be tried again.
    Transient,
    /// Not taken; not before a time.
    Throttled,
    /// This address can't be reached on this channel.
    Recipient,
    /// This device is no longer registered.
    DeviceGone,
    /// This text is refused.
    Content,
    /// Credentials, funds, sender or configuration.
    Provider,
    /// In doubt: it may have been taken.
    Unknown,
}

impl AttemptResult {
    /// Every result.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Transient,
        Self::Throttled,
        Self::Recipient,
        Self::DeviceGone,
        Self::Content,
        Self::Provider,
        Self::Unknown,
    ];

    /// The word used on the wire, in metrics and in definitions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Recipient => "recipient",
            Self::DeviceGone => "device_gone",
            Self::Content => "content",
            Self::Provider => "provider",
            Self::Unknown => "unknown",
        }
    }
}

/// How much of a provider a `provider` or `throttled` result speaks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    #[default]
    Provider,
    /// Only for the destination's country.
    Country,
    /// Only this sender.
    Sender,
}

/// What an answer means and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which of the eight.
    pub result: AttemptResult,
    /// The provider's own error code.
    pub code: Option<String>,
    /// For people: cleaned, at most 256 characters, without the code or the number.
    pub detail: Option<String>,
    /// The provider's id of the message, once accepted.
    pub message_id: Option<String>,
    /// How many segments the provider counted.
    pub segments: Option<u32>,
    /// What a `provider` or `throttled` result is about.
    pub scope: Scope,
    /// The provider's hint when to come back.
    pub retry_after: Option<Duration>,
    /// A `recipient` result because the person asked for no more messages.
    pub opted_out: bool,
}

impl Verdict {
    /// A verdict that says only its result.
    #[must_use]
    pub const fn of(result: AttemptResult) -> Self {
        Self {
            result,
            code: None,
            detail: None,
            message_id: None,
            segments: None,
            scope: Scope::Provider,
            retry_after: None,
            opted_out: false,
        }
    }

    /// The same with a detail for people.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(clean(&detail.into()));
        self
    }
}

/// The longest text from outside that is kept.
const LONGEST: usize = 256;

/// The first part of a text from outside.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Cleans a text from outside for outcomes and logs: printable ASCII and letters only, at most 256
/// characters, and every run of four or more digits hidden, since it may be a number or a code.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len().min(LONGEST));
    let mut digits = String::new();
    let flush = |digits: &mut String, cleaned: &mut String| {
        if digits.len() < 4 {
            cleaned.push_str(digits);
        } else {
            cleaned.push('#');
        }
        digits.clear();
    };
    for character in text.chars().take(LONGEST) {
        if character.is_numeric() {
            digits.push(character);
            continue;
        }
        flush(&mut digits, &mut cleaned);
        cleaned.push(if character.is_control() || is_bidi(character) { ' ' } else { character });
    }
    flush(&mut digits, &mut cleaned);
    cleaned.trim().to_owned()
}

const fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_hides_numbers_and_control_characters() {
        assert_eq!(clean("To +14155552671\r\nrefused, code 21 (\u{202e}x)"), "To +#  refused, code 21 ( x)");
        assert_eq!(clean(&"a".repeat(300)).chars().count(), 256);
        assert_eq!(clean("123456"), "#");
    }
}
