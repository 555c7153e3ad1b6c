//! Who signs in during the demo: what each of them has, where, in which language, and what they do then.
//!
//! Everything follows from the number of the challenge, so two runs differ only in their times.

use std::time::Duration;

use serde_json::{Value, json};

use crate::challenge::Channel;

/// How long a challenge is worth delivering, in seconds.
pub(super) const TTL: u64 = 20;

/// What somebody registered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The app, and a phone.
    App,
    /// The app on a device that is gone, and a phone.
    LostDevice,
    /// Nothing but the app on a device that is gone.
    LostAll,
    /// A mobile phone.
    Phone,
    /// A landline, which takes calls only.
    Landline,
    /// A number that nobody has, and no calls.
    Nobody,
}

/// The mobile numbers but for their last two digits, a landline, and the language there.
struct Place {
    mobile: &'static str,
    landline: &'static str,
    locale: &'static str,
}

/// The mobile numbers are those that the countries keep for fiction, as far as they do. The landlines end as the
/// simulator wants them to. Nothing leaves this process.
const PLACES: [Place; 6] = [
    Place { mobile: "+120155501", landline: "+12127721614", locale: "en-US" },
    Place { mobile: "+4477009001", landline: "+442077721614", locale: "en-GB" },
    Place { mobile: "+4917139200", landline: "+49307721614", locale: "de-DE" },
    Place { mobile: "+336399800", landline: "+33147721614", locale: "fr-FR" },
    Place { mobile: "+131255501", landline: "+13127721614", locale: "es-US" },
    Place { mobile: "+141555501", landline: "+14157721614", locale: "zh-Hans" },
];
/// Refused by every provider of text messages.
const NOBODYS_NUMBER: &str = "+12127721211";

/// How many of a hundred leave a message of this channel unanswered, and go on waiting for the next.
const fn inattentive(channel: Channel) -> u64 {
    match channel {
        Channel::Push => 15,
        Channel::Sms => 6,
        Channel::Voice => 8,
    }
}

const fn kind(n: u64) -> Kind {
    match n % 50 {
        7 => Kind::Nobody,
        13 => Kind::LostAll,
        17 | 44 => Kind::LostDevice,
        3 | 23 | 33 | 43 => Kind::Landline,
        other if other.is_multiple_of(2) => Kind::App,
        _ => Kind::Phone,
    }
}

/// A number that looks like chance: the finalizer of `SplitMix64`.
const fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// What upstream publishes for sign-in `n`.
pub(super) fn challenge(n: u64, id: &str) -> Value {
    let chance = mixed(n);
    let place = &PLACES[usize::try_from(chance % 6).unwrap_or_default()];
    let mobile = format!("{}{:02}", place.mobile, n % 100);
    let phone = |to: &str| vec![json!({ "channel": "sms", "to": to }), json!({ "channel": "voice", "to": to })];
    let with_app = |token: &str, mut others: Vec<Value>| {
        others.insert(0, prompt(token, chance));
        others
    };
    let methods = match kind(n) {
        Kind::App => with_app(&format!("device-{n}:in-use"), phone(&mobile)),
        Kind::LostDevice => with_app(&format!("device-{n}:UNREGISTERED"), phone(&mobile)),
        Kind::LostAll => with_app(&format!("device-{n}:UNREGISTERED"), Vec::new()),
        Kind::Phone => phone(&mobile),
        Kind::Landline => phone(place.landline),
        Kind::Nobody => vec![json!({ "channel": "sms", "to": NOBODYS_NUMBER })],
    };
    json!({
        "id": id, "session_id": format!("session-{n}"), "code": format!("{:06}", chance % 1_000_000), "ttl": TTL,
        "locale": place.locale, "methods": methods,
    })
}

fn prompt(token: &str, chance: u64) -> Value {
    let platform = if chance.is_multiple_of(3) { "ios" } else { "android" };
    json!({
        "channel": "push", "platform": platform, "token": token, "number_match": format!("{:02}", chance % 100),
        "registered_at": "2026-01-01T00:00:00Z", "context": { "app": "Contoso" },
    })
}

/// How long after a message by `channel` was taken the person approves, or enters the code; `None`: never.
pub(super) fn answers_after(n: u64, channel: Channel) -> Option<Duration> {
    let chance = mixed(n ^ (channel as u64 + 1) << 56);
    (chance % 100 >= inattentive(channel)).then(|| Duration::from_millis(200 + chance / 100 % 800))
}
