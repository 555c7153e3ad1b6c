//! What a provider later says became of a message, and which of two words counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What a provider later says became of an accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the contract's")]
pub enum ReceiptStatus {
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Expired,
    Rejected,
    Answered,
    Busy,
    NoAnswer,
    Machine,
    Cancelled,
    Unknown,
}

impl ReceiptStatus {
    /// Every status.
    pub const ALL: [Self; 12] = [
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Failed,
        Self::Expired,
        Self::Rejected,
        Self::Answered,
        Self::Busy,
        Self::NoAnswer,
        Self::Machine,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// The word used on the wire and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Machine => "machine",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it takes back what an earlier one said: only from less to more, so that a state never moves back.
    #[must_use]
    pub const fn says_more_than(self, earlier: Self) -> bool {
        self.rank() > earlier.rank()
    }

    /// It did not arrive.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.rank() == 2
    }

    /// It arrived.
    #[must_use]
    pub const fn is_arrival(self) -> bool {
        self.rank() == 3
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Sent => 1,
            Self::Undelivered
            | Self::Failed
            | Self::Expired
            | Self::Rejected
            | Self::Busy
            | Self::NoAnswer
            | Self::Machine
            | Self::Cancelled => 2,
            Self::Delivered | Self::Answered => 3,
        }
    }
}

/// A receipt, as outcomes show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptReport {
    /// What it says.
    pub status: ReceiptStatus,
    /// The provider's own code.
    pub code: Option<String>,
    /// When it came.
    pub at: Timestamp,
}
