//! The prompt as FCM takes it: what the system shows, and what the app reads.
//!
//! Title and body are shown by the system while the app sleeps; `data` tells the app which challenge to
//! open. Nothing in it is secret: the number that the person types stands on the sign-in page alone, and a
//! prompt that holds it, or the code, is not sent. The app fetches everything else by the challenge's id.
//!
//! A challenge that is sent twice is shown once: `tag` and `apns-collapse-id` let the later prompt replace
//! the earlier. `collapse_key` is not used, since collapsible messages have a limit of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::challenge::{Platform, PushTarget};
use crate::clock::Timestamp;
use crate::provider::Message;
use crate::secret::Secret;

/// The most that FCM takes of a message, in bytes, its token not counted.
pub(super) const MAX_BYTES: usize = 4_096;
/// The Android notification channel of prompts, which the app creates.
const ANDROID_CHANNEL: &str = "mfa";
/// The longest `apns-collapse-id`, in bytes.
const LONGEST_COLLAPSE_ID: usize = 64;

/// Why a message can't be a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("FCM carries prompts to Android and iOS alone")]
    Address,
    #[error("the prompt is longer than 4096 bytes")]
    TooLong,
    #[error("the prompt holds the code")]
    HoldsCode,
    #[error("the prompt holds the number to be typed")]
    HoldsNumber,
}

/// The request's body for `message` to `target`, which is worth delivering for `left` from `now`.
///
/// # Errors
/// Why it can't be one.
pub(super) fn body(message: &Message, target: &PushTarget, left: Duration, now: Timestamp) -> Result<Bytes, Unfit> {
    refuse_secrets(message, target)?;
    let whole = prompt(message, target, left, now, context(message, target))?;
    // The app can fetch where the sign-in comes from; a prompt without it is better than none.
    let fitting = if fits(&whole, target) { whole } else { prompt(message, target, left, now, None)? };
    if !fits(&fitting, target) {
        return Err(Unfit::TooLong);
    }
    Ok(Bytes::from(json!({ "message": fitting }).to_string()))
}

fn fits(message: &Value, target: &PushTarget) -> bool {
    message.to_string().len() - target.token.expose().len() <= MAX_BYTES
}

fn prompt(
    message: &Message,
    target: &PushTarget,
    left: Duration,
    now: Timestamp,
    context: Option<String>,
) -> Result<Value, Unfit> {
    // Rounded up together: nothing may end a moment before the challenge does.
    let ttl = u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
    let expires_at = (now + left + Duration::from_millis(999)).as_millis().div_euclid(1_000).to_string();
    let (method, category) = match target.number_match {
        Some(_) => ("number_match", "MFA_NUMBER"),
        None => ("approve", "MFA_APPROVE"),
    };
    let challenge = message.challenge.as_str();
    let mut data = json!({
        "v": "1", "type": "mfa_challenge", "challenge_id": challenge, "expires_at": expires_at, "method": method,
    });
    if let Some(context) = context {
        data["context"] = context.into();
    }
    let (title, text) = (message.title.as_deref(), message.text.expose());
    let mut shown = json!({ "body": text });
    if let Some(title) = title {
        shown["title"] = title.into();
    }
    let (key, block) = match target.platform {
        Platform::Android => ("android", android(shown, challenge, ttl)),
        Platform::Ios => ("apns", apns(&shown, challenge, &expires_at, category)),
        Platform::Windows | Platform::Web | Platform::Huawei => return Err(Unfit::Address),
    };
    Ok(json!({ "token": target.token.expose(), "data": data, key: block }))
}

fn android(mut shown: Value, challenge: &str, ttl: u64) -> Value {
    shown["channel_id"] = ANDROID_CHANNEL.into();
    shown["tag"] = challenge.into();
    shown["visibility"] = "PRIVATE".into();
    shown["notification_priority"] = "PRIORITY_MAX".into();
    json!({ "priority": "high", "ttl": format!("{ttl}s"), "notification": shown })
}

fn apns(shown: &Value, challenge: &str, expires_at: &str, category: &str) -> Value {
    let mut headers = json!({ "apns-priority": "10", "apns-push-type": "alert", "apns-expiration": expires_at });
    if challenge.len() <= LONGEST_COLLAPSE_ID {
        headers["apns-collapse-id"] = challenge.into();
    }
    let aps = json!({
        "alert": shown, "sound": "default", "category": category,
        "interruption-level": "time-sensitive", "mutable-content": 1,
    });
    json!({ "headers": headers, "payload": { "aps": aps } })
}

/// Where the sign-in comes from, as one value of `data`: its keys can't be ones that FCM reserves. What is
/// the number, or holds the code, is left out.
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

#[cfg(test)]
mod tests;
