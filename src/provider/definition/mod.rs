//! A provider written as data: what a request looks like, and what an answer means.
//!
//! A definition is a TOML file (`config/providers/*.toml` are compiled in; their comments are the manual).
//! It is read once, here, into checked types, and every mistake in it is reported at once. What it says
//! is used by [`super::http`]: [`request`] fills its templates for one message, [`reply`] looks an answer up.
//!
//! A definition has no conditions: a leaf is there or, where its variable has no value, left out; a code
//! has a row or it has none; what depends on the language stands in a table ([`lookup`]). What needs more is
//! written in Rust beside this module.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use self::auth::Auth;
use self::flow::FlowRule;
use self::load::load;
use self::lookup::Lookups;
use self::receipt::ReceiptRule;
use self::reply::{ErrorTable, ReplyShape, Row};
use self::request::{Body, Field, Header, Method, PathTemplate, Validity};
use self::settings::{Required, Rules};
use super::Reply;
use crate::challenge::Channel;
use crate::delivery::message::Template;
use crate::delivery::verdict::{AttemptResult, Verdict};

pub mod auth;
pub mod flow;
mod load;
pub mod lookup;
pub mod params;
mod reader;
pub mod receipt;
pub mod reply;
pub mod request;
pub mod settings;
pub mod variables;
pub mod xml;

/// One thing that is wrong in a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError {
    /// The file, as it was named to [`Definition::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The path of the key: `sms.form.To`.
    pub path: String,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, path, found, allowed } = self;
        let path = if path.is_empty() { "the file" } else { path };
        write!(f, "{file}:{line}: {path}: found {found}; allowed: {allowed}")
    }
}

impl std::error::Error for DefinitionError {}

/// A provider's whole definition, checked.
#[derive(Clone, Debug)]
pub struct Definition {
    name: Arc<str>,
    base_url: Option<Template>,
    settings: Rules,
    dialects: BTreeMap<Channel, Dialect>,
}

/// How one channel of a provider is spoken.
#[derive(Clone, Debug)]
pub struct Dialect {
    pub(super) base_url: Option<Template>,
    pub(super) method: Method,
    pub(super) path: PathTemplate,
    pub(super) query: Vec<Field>,
    pub(super) auth: Auth,
    pub(super) headers: Vec<Header>,
    pub(super) body: Body,
    /// What the body is called, where the vendor has a name of its own for it.
    pub(super) media_type: Option<String>,
    pub(super) validity: Option<Validity>,
    pub(super) lookups: Lookups,
    pub(super) receipt: Option<ReceiptRule>,
    pub(super) flow: Option<FlowRule>,
    reply: ReplyShape,
    errors: ErrorTable,
}

impl Definition {
    /// Reads the definition called `name` from the text of `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn parse(name: &str, file: &str, toml: &str) -> Result<Self, Vec<DefinitionError>> {
        load(name, file, toml)
    }

    /// Its name: what `kind` of a configured provider refers to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its requests of `channel` go unless the operator says otherwise: a template over the settings.
    #[must_use]
    pub fn base_url(&self, channel: Channel) -> Option<&Template> {
        let own = self.dialect(channel).and_then(|dialect| dialect.base_url.as_ref());
        own.or(self.base_url.as_ref())
    }

    /// The settings it takes.
    #[must_use]
    pub const fn settings(&self) -> &Rules {
        &self.settings
    }

    /// The channels that a provider with these settings carries: those of which it has something that they
    /// require, or that require nothing of their own.
    pub fn channels_with(&self, has_setting: impl Fn(&str) -> bool) -> impl Iterator<Item = Channel> {
        let asked = move |channel: &Channel| {
            let mut own = self.settings.iter().filter(|(_, rule)| rule.required == Required::For(*channel)).peekable();
            own.peek().is_none() || own.any(|(key, _)| has_setting(key))
        };
        self.channels().filter(asked)
    }

    /// The channels it speaks.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.dialects.keys().copied()
    }

    /// How it speaks `channel`.
    #[must_use]
    pub fn dialect(&self, channel: Channel) -> Option<&Dialect> {
        self.dialects.get(&channel)
    }

    /// What `reply` means on `channel`.
    #[must_use]
    pub fn classify(&self, channel: Channel, reply: &Reply) -> Verdict {
        match self.dialect(channel) {
            Some(dialect) => dialect.judge(reply).0,
            None => Verdict::of(AttemptResult::Provider).because(format!("this provider carries no {channel}")),
        }
    }
}

impl Dialect {
    /// What `reply` means, and which part of the definition says so.
    #[must_use]
    pub fn judge(&self, reply: &Reply) -> (Verdict, Row) {
        reply::judge(&self.reply, &self.errors, reply)
    }

    /// What it says of receipts, where they can come.
    #[must_use]
    pub const fn receipt(&self) -> Option<&ReceiptRule> {
        self.receipt.as_ref()
    }

    /// Whether the vendor fetches what a call says, so that nothing can be said without an address of our own.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        self.flow.is_some()
    }

    /// Whether it can dial an extension behind a number.
    #[must_use]
    pub fn dials_extensions(&self) -> bool {
        self.body.mentions(variables::EXTENSION)
    }

    /// Whether no message can be sent without a sender.
    #[must_use]
    pub fn needs_sender(&self) -> bool {
        let is_sender = |name: &str| variables::SENDERS.contains(&name);
        self.body.asks_for(&is_sender) || self.query.iter().any(|field| field.asks_for(&is_sender))
    }

    /// Every row of its error table: what recorded conversations have to cover.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.errors.rows()
    }
}

/// The definitions that are compiled in, as (name, file, text).
pub const BUILTIN: &[(&str, &str, &str)] = &[
    ("aliyun", "config/providers/aliyun.toml", include_str!("../../../config/providers/aliyun.toml")),
    ("aws", "config/providers/aws.toml", include_str!("../../../config/providers/aws.toml")),
    ("azure", "config/providers/azure.toml", include_str!("../../../config/providers/azure.toml")),
    ("bird", "config/providers/bird.toml", include_str!("../../../config/providers/bird.toml")),
    ("infobip", "config/providers/infobip.toml", include_str!("../../../config/providers/infobip.toml")),
    ("messagebird", "config/providers/messagebird.toml", include_str!("../../../config/providers/messagebird.toml")),
    ("plivo", "config/providers/plivo.toml", include_str!("../../../config/providers/plivo.toml")),
    ("sinch", "config/providers/sinch.toml", include_str!("../../../config/providers/sinch.toml")),
    ("telnyx", "config/providers/telnyx.toml", include_str!("../../../config/providers/telnyx.toml")),
    ("tencent", "config/providers/tencent.toml", include_str!("../../../config/providers/tencent.toml")),
    ("twilio", "config/providers/twilio.toml", include_str!("../../../config/providers/twilio.toml")),
    ("vonage", "config/providers/vonage.toml", include_str!("../../../config/providers/vonage.toml")),
    ("webhook", "config/providers/webhook.toml", include_str!("../../../config/providers/webhook.toml")),
];

/// The definitions that are compiled in, by name.
///
/// # Errors
/// What is wrong with them; a test keeps this from happening.
pub fn builtin() -> Result<BTreeMap<Arc<str>, Arc<Definition>>, Vec<DefinitionError>> {
    let read = |(name, file, text): &(&str, &str, &str)| {
        Definition::parse(name, file, text).map(|d| (Arc::clone(&d.name), Arc::new(d)))
    };
    BUILTIN.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
