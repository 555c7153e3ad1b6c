//! Statuses, reasons, advice: what the courier tells upstream. One final word for each challenge.
//!
//! The vocabulary is the contract's; [`super::follow`] chooses the words, [`crate::broker::wire`]
//! writes them. Nothing here can hold a code, a number or a token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::receipt::{ReceiptReport, ReceiptStatus};
use super::verdict::AttemptResult;
use crate::challenge::{Challenge, ChallengeId, Channel, ContentHash, Note};
use crate::clock::Timestamp;
use crate::phone::Country;

/// What became of a challenge or an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A provider accepted it.
    Sent,
    /// A receipt said no, or an accepted hop was silent too long, and the courier goes on.
    Undelivered,
    /// A hop failed for good and the courier goes on to another.
    Retrying,
    /// A receipt, an answered call or a verification says that it arrived.
    Delivered,
    /// Written to a provider, answer never came: it may have arrived.
    Unknown,
    /// No provider accepted it, or every one that did reported it undelivered.
    Failed,
    /// It ran out of time with nothing accepted or in doubt.
    Expired,
    /// Not deliverable as asked.
    Rejected,
    /// Upstream said so.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Sent,
        Self::Undelivered,
        Self::Retrying,
        Self::Delivered,
        Self::Unknown,
        Self::Failed,
        Self::Expired,
        Self::Rejected,
        Self::Cancelled,
    ];

    /// The word used on the wire, in routing keys and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Undelivered => "undelivered",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the contract's, which explains them in one table")]
pub enum Reason {
    Malformed,
    NoMethod,
    NoSupportedMethod,
    MethodDisabled,
    InvalidDestination,
    DestinationBlocked,
    UnknownTenant,
    NoRoute,
    VelocityExceeded,
    TenantLimit,
    DuplicateId,
    DeviceNotActivated,
    RecipientUnreachable,
    RecipientOptedOut,
    ContentRejected,
    ProviderUnavailable,
    RateLimited,
    AllHopsFailed,
    Undelivered,
    InDoubt,
    ReceiptTimeout,
    NoReceipts,
    ExpiredOnArrival,
    ExpiredInFlight,
    Cancelled,
    Verified,
    Internal,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 27] = [
        Self::Malformed,
        Self::NoMethod,
        Self::NoSupportedMethod,
        Self::MethodDisabled,
        Self::InvalidDestination,
        Self::DestinationBlocked,
        Self::UnknownTenant,
        Self::NoRoute,
        Self::VelocityExceeded,
        Self::TenantLimit,
        Self::DuplicateId,
        Self::DeviceNotActivated,
        Self::RecipientUnreachable,
        Self::RecipientOptedOut,
        Self::ContentRejected,
        Self::ProviderUnavailable,
        Self::RateLimited,
        Self::AllHopsFailed,
        Self::Undelivered,
        Self::InDoubt,
        Self::ReceiptTimeout,
        Self::NoReceipts,
        Self::ExpiredOnArrival,
        Self::ExpiredInFlight,
        Self::Cancelled,
        Self::Verified,
        Self::Internal,
    ];

    /// The word used on the wire and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoMethod => "no_method",
            Self::NoSupportedMethod => "no_supported_method",
            Self::MethodDisabled => "method_disabled",
            Self::InvalidDestination => "invalid_destination",
            Self::DestinationBlocked => "destination_blocked",
            Self::UnknownTenant => "unknown_tenant",
            Self::NoRoute => "no_route",
            Self::VelocityExceeded => "velocity_exceeded",
            Self::TenantLimit => "tenant_limit",
            Self::DuplicateId => "duplicate_id",
            Self::DeviceNotActivated => "device_not_activated",
            Self::RecipientUnreachable => "recipient_unreachable",
            Self::RecipientOptedOut => "recipient_opted_out",
            Self::ContentRejected => "content_rejected",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::RateLimited => "rate_limited",
            Self::AllHopsFailed => "all_hops_failed",
            Self::Undelivered => "undelivered",
            Self::InDoubt => "in_doubt",
            Self::ReceiptTimeout => "receipt_timeout",
            Self::NoReceipts => "no_receipts",
            Self::ExpiredOnArrival => "expired_on_arrival",
            Self::ExpiredInFlight => "expired_in_flight",
            Self::Cancelled => "cancelled",
            Self::Verified => "verified",
            Self::Internal => "internal",
        }
    }

    /// What goes with it, by the contract's table; `has_push` says that the person has the app.
    #[must_use]
    pub const fn advice(self, has_push: bool) -> Option<Advice> {
        let advice = match self {
            Self::NoMethod | Self::NoSupportedMethod | Self::MethodDisabled | Self::InvalidDestination => {
                Advice::RegisterMethod
            }
            Self::DestinationBlocked | Self::UnknownTenant | Self::NoRoute | Self::ContentRejected => {
                Advice::ContactAdmin
            }
            Self::VelocityExceeded | Self::TenantLimit | Self::RateLimited => Advice::Wait,
            Self::DeviceNotActivated => Advice::ReactivateApp,
            Self::RecipientUnreachable
            | Self::RecipientOptedOut
            | Self::AllHopsFailed
            | Self::Undelivered
            | Self::ReceiptTimeout => Advice::UseAnotherMethod,
            Self::ProviderUnavailable
            | Self::InDoubt
            | Self::ExpiredOnArrival
            | Self::ExpiredInFlight
            | Self::Internal => Advice::TryAgain,
            Self::Malformed | Self::DuplicateId | Self::NoReceipts | Self::Cancelled | Self::Verified => return None,
        };
        match advice {
            Advice::TryAgain | Advice::UseAnotherMethod if has_push => Some(Advice::UseAppCode),
            other => Some(other),
        }
    }
}

/// What upstream may tell the person at the sign-in page, or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the contract's, which explains them in one list")]
pub enum Advice {
    TryAgain,
    UseAnotherMethod,
    UseAppCode,
    ReactivateApp,
    RegisterMethod,
    Wait,
    ContactAdmin,
}

/// What says that it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmedBy {
    /// A provider's receipt.
    Receipt,
    /// The person entered the code.
    Verification,
    /// A call was answered by a person, or that can't be told.
    Answer,
}

/// What an attempt cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// A decimal number.
    pub amount: String,
    /// ISO 4217.
    pub currency: String,
}

/// One request to a provider, as outcomes show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptReport {
    /// 1 for the first.
    pub n: u32,
    /// On which channel.
    pub channel: Channel,
    /// Upstream's name of the method.
    pub method_id: Option<String>,
    /// By whom.
    pub provider: String,
    /// From whom.
    pub sender: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// What it came to.
    pub result: AttemptResult,
    /// The provider's own error code.
    pub code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// The provider's id.
    pub message_id: Option<String>,
    /// How many segments.
    pub segments: Option<u32>,
    /// What came of it.
    pub receipt: Option<ReceiptReport>,
    /// What it cost.
    pub cost: Option<Cost>,
}

/// Why a planned hop was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the contract's")]
pub enum UnusedWhy {
    NotNeeded,
    CircuitOpen,
    Paused,
    RateLimited,
    TooLate,
    AddressFailed,
    ProviderFailed,
    NotAllowed,
    CostCap,
    FallbackLimit,
}

impl UnusedWhy {
    /// Every word.
    pub const ALL: [Self; 10] = [
        Self::NotNeeded,
        Self::CircuitOpen,
        Self::Paused,
        Self::RateLimited,
        Self::TooLate,
        Self::AddressFailed,
        Self::ProviderFailed,
        Self::NotAllowed,
        Self::CostCap,
        Self::FallbackLimit,
    ];
}

/// A hop that was planned but not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unused {
    /// Its channel.
    pub channel: Channel,
    /// Upstream's name of the method.
    pub method_id: Option<String>,
    /// Its provider.
    pub provider: String,
    /// Why.
    pub why: UnusedWhy,
}

/// What the courier tells upstream. Within version 1 fields and words are only added: a consumer ignores those that it
/// does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// `<challenge_id>:final`, or for an interim outcome `<challenge_id>:<attempt>:<status>`. A repeat has the same one.
    pub id: String,
    /// Always 1.
    pub version: u32,
    /// As the challenge had it.
    pub challenge_id: ChallengeId,
    /// As the challenge had it.
    pub session_id: Option<String>,
    /// As the challenge had it.
    pub user_id: Option<String>,
    /// Whose policy applied.
    pub tenant: String,
    /// As the challenge had it, or `sign_in`.
    pub purpose: String,
    /// What became of it.
    pub status: Status,
    /// Whether this is the last word. Each challenge gets exactly one that is.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Why.
    pub reason: Option<Reason>,
    /// What the sign-in page may tell the person, or do.
    pub advice: Option<Advice>,
    /// The channel that the status is about; null where none was chosen.
    pub channel: Option<Channel>,
    /// Upstream's name of the method.
    pub method_id: Option<String>,
    /// The provider that the status is about.
    pub provider: Option<String>,
    /// Masked: the calling code, a `*` for each hidden digit, the last two; for push, the platform.
    pub destination: Option<String>,
    /// ISO 3166-1, or `001` for numbers that belong to no country.
    pub country: Option<Country>,
    /// When the provider was asked.
    pub sent_at: Option<Timestamp>,
    /// By then the courier will have moved on or concluded.
    pub receipt_by: Option<Timestamp>,
    /// Nothing is sent after this.
    pub expires_at: Option<Timestamp>,
    /// When this was decided.
    pub occurred_at: Timestamp,
    /// What says that it arrived.
    pub confirmed_by: Option<ConfirmedBy>,
    /// Every attempt so far, oldest first.
    pub attempts: Vec<AttemptReport>,
    /// Hops that were planned and not tried.
    pub unused: Vec<Unused>,
    /// Short machine words about what the courier decided on the way.
    pub notes: Vec<Note>,
    /// Which field of the challenge is wrong, where that is the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
}

impl Outcome {
    /// An outcome about the challenge as a whole, with no hop chosen.
    #[must_use]
    pub fn about(challenge: &Challenge, status: Status, reason: Option<Reason>, now: Timestamp) -> Self {
        let has_push = challenge.methods.iter().any(|m| m.channel() == Channel::Push);
        Self {
            id: final_id(&challenge.id),
            version: 1,
            challenge_id: challenge.id.clone(),
            session_id: challenge.session_id.clone(),
            user_id: challenge.user_id.clone(),
            tenant: challenge.tenant.clone(),
            purpose: challenge.purpose.clone(),
            status,
            is_final: true,
            reason,
            advice: reason.and_then(|r| r.advice(has_push)),
            channel: None,
            method_id: None,
            provider: None,
            destination: None,
            country: None,
            sent_at: None,
            receipt_by: None,
            expires_at: Some(challenge.expires_at),
            occurred_at: now,
            confirmed_by: None,
            attempts: Vec::new(),
            unused: Vec::new(),
            notes: challenge.notes.clone(),
            field: None,
        }
    }

    /// The routing key: `outcome.<status>.<channel>.<final|interim>`.
    #[must_use]
    pub fn routing_key(&self) -> String {
        let channel = self.channel.map_or("none", Channel::as_str);
        let end = if self.is_final { "final" } else { "interim" };
        format!("outcome.{}.{channel}.{end}", self.status.as_str())
    }
}

/// The id of the final outcome of a challenge.
#[must_use]
pub fn final_id(challenge: &ChallengeId) -> String {
    format!("{challenge}:final")
}

/// The id of the interim outcome that answers another content under an id that is taken.
#[must_use]
pub fn conflict_id(challenge: &ChallengeId, content: ContentHash) -> String {
    format!("{challenge}:conflict:{:08x}", content.0 & 0xffff_ffff)
}

/// The id of an interim outcome about attempt `n`.
#[must_use]
pub fn interim_id(challenge: &ChallengeId, n: u32, status: Status) -> String {
    format!("{challenge}:{n}:{}", status.as_str())
}

/// The id of the interim outcome for a receipt of attempt `n` that came after the end.
#[must_use]
pub fn late_id(challenge: &ChallengeId, n: u32, status: Status) -> String {
    format!("{challenge}:{n}:late:{}", status.as_str())
}
