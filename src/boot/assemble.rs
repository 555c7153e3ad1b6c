//! Settings → checked parts: definitions, providers, texts, policy, lanes. No I/O but reading files.
//!
//! `check` stops here; [`super::run`] goes on. Guarantee: what assembles can run, and all that is wrong is
//! told at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::challenge::Channel;
use crate::clock::Clock;
use crate::config::{ConfigError, Origin, Place, ProviderEntry, Serves, Settings, Warning, texts};
use crate::delivery::message::Texts;
use crate::delivery::policy::Policy;
use crate::provider::callback::{Callbacks, length_of_address};
use crate::provider::definition::settings::name_of;
use crate::provider::definition::{self, Definition};
use crate::provider::flow::Flows;
use crate::provider::http::ProviderSettings;
use crate::provider::kinds::{IN_CODE, Kind, Kinds};
use crate::provider::{Provider, Roster};
use crate::worker::pressure::LaneSettings;

/// Everything that configuration decides, ready to be put to work.
pub struct Parts {
    /// What the operator decided.
    pub policy: Policy,
    /// What people read.
    pub texts: Texts,
    /// How people are reached.
    pub roster: Roster,
    /// How providers and senders are limited.
    pub lanes: Vec<LaneSettings>,
    /// How many requests each provider may have open.
    pub in_flight: Vec<(Arc<str>, u32)>,
    /// What makes and reads the addresses for receipts; absent where no provider sends any.
    pub callbacks: Option<Callbacks>,
    /// What opens the addresses at which vendors fetch what calls say; absent where none does.
    pub flows: Option<(Callbacks, Flows)>,
    /// The kind of each configured provider, by the provider's name.
    pub kinds: Kinds,
    /// What works and should not stay so.
    pub warnings: Vec<Warning>,
}

/// Puts the parts together.
///
/// # Errors
/// All that is wrong.
pub fn assemble(settings: &Settings, clock: &Clock) -> Result<Parts, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let kinds = kinds(settings.providers_dir.as_deref(), &mut errors);
    let texts = texts::load(settings).unwrap_or_else(|wrong| {
        errors.extend(wrong);
        Texts::default()
    });
    let (mut roster, mut used, mut carried) = (Roster::default(), Kinds::new(), BTreeMap::new());
    for entry in &settings.providers {
        let Some(kind) = kinds.get(entry.kind.as_str()) else {
            errors.push(unknown_kind(entry, &kinds));
            continue;
        };
        match provider(entry, kind, flows(settings), clock) {
            Ok(provider) => {
                let reachable = flows(settings).is_some();
                carried.insert(Arc::clone(&entry.name), channels(entry, kind, reachable, &mut errors));
                roster.insert(provider);
            }
            Err(wrong) => errors.extend(wrong),
        }
        used.insert(Arc::clone(&entry.name), kind.clone());
    }
    check_routes(settings, &used, &carried, &mut errors);
    let hears = hears(settings, &used, &carried, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let channels_of = |name: &str| carried.get(name).cloned().unwrap_or_default();
    let is_fetched = |(name, kind): (&Arc<str>, &Kind)| {
        carried.get(name).is_some_and(|channels| channels.iter().any(|channel| kind.is_fetched(*channel)))
    };
    let fetched = used.iter().any(is_fetched);
    let platforms_of = |name: &str| used.get(name).and_then(Kind::platforms);
    Ok(Parts {
        policy: settings.policy(|name| Serves {
            channels: channels_of(name),
            platforms: platforms_of(name),
            tells: tells(used.get(name), channels_of(name)),
        }),
        callbacks: if hears { callbacks(settings) } else { None },
        flows: if fetched { callbacks(settings).zip(flows(settings)) } else { None },
        texts,
        roster,
        lanes: settings.providers.iter().flat_map(|entry| lanes(entry, &channels_of(&entry.name))).collect(),
        in_flight: settings.providers.iter().map(|entry| in_flight(entry, &channels_of(&entry.name))).collect(),
        warnings: unsigned(settings, &used, &carried),
        kinds: used,
    })
}

/// The built-in kinds and the definitions of `dir`, which replace built-in ones of the same name.
fn kinds(dir: Option<&Path>, errors: &mut Vec<ConfigError>) -> Kinds {
    let in_code = IN_CODE.iter().map(|kind| (kind.name.into(), Kind::Code(kind)));
    let as_data = definitions(dir, errors).into_iter().map(|(name, definition)| (name, Kind::Data(definition)));
    in_code.chain(as_data).collect()
}

fn definitions(dir: Option<&Path>, errors: &mut Vec<ConfigError>) -> BTreeMap<Arc<str>, Arc<Definition>> {
    let mut kinds = match definition::builtin() {
        Ok(kinds) => kinds,
        Err(wrong) => {
            errors.extend(wrong.into_iter().map(definition_error));
            BTreeMap::new()
        }
    };
    let Some(dir) = dir else { return kinds };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(why) => {
            errors.push(unreadable(dir, &why));
            return kinds;
        }
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "toml")) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let parsed = match std::fs::read_to_string(file) {
            Ok(text) => Definition::parse(&name, &file.display().to_string(), &text),
            Err(why) => {
                errors.push(unreadable(file, &why));
                continue;
            }
        };
        match parsed {
            Ok(definition) => drop(kinds.insert(name.as_ref().into(), Arc::new(definition))),
            Err(wrong) => errors.extend(wrong.into_iter().map(definition_error)),
        }
    }
    kinds
}

fn provider(
    entry: &ProviderEntry,
    kind: &Kind,
    flows: Option<Flows>,
    clock: &Clock,
) -> Result<Arc<dyn Provider>, Vec<ConfigError>> {
    let known = kind.settings();
    let unknown = entry.settings.keys().filter(|key| !known.contains(&name_of(key)));
    let mut errors: Vec<_> = unknown.map(|key| entry.unknown_setting(key, &known)).collect();
    let channel_of = |word: &String| Channel::ALL.into_iter().find(|channel| channel.as_str() == word);
    let endpoints = entry.endpoints.iter().filter_map(|(word, url)| Some((channel_of(word)?, url.to_string())));
    let given = ProviderSettings {
        base_url: entry.base_url.as_ref().map(ToString::to_string),
        endpoints: endpoints.collect(),
        token_endpoint: entry.endpoints.get("token").map(ToString::to_string),
        settings: entry.settings.iter().map(|(key, setting)| (key.clone(), setting.value.clone())).collect(),
        flows,
        receipts: Channel::ALL.into_iter().any(|channel| entry.per_channel(channel).receipts),
        ..ProviderSettings::new(entry.name.as_ref())
    };
    match kind.build(given, clock) {
        Ok(provider) if errors.is_empty() => Ok(provider),
        Ok(_) => Err(errors),
        Err(wrong) => {
            errors.extend(wrong.into_iter().map(|mistake| {
                let key = mistake.path.rsplit('.').next().unwrap_or_default();
                let origin = entry.settings.get(key).map_or(&entry.origin, |setting| &setting.origin);
                ConfigError::new(
                    Origin { path: mistake.path.clone(), ..origin.clone() },
                    mistake.found,
                    mistake.allowed,
                )
            }));
            Err(errors)
        }
    }
}

/// The channels that a provider carries as it is configured: what it can't do without is there.
fn channels(entry: &ProviderEntry, kind: &Kind, reachable: bool, errors: &mut Vec<ConfigError>) -> Vec<Channel> {
    let has_setting = |key: &str| entry.settings.keys().any(|other| name_of(other) == key);
    let can_say = |channel: &Channel| reachable || !kind.is_fetched(*channel);
    let lacks_sender = |channel: Channel| kind.needs_sender(channel) && entry.per_channel(channel).senders.is_empty();
    let carried: Vec<_> =
        kind.channels_with(has_setting).into_iter().filter(|channel| !lacks_sender(*channel)).filter(can_say).collect();
    if carried.is_empty() {
        let origin = Origin { path: format!("providers.{}.senders", entry.name), ..entry.origin.clone() };
        errors.push(ConfigError::new(origin, "no sender", "one sender or more: nothing can be sent without"));
    }
    carried
}

fn check_routes(
    settings: &Settings,
    used: &Kinds,
    carried: &BTreeMap<Arc<str>, Vec<Channel>>,
    errors: &mut Vec<ConfigError>,
) {
    for route in &settings.routes {
        let channel = route.rule.channel;
        for (name, origin) in route.rule.providers.iter().zip(&route.provider_origins) {
            let (Some(kind), Some(carried)) = (used.get(name), carried.get(name)) else { continue };
            if carried.contains(&channel) {
                continue;
            }
            let channels: Vec<_> = carried.iter().map(|channel| channel.as_str()).collect();
            let mut allowed = format!("a provider of {channel}; \"{name}\" carries {}", channels.join(", "));
            if kind.channels().contains(&channel) {
                let address: &[&str] =
                    if kind.is_fetched(channel) { &["http.public_url", "http.callback_key"] } else { &[] };
                let needed: Vec<_> =
                    kind.required_for(channel).into_iter().chain(["senders"]).chain(address.iter().copied()).collect();
                allowed = format!("{allowed}; for {channel} it needs {}", needed.join(", "));
            }
            errors.push(ConfigError::new(origin.clone(), format!("\"{name}\""), allowed));
        }
    }
}

/// The channels on which a provider can say what became of a message.
fn tells(kind: Option<&Kind>, mut channels: Vec<Channel>) -> Vec<Channel> {
    channels.retain(|channel| kind.is_some_and(|kind| kind.hears() || kind.longest_callback(*channel).is_some()));
    channels
}

fn callbacks(settings: &Settings) -> Option<Callbacks> {
    let http = &settings.http;
    let url = http.public_url.as_ref()?;
    Some(Callbacks::new(url, http.callback_key.as_ref()?, http.callback_key_previous.as_ref()))
}

/// What makes the addresses at which vendors fetch what calls say, where there is an address of ours.
fn flows(settings: &Settings) -> Option<Flows> {
    let http = &settings.http;
    Some(Flows::new(http.public_url.as_ref()?, http.callback_key.as_ref()?, http.callback_key_previous.as_ref()))
}

/// Whether receipts come by any provider; what they need is checked.
fn hears(
    settings: &Settings,
    used: &Kinds,
    carried: &BTreeMap<Arc<str>, Vec<Channel>>,
    errors: &mut Vec<ConfigError>,
) -> bool {
    let mut any = false;
    for entry in &settings.providers {
        let (Some(kind), Some(carried)) = (used.get(&entry.name), carried.get(&entry.name)) else { continue };
        let asked: Vec<_> = carried.iter().filter(|channel| entry.per_channel(**channel).receipts).copied().collect();
        if asked.is_empty() || kind.hears() {
            continue;
        }
        any = true;
        let wrong = |path: String, found: &str, allowed: String| {
            ConfigError::new(Origin { path, ..entry.origin.clone() }, found, allowed)
        };
        let limits: Vec<_> = asked.iter().filter_map(|channel| kind.longest_callback(*channel)).collect();
        let path = format!("providers.{}.receipts", entry.name);
        let Some(longest) = limits.into_iter().min() else {
            errors.push(wrong(path, "true", format!("false: \"{}\" sends no receipts", entry.kind)));
            continue;
        };
        let http = &settings.http;
        let needed = |what: &str| format!("{what}, since providers.{}.receipts is true", entry.name);
        if http.callback_key.is_none() {
            errors.push(wrong("http.callback_key".to_owned(), "nothing", needed("a secret")));
        }
        match http.public_url.as_ref().map(|url| length_of_address(url, &entry.name)) {
            None => errors.push(wrong("http.public_url".to_owned(), "nothing", needed("what providers call back"))),
            Some(length) if length > longest => {
                let allowed = format!("one of at most {longest}: a shorter http.public_url, or a shorter name");
                errors.push(wrong(path, &format!("callback addresses of {length} characters"), allowed));
            }
            Some(_) => {}
        }
    }
    any
}

/// Whose receipts nothing proves but the address that they come to, though they could be signed.
fn unsigned(settings: &Settings, used: &Kinds, carried: &BTreeMap<Arc<str>, Vec<Channel>>) -> Vec<Warning> {
    let of_entry = |entry: &ProviderEntry| {
        let (kind, carried) = (used.get(&entry.name)?, carried.get(&entry.name)?);
        let mut asked = carried.iter().filter(|channel| entry.per_channel(**channel).receipts);
        let lacks = |channel: &Channel| kind.lacks_for_signatures(*channel, |key| entry.settings.contains_key(key));
        let key = asked.find_map(lacks)?;
        let origin = Origin { path: format!("providers.{}.receipts", entry.name), ..entry.origin.clone() };
        let text = format!("receipts are known by their addresses alone; set {key}, so that signatures are checked");
        Some(Warning { origin, text })
    };
    settings.providers.iter().filter_map(of_entry).collect()
}

fn lanes(entry: &ProviderEntry, channels: &[Channel]) -> Vec<LaneSettings> {
    let lane = |channel: &Channel| {
        let limits = entry.per_channel(*channel);
        let paced = limits.senders.iter().filter_map(|sender| {
            let per_second = sender.per_second?;
            Some((Arc::clone(&sender.from), crate::guard::quota::Rate { per_second, burst: 1 }))
        });
        LaneSettings {
            provider: Arc::clone(&entry.name),
            channel: *channel,
            rate: limits.rate,
            senders: paced.collect(),
        }
    };
    channels.iter().map(lane).collect()
}

fn in_flight(entry: &ProviderEntry, channels: &[Channel]) -> (Arc<str>, u32) {
    let most = channels.iter().map(|channel| entry.per_channel(*channel).max_in_flight).max();
    (Arc::clone(&entry.name), most.unwrap_or(crate::config::DEFAULT_MAX_IN_FLIGHT))
}

fn unknown_kind(entry: &ProviderEntry, kinds: &Kinds) -> ConfigError {
    let known: Vec<&str> = kinds.keys().map(AsRef::as_ref).collect();
    let origin = Origin { path: format!("providers.{}.kind", entry.name), ..entry.origin.clone() };
    let hint = crate::config::closest(&entry.kind, known.iter().copied());
    let hint = hint.map(|kind| format!(" (did you mean \"{kind}\"?)")).unwrap_or_default();
    let allowed = format!("{} or a file of providers_dir{hint}", known.join(", "));
    ConfigError::new(origin, format!("\"{}\"", entry.kind), allowed)
}

fn definition_error(wrong: definition::DefinitionError) -> ConfigError {
    let place = Place::File { file: wrong.file.as_str().into(), line: wrong.line, column: 1 };
    ConfigError::new(Origin { place, path: wrong.path }, wrong.found, wrong.allowed)
}

fn unreadable(path: &Path, why: &std::io::Error) -> ConfigError {
    let place = Place::File { file: path.display().to_string().into(), line: 1, column: 1 };
    ConfigError::plain(Origin { place, path: String::new() }, format!("a path that can't be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{VONAGE_PRIVATE_KEY, VONAGE_PUBLIC_KEY};

    const TWILIO: &str = "[providers.p]\nkind = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"t\"\n";
    const SMS: &str = "api_key = \"k\"\napi_secret = \"s\"\n";

    fn put_together(toml: &str) -> Result<Parts, Vec<String>> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("courier.toml");
        let broker = "[broker]\nurl = \"memory:\"\n";
        std::fs::write(&file, format!("{broker}{toml}")).expect("written");
        let settings = Settings::load(Some(&file), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assemble(&settings, &Clock::system()).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn carried(toml: &str) -> Vec<Channel> {
        let parts = put_together(toml).unwrap_or_else(|errors| panic!("{errors:?}"));
        parts.policy.providers.iter().map(|provider| provider.channel).collect()
    }

    fn vonage(settings: &str) -> String {
        format!("[providers.p]\nkind = \"vonage\"\n{settings}")
    }

    fn calls(key: &str) -> String {
        format!("application_id = \"a\"\nprivate_key = \"\"\"{key}\"\"\"\n")
    }

    #[track_caller]
    fn assert_refused(toml: &str, expected: &str) {
        let errors = put_together(toml).err().expect("refused");
        assert!(errors.iter().any(|error| error.contains(expected)), "{expected}\nin {errors:#?}");
        assert!(!errors.concat().contains("KEY-----"), "{errors:#?}");
    }

    #[test]
    fn a_provider_carries_what_its_settings_and_senders_are_enough_for() {
        use Channel::{Sms, Voice};
        let senders = |senders: &str| format!("senders = [{senders}]\n");
        let (number, name) = (senders("\"+15005550006\""), senders("\"Contoso\""));
        for (toml, expected) in [
            (format!("{TWILIO}{number}"), [Sms, Voice].as_slice()),
            (format!("{TWILIO}{name}"), &[Sms]),
            (format!("{TWILIO}{name}voice = {{ {} }}", number.trim()), &[Sms, Voice]),
            (format!("{TWILIO}messaging_service_sid = \"MG1\""), &[Sms]),
            (vonage(&format!("{SMS}{number}")), &[Sms]),
            (vonage(&format!("{}{number}", calls(VONAGE_PRIVATE_KEY))), &[Voice]),
            (vonage(&format!("{SMS}{}{number}", calls(VONAGE_PRIVATE_KEY))), &[Sms, Voice]),
        ] {
            assert_eq!(carried(&toml), expected, "{toml}");
        }
    }

    #[test]
    fn what_a_channel_lacks_is_told() {
        let number = "senders = [\"+15005550006\"]\n";
        let route = |channel: &str| format!("[[routes]]\nchannel = \"{channel}\"\nproviders = [\"p\"]\n");
        let half = vonage(&format!("{number}api_key = \"k\"\n"));
        assert_refused(&half, "providers.p.api_secret: nothing; allowed: a value: sms requires it");
        let neither = vonage(number);
        assert_refused(
            &neither,
            "providers.p.api_key: nothing; allowed: a value, for sms; one channel has to be there",
        );
        assert_refused(&neither, "providers.p.private_key: nothing; allowed: a value, for voice");
        assert_refused(&vonage(SMS), "providers.p.senders: no sender; allowed: one sender or more");
        let no_calls = format!("{}{}", vonage(&format!("{SMS}{number}")), route("voice"));
        assert_refused(&no_calls, "carries sms; for voice it needs application_id, private_key, senders");
        let no_number = format!("{TWILIO}senders = [\"Contoso\"]\n{}", route("voice"));
        assert_refused(&no_number, "a provider of voice; \"p\" carries sms; for voice it needs senders");
    }

    #[test]
    fn receipts_need_somebody_who_sends_them_and_an_address_that_fits() {
        let on = || format!("{TWILIO}senders = [\"+15005550006\"]\nreceipts = true\n");
        let http = |url: &str| format!("[http]\npublic_url = \"{url}\"\ncallback_key = \"0123456789abcdef\"\n");
        let of = |toml: &str| {
            let parts = put_together(toml).unwrap_or_else(|errors| panic!("{errors:?}"));
            let hear: Vec<_> = parts.policy.providers.iter().map(|one| (one.channel, one.receipts)).collect();
            (hear, parts.callbacks.is_some())
        };
        let short = http("https://courier.example.com");
        assert_eq!(of(&format!("{short}{}", on())), (vec![(Channel::Sms, true), (Channel::Voice, true)], true));
        assert!(!of(&on().replace("true", "false")).1, "nobody sends any");
        assert_refused(
            &on(),
            "http.public_url: nothing; allowed: what providers call back, since providers.p.receipts",
        );
        assert_refused(&on(), "http.callback_key: nothing; allowed: a secret, since providers.p.receipts is true");
        let long = http(&format!("https://{}.example.com", "c".repeat(50)));
        let calls_back = vonage(&format!("{SMS}senders = [\"+15005550006\"]\nreceipts = true\n"));
        assert_refused(
            &format!("{long}{calls_back}"),
            "callback addresses of 114 characters; allowed: one of at most 100",
        );
        assert_eq!(of(&format!("{short}{calls_back}")).0, [(Channel::Sms, true)]);
    }

    #[test]
    fn receipts_that_could_be_signed_and_are_not_checked_are_warned_of() {
        let http = "[http]\npublic_url = \"https://a.example\"\ncallback_key = \"0123456789abcdef\"\n";
        let warned = |toml: &str| {
            let parts = put_together(&format!("{http}{toml}")).unwrap_or_else(|errors| panic!("{errors:?}"));
            parts.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let senders = "senders = [\"+15005550006\"]\n";
        let text = vonage(&format!("{SMS}{senders}receipts = true\n"));
        let expected = "providers.p.receipts: receipts are known by their addresses alone; set signature_secret";
        assert!(warned(&text).contains(expected), "{}", warned(&text));
        let call = vonage(&format!("{}{senders}receipts = true\n", calls(VONAGE_PRIVATE_KEY)));
        assert!(warned(&call).contains(expected), "{}", warned(&call));
        for good in [
            text.replace("true", "false"),
            format!("{text}signature_secret = \"s\"\n"),
            format!("{TWILIO}{senders}receipts = true\n"),
        ] {
            assert_eq!(warned(&good), "", "{good}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_and_not_shown() {
        let expected = "providers.p.private_key: a value that can't be used; allowed: an RSA private key of 2048";
        for key in ["hunter2", VONAGE_PUBLIC_KEY] {
            assert_refused(&vonage(&format!("{}senders = [\"+15005550006\"]\n", calls(key))), expected);
        }
    }
}
