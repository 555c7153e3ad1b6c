//! What push providers in code share: the [`prompt`] as facts, [`table`]s of what answers mean, and when a device is
//! believed to be [`gone`].
//!
//! Each provider beside this module says how its service writes a prompt and what its service's words mean; none
//! decides here what is secret, what fits, or whose fault it is when many devices are gone at once.

use std::time::Duration;

use super::Message;
use crate::challenge::{Address, PushTarget};

pub(super) mod address;
pub(super) mod gone;
pub(super) mod prompt;
pub(super) mod table;

/// The device that a message is for.
pub(super) const fn target(message: &Message) -> Option<&PushTarget> {
    match &message.address {
        Address::Push(target) => Some(target),
        Address::Sms { .. } | Address::Voice { .. } => None,
    }
}

/// The same message after it waited for so long: it is worth delivering for less.
pub(super) fn aged(message: &Message, by: Duration) -> Message {
    Message { validity: message.validity.saturating_sub(by), ..message.clone() }
}
