//! The prompt as FCM takes it: what the system shows, and what the app reads.
//!
//! Title and body are shown by the system while the app sleeps; `data` tells the app which challenge to open
//! ([`crate::provider::push::prompt`], which holds nothing secret).
//!
//! A challenge that is sent twice is shown once: `tag` and `apns-collapse-id` let the later prompt replace
//! the earlier. `collapse_key` is not used, since collapsible messages have a limit of their own.

use serde_json::{Value, json};

use crate::challenge::{Platform, PushTarget};
use crate::clock::Timestamp;
use crate::provider::Message;
use crate::provider::push::prompt::{Prompt, Unfit};

/// The most that FCM takes of a message, in bytes, its token not counted.
pub(super) const MAX_BYTES: usize = 4_096;
/// What stands around the message.
const ENVELOPE: usize = r#"{"message":}"#.len();
/// The Android notification channel of prompts, which the app creates.
const ANDROID_CHANNEL: &str = "mfa";
/// The longest `apns-collapse-id`, in bytes.
const LONGEST_COLLAPSE_ID: usize = 64;

/// The request's body for `message` to `target`, as it is at `now`.
///
/// # Errors
/// Why it can't be one.
pub(super) fn body(message: &Message, target: &PushTarget, now: Timestamp) -> Result<String, Unfit> {
    let write = match target.platform {
        Platform::Android => android,
        Platform::Ios => apns,
        Platform::Windows | Platform::Web | Platform::Huawei => {
            return Err(Unfit::Address("FCM carries prompts to Android and iOS alone"));
        }
    };
    let token = target.token.expose();
    let written = |prompt: &Prompt<'_>| {
        let (key, block) = write(prompt);
        json!({ "message": { "token": token, "data": prompt.data(), key: block } }).to_string()
    };
    Prompt::of(message, target, now)?.fitting(MAX_BYTES + token.len() + ENVELOPE, written)
}

fn android(prompt: &Prompt<'_>) -> (&'static str, Value) {
    let mut shown = prompt.shown();
    shown["channel_id"] = ANDROID_CHANNEL.into();
    shown["tag"] = prompt.challenge.into();
    shown["visibility"] = "PRIVATE".into();
    shown["notification_priority"] = "PRIORITY_MAX".into();
    ("android", json!({ "priority": "high", "ttl": format!("{}s", prompt.ttl), "notification": shown }))
}

fn apns(prompt: &Prompt<'_>) -> (&'static str, Value) {
    let expires_at = prompt.expires_at.to_string();
    let mut headers = json!({ "apns-priority": "10", "apns-push-type": "alert", "apns-expiration": expires_at });
    if prompt.challenge.len() <= LONGEST_COLLAPSE_ID {
        headers["apns-collapse-id"] = prompt.challenge.into();
    }
    ("apns", json!({ "headers": headers, "payload": { "aps": prompt.aps() } }))
}

#[cfg(test)]
mod tests;
