//! A challenge: one request to get a code or an approval prompt to a person, checked.
//!
//! Built by [`crate::broker::wire`] from what upstream published; read by everything below.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::phone::{Country, PhoneNumber};
use crate::secret::Secret;

/// A challenge's id: 1 to 128 characters of `[A-Za-z0-9._:-]`. Unique per challenge; the idempotency key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChallengeId(Arc<str>);

impl ChallengeId {
    /// Checks the grammar.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        ((1..=128).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for ChallengeId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChallengeId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" })
    }
}

impl TryFrom<String> for ChallengeId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not an id of 1 to 128 characters of [A-Za-z0-9._:-]")
    }
}

impl From<ChallengeId> for String {
    fn from(id: ChallengeId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A way of reaching a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// One-way text message.
    Sms,
    /// A call that speaks the code.
    Voice,
    /// A prompt on a registered device.
    Push,
}

impl Channel {
    /// Every channel, in the order of settings.
    pub const ALL: [Self; 3] = [Self::Sms, Self::Voice, Self::Push];

    /// The word used on the wire, in metrics and in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::Push => "push",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerChannel<T> {
    /// For text messages.
    pub sms: T,
    /// For calls.
    pub voice: T,
    /// For push prompts.
    pub push: T,
}

impl<T> PerChannel<T> {
    /// The value of `channel`.
    pub const fn get(&self, channel: Channel) -> &T {
        match channel {
            Channel::Sms => &self.sms,
            Channel::Voice => &self.voice,
            Channel::Push => &self.push,
        }
    }
}

/// What kind of device a push token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Android, by FCM.
    Android,
    /// iOS, by APNs or FCM.
    Ios,
    /// Windows, by WNS.
    Windows,
    /// A browser, by Web Push.
    Web,
    /// Huawei, by Push Kit.
    Huawei,
}

impl Platform {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Windows => "windows",
            Self::Web => "web",
            Self::Huawei => "huawei",
        }
    }
}

/// How a method reaches the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// A text message to this number.
    Sms {
        /// The phone.
        to: PhoneNumber,
    },
    /// A call to this number.
    Voice {
        /// The phone.
        to: PhoneNumber,
        /// Digits to dial after the call is answered.
        extension: Option<String>,
    },
    /// A prompt on this device.
    Push(PushTarget),
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushTarget {
    /// What kind of device.
    pub platform: Platform,
    /// Its token, subscription (as JSON text) or channel URI.
    pub token: Secret,
    /// Which configured app it belongs to.
    pub app: Option<String>,
    /// When upstream last saw it register.
    pub registered_at: Option<Timestamp>,
    /// Shown on the sign-in page; never put into the payload.
    pub number_match: Option<Secret>,
    /// Where the sign-in comes from, which app.
    pub context: BTreeMap<String, String>,
}

/// One way to reach the person: a channel and an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Upstream's name for it, echoed in outcomes.
    pub id: Option<String>,
    /// Where.
    pub address: Address,
}

impl Method {
    /// Its channel.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self.address {
            Address::Sms { .. } => Channel::Sms,
            Address::Voice { .. } => Channel::Voice,
            Address::Push(_) => Channel::Push,
        }
    }

    /// The number it dials, if it is one that dials.
    #[must_use]
    pub const fn number(&self) -> Option<&PhoneNumber> {
        match &self.address {
            Address::Sms { to } | Address::Voice { to, .. } => Some(to),
            Address::Push(_) => None,
        }
    }

    /// The destination's country, if the address has one.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        self.number().map(PhoneNumber::country)
    }

    /// What outcomes and logs may show of the address.
    #[must_use]
    pub fn masked(&self) -> String {
        match &self.address {
            Address::Sms { to } | Address::Voice { to, .. } => to.masked(),
            Address::Push(target) => target.platform.as_str().to_owned(),
        }
    }
}

/// How far the courier may go beyond the first hop of its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Anywhere.
    #[default]
    Auto,
    /// Only to hops of the first method's channel.
    SameChannel,
    /// Nowhere.
    None,
}

/// How upstream asked, and so how it wants to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The AMQP `correlation_id`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// The queue that wants a copy of each outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<String>,
    /// The W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// The form of the message, and so of every outcome.
    #[serde(skip_serializing_if = "Form::is_json", default)]
    pub form: Form,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The contract's own JSON.
    #[default]
    Json,
    /// The same as the `data` of a `CloudEvents` event.
    CloudEvents,
}

impl Form {
    /// Whether it is plain JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        matches!(self, Self::Json)
    }
}

/// A machine word about what the courier decided on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Two-way text was asked for; one-way was sent.
    TwoWayAsOneWay,
    /// A method of an unknown channel or platform was skipped.
    MethodSkipped,
    /// The deadline asked for was beyond `delivery.max_ttl`.
    TtlClamped,
    /// The challenge was issued in the future.
    ClockSkew,
    /// No text for the locale or template; the default was used.
    TextDefault,
    /// A receipt that came after the end.
    LateReceipt,
    /// The ledger had lost this challenge.
    LedgerLost,
    /// The broker delivered this challenge more than once.
    Redelivered,
}

/// One request to get a code or a prompt to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Unique per challenge.
    pub id: ChallengeId,
    /// Echoed, for support.
    pub session_id: Option<String>,
    /// Echoed, for support.
    pub user_id: Option<String>,
    /// Whose policy applies.
    pub tenant: String,
    /// What the person is doing.
    pub purpose: String,
    /// The one-time code; the same on every hop.
    pub code: Option<Secret>,
    /// When upstream issued it.
    pub issued_at: Timestamp,
    /// When this courier first saw it.
    pub arrived_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// BCP 47.
    pub locale: Option<String>,
    /// Which text; by purpose when absent.
    pub template: Option<String>,
    /// Template variables.
    pub vars: BTreeMap<String, String>,
    /// In order of preference; never empty.
    pub methods: Vec<Method>,
    /// How far the courier may go.
    pub fallback: Fallback,
    /// How to answer.
    pub origin: Origin,
    /// What was decided while reading it.
    pub notes: Vec<Note>,
    /// Which content this id stands for: a keyed hash over code, methods, purpose and tenant.
    pub content: ContentHash,
}

/// A keyed hash that tells two contents under one id apart and says nothing else about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
pub struct ContentHash(pub u64);

/// By what a receipt finds its challenge: a truncated keyed hash of the id, short enough for an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
pub struct Handle(pub [u8; Self::BYTES]);

impl Handle {
    /// How long it is: 72 bits. Among ten million challenges two have the same with a chance of one in ten million.
    pub const BYTES: usize = 9;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_grammar() {
        assert!(ChallengeId::parse("a.B_9:-").is_some());
        for bad in ["", "a/b", "a#", "a*", "é", "a\0", "a b", &"x".repeat(129)] {
            assert_eq!(ChallengeId::parse(bad), None, "{bad:?}");
        }
    }
}
