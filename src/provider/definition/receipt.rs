//! The receipt side of a definition: how receipts are asked for, how they prove who sends them, what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::reply::{is_harmless_code, texts};
use super::request::Body;
use super::variables::SETTINGS;
use crate::delivery::message::Template;
use crate::delivery::outcome::ReceiptStatus;
use crate::provider::http::receipt::{News, SigMethod};

/// The longest text that is given back, in bytes: what vendors send has some dozen.
const LONGEST_ECHO: usize = 256;

/// What a definition says of the receipts of one channel.
#[derive(Clone, Debug)]
pub struct ReceiptRule {
    pub(in crate::provider) scheme: Scheme,
    /// What a request carries besides where receipts are on, in the form of its body.
    pub(in crate::provider) request: Body,
    /// The longest address that the vendor calls back, in characters.
    pub(super) longest: Option<usize>,
    /// Where the reference stands that is given back, with vendors that have one address for all messages.
    pub(super) token: Vec<String>,
    /// What such a vendor wants to be answered when its receipts are taken.
    pub(super) answer: Option<Value>,
    pub(super) handshake: Option<Handshake>,
    pub(super) status: Vec<String>,
    pub(super) code: Vec<String>,
    /// `None`: it says nothing that matters.
    pub(super) words: BTreeMap<String, Option<ReceiptStatus>>,
    /// What a failure is by its code, where the word says less.
    pub(super) codes: BTreeMap<String, ReceiptStatus>,
}

/// What a vendor sends to an address before it uses it, and wants to have back.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Where the text stands that is given back.
    pub(super) echo: String,
    /// Under which name.
    pub(super) name: String,
}

/// How receipts prove who sends them. The templates know only settings.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// By the address alone.
    None,
    /// As Twilio signs.
    Twilio {
        /// The account's auth token.
        secret: Template,
    },
    /// As Vonage signs receipts of text messages.
    VonageSms {
        /// The account's signature secret.
        secret: Template,
        /// The account's signature method.
        method: Template,
    },
    /// As Vonage signs news of calls.
    VonageJwt {
        /// The account's signature secret.
        secret: Template,
    },
    /// By the Standard Webhooks specification.
    StandardWebhooks {
        /// `whsec_` and base64; two of them, parted by a space, while they rotate.
        secret: Template,
    },
    /// As one of [`crate::provider::http::receipt::vendors`]; what it needs, in the order of [`VendorScheme::keys`].
    Vendor(VendorScheme, Vec<Template>),
}

/// A scheme whose settings are texts that are there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VendorScheme {
    /// User and password, as RFC 7617 has them.
    Basic,
    /// As `MessageBird` signs.
    Messagebird,
    /// As Plivo signs.
    Plivo,
    /// As Sinch signs receipts of text messages.
    Sinch,
    /// As Telnyx signs.
    Telnyx,
}

impl VendorScheme {
    /// The keys of what it needs.
    #[must_use]
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Basic => &["username", "password"],
            Self::Messagebird | Self::Plivo | Self::Sinch => &["secret"],
            Self::Telnyx => &["public_key"],
        }
    }
}

impl Scheme {
    /// What it needs to check anything.
    fn secret(&self) -> Option<&Template> {
        match self {
            Self::None => None,
            Self::Twilio { secret }
            | Self::VonageSms { secret, .. }
            | Self::VonageJwt { secret }
            | Self::StandardWebhooks { secret } => Some(secret),
            Self::Vendor(_, parts) => parts.last(),
        }
    }
}

/// The words for a signature method, as `one_of` of a setting lists them.
pub(in crate::provider) fn sig_method(word: &str) -> Option<SigMethod> {
    serde_json::from_value(Value::String(word.to_owned())).ok()
}

/// A row of a receipt table: what recorded receipts have to cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiptRow {
    /// By the word for its status.
    Word(String),
    /// By the code of a failure.
    Code(String),
    /// No row knows its word.
    Unknown,
}

impl fmt::Display for ReceiptRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "words.{word}"),
            Self::Code(code) => write!(f, "codes.{code}"),
            Self::Unknown => f.write_str("unknown word"),
        }
    }
}

impl ReceiptRule {
    /// What a receipt with these fields says, and which part of the definition says so.
    #[must_use]
    pub fn judge(&self, fields: &Value) -> (News, ReceiptRow) {
        let words = texts(fields, &self.status);
        let codes = texts(fields, &self.code);
        let known = words.iter().find_map(|word| Some((*self.words.get(word)?, ReceiptRow::Word(word.clone()))));
        let (mut status, mut row) = known.unwrap_or((Some(ReceiptStatus::Unknown), ReceiptRow::Unknown));
        let by_code = codes.iter().find_map(|code| Some((*self.codes.get(code)?, code)));
        if let Some((by_code, code)) = by_code.filter(|_| status.is_some_and(ReceiptStatus::is_failure)) {
            (status, row) = (Some(by_code), ReceiptRow::Code(code.clone()));
        }
        // A code that no row knows is shown only where it can't be a number that came back.
        let code = codes.into_iter().find(|code| self.codes.contains_key(code) || is_harmless_code(code));
        (News { status, code }, row)
    }

    /// The reference that a receipt gives back; `None` where it has none.
    #[must_use]
    pub fn token(&self, fields: &Value) -> Option<String> {
        texts(fields, &self.token).into_iter().next()
    }

    /// Whether receipts are known by a reference that they give back, and not by the address that they come to.
    #[must_use]
    pub const fn is_by_token(&self) -> bool {
        !self.token.is_empty()
    }

    /// What the vendor wants to be answered.
    #[must_use]
    pub const fn answer(&self) -> Option<&Value> {
        self.answer.as_ref()
    }

    /// What is to be given back where this is no receipt but what comes before the first.
    #[must_use]
    pub fn handshake(&self, fields: &Value) -> Option<Value> {
        let handshake = self.handshake.as_ref()?;
        let text = fields.pointer(&handshake.echo)?.as_str().filter(|text| text.len() <= LONGEST_ECHO)?;
        Some(serde_json::json!({ &handshake.name: text }))
    }

    /// Every row: what recorded receipts have to cover.
    #[must_use]
    pub fn rows(&self) -> BTreeSet<ReceiptRow> {
        let words = self.words.keys().cloned().map(ReceiptRow::Word);
        words.chain(self.codes.keys().cloned().map(ReceiptRow::Code)).collect()
    }

    /// The settings without which nothing is checked but the address, though the vendor can sign.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let names = self.scheme.secret().into_iter().flat_map(Template::names);
        names.filter_map(|name| name.strip_prefix(SETTINGS))
    }

    /// The longest address that the vendor calls back, in characters.
    #[must_use]
    pub const fn longest_address(&self) -> Option<usize> {
        self.longest
    }
}
