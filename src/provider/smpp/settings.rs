//! What an operator says of an SMSC: where it is, who we are to it, and what it does its own way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::receipt::Ids;
use crate::delivery::verdict::AttemptResult;
use crate::provider::http::{Mistakes, ProviderSettings, SettingError};
use crate::secret::Secret;

/// The settings it takes.
pub const SETTINGS: [&str; 10] = [
    "host",
    "system_id",
    "password",
    "system_type",
    "service_type",
    "window",
    "enquire_link",
    "validity",
    "receipt_ids",
    "errors",
];
const RESULTS: [AttemptResult; 6] = [
    AttemptResult::Transient,
    AttemptResult::Throttled,
    AttemptResult::Recipient,
    AttemptResult::Content,
    AttemptResult::Provider,
    AttemptResult::Unknown,
];

/// How `validity_period` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// As what is left.
    Relative,
    /// As the moment at which it ends, in UTC.
    Absolute,
    /// Not at all: the server decides.
    None,
}

/// Settings that can be used.
#[derive(Debug)]
pub(super) struct Smsc {
    /// Host and port.
    pub(super) host: String,
    pub(super) system_id: String,
    pub(super) password: Secret,
    pub(super) system_type: String,
    pub(super) service_type: String,
    /// How many messages may wait for their answers at once.
    pub(super) window: usize,
    /// How long the line may be still before it is asked whether anybody is there.
    pub(super) enquire_after: Duration,
    pub(super) validity: Validity,
    pub(super) ids: Ids,
    /// Whether receipts are asked for.
    pub(super) receipts: bool,
    pub(super) connect_timeout: Duration,
    /// What statuses of the vendor's own mean.
    pub(super) errors: BTreeMap<u32, AttemptResult>,
}

impl Smsc {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn read(given: &ProviderSettings) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let text = |key: &str| given.settings.get(key).map(Secret::expose).unwrap_or_default();
        let host = text("host");
        let is_place = host.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty() && !name.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if !is_place {
            mistakes.add(
                "host",
                if host.is_empty() { "nothing" } else { "another text" },
                "a host and a port, such as \"smpp.example.com:2775\"",
            );
        }
        for (key, least, most) in
            [("system_id", 1, 15), ("password", 1, 16), ("system_type", 0, 12), ("service_type", 0, 5)]
        {
            let value = text(key);
            if !(least..=most).contains(&value.len()) || !value.bytes().all(|b| b.is_ascii_graphic()) {
                mistakes.add(key, "a value that does not fit", format!("{least} to {most} characters of ASCII"));
            }
        }
        let window = number(&mut mistakes, "window", text("window"), 10, 1_000);
        let seconds = number(&mut mistakes, "enquire_link", text("enquire_link"), 30, 3_600);
        let validity = one_of(
            &mut mistakes,
            "validity",
            text("validity"),
            &[("relative", Validity::Relative), ("absolute", Validity::Absolute), ("none", Validity::None)],
        );
        let ids = one_of(
            &mut mistakes,
            "receipt_ids",
            text("receipt_ids"),
            &[("same", Ids::Same), ("decimal", Ids::Decimal), ("hex", Ids::Hex)],
        );
        let errors = errors(given, &mut mistakes);
        if !mistakes.found.is_empty() {
            return Err(mistakes.found);
        }
        Ok(Self {
            host: host.to_owned(),
            system_id: text("system_id").to_owned(),
            password: Secret::new(text("password")),
            system_type: text("system_type").to_owned(),
            service_type: text("service_type").to_owned(),
            window,
            enquire_after: Duration::from_secs(u64::try_from(seconds).unwrap_or(30)),
            validity,
            ids,
            receipts: given.receipts,
            connect_timeout: given.connect_timeout,
            errors,
        })
    }
}

fn number(mistakes: &mut Mistakes, key: &str, text: &str, default: usize, most: usize) -> usize {
    if text.is_empty() {
        return default;
    }
    text.parse().ok().filter(|number| (1..=most).contains(number)).unwrap_or_else(|| {
        mistakes.add(key, "another text", format!("a number from 1 to {most}, as a text"));
        default
    })
}

/// The first word's meaning where nothing is said.
fn one_of<T: Copy>(mistakes: &mut Mistakes, key: &str, text: &str, words: &[(&str, T); 3]) -> T {
    let known = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    if known.is_none() && !text.is_empty() {
        mistakes.add(key, "another text", words.map(|(word, _)| word).join(", "));
    }
    known.unwrap_or(words[0].1)
}

fn errors(given: &ProviderSettings, mistakes: &mut Mistakes) -> BTreeMap<u32, AttemptResult> {
    let mut errors = BTreeMap::new();
    for (key, value) in &given.settings {
        let Some(status) = key.strip_prefix("errors.") else { continue };
        let hex = status.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
        let status = hex.unwrap_or_else(|| status.parse()).ok().filter(|status| *status != 0);
        let result = RESULTS.into_iter().find(|result| result.as_str() == value.expose());
        if let Some((status, result)) = status.zip(result) {
            errors.insert(status, result);
        } else {
            let words = RESULTS.map(AttemptResult::as_str).join(", ");
            mistakes.add(key, "another row", format!("a status such as \"0x411\", and one of {words}"));
        }
    }
    errors
}
