//! The configuration as operators meet it: its layers, its secrets, what comes out of it.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::delivery::compose::{Autofill, Oversize};
use crate::delivery::policy::{CountryRule, Destination, OnUnknown, SenderPolicy};
use crate::guard::quota::Rate;
use crate::phone::Country;
use crate::secret::Secret;

mod mistakes;

/// A directory for one test, and the configuration file in it.
struct Operator {
    dir: TempDir,
}

impl Operator {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("writable");
        path
    }

    fn load(&self, toml: &str, env: &[(&str, &str)]) -> Result<Settings, Vec<ConfigError>> {
        let file = self.write("courier.toml", toml);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(Some(&file), env)
    }

    /// What is wrong, one line each, with the file's directory left out.
    fn errors(&self, toml: &str, env: &[(&str, &str)]) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        let errors = self.load(toml, env).expect_err("wrong on purpose");
        errors.iter().map(|error| error.to_string().replace(&dir, "")).collect()
    }
}

fn load(toml: &str, env: &[(&str, &str)]) -> Settings {
    Operator::new().load(toml, env).expect("right")
}

fn country(code: &str) -> Country {
    Country::parse(code).expect("a code")
}

const TWO_PROVIDERS: &str = "[providers.one]\nkind = \"x\"\n[providers.two]\nkind = \"x\"\n";

#[test]
fn the_defaults_alone_are_right_and_hold_to_the_code() {
    let settings = Settings::load(None, []).expect("the built-in defaults are right");
    assert_eq!(settings.policy(|_| Channel::ALL.to_vec().into()), Policy::default());
    assert_eq!(settings.broker.names, crate::broker::Names::default());
    assert_eq!(settings.messages, Style::default());
    assert_eq!(settings.warnings, []);
    assert_eq!(settings.health.max_open, Duration::from_mins(2));
}

#[test]
fn every_default_is_in_the_dump_as_it_is_in_the_file() {
    let settings = Settings::load(None, []).expect("right");
    let dumped: toml::Table = settings.redacted().parse().expect("the dump is TOML");
    let mut defaults: toml::Table = DEFAULTS.parse().expect("TOML");
    for secret in ["broker", "ledger"] {
        defaults[secret]["url"] = "[redacted]".into();
    }
    assert_eq!(dumped, defaults);
}

#[test]
fn the_dump_read_again_is_the_same_configuration() {
    let toml = "[broker]\nurl = \"memory:\"\n[providers.one]\nkind = \"x\"\nreceipt_timeout = { default = \"20s\", CN = \"40s\" }\n\
                senders = [{ from = \"A\", countries = [\"US\"] }, \"B\"]\ntoken = \"t0ken\"\n\
                [[routes]]\nchannel = \"sms\"\nto = [\"CN\", \"+852\"]\nproviders = [\"one\"]\n";
    let first = load(toml, &[("COURIER__BROKER__PREFETCH", "7")]);
    let again = load(&first.redacted().replacen("\"[redacted]\"", "\"memory:\"", 2), &[]);
    assert_eq!(first.redacted(), again.redacted());
    assert_eq!((first.broker.prefetch, again.broker.prefetch), (7, 7));
    assert_eq!(first.routes[0].rule, again.routes[0].rule);
    assert_eq!(first.providers[0].per_channel(Channel::Sms), again.providers[0].per_channel(Channel::Sms));
}

/// The defaults with the settings that they only show in comments.
fn defaults_with_examples() -> String {
    let is_setting = |rest: &&str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let lines = DEFAULTS.lines().map(|line| line.strip_prefix('#').filter(is_setting).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The reference is whole: what an error calls allowed, the defaults show.
#[test]
fn every_key_that_is_known_is_in_the_defaults() {
    let shown: toml::Table = defaults_with_examples().parse().expect("TOML");
    let shown = toml::Value::Table(shown);
    let slips = "zz = 1\nbroker.zz = 1\nbroker.names.zz = 1\nledger.zz = 1\nhttp.zz = 1\nadmin.zz = 1\ndelivery.zz = 1\n\
                 delivery.attempt_timeout.zz = 1\ndelivery.receipt_timeout.zz = 1\ndelivery.on_unknown.zz = 1\n\
                 delivery.retry.zz = 1\nmessages.zz = 1\nmessages.autofill.zz = 1\nhealth.zz = 1\nguard.zz = 1\nproviders.twilio.kind = \"x\"\n\
                 providers.twilio.rate = { per_second = 1, zz = 1 }\nproviders.twilio.voice.zz = 1\ntenants.contoso.zz = 1\n\
                 tenants.contoso.messages.zz = 1\ntenants.contoso.messages.autofill.zz = 1\n\
                 routes = [{ channel = \"sms\", providers = [\"twilio\"], zz = 1 }]\n";
    let errors = Operator::new().load(slips, &[]).expect_err("wrong on purpose");
    assert_eq!(errors.len(), 21, "{errors:?}");
    for error in errors {
        let path = error.origin.path.replace("routes[0]", "routes.0").replace("twilio.voice", "twilio");
        let parents = path.split('.').filter(|step| *step != "zz");
        let table =
            parents.fold(&shown, |table, step| step.parse::<usize>().map_or_else(|_| &table[step], |at| &table[at]));
        for key in error.allowed.expect("the keys").split(", ") {
            assert!(table.get(key).is_some(), "{path} has {key}, which the defaults do not show");
        }
    }
}

/// Each key that the defaults show in a comment is one that is known.
#[test]
fn every_example_in_the_defaults_is_right() {
    let operator = Operator::new();
    let (file, dir) = (operator.write("a.pem", "x"), operator.dir.path().display().to_string());
    let secret = operator.write("key", "0123456789abcdef");
    let mut examples = defaults_with_examples();
    for name in ["ca.pem", "client.pem", "client.key", "redis-ca.pem", "redis-client.pem", "redis-client.key"] {
        examples = examples.replace(&format!("/etc/mfa-courier/{name}"), &file.display().to_string());
    }
    for name in ["providers", "messages", "contoso"] {
        examples = examples.replace(&format!("\"/etc/mfa-courier/{name}\""), &format!("{dir:?}"));
    }
    for name in ["fcm-service-account.json", "apns-key.p8", "huawei-secret", "wns-secret", "vapid-key.pem"] {
        examples = examples.replace(&format!("/run/secrets/{name}"), &secret.display().to_string());
    }
    examples = examples
        .replace("/run/secrets/courier-callback-key-before", &secret.display().to_string())
        .replace("/run/secrets/courier-callback-key", &secret.display().to_string())
        .replace("/run/secrets/courier-content-key", &secret.display().to_string())
        .replace("amqp://guest", "amqps://guest")
        .replace("url = \"memory:\"", "url = \"rediss://redis.example.com/0\"");
    let key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    let variables =
        [("COURIER_ADMIN_TOKEN", "0123456789abcdef"), ("COURIER_LEDGER_KEY", key), ("COURIER_LEDGER_KEY_BEFORE", key)];
    let settings = operator.load(&examples, &variables).expect("right");
    assert_eq!(settings.providers[0].kind, "twilio");
    assert_eq!(settings.routes.len(), 1);
    assert!(settings.tenants.contains_key("contoso"));
}

#[test]
fn the_environment_reaches_every_kind_of_key() {
    let toml = "[broker]\nprefetch = 5\n[providers.Twilio-US]\nkind = \"twilio\"\nauth_token = { env = \"NOT_SET\" }\n\
                [guard]\ncountries = { deny = [\"RU\"] }\n";
    let settings = load(
        toml,
        &[
            ("COURIER__LOG_FORMAT", "json"),
            ("COURIER__BROKER__PREFETCH", "7"),
            ("COURIER__BROKER__DECLARE", "false"),
            ("COURIER__BROKER__NAMES__DEAD", "q.dead"),
            ("COURIER__BROKER__URL", "memory:"),
            ("COURIER__DELIVERY__ATTEMPT_TIMEOUT", "{ sms = \"1s\" }"),
            ("COURIER__DELIVERY__ON_UNKNOWN__VOICE", "conclude"),
            ("COURIER__HEALTH__FAILURE_RATIO", "0.25"),
            ("COURIER__GUARD__COUNTRIES__ALLOW", "[\"US\", \"CN\"]"),
            ("COURIER__PROVIDERS__TWILIO_US__AUTH_TOKEN", "[not toml"),
            ("COURIER__PROVIDERS__TWILIO_US__COST", "{ currency = \"USD\" }"),
            ("COURIER__PROVIDERS__TWILIO_US__COST__US", "0.0079"),
            ("COURIER__PROVIDERS__NEW__KIND", "aliyun"),
            ("COURIER__ROUTES", "[{ channel = \"sms\", providers = [\"new\", \"Twilio-US\"] }]"),
            ("COURIER_CONFIG", "not ours"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!((settings.broker.prefetch, settings.broker.declare), (7, false));
    assert_eq!((settings.broker.names.dead.as_str(), settings.broker.url.expose()), ("q.dead", "memory:"));
    assert_eq!(settings.broker.names.signals, "mfa.courier.signals", "the rest of the table stays");
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.delivery.attempt_timeout.sms, Duration::from_secs(1));
    assert_eq!(settings.delivery.attempt_timeout.push, Duration::from_secs(10));
    assert_eq!(settings.delivery.on_unknown.voice, OnUnknown::Conclude);
    assert!((settings.health.failure_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(settings.guard.countries, CountryRule::Allow(vec![country("US"), country("CN")]));
    let [twilio, new] = &settings.providers[..] else { unreachable!("{:?}", settings.providers) };
    assert_eq!((twilio.name.as_ref(), new.name.as_ref()), ("Twilio-US", "new"));
    assert_eq!(twilio.settings["auth_token"].value.expose(), "[not toml");
    assert_eq!(
        twilio.settings["auth_token"].origin.to_string(),
        "COURIER__PROVIDERS__TWILIO_US__AUTH_TOKEN: providers.Twilio-US.auth_token"
    );
    let cost = twilio.per_channel(Channel::Sms).cost.expect("given");
    assert_eq!(cost.by_country[&country("US")].to_string(), "0.0079");
    assert_eq!(settings.routes[0].rule.providers, ["new", "Twilio-US"].map(Arc::<str>::from));
}

#[test]
fn secrets_come_from_where_they_are_kept_and_are_shown_nowhere() {
    let operator = Operator::new();
    let file = operator.write("token", "hunter2-from-file\n");
    let toml = format!(
        "[broker]\nurl = \"amqp://u:hunter2-url@h/v\"\n[admin]\ntoken = {{ env = \"ADMIN_TOKEN\" }}\n\
         [providers.x]\nkind = \"x\"\nauth_token = {{ file = {file:?} }}\naccount = \"hunter2-account\"\n"
    );
    let path = file.display().to_string();
    let variables = [("ADMIN_TOKEN", "hunter2-from-environment"), ("COURIER__LEDGER__CONTENT_KEY__FILE", &path)];
    let settings = operator.load(&toml, &variables).expect("right");
    assert_eq!(settings.ledger.content_key.as_ref().map(Secret::expose), Some("hunter2-from-file"));
    let setting = |key: &str| settings.providers[0].settings[key].value.expose().to_owned();
    assert_eq!(settings.admin.token.as_ref().map(Secret::expose), Some("hunter2-from-environment"));
    assert_eq!((setting("auth_token").as_str(), setting("account").as_str()), ("hunter2-from-file", "hunter2-account"));
    for shown in [format!("{settings:?}"), settings.redacted()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(settings.redacted().contains("auth_token = \"[redacted]\""), "{}", settings.redacted());
}

#[cfg(unix)]
#[test]
fn what_works_but_should_not_stay_so_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let operator = Operator::new();
    let (open, closed) = (operator.write("open", "s"), operator.write("closed", "s"));
    for (path, mode) in [(&open, 0o644), (&closed, 0o640)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
    }
    let toml = format!(
        "[ledger]\nretention = \"1m\"\n[admin]\ntoken = \"short\"\n[providers.x]\nkind = \"x\"\n\
         a = {{ file = {open:?} }}\nb = {{ file = {closed:?} }}\n"
    );
    let settings = operator.load(&toml, &[]).expect("right");
    let dir = format!("{}/", operator.dir.path().display());
    let warnings: Vec<_> = settings.warnings.iter().map(|warning| warning.to_string().replace(&dir, "")).collect();
    assert_eq!(
        warnings,
        [
            "courier.toml:2:13: ledger.retention: shorter than delivery.max_ttl: a late repeat of a challenge may be sent again",
            "courier.toml:4:9: admin.token: shorter than 16 characters: it can be guessed",
            "courier.toml:7:14: providers.x.a.file: open can be read by every user of this machine: chmod o-rwx",
        ]
    );
}

#[test]
fn a_built_in_default_yields_to_a_shorter_limit_of_the_operator() {
    let delivery = load("[delivery]\nmax_ttl = \"3s\"\n", &[]).delivery;
    let seconds = Duration::from_secs;
    assert_eq!((delivery.default_ttl, delivery.max_ttl), (seconds(3), seconds(3)));
    assert_eq!((delivery.attempt_timeout.sms, delivery.attempt_timeout.push), (seconds(3), seconds(3)));
}

#[test]
fn a_channel_may_differ_from_its_provider() {
    let toml = "[providers.x]\nkind = \"x\"\nsenders = [{ from = \"+15005550006\", countries = [\"US\"], per_second = 1 }, \"A\"]\n\
                rate = { per_second = 12.5 }\nmax_in_flight = 3\nreceipt_timeout = \"9s\"\n\
                cost = { default = \"0.05\", currency = \"USD\" }\n\
                voice = { rate = { per_second = 1, burst = 4 }, senders = [], receipt_timeout = { CN = \"40s\" } }\n";
    let settings = load(toml, &[]);
    let entry = &settings.providers[0];
    let (sms, voice) = (entry.per_channel(Channel::Sms), entry.per_channel(Channel::Voice));
    assert_eq!(
        sms.senders,
        [
            SenderPolicy { from: "+15005550006".into(), countries: vec![country("US")], per_second: Some(1.0) },
            SenderPolicy { from: "A".into(), countries: Vec::new(), per_second: None },
        ]
    );
    assert_eq!(sms.rate, Some(Rate { per_second: 12.5, burst: 13 }));
    assert_eq!((sms.max_in_flight, sms.receipts), (3, false));
    assert_eq!((voice.senders.as_slice(), voice.rate), (&[][..], Some(Rate { per_second: 1.0, burst: 4 })));
    assert_eq!((voice.max_in_flight, &voice.cost), (3, &sms.cost));
    assert!(entry.has_own_rate(Channel::Voice) && !entry.has_own_rate(Channel::Sms));
    assert!(!entry.has_own_max_in_flight(Channel::Voice));
    let policy = settings.policy(|_| vec![Channel::Sms, Channel::Voice].into());
    let on = |channel| policy.provider("x", channel).expect("serves it");
    assert_eq!(policy.news_timeout(on(Channel::Sms), None), Duration::from_secs(9));
    assert_eq!(policy.news_timeout(on(Channel::Voice), Some(country("CN"))), Duration::from_secs(40));
    assert_eq!(policy.news_timeout(on(Channel::Voice), None), Duration::from_secs(75));
    assert_eq!(policy.provider("x", Channel::Push), None);
}

#[test]
fn routes_and_tenants_keep_their_order_and_meaning() {
    let toml = format!(
        "{TWO_PROVIDERS}[[routes]]\nchannel = \"sms\"\nto = [\"CN\", \"+852\"]\ntenants = [\"contoso\"]\n\
         purposes = [\"sign_in\"]\nproviders = [\"two\", \"one\"]\nstrategy = \"priority\"\n\
         [[routes]]\nchannel = \"push\"\nproviders = [\"one\"]\n\
         [tenants.contoso]\nmethods = [\"push\", \"sms\"]\nlocale = \"zh-CN\"\n"
    );
    let settings = load(&toml, &[]);
    let policy = settings.policy(|_| vec![Channel::Sms].into());
    assert_eq!(policy.routes[0].to, [Destination::Country(country("CN")), Destination::Prefix("+852".into())]);
    assert_eq!(policy.routes[0].providers, ["two", "one"].map(Arc::<str>::from));
    assert_eq!((policy.routes[1].channel, policy.routes[1].to.len()), (Channel::Push, 0));
    assert_eq!(settings.routes[1].provider_origins[0].path, "routes[1].providers[0]");
    let contoso = policy.tenant("contoso").expect("configured");
    assert_eq!(contoso.methods.as_deref(), Some(&[Channel::Push, Channel::Sms][..]));
    assert_eq!(contoso.locale.as_deref(), Some("zh-CN"));
    assert_eq!(policy.tenant("unheard-of"), None);
    let names: Vec<_> = policy.providers.iter().map(|provider| provider.name.as_ref()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn a_tenant_may_make_its_messages_in_its_own_way() {
    let operator = Operator::new();
    let dir = operator.dir.path();
    let toml = format!(
        "[messages]\noversize = \"keep\"\nautofill = {{ domain = \"login.contoso.example\", android_hash = \"FA+9qCX9VSu\" }}\n\
         [tenants.a]\nmessages_dir = {dir:?}\nmessages = {{ oversize = \"shorten\" }}\n\
         [tenants.b]\nmessages = {{ autofill = {{ domain = \"xn--bcher-kva.example\" }} }}\n\
         [tenants.c]\nmessages.autofill = {{}}\n[tenants.d]\n"
    );
    let settings =
        operator.load(&toml, &[("COURIER__TENANTS__D__MESSAGES__OVERSIZE", "transliterate")]).expect("right");
    let general = &settings.messages;
    let autofill = |domain: &str, hash: &str| {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Autofill { domain: given(domain), android_hash: given(hash) }
    };
    let whole = autofill("login.contoso.example", "FA+9qCX9VSu");
    for (name, oversize, autofill) in [
        ("a", Oversize::Shorten, whole.clone()),
        ("b", Oversize::Keep, autofill("xn--bcher-kva.example", "")),
        ("c", Oversize::Keep, autofill("", "")),
        ("d", Oversize::Transliterate, whole),
    ] {
        let style = settings.tenant_messages[name].style(general);
        assert_eq!(style, Style { oversize, autofill }, "{name}");
    }
    assert_eq!(settings.tenant_messages["a"].dir.as_deref(), Some(dir));
    assert_eq!(settings.tenant_messages["b"].dir, None);
}

#[test]
fn amounts_are_exact() {
    for (text, micros) in [("0", 0), ("1", 1_000_000), ("0.0079", 7_900), ("12.5", 12_500_000), ("0.000001", 1)] {
        let amount = Amount::parse(text).expect(text);
        assert_eq!((amount.micros, amount.to_string().as_str()), (micros, text));
    }
    for bad in ["", ".5", "1.", "-1", "+1", "1e3", "0.0000001", "1,5", "99999999999"] {
        assert_eq!(Amount::parse(bad), None, "{bad}");
    }
}
