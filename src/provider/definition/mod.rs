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

use self::load::load;
use self::lookup::Lookups;
use self::receipt::ReceiptRule;
use self::reply::{ErrorTable, ReplyShape, Row};
use self::request::{Auth, Body, Header, Method, PathTemplate, Validity};
use super::Reply;
use crate::challenge::Channel;
use crate::delivery::message::Template;
use crate::delivery::verdict::{AttemptResult, Verdict};

mod load;
pub mod lookup;
mod reader;
pub mod receipt;
pub mod reply;
pub mod request;
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
    base_url: Option<String>,
    settings: BTreeMap<String, SettingRule>,
    dialects: BTreeMap<Channel, Dialect>,
}

/// What a definition asks of one of its settings.
#[derive(Clone, Debug, Default)]
pub struct SettingRule {
    /// Where it must be set.
    pub required: Required,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// The only values it may have; empty where any will do.
    pub one_of: Vec<String>,
    /// Its value where it is not set: a template over the required settings.
    pub default: Option<Template>,
}

/// Where a setting must be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required {
    /// Nowhere.
    #[default]
    Never,
    /// Wherever the provider is configured.
    Always,
    /// For this channel, which the provider carries only where what it requires is set.
    For(Channel),
}

impl SettingRule {
    /// Whether it has a value whatever the operator sets: on `channel`, or on all of them.
    #[must_use]
    pub fn is_always_there(&self, channel: Option<Channel>) -> bool {
        let required = match self.required {
            Required::Never => false,
            Required::Always => true,
            Required::For(one) => channel == Some(one),
        };
        required || self.default.is_some()
    }
}

/// How one channel of a provider is spoken.
#[derive(Clone, Debug)]
pub struct Dialect {
    pub(super) base_url: Option<String>,
    pub(super) method: Method,
    pub(super) path: PathTemplate,
    pub(super) auth: Auth,
    pub(super) headers: Vec<Header>,
    pub(super) body: Body,
    pub(super) validity: Option<Validity>,
    pub(super) lookups: Lookups,
    pub(super) receipt: Option<ReceiptRule>,
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

    /// Where its requests of `channel` go unless the operator says otherwise.
    #[must_use]
    pub fn base_url(&self, channel: Channel) -> Option<&str> {
        let own = self.dialect(channel).and_then(|dialect| dialect.base_url.as_deref());
        own.or(self.base_url.as_deref())
    }

    /// The settings it takes.
    #[must_use]
    pub const fn settings(&self) -> &BTreeMap<String, SettingRule> {
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

    /// Whether no message can be sent without a sender.
    #[must_use]
    pub fn needs_sender(&self) -> bool {
        self.body.asks_for(&|name| variables::SENDERS.contains(&name))
    }

    /// Every row of its error table: what recorded conversations have to cover.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.errors.rows()
    }
}

/// The definitions that are compiled in, as (name, file, text).
pub const BUILTIN: [(&str, &str, &str); 3] = [
    ("twilio", "config/providers/twilio.toml", include_str!("../../../config/providers/twilio.toml")),
    ("vonage", "config/providers/vonage.toml", include_str!("../../../config/providers/vonage.toml")),
    ("webhook", "config/providers/webhook.toml", include_str!("../../../config/providers/webhook.toml")),
];

/// The definitions that are compiled in, by name.
///
/// # Errors
/// What is wrong with them; a test keeps this from happening.
pub fn builtin() -> Result<BTreeMap<Arc<str>, Arc<Definition>>, Vec<DefinitionError>> {
    let read = |(name, file, text)| Definition::parse(name, file, text).map(|d| (Arc::clone(&d.name), Arc::new(d)));
    BUILTIN.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
