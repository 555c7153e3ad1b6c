//! A prompt before any service has written it: what is shown, what the app reads, until when.
//!
//! Nothing in it is secret: the number that the person types stands on the sign-in page alone, and a prompt that holds
//! it, or the code, is not made. The app fetches everything else by the challenge's id, and tells a repeat by it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::challenge::PushTarget;
use crate::clock::Timestamp;
use crate::provider::{Message, Reply};
use crate::secret::Secret;

/// How a prompt is answered where a number stands on the sign-in page.
const NUMBER_MATCH: &str = "number_match";

/// Why a message can't be a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::provider) enum Unfit {
    #[error("{0}")]
    Address(&'static str),
    #[error("the prompt is longer than {0} bytes")]
    TooLong(usize),
    #[error("the prompt holds the code")]
    HoldsCode,
    #[error("the prompt holds the number to be typed")]
    HoldsNumber,
}

impl From<Unfit> for Reply {
    fn from(why: Unfit) -> Self {
        Self::Unfit { why: why.to_string() }
    }
}

/// What a device is to show, and its app to know.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Prompt<'m> {
    pub(in crate::provider) title: Option<&'m str>,
    pub(in crate::provider) text: &'m str,
    /// The challenge that is to be answered.
    pub(in crate::provider) challenge: &'m str,
    /// How long it is worth showing, in seconds; never 0.
    pub(in crate::provider) ttl: u64,
    /// The end of that, in seconds since the epoch.
    pub(in crate::provider) expires_at: i64,
    /// How it is answered: a number is typed, or it is approved.
    method: &'static str,
    /// Where the sign-in comes from, as JSON: as one value its keys can't be ones that a service reserves.
    context: Option<String>,
}

impl<'m> Prompt<'m> {
    /// The prompt for `message` to `target`, as it is at `now`.
    ///
    /// # Errors
    /// Why it can't be one.
    pub(in crate::provider) fn of(message: &'m Message, target: &'m PushTarget, now: Timestamp) -> Result<Self, Unfit> {
        refuse_secrets(message, target)?;
        let left = message.validity;
        Ok(Self {
            title: message.title.as_deref(),
            text: message.text.expose(),
            challenge: message.challenge.as_str(),
            // Rounded up together: nothing may end a moment before the challenge does.
            ttl: u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1),
            expires_at: (now + left + Duration::from_millis(999)).as_millis().div_euclid(1_000),
            method: if target.number_match.is_some() { NUMBER_MATCH } else { "approve" },
            context: context(message, target),
        })
    }

    /// What the app reads: texts alone, since some services take nothing else.
    pub(in crate::provider) fn data(&self) -> Value {
        let mut data = json!({
            "v": "1", "type": "mfa_challenge", "challenge_id": self.challenge,
            "expires_at": self.expires_at.to_string(), "method": self.method,
        });
        if let Some(context) = &self.context {
            data["context"] = context.as_str().into();
        }
        data
    }

    /// What is shown, with the names that most services have for it.
    pub(in crate::provider) fn shown(&self) -> Value {
        let mut shown = json!({ "body": self.text });
        if let Some(title) = self.title {
            shown["title"] = title.into();
        }
        shown
    }

    /// What Apple's devices show: at once, also in a Focus, and with a sound. `category` is the name under which the
    /// app has registered what can be tapped: nothing approves where a number is to be typed.
    pub(in crate::provider) fn aps(&self) -> Value {
        let category = if self.method == NUMBER_MATCH { "MFA_NUMBER" } else { "MFA_APPROVE" };
        json!({
            "alert": self.shown(), "sound": "default", "category": category,
            "interruption-level": "time-sensitive", "mutable-content": 1,
        })
    }

    /// What `write` makes of it, of at most `most` bytes. The app can fetch where the sign-in comes from; a prompt
    /// without it is better than none.
    ///
    /// # Errors
    /// [`Unfit::TooLong`] where it is longer all the same.
    pub(in crate::provider) fn fitting(
        mut self,
        most: usize,
        write: impl Fn(&Self) -> String,
    ) -> Result<String, Unfit> {
        let whole = write(&self);
        if whole.len() <= most {
            return Ok(whole);
        }
        self.context = None;
        let short = write(&self);
        if short.len() <= most { Ok(short) } else { Err(Unfit::TooLong(most)) }
    }
}

/// Where the sign-in comes from. What is the number, or holds the code, is left out.
fn context(message: &Message, target: &PushTarget) -> Option<String> {
    let is_number = |value: &str| target.number_match.as_ref().is_some_and(|number| number.expose() == value.trim());
    let tells = |text: &str| is_number(text) || holds_code(text, message.code.as_ref());
    let kept: BTreeMap<_, _> = target.context.iter().filter(|(key, value)| !tells(key) && !tells(value)).collect();
    (!kept.is_empty()).then(|| json!(kept).to_string())
}

fn refuse_secrets(message: &Message, target: &PushTarget) -> Result<(), Unfit> {
    let shown = [message.title.as_deref().unwrap_or_default(), message.text.expose()];
    if shown.iter().any(|text| holds_code(text, message.code.as_ref())) {
        return Err(Unfit::HoldsCode);
    }
    let number = target.number_match.as_ref().map(Secret::expose).filter(|number| !number.is_empty());
    match number {
        Some(number) if shown.iter().any(|text| holds_word(text, number)) => Err(Unfit::HoldsNumber),
        _ => Ok(()),
    }
}

fn holds_code(text: &str, code: Option<&Secret>) -> bool {
    code.is_some_and(|code| !code.is_empty() && text.contains(code.expose()))
}

/// Whether `word` stands in `text` by itself: a number of two digits is part of many texts.
fn holds_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|part| part == word) || text.trim() == word
}
