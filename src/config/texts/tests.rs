//! The texts as people get them, and the mistakes that a file of texts can have.

use std::collections::BTreeMap;

use super::*;
use crate::challenge::{Address, Challenge, ContentHash, Fallback, Method, Platform, PushTarget};
use crate::clock::Timestamp;
use crate::config::TenantMessages;
use crate::delivery::compose::Autofill;
use crate::delivery::message::Rendered;
use crate::delivery::segments::{Encoding, measure};
use crate::phone::PhoneNumber;
use crate::secret::Secret;

const PURPOSES: [&str; 5] = ["default", "sign_in", "password_reset", "registration", "transaction"];
const LANGUAGES: [&str; 5] = ["de", "en", "es", "fr", "zh-Hans"];
const CODE: &str = "481516";

fn method(channel: Channel) -> Method {
    let to = PhoneNumber::parse("+14155552671", None).expect("a number");
    let target = PushTarget {
        platform: Platform::Android,
        token: Secret::new("t"),
        app: None,
        registered_at: None,
        number_match: Some(Secret::new("42")),
        context: BTreeMap::new(),
    };
    let address = match channel {
        Channel::Sms => Address::Sms { to },
        Channel::Voice => Address::Voice { to, extension: None },
        Channel::Push => Address::Push(target),
    };
    Method { id: None, address }
}

fn challenge(purpose: &str, locale: Option<&str>) -> Challenge {
    Challenge {
        id: crate::challenge::ChallengeId::parse("c-1").expect("an id"),
        session_id: None,
        user_id: None,
        tenant: "contoso".into(),
        purpose: purpose.into(),
        code: Some(Secret::new(CODE)),
        issued_at: Timestamp::EPOCH,
        arrived_at: Timestamp::EPOCH,
        expires_at: Timestamp::MAX,
        locale: locale.map(str::to_owned),
        template: None,
        vars: BTreeMap::new(),
        methods: vec![method(Channel::Sms)],
        fallback: Fallback::Auto,
        origin: crate::challenge::Origin::default(),
        notes: Vec::new(),
        content: ContentHash(0),
    }
}

/// An operator's directory of texts, and one for the tenant `contoso`.
struct Directories {
    general: tempfile::TempDir,
    own: tempfile::TempDir,
    settings: Settings,
}

impl Directories {
    fn new() -> Self {
        let (general, own) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        std::fs::write(general.path().join("README.md"), "not a text").expect("writable");
        let mut settings = Settings::load(None, []).expect("the defaults");
        settings.messages_dir = Some(general.path().to_owned());
        let messages = TenantMessages { dir: Some(own.path().to_owned()), ..TenantMessages::default() };
        settings.tenant_messages.insert("contoso".to_owned(), messages);
        Self { general, own, settings }
    }

    fn with(self, name: &str, content: &str) -> Self {
        std::fs::write(self.general.path().join(name), content).expect("writable");
        self
    }

    fn with_own(self, name: &str, content: &str) -> Self {
        std::fs::write(self.own.path().join(name), content).expect("writable");
        self
    }

    /// The texts, or what is wrong with the paths of the directories left out.
    fn load(&self) -> Result<Texts, Vec<String>> {
        let shown = |dir: &tempfile::TempDir| format!("{}/", dir.path().display());
        let plain = |error: &ConfigError| {
            error.to_string().replace(&shown(&self.general), "").replace(&shown(&self.own), "own/")
        };
        load(&self.settings).map_err(|errors| errors.iter().map(plain).collect())
    }
}

fn built_in() -> Texts {
    load(&Settings::load(None, []).expect("the defaults")).expect("the built-in texts are right")
}

fn rendered(texts: &Texts, challenge: &Challenge, channel: Channel) -> Rendered {
    texts.render(challenge, &method(channel), None).expect("a text")
}

fn said(texts: &Texts, challenge: &Challenge, channel: Channel) -> String {
    rendered(texts, challenge, channel).said.text.expose().to_owned()
}

#[test]
fn every_purpose_has_a_text_on_every_channel_in_every_language() {
    let texts = built_in();
    let mut found: Vec<_> =
        texts.general.iter().map(|(channel, name, text)| (channel, text.language.as_str(), name)).collect();
    let mut expected = Vec::new();
    for channel in Channel::ALL {
        expected.extend(LANGUAGES.iter().flat_map(|language| PURPOSES.map(|purpose| (channel, *language, purpose))));
    }
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn every_text_message_is_one_segment_with_the_code_first_and_room_for_autofill() {
    // Chinese has 70 characters: there both lines fit with a short domain.
    for (language, warning, encoding, domain) in [
        ("en", "Don't share it with anyone", Encoding::Gsm7, "login.contoso.example"),
        ("de", "Geben Sie ihn nicht weiter", Encoding::Gsm7, "login.contoso.example"),
        ("es", "No la comparta con nadie", Encoding::Gsm7, "login.contoso.example"),
        ("fr", "Ne le communiquez à personne", Encoding::Gsm7, "login.contoso.example"),
        ("zh-Hans", "请勿告诉任何人", Encoding::Ucs2, "example.com"),
    ] {
        let mut settings = Settings::load(None, []).expect("the defaults");
        settings.messages.autofill =
            Autofill { domain: Some(domain.to_owned()), android_hash: Some("FA+9qCX9VSu".to_owned()) };
        let texts = load(&settings).expect("right");
        for purpose in PURPOSES {
            let rendered = rendered(&texts, &challenge(purpose, Some(language)), Channel::Sms);
            let text = rendered.said.text.expose();
            assert!(text.starts_with(CODE) && text.contains(warning), "{text}");
            assert!(text.ends_with(&format!("\nFA+9qCX9VSu\n@{domain} #481516")), "{text}");
            let size = measure(text);
            assert_eq!((size.encoding, rendered.said.segments), (encoding, Some(1)), "{size:?} {text}");
            for asks_for_reply in ["reply", "respond", "STOP", "http"] {
                assert!(!text.contains(asks_for_reply), "{text}");
            }
        }
    }
}

#[test]
fn the_longest_code_still_fits_one_segment() {
    let texts = built_in();
    for language in LANGUAGES {
        for purpose in PURPOSES {
            let mut challenge = challenge(purpose, Some(language));
            challenge.code = Some(Secret::new("ABCDEFGH-1234567"));
            assert_eq!(rendered(&texts, &challenge, Channel::Sms).said.segments, Some(1), "{language} {purpose}");
        }
    }
}

#[test]
fn a_call_says_the_code_last_and_apart() {
    let texts = built_in();
    for language in LANGUAGES {
        for purpose in PURPOSES {
            let rendered = rendered(&texts, &challenge(purpose, Some(language)), Channel::Voice);
            let text = rendered.said.text.expose();
            assert!(text.ends_with("4, 8, 1, 5, 1, 6") && !text.contains(CODE), "{text}");
            assert_eq!((rendered.said.segments, rendered.said.title), (None, None));
        }
    }
}

#[test]
fn a_prompt_has_a_title_and_tells_neither_code_nor_number() {
    let texts = built_in();
    for language in LANGUAGES {
        for purpose in PURPOSES {
            let without = rendered(&texts, &challenge(purpose, Some(language)), Channel::Push);
            let mut by_vars = challenge(purpose, Some(language));
            by_vars.vars.insert("app".into(), "Contoso".into());
            let mut in_context = method(Channel::Push);
            let Address::Push(target) = &mut in_context.address else { unreachable!("a device") };
            target.context.insert("app".into(), "Contoso".into());
            let by_context = texts.render(&challenge(purpose, Some(language)), &in_context, None).expect("a text");
            let with = rendered(&texts, &by_vars, Channel::Push);
            assert_eq!(with, by_context);
            assert_eq!(with.said.title, without.said.title);
            assert_eq!(with.said.text.expose().contains("Contoso"), purpose != "default");
            for rendered in [with, without] {
                assert_eq!(rendered.language, language);
                let shown = format!("{:?} {}", rendered.said.title.as_deref(), rendered.said.text.expose());
                assert!(!shown.contains(CODE) && !shown.contains("42") && !shown.contains('{'), "{shown}");
                assert!(shown.chars().count() <= 150, "it is cut on a lock screen: {shown}");
            }
        }
    }
}

#[test]
fn people_get_the_nearest_language_and_never_another_script() {
    let texts = built_in();
    for (locale, language, by_default) in [
        (Some("zh-CN"), "zh-Hans", false),
        (Some("zh-Hans-SG"), "zh-Hans", false),
        (Some("zh"), "zh-Hans", false),
        (Some("zh-TW"), "en", true),
        (Some("zh-HK"), "en", true),
        (Some("zh-Hant"), "en", true),
        (Some("de-AT"), "de", false),
        (Some("es-419"), "es", false),
        (Some("en-GB"), "en", false),
        (Some("sv"), "en", true),
        (Some("zz-ZZ"), "en", true),
        (None, "en", false),
    ] {
        let rendered = rendered(&texts, &challenge("sign_in", locale), Channel::Sms);
        assert_eq!((rendered.language.as_str(), rendered.by_default), (language, by_default), "{locale:?}");
    }
    let by_tenant = texts.render(&challenge("sign_in", None), &method(Channel::Sms), Some("fr-CA")).expect("a text");
    assert_eq!((by_tenant.language.as_str(), by_tenant.by_default), ("fr", false));
    let traditional = "language = \"zh-Hant\"\n[sms]\ndefault = \"{code}是您的驗證碼\"\n";
    let texts = Directories::new().with("zh-Hant.toml", traditional).load().expect("right");
    assert_eq!(rendered(&texts, &challenge("sign_in", Some("zh-TW")), Channel::Sms).language, "zh-Hant");
}

#[test]
fn an_operator_replaces_a_language_channel_by_channel() {
    let german = "language = \"de\"\n[sms]\ndefault = \"{code} ist Ihr Code.\"\n\
                  sign_in = [\"{code} für {app}\", \"{code}\\nfür die Anmeldung\"]\n";
    let texts = Directories::new().with("de.toml", german).load().expect("right");
    let mut asked = challenge("sign_in", Some("de-AT"));
    assert_eq!(said(&texts, &asked, Channel::Sms), "481516\nfür die Anmeldung");
    asked.vars.insert("app".into(), "Con\ntoso {code}".into());
    assert_eq!(said(&texts, &asked, Channel::Sms), "481516 für Con toso {code}", "one line, and no template");
    asked.vars.insert("app".into(), "\u{202e}\n".into());
    assert_eq!(said(&texts, &asked, Channel::Sms), "481516\nfür die Anmeldung", "nothing can be seen of it");
    assert_eq!(said(&texts, &challenge("transaction", Some("de")), Channel::Sms), "481516 ist Ihr Code.");
    assert!(said(&texts, &challenge("transaction", Some("de")), Channel::Voice).starts_with("Guten Tag."));
    let mut by_name = challenge("sign_in", Some("de"));
    by_name.template = Some("unheard-of".into());
    assert!(rendered(&texts, &by_name, Channel::Sms).by_default);
}

#[test]
fn a_tenants_own_texts_go_before_those_for_everybody() {
    let texts = Directories::new()
        .with("de.toml", "language = \"de\"\n[sms]\ndefault = \"{code} für alle\"\nsign_in = \"{code} Anmeldung\"\n")
        .with_own("en.toml", "language = \"en\"\n[sms]\ndefault = \"{code} by Contoso\"\nhello = \"{code} {name}\"\n")
        .load()
        .expect("right");
    let in_language = |locale, tenant: &str| {
        let challenge = Challenge { tenant: tenant.to_owned(), ..challenge("sign_in", Some(locale)) };
        said(&texts, &challenge, Channel::Sms)
    };
    assert_eq!(in_language("en", "contoso"), "481516 by Contoso");
    assert_eq!(in_language("de", "contoso"), "481516 Anmeldung", "the language counts more than whose it is");
    assert_eq!(in_language("sv", "contoso"), "481516 by Contoso");
    assert!(in_language("en", "fabrikam").starts_with("481516 is your sign-in code"));
    assert!(said(&texts, &challenge("sign_in", None), Channel::Voice).starts_with("Hello."), "it has none for calls");
}

#[test]
fn the_tenant_default_stands_for_those_that_are_not_configured() {
    let mut directories =
        Directories::new().with_own("en.toml", "language = \"en\"\n[sms]\nsign_in = \"{code} for you\"\n");
    let own = directories.settings.tenant_messages.remove("contoso").expect("there");
    directories.settings.tenant_messages.insert("default".to_owned(), own);
    directories.settings.tenant_messages.insert("fabrikam".to_owned(), TenantMessages::default());
    let texts = directories.load().expect("right");
    for (tenant, ours) in [("contoso", false), ("default", false), ("fabrikam", true)] {
        let challenge = Challenge { tenant: tenant.to_owned(), ..challenge("sign_in", None) };
        assert_eq!(said(&texts, &challenge, Channel::Sms) != "481516 for you", ours, "{tenant}");
    }
}

#[test]
fn a_tenants_style_holds_for_the_texts_that_it_shares() {
    let mut directories = Directories::new();
    let autofill = Autofill { domain: Some("contoso.example".into()), android_hash: None };
    directories.settings.messages.autofill = Autofill { domain: None, android_hash: Some("FA+9qCX9VSu".into()) };
    directories.settings.tenant_messages.get_mut("contoso").expect("there").autofill = Some(autofill);
    let texts = directories.load().expect("right");
    let own = said(&texts, &challenge("sign_in", None), Channel::Sms);
    assert!(own.ends_with("\n@contoso.example #481516") && !own.contains("FA+9"), "{own}");
    let other = Challenge { tenant: "fabrikam".into(), ..challenge("sign_in", None) };
    assert!(said(&texts, &other, Channel::Sms).ends_with("\nFA+9qCX9VSu"));
}

#[test]
fn each_mistake_is_told() {
    const HEAD: &str = "language = \"de\"\n[sms]\n";
    const PUSH: &str = "language = \"de\"\n[push]\n";
    for (content, expected) in [
        (
            format!("{HEAD}x = \"no code\"\n"),
            "de.toml:3:5: sms.x: a text without {code}; allowed: a text that tells the code",
        ),
        (
            format!("{HEAD}x = \"{{code\"\n"),
            "de.toml:3:5: sms.x: `{` at byte 0 has no partner; allowed: a text with places such as {code}; {{ and }} stand for braces",
        ),
        (
            format!("{HEAD}x = 5\n"),
            "de.toml:3:5: sms.x: found 5; allowed: a text with places such as {code}; {{ and }} stand for braces",
        ),
        (format!("{HEAD}x = \" \"\n"), "de.toml:3:5: sms.x: a text of 0 characters; allowed: 1 to 1000 characters"),
        (format!("{HEAD}x = []\n"), "de.toml:3:5: sms.x: a list without wordings; allowed: at least one wording"),
        (
            format!("{HEAD}x = [\"{{code}}\", \"none\"]\n"),
            "de.toml:3:16: sms.x[1]: a text without {code}; allowed: a text that tells the code",
        ),
        (
            format!("{HEAD}x = \"{{code}}\\tx\"\n"),
            "de.toml:3:5: sms.x: a text with '\\t'; allowed: printable characters; in a text message also \"\\n\"",
        ),
        (
            format!("{PUSH}x = \"Is this you?\"\n"),
            "de.toml:3:5: push.x: found \"Is this you?\"; allowed: a table: { title = \"…\", body = \"…\" }",
        ),
        (
            format!("{PUSH}x = {{ title = \"{{code}}\", body = \"x\" }}\n"),
            "de.toml:3:15: push.x.title: a prompt with {code}; allowed: a prompt without the code, which other apps could read",
        ),
        (
            format!("{PUSH}x = {{ title = \"x\" }}\n"),
            "de.toml:3:1: push.x.body: missing; allowed: what stands below the title",
        ),
        (
            "language = \"fr\"\n".to_owned(),
            "de.toml:1:12: language: found \"fr\" in de.toml; allowed: the name of the file",
        ),
        ("[sms]\n".to_owned(), "de.toml:1:1: language: missing; allowed: a language tag such as \"de\" or \"zh-Hans\""),
        (
            "language = \"german\"\n".to_owned(),
            "de.toml:1:12: language: found \"german\"; allowed: a language tag such as \"de\" or \"zh-Hans\"",
        ),
        (
            "language = \"de\"\n[smss]\n".to_owned(),
            "de.toml:2:2: smss: unknown key; did you mean `sms`?; allowed: language, push, sms, voice",
        ),
        ("language = \"de\n".to_owned(), "de.toml:1:15: not TOML: invalid basic string, expected `\"`"),
    ] {
        assert_eq!(Directories::new().with("de.toml", &content).load(), Err(vec![expected.to_owned()]), "{content}");
        let own = Directories::new().with_own("de.toml", &content).load();
        assert_eq!(own, Err(vec![format!("own/{expected}")]), "{content}");
    }
}

#[test]
fn one_language_has_one_file() {
    let text = |tag: &str| format!("language = \"{tag}\"\n[sms]\ndefault = \"{{code}}\"\n");
    let directories = Directories::new().with("zh.toml", &text("zh")).with("zh-hans.toml", &text("zh-Hans"));
    let expected = "zh-hans.toml:1:12: language: the language of zh.toml, too; allowed: one file for each language";
    assert_eq!(directories.load(), Err(vec![expected.to_owned()]));
    let texts = Directories::new().with("zh.toml", &text("zh")).load().expect("right");
    assert_eq!(
        said(&texts, &challenge("sign_in", Some("zh-Hans-CN")), Channel::Sms),
        CODE,
        "it replaces the built-in one"
    );
}

#[test]
fn english_must_always_have_something_to_say() {
    let english = |texts: &str| Directories::new().with("en.toml", &format!("language = \"en\"\n{texts}")).load();
    let told = |wrong: &str| Err(vec![format!("en.toml:{wrong}")]);
    assert_eq!(
        english("[sms]\ndefault = [\"{code}\", \"{code} for {app}\"]\n"),
        told(
            "3:11: sms.default: {app} in the text that everything falls back to; allowed: no place but {code}, since not \
             every challenge has others"
        )
    );
    assert_eq!(
        english("[voice]\nsign_in = \"{code}\"\n"),
        told("2:2: voice.default: missing; allowed: the text that is sent when no other fits")
    );
    assert!(english("").is_ok(), "the built-in texts stay");
    let own = Directories::new().with_own("en.toml", "language = \"en\"\n[sms]\ndefault = \"{code} for {app}\"\n");
    let texts = own.load().expect("the general text stands behind it");
    assert!(said(&texts, &challenge("sign_in", None), Channel::Sms).starts_with("481516 is your sign-in code"));
}

proptest::proptest! {
    /// Whatever upstream says, the person gets the code as it was given, on as many lines as the template has.
    #[test]
    fn what_upstream_says_changes_neither_code_nor_lines(
        app in ".{0,200}", name in "[^\\x20-\\x7e]{0,30}", locale in proptest::option::of("[a-zA-Z0-9-]{0,12}"), code in "[A-Za-z0-9-]{1,16}",
        oversize in proptest::sample::select(vec!["keep", "look_alikes", "transliterate", "shorten"]),
    ) {
        let file = "language = \"en\"\n[sms]\ndefault = \"{code}\"\nsign_in = \"{code} {app}\\n{name} ({code})\"\n[voice]\ndefault = \"{code}\"\n\
                    [push]\ndefault = { title = \"t\", body = \"b\" }\nsign_in = { title = \"{app}\", body = \"{name} {app}\" }\n";
        let toml = format!("[messages]\noversize = \"{oversize}\"\nautofill = {{ domain = \"example.com\" }}\n");
        let mut directories = Directories::new().with("en.toml", file);
        let config = directories.general.path().join("courier.conf");
        std::fs::write(&config, toml).expect("writable");
        directories.settings.messages = Settings::load(Some(&config), []).expect("right").messages;
        let texts = directories.load().expect("right");
        let mut challenge = challenge("sign_in", locale.as_deref());
        challenge.vars = BTreeMap::from([("app".into(), app), ("name".into(), name), ("code".into(), "000000".into())]);
        challenge.code = Some(Secret::new(code.as_str()));
        for channel in Channel::ALL {
            let rendered = rendered(&texts, &challenge, channel);
            // Another language has texts of its own.
            proptest::prop_assume!(rendered.language == "en");
            let shown = rendered.said.text.expose();
            for line in shown.lines().chain(rendered.said.title.as_deref()) {
                proptest::prop_assert!(!line.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{:?}", line);
            }
            match channel {
                Channel::Sms => {
                    proptest::prop_assert!(shown.starts_with(&code), "{}", shown);
                    proptest::prop_assert!(shown.ends_with(&format!("\n@example.com #{code}")), "{}", shown);
                    proptest::prop_assert!(matches!(shown.lines().count(), 2 | 3), "{}", shown);
                    proptest::prop_assert_eq!(rendered.said.segments, Some(measure(shown).segments));
                    if shown.lines().count() == 3 {
                        proptest::prop_assert!(shown.contains(&format!(" ({code})\n")), "{}", shown);
                    }
                }
                Channel::Voice => {
                    let said: String = shown.split(", ").collect();
                    proptest::prop_assert_eq!(said, code.replace('-', "").to_uppercase());
                }
                Channel::Push => proptest::prop_assert_eq!(shown.lines().count(), 1),
            }
        }
    }
}
