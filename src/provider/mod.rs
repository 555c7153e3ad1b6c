//! How the person is reached: one trait, and the roster of configured providers by name.
//!
//! A provider answers with a fact ([`Reply`]); [`Provider::classify`] makes it a verdict. Neither
//! decides what is done next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Outbox;
use crate::challenge::{Address, ChallengeId, Channel, Handle};
use crate::delivery::verdict::Verdict;
use crate::secret::Secret;

pub mod apns;
pub mod callback;
pub mod definition;
pub mod fcm;
pub mod flow;
pub mod http;
pub mod huawei;
pub mod kinds;
mod push;
pub mod smpp;
pub mod webpush;
pub mod wns;

/// What one provider is asked to carry: everything that a definition's templates may use.
#[derive(Clone, Debug)]
pub struct Message {
    /// Our reference: unique per attempt, at most 40 characters of `[A-Za-z0-9_-]`.
    pub reference: String,
    /// The challenge that it belongs to: what an app tells a repeat by. The same on every hop.
    pub challenge: ChallengeId,
    /// Where to.
    pub address: Address,
    /// From whom, where the operator chose.
    pub sender: Option<Arc<str>>,
    /// What a prompt is headed with; only for push, and without anything secret.
    pub title: Option<String>,
    /// What the person reads or hears: the whole text, one whole utterance, or the prompt under its title.
    /// Holds the code, except in a prompt.
    pub text: Secret,
    /// The code alone.
    pub code: Option<Secret>,
    /// The language of the text, BCP 47.
    pub language: String,
    /// What the person is doing.
    pub purpose: String,
    /// Whose challenge it is.
    pub tenant: String,
    /// How long the message is worth delivering.
    pub validity: Duration,
    /// Where news of it is wanted; absent where none can come. Whoever knows it can send some.
    pub callback_url: Option<Secret>,
}

impl Message {
    /// Its channel.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self.address {
            Address::Sms { .. } => Channel::Sms,
            Address::Voice { .. } => Channel::Voice,
            Address::Push(_) => Channel::Push,
        }
    }
}

/// What came back on the wire, or how far the request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A whole answer.
    Answered {
        /// The HTTP status; 0 where the protocol says it in its body.
        status: u16,
        /// The `Retry-After` hint, already relative and bounded to a day.
        retry_after: Option<Duration>,
        /// At most [`http::MAX_REPLY_BYTES`].
        body: Bytes,
    },
    /// An answer began, and its status is known, but its body could not be read whole.
    Torn {
        /// The HTTP status.
        status: u16,
        /// What went wrong.
        why: String,
    },
    /// No request can be made of this message, now or later.
    Unfit {
        /// What is wrong with it.
        why: String,
    },
    /// The provider gave no access to send with, in an answer of its own; nothing of the message was written.
    Refused {
        /// The HTTP status of that answer.
        status: u16,
        /// Its `Retry-After` hint, already relative and bounded to a day.
        retry_after: Option<Duration>,
        /// At most [`http::MAX_REPLY_BYTES`].
        body: Bytes,
    },
    /// Nothing of the request was written: it can't have been taken.
    NotSent {
        /// What went wrong.
        why: String,
    },
    /// The request was written, or may have been, and no answer came.
    InDoubt {
        /// What went wrong.
        why: String,
    },
}

/// What a request says that came to the one address which a provider has for all its receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The reference that each receipt gives back, and its news.
    pub told: Vec<(String, http::receipt::News)>,
    /// What the vendor wants to be answered when they are taken.
    pub answer: Option<Value>,
    /// What it wants to have back where this comes before its first receipt.
    pub handshake: Option<Value>,
}

/// One configured provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Writes one request and waits for its answer until `deadline`. Never writes after it.
    async fn send(&self, message: &Message, deadline: Instant) -> Reply;

    /// What the answer to `message` means and whose fault it is. Writes and changes nothing.
    fn classify(&self, message: &Message, reply: &Reply) -> Verdict;

    /// What a request to a callback address says of a message of `channel`; `None` where it is not proven that this
    /// provider sent it. Those that tell no news prove nothing.
    fn receipt(&self, channel: Channel, given: &http::receipt::Given<'_>) -> Option<http::receipt::News> {
        let _ = (channel, given);
        None
    }

    /// What a request to the address for all receipts says of messages of `channel`; `None` where it is not proven that
    /// this provider sent it, or where its receipts have addresses of their own.
    fn batch(&self, channel: Channel, given: &http::receipt::Given<'_>) -> Option<Batch> {
        let _ = (channel, given);
        None
    }

    /// Whether this provider may fetch what a call says with this request, beside what its address proves.
    fn may_fetch(&self, given: &http::receipt::Given<'_>) -> bool {
        let _ = given;
        false
    }

    /// What the ledger finds the challenge by when a receipt names only the message that `verdict` says was taken;
    /// `None` where receipts come to an address of their own.
    fn handle_of(&self, verdict: &Verdict) -> Option<Handle> {
        let _ = verdict;
        None
    }

    /// Whether the vendor takes the credentials, by something that costs nothing, until `deadline`; `None` where this
    /// kind knows of no such thing.
    async fn try_out(&self, deadline: Instant) -> Option<Result<(), String>> {
        let _ = deadline;
        None
    }

    /// Keeps what it needs beside its requests until `stop`, and publishes what it hears by `outbox`. Once the worker
    /// has stopped: what it waits for is let go in good order.
    async fn serve(&self, outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        let _ = (outbox, stop);
    }
}

/// The configured providers by name.
#[derive(Clone, Default)]
pub struct Roster(BTreeMap<Arc<str>, Arc<dyn Provider>>);

impl Roster {
    /// Adds a provider under its name.
    pub fn insert(&mut self, provider: Arc<dyn Provider>) {
        self.0.insert(provider.name().into(), provider);
    }

    /// The provider of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.0.get(name)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.0.values()
    }
}
