//! The closed set of variables that a definition's templates may use, and their values for one message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lookup::{Cell, Lookups};
use super::settings::{self, Rules};
use crate::challenge::{Address, Channel};
use crate::clock::Timestamp;
use crate::provider::Message;
use crate::secret::Secret;

/// How a setting is written in a template: `{settings.account_sid}`.
pub const SETTINGS: &str = "settings.";

/// The time left: a number to those who speak JSON.
pub(super) const VALIDITY: &str = "validity";

/// Whom the message is from, as the operator wrote it, and without the `+` of a number.
pub(super) const SENDERS: [&str; 2] = ["sender", "sender_digits"];

/// The moment at which the time left is over, as RFC 3339.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// Where news of the message is wanted, and the last part of that address alone, for vendors that have one address for
/// all messages and give back a reference: only in what asks for receipts.
pub(super) const CALLBACK_URL: &str = "callback_url";
pub(super) const CALLBACK_TOKEN: &str = "callback_token";

/// What is dialled when somebody has answered.
pub(super) const EXTENSION: &str = "extension";

/// Where the vendor fetches what a call says: only where the definition has a `flow`.
pub(super) const FLOW_URL: &str = "flow_url";

/// A variable that stands in every message of some channels.
struct Known {
    name: &'static str,
    channels: &'static [Channel],
    /// Whether a message may lack it: then its leaf has to be optional, or the message can't be sent.
    may_lack: bool,
}

const EVERY: &[Channel] = &Channel::ALL;
const DIALLED: &[Channel] = &[Channel::Sms, Channel::Voice];

const KNOWN: [Known; 19] = [
    Known { name: "reference", channels: EVERY, may_lack: false },
    Known { name: "channel", channels: EVERY, may_lack: false },
    Known { name: "text", channels: EVERY, may_lack: false },
    Known { name: "code", channels: EVERY, may_lack: true },
    Known { name: "language", channels: EVERY, may_lack: false },
    Known { name: "purpose", channels: EVERY, may_lack: false },
    Known { name: "tenant", channels: EVERY, may_lack: false },
    Known { name: "sender", channels: EVERY, may_lack: true },
    Known { name: "sender_digits", channels: EVERY, may_lack: true },
    Known { name: VALIDITY, channels: EVERY, may_lack: false },
    Known { name: EXPIRES_AT, channels: EVERY, may_lack: false },
    Known { name: "minutes", channels: EVERY, may_lack: false },
    Known { name: "to", channels: DIALLED, may_lack: false },
    Known { name: "to_digits", channels: DIALLED, may_lack: false },
    Known { name: EXTENSION, channels: &[Channel::Voice], may_lack: true },
    Known { name: "token", channels: &[Channel::Push], may_lack: false },
    Known { name: "platform", channels: &[Channel::Push], may_lack: false },
    Known { name: "app", channels: &[Channel::Push], may_lack: true },
    Known { name: "title", channels: &[Channel::Push], may_lack: true },
];

/// The variables of `channel`; those that a message may lack are `true`.
pub(super) fn of_channel(channel: Channel) -> impl Iterator<Item = (&'static str, bool)> {
    KNOWN.iter().filter(move |known| known.channels.contains(&channel)).map(|known| (known.name, known.may_lack))
}

/// The values of one message.
#[derive(Clone, Copy)]
pub struct Values<'v> {
    /// What is carried.
    pub message: &'v Message,
    /// The provider's settings.
    pub settings: &'v BTreeMap<String, Secret>,
    /// What the definition says of them.
    pub rules: &'v Rules,
    /// The time left, in the definition's own unit and bounds.
    pub validity: Option<u64>,
    /// When that is over.
    pub expires_at: Option<Timestamp>,
    /// Where the vendor fetches what a call says.
    pub flow_url: Option<&'v Secret>,
    /// The tables of the definition.
    pub lookups: &'v Lookups,
}

impl<'v> Values<'v> {
    /// The value of a variable; `None` where this message has none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'v, str>> {
        let message = self.message;
        Some(match name {
            "reference" => message.reference.as_str().into(),
            "channel" => message.channel().as_str().into(),
            "title" => Cow::Borrowed(message.title.as_deref()?),
            "text" => message.text.expose().into(),
            "code" => message.code.as_ref()?.expose().into(),
            "language" => message.language.as_str().into(),
            "purpose" => message.purpose.as_str().into(),
            "tenant" => message.tenant.as_str().into(),
            "sender" => Cow::Borrowed(message.sender.as_deref()?),
            "sender_digits" => Cow::Borrowed(message.sender.as_deref()?.trim_start_matches('+')),
            CALLBACK_URL => message.callback_url.as_ref()?.expose().into(),
            CALLBACK_TOKEN => message.callback_url.as_ref()?.expose().rsplit('/').next()?.into(),
            FLOW_URL => self.flow_url?.expose().into(),
            VALIDITY => self.validity?.to_string().into(),
            EXPIRES_AT => self.expires_at?.to_string().into(),
            "minutes" => message.validity.as_secs().div_ceil(60).max(1).to_string().into(),
            _ => match name.strip_prefix(SETTINGS) {
                Some(setting) => settings::value(self.rules, self.settings, setting, message)?.expose().into(),
                None => match self.lookups.get(name, message) {
                    Some(Cell::Text(text)) => text.as_str().into(),
                    Some(Cell::Number(number)) => number.to_string().into(),
                    None => of_address(&message.address, name)?.into(),
                },
            },
        })
    }

    /// The value of a variable that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.lookups.get(name, self.message) {
            Some(Cell::Number(number)) => Some(*number),
            Some(Cell::Text(_)) => None,
            None => self.validity.filter(|_| name == VALIDITY),
        }
    }
}

fn of_address<'a>(address: &'a Address, name: &str) -> Option<&'a str> {
    match (address, name) {
        (Address::Sms { to } | Address::Voice { to, .. }, "to") => Some(to.expose()),
        (Address::Sms { to } | Address::Voice { to, .. }, "to_digits") => Some(to.expose().trim_start_matches('+')),
        (Address::Voice { extension, .. }, EXTENSION) => extension.as_deref(),
        (Address::Push(target), "token") => Some(target.token.expose()),
        (Address::Push(target), "platform") => Some(target.platform.as_str()),
        (Address::Push(target), "app") => target.app.as_deref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::challenge::{ChallengeId, Platform, PushTarget};
    use crate::phone::PhoneNumber;

    fn message(address: Address) -> Message {
        Message {
            reference: "r-1".into(),
            challenge: ChallengeId::parse("c-1").expect("valid"),
            title: matches!(address, Address::Push(_)).then(|| "Approve sign-in?".into()),
            address,
            sender: Some("Contoso".into()),
            text: Secret::new("Your code is 481516"),
            code: Some(Secret::new("481516")),
            language: "en".into(),
            purpose: "sign_in".into(),
            tenant: "default".into(),
            validity: Duration::from_mins(1),
            callback_url: None,
        }
    }

    #[test]
    fn every_known_variable_has_a_value_on_its_channels() {
        let to = PhoneNumber::parse("+14155552671", None).expect("valid");
        let target = PushTarget {
            platform: Platform::Ios,
            token: Secret::new("t"),
            app: Some("main".into()),
            registered_at: None,
            number_match: None,
            context: BTreeMap::new(),
        };
        let addresses = [
            Address::Sms { to: to.clone() },
            Address::Voice { to, extension: Some("9".into()) },
            Address::Push(target),
        ];
        for address in addresses {
            let message = message(address);
            let lookups = Lookups::default();
            let values = Values {
                message: &message,
                settings: &BTreeMap::new(),
                rules: &Rules::new(),
                validity: Some(60),
                expires_at: Some(Timestamp::EPOCH),
                flow_url: None,
                lookups: &lookups,
            };
            for known in &KNOWN {
                let expected = known.channels.contains(&message.channel());
                assert_eq!(values.get(known.name).is_some(), expected, "{} on {}", known.name, message.channel());
            }
            assert_eq!(values.get("settings.none"), None);
            assert_eq!((values.get("nothing"), values.get("language.voice")), (None, None));
            assert_eq!((values.number(VALIDITY), values.number("reference")), (Some(60), None));
            assert_eq!(values.get(EXPIRES_AT).as_deref(), Some("1970-01-01T00:00:00.000Z"));
            assert_eq!((values.get("minutes").as_deref(), values.get(FLOW_URL)), (Some("1"), None));
            assert_eq!((values.get(CALLBACK_URL), values.get(CALLBACK_TOKEN)), (None, None));
        }
    }
}
