//! A receipt between the listener that took it and the worker that records it: a message of the courier's own on
//! the signals queue.
//!
//! The listener knows only the handle of its challenge; the worker asks the ledger whose it is. Holds nothing that
//! must not be shown.

use serde::{Deserialize, Serialize};

use super::{APP_ID, to_json};
use crate::broker::{Properties, Publication, Route};
use crate::challenge::Handle;
use crate::clock::Timestamp;
use crate::delivery::outcome::ReceiptStatus;

/// The AMQP `type` of receipts.
pub const RECEIPT_TYPE: &str = "mfa.courier.receipt.v1";

/// A receipt whose sender is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What the ledger finds its challenge by.
    pub handle: Handle,
    /// About which attempt, 1 for the first; absent where it is the one whose message `handle` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What it says.
    pub status: ReceiptStatus,
    /// The provider's own code.
    pub code: Option<String>,
    /// When it came.
    pub at: Timestamp,
}

impl Told {
    /// The message, by `route`.
    #[must_use]
    pub fn publication(&self, route: Route) -> Publication {
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            timestamp: Some(self.at),
            kind: Some(RECEIPT_TYPE.to_owned()),
            app_id: Some(APP_ID.to_owned()),
            ..Properties::default()
        };
        Publication { route, properties, body: to_json(self), expiration: None }
    }

    /// Reads the body of one; `None` where it is none.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}
