//! What `kind` of a configured provider can be: a definition, or one of those written in code.
//!
//! [`crate::boot`] looks kinds up and builds providers by them; nothing else tells the two apart. A new kind
//! in code is a module beside this one and a line in [`IN_CODE`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Provider;
use super::apns::{self, Apns};
use super::definition::settings::Required;
use super::definition::{Definition, Dialect};
use super::fcm::{self, Fcm};
use super::http::{HttpProvider, ProviderSettings, SettingError};
use super::huawei::{self, Huawei};
use super::smpp::{self, Smpp};
use super::webpush::{self, WebPush};
use super::wns::{self, Wns};
use crate::challenge::{Channel, Platform};
use crate::clock::Clock;

/// Every kind by its name.
pub type Kinds = BTreeMap<Arc<str>, Kind>;

/// One kind.
#[derive(Clone)]
pub enum Kind {
    /// Written as data.
    Data(Arc<Definition>),
    /// Written in code.
    Code(&'static CodeKind),
}

/// A kind that data can't describe.
pub struct CodeKind {
    /// What `kind` says.
    pub name: &'static str,
    /// The channels it speaks.
    pub channels: &'static [Channel],
    /// Whose devices it reaches, where it carries prompts.
    pub platforms: &'static [Platform],
    /// The settings it takes.
    pub settings: &'static [&'static str],
    /// Whether it hears receipts by itself, without an address of ours.
    pub hears: bool,
    build: Build,
}

type Build = fn(&ProviderSettings, &Clock) -> Result<Arc<dyn Provider>, Vec<SettingError>>;

/// The kinds that are written in code.
pub static IN_CODE: [CodeKind; 6] = [
    CodeKind {
        name: "apns",
        channels: &[Channel::Push],
        platforms: &apns::PLATFORMS,
        settings: &apns::SETTINGS,
        hears: false,
        build: |given, clock| Ok(Arc::new(Apns::new(given, clock)?)),
    },
    CodeKind {
        name: "fcm",
        channels: &[Channel::Push],
        platforms: &fcm::PLATFORMS,
        settings: &fcm::SETTINGS,
        hears: false,
        build: |given, clock| Ok(Arc::new(Fcm::new(given, clock)?)),
    },
    CodeKind {
        name: "huawei",
        channels: &[Channel::Push],
        platforms: &huawei::PLATFORMS,
        settings: &huawei::SETTINGS,
        hears: false,
        build: |given, clock| Ok(Arc::new(Huawei::new(given, clock)?)),
    },
    CodeKind {
        name: "smpp",
        channels: &[Channel::Sms],
        platforms: &[],
        settings: &smpp::settings::SETTINGS,
        hears: true,
        build: |given, clock| Ok(Arc::new(Smpp::new(given, clock)?)),
    },
    CodeKind {
        name: "webpush",
        channels: &[Channel::Push],
        platforms: &webpush::PLATFORMS,
        settings: &webpush::SETTINGS,
        hears: false,
        build: |given, clock| Ok(Arc::new(WebPush::new(given, clock)?)),
    },
    CodeKind {
        name: "wns",
        channels: &[Channel::Push],
        platforms: &wns::PLATFORMS,
        settings: &wns::SETTINGS,
        hears: false,
        build: |given, clock| Ok(Arc::new(Wns::new(given, clock)?)),
    },
];

impl Kind {
    /// The channels it speaks.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        match self {
            Self::Data(definition) => definition.channels().collect(),
            Self::Code(kind) => kind.channels.to_vec(),
        }
    }

    /// Those of them that the settings which `has_setting` says are there suffice for.
    #[must_use]
    pub fn channels_with(&self, has_setting: impl Fn(&str) -> bool) -> Vec<Channel> {
        match self {
            Self::Data(definition) => definition.channels_with(has_setting).collect(),
            Self::Code(kind) => kind.channels.to_vec(),
        }
    }

    /// Whether nothing can be sent on `channel` without a sender.
    #[must_use]
    pub fn needs_sender(&self, channel: Channel) -> bool {
        match self {
            Self::Data(definition) => definition.dialect(channel).is_some_and(Dialect::needs_sender),
            Self::Code(_) => false,
        }
    }

    /// Whether the vendor fetches what is said on `channel`.
    #[must_use]
    pub fn is_fetched(&self, channel: Channel) -> bool {
        match self {
            Self::Data(definition) => definition.dialect(channel).is_some_and(Dialect::is_fetched),
            Self::Code(_) => false,
        }
    }

    /// Whether it hears receipts by itself, without an address of ours.
    #[must_use]
    pub const fn hears(&self) -> bool {
        matches!(self, Self::Code(CodeKind { hears: true, .. }))
    }

    /// The longest address that the vendor calls back about `channel`; `None` where no receipts can come.
    #[must_use]
    pub fn longest_callback(&self, channel: Channel) -> Option<usize> {
        match self {
            Self::Data(definition) => {
                let rule = definition.dialect(channel).and_then(Dialect::receipt)?;
                Some(rule.longest_address().unwrap_or(usize::MAX))
            }
            Self::Code(_) => None,
        }
    }

    /// The setting without which receipts about `channel` are known by their address alone, though the vendor signs
    /// them; `None` where `has_setting` says that nothing is missing.
    #[must_use]
    pub fn lacks_for_signatures(&self, channel: Channel, has_setting: impl Fn(&str) -> bool) -> Option<&str> {
        match self {
            Self::Data(definition) => {
                let rule = definition.dialect(channel).and_then(Dialect::receipt)?;
                rule.secrets().find(|key| !has_setting(key))
            }
            Self::Code(_) => None,
        }
    }

    /// The settings without which it does not carry `channel`.
    #[must_use]
    pub fn required_for(&self, channel: Channel) -> Vec<&str> {
        match self {
            Self::Data(definition) => {
                let settings = definition.settings().iter();
                settings
                    .filter(|(_, rule)| rule.required == Required::For(channel))
                    .map(|(key, _)| key.as_str())
                    .collect()
            }
            Self::Code(_) => Vec::new(),
        }
    }

    /// Whose devices it reaches; `None`: all.
    #[must_use]
    pub fn platforms(&self) -> Option<Vec<Platform>> {
        match self {
            Self::Data(_) => None,
            Self::Code(kind) => Some(kind.platforms.to_vec()),
        }
    }

    /// The names of the settings it takes.
    #[must_use]
    pub fn settings(&self) -> Vec<&str> {
        match self {
            Self::Data(definition) => definition.settings().keys().map(String::as_str).collect(),
            Self::Code(kind) => kind.settings.to_vec(),
        }
    }

    /// A provider of this kind.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub fn build(&self, given: ProviderSettings, clock: &Clock) -> Result<Arc<dyn Provider>, Vec<SettingError>> {
        match self {
            Self::Data(definition) => {
                let built = HttpProvider::new(given, Arc::clone(definition), clock.clone())?;
                Ok(Arc::new(built))
            }
            Self::Code(kind) => (kind.build)(&given, clock),
        }
    }
}
