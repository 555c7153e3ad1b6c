//! Every class of mistake in its exact words: they are what an operator has to go by.

use super::*;

/// A mistake in the file and the line that reports it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[broker]\nprefech = 5\n",
        "courier.toml:2:1: broker.prefech: unknown key; did you mean `prefetch`?; allowed: ca_file, client_cert_file, \
         client_key_file, declare, delivery_limit, heartbeat, max_message_bytes, names, prefetch, url",
    ),
    (
        "[broker]\nprefetch = 0\n",
        "courier.toml:2:12: broker.prefetch: found 0; allowed: a whole number from 1 to 65535",
    ),
    (
        "[broker]\nprefetch = \"5\"\n",
        "courier.toml:2:12: broker.prefetch: found \"5\"; allowed: a whole number from 1 to 65535",
    ),
    (
        "[broker]\nheartbeat = \"1500ms\"\n",
        "courier.toml:2:13: broker.heartbeat: found a part of a second; allowed: whole seconds, which is all that AMQP can say",
    ),
    (
        "[broker]\nurl = \"http://guest:hunter2@localhost\"\n",
        "courier.toml:2:7: broker.url: found an address of another kind (not shown: it may hold a password); \
         allowed: amqp://user:password@host:port/vhost, amqps://…, or memory:",
    ),
    (
        "[broker.names]\ndead = \"mfa.courier.signals\"\n",
        "courier.toml:2:8: broker.names.dead: found \"mfa.courier.signals\", which is also broker.names.signals; \
         allowed: a name of its own",
    ),
    (
        "[ledger]\nurl = \"redis://:hunter2@127.0.0.1:6379/first\"\n",
        "courier.toml:2:7: ledger.url: found an address that begins with redis: and can't be read; \
         allowed: redis://user:password@host:port/database, rediss://…, or memory:",
    ),
    (
        "[ledger]\nprefix = \"a b\"\n",
        "courier.toml:2:10: ledger.prefix: found \"a b\"; allowed: up to 64 visible ASCII characters",
    ),
    (
        "[ledger]\nencryption_key = \"x\"\n",
        "courier.toml:2:18: ledger.encryption_key: found another value (not shown); \
         allowed: 32 bytes in base64, as `openssl rand -base64 32` makes them",
    ),
    (
        "[ledger]\nencryption_key_previous = \"x\"\n",
        "courier.toml:2:27: ledger.encryption_key_previous: found without encryption_key; \
         allowed: this key only beside encryption_key",
    ),
    (
        "[admin]\nlisten = \"0.0.0.0:8081\"\n",
        "courier.toml:2:10: admin.listen: found \"0.0.0.0:8081\" without admin.token; allowed: a loopback address \
         such as \"127.0.0.1:8081\", or any address with admin.token set",
    ),
    (
        "[http]\nlisten = \"127.0.0.1:8081\"\n",
        "courier.toml:2:10: http.listen: found \"127.0.0.1:8081\", which is also admin.listen; allowed: an address of its own",
    ),
    (
        "[http]\nlisten = \"localhost\"\n",
        "courier.toml:2:10: http.listen: found \"localhost\"; allowed: an IP address and a port, such as \
         \"127.0.0.1:8080\" or \"[::]:8080\"",
    ),
    (
        "[http]\npublic_url = \"https://user:hunter2@example.com\"\n",
        "courier.toml:2:14: http.public_url: found an address with a user; allowed: an address such as \
         \"https://api.example.com\", without user, query or fragment",
    ),
    (
        "[delivery]\ngrace = \"0s\"\n",
        "courier.toml:2:9: delivery.grace: found \"0s\"; allowed: a duration from \"1ms\" to \"1h\", with ms, s, m or h",
    ),
    (
        "[delivery]\nmax_ttl = 900\n",
        "courier.toml:2:11: delivery.max_ttl: found 900; allowed: a duration from \"1ms\" to \"24h\", with ms, s, m or h",
    ),
    (
        "[delivery]\ndefault_ttl = \"16m\"\n",
        "courier.toml:2:15: delivery.default_ttl: found \"16m\"; allowed: at most delivery.max_ttl, which is \"15m\"",
    ),
    (
        "[delivery]\nattempt_timeout = { voice = \"20m\" }\n",
        "courier.toml:2:29: delivery.attempt_timeout.voice: found \"20m\"; allowed: at most delivery.max_ttl, which is \"15m\"",
    ),
    (
        "[delivery]\nattempt_timeout.sms = \"0s\"\n",
        "courier.toml:2:23: delivery.attempt_timeout.sms: found \"0s\"; allowed: a duration from \"1ms\" to \"1h\", with ms, s, m or h",
    ),
    (
        "[delivery]\non_silence = \"next_chanel\"\n",
        "courier.toml:2:14: delivery.on_silence: found \"next_chanel\"; did you mean \"next_channel\"?; allowed: \
         \"next_channel\", \"next_hop\", \"conclude\"",
    ),
    (
        "[delivery]\nretry = { initial = \"3s\" }\n",
        "courier.toml:2:21: delivery.retry.initial: max_delay \"2s\" is less than initial \"3s\"; allowed: max_delay \
         at least as long as initial",
    ),
    (
        "[delivery]\nawait_verification = \"yes\"\n",
        "courier.toml:2:22: delivery.await_verification: found \"yes\"; allowed: true, false",
    ),
    (
        "[health]\nfailure_ratio = 1.5\n",
        "courier.toml:2:17: health.failure_ratio: found 1.5; allowed: a number above 0 and up to 1",
    ),
    (
        "[guard]\ncountries = { allow = [\"US\"], deny = [\"RU\"] }\n",
        "courier.toml:2:1: guard.countries: found both allow and deny; allowed: { allow = [...] } or { deny = [...] }",
    ),
    (
        "[guard]\ncountries = { allow = [\"US\", \"UK\"] }\n",
        "courier.toml:2:30: guard.countries.allow[1]: found \"UK\"; allowed: the ISO code of a country, such as \"US\"",
    ),
    (
        "[tenants.Contoso]\nmethods = []\n",
        "courier.toml:1:10: tenants.Contoso: \"Contoso\" can't name a tenant; allowed: 1 to 64 of a-z, 0-9, `.`, `_` and `-`",
    ),
    (
        "[tenants.contoso]\nmethods = [\"sms\", \"email\"]\n",
        "courier.toml:2:19: tenants.contoso.methods[1]: found \"email\"; allowed: \"sms\", \"voice\", \"push\"",
    ),
    (
        "log = \"inof\"\n",
        "courier.toml:1:7: log: found \"inof\"; allowed: error, warn, info, debug, trace, off, or levels \
      by module such as \"info,lapin=warn\"",
    ),
    (
        "providers_dir = \"/nowhere/at/all\"\n",
        "courier.toml:1:17: providers_dir: /nowhere/at/all can't be read: there is no such file; allowed: the path of a directory",
    ),
    ("admin = 5\n", "courier.toml:1:9: admin: found 5; allowed: a table: [admin] or { key = value }"),
];

#[test]
fn each_mistake_is_told_where_what_and_what_else() {
    let operator = Operator::new();
    for (toml, expected) in MISTAKES.iter().chain(MISTAKES_TOGETHER) {
        assert_eq!(operator.errors(toml, &[]), [*expected], "{toml}");
    }
}

/// More of them, where the rule is about two keys or comes with a later version.
const MISTAKES_TOGETHER: &[(&str, &str)] = &[
    (
        "[broker]\nurl = \"amqps://h\"\nclient_cert_file = \"/dev/null\"\n",
        "courier.toml:1:2: broker.client_key_file: missing; allowed: the key of client_cert_file",
    ),
    (
        "[broker]\nca_file = \"/dev/null\"\n",
        "courier.toml:2:11: broker.ca_file: broker.url does not use TLS; allowed: this key only together with amqps://",
    ),
    (
        "[broker]\nurl = \"amqp://u:hunter2#@h\"\n",
        "courier.toml:2:7: broker.url: found an address that begins with amqp: and can't be read; allowed: \
         amqp://user:password@host:port/vhost, amqps://…, or memory:",
    ),
    (
        "messages_dir = \"/dev/null\"\n",
        "courier.toml:1:16: messages_dir: /dev/null is not a directory; allowed: the path of a directory",
    ),
    (
        "[guard]\ncountries = {}\n",
        "courier.toml:2:1: guard.countries: found neither allow nor deny; allowed: { allow = [...] } or { deny = [...] }",
    ),
    (
        "[guard]\ndefault_region = \"001\"\n",
        "courier.toml:2:18: guard.default_region: found \"001\"; allowed: the ISO code of a country, such as \"US\"",
    ),
    (
        "[messages]\noversize = \"cut\"\n",
        "courier.toml:2:12: messages.oversize: found \"cut\"; allowed: \"keep\", \"look_alikes\", \"transliterate\", \"shorten\"",
    ),
    (
        "[messages]\nautofill = { domain = \"https://example.com\" }\n",
        "courier.toml:2:23: messages.autofill.domain: found \"https://example.com\"; allowed: the host of a website in \
         lower case, such as \"example.com\", without scheme, port or path; other alphabets as xn--…",
    ),
    (
        "[tenants.contoso.messages.autofill]\nandroid_hash = \"FA+9qCX9VS\"\n",
        "courier.toml:2:16: tenants.contoso.messages.autofill.android_hash: found \"FA+9qCX9VS\"; allowed: the app's \
         11-character hash for the SMS Retriever API, such as \"FA+9qCX9VSu\"",
    ),
    ("[guard]\nper_prefix = {}\n", "courier.toml:2:1: guard.per_prefix: this setting comes with a later version"),
    (
        "[tenants.contoso]\nlocale = \"zh_CN\"\n",
        "courier.toml:2:10: tenants.contoso.locale: found \"zh_CN\"; allowed: a language tag such as \"en\" or \"zh-Hans-CN\"",
    ),
    (
        "[[providers]]\nkind = \"x\"\n",
        "courier.toml:1:1: providers: found an array; allowed: a table: [providers] or { key = value }",
    ),
    ("routes = [5]\n", "courier.toml:1:11: routes[0]: found 5; allowed: a table: { key = value }"),
    ("log = hunter2\n", "courier.toml:1:7: not TOML: string values must be quoted, expected literal string"),
    (
        "log = 2026-01-01\n",
        "courier.toml:1:7: log: found 2026-01-01; allowed: error, warn, info, debug, trace, off, or \
      levels by module such as \"info,lapin=warn\"",
    ),
];

/// A mistake in the table of a provider that is otherwise right, or in a route. Hostile input 113.
const PROVIDER_MISTAKES: &[(&str, &str)] = &[
    (
        "rate = { per_second = 0 }",
        "courier.toml:3:23: providers.x.rate.per_second: found 0; allowed: a number above 0 and up to 100000",
    ),
    (
        "rate = { per_second = -1.5 }",
        "courier.toml:3:23: providers.x.rate.per_second: found -1.5; allowed: a number above 0 and up to 100000",
    ),
    (
        "rate = { per_second = 1e308 }",
        "courier.toml:3:23: providers.x.rate.per_second: found 1e308; allowed: a number above 0 and up to 100000",
    ),
    (
        "rate = { per_second = nan }",
        "courier.toml:3:23: providers.x.rate.per_second: found NaN; allowed: a number above 0 and up to 100000",
    ),
    (
        "rate = { per_second = 1, burst = 0 }",
        "courier.toml:3:34: providers.x.rate.burst: found 0; allowed: a whole number from 1 to 1000000",
    ),
    (
        "max_in_flight = 99999999999999999999",
        "courier.toml:3:17: providers.x.max_in_flight: found 99999999999999999999; allowed: a whole number from 1 to 100000",
    ),
    (
        "senders = [\"A\", { from = \"A\" }]",
        "courier.toml:3:17: providers.x.senders[1]: the sender \"A\" again; allowed: each sender once",
    ),
    (
        "senders = [{ countries = [\"US\"] }]",
        "courier.toml:3:12: providers.x.senders[0].from: missing; allowed: a number or a name of 1 to 64 characters",
    ),
    (
        "recepits = true",
        "courier.toml:3:1: providers.x.recepits: unknown key, found a boolean; did you mean `receipts`?; allowed: a \
         setting of the provider: a string, { env = \"NAME\" } or { file = \"path\" }",
    ),
    (
        "cost = { US = 0.05, currency = \"USD\" }",
        "courier.toml:3:15: providers.x.cost.US: found 0.05; allowed: a decimal in quotes, such as \"0.0079\"",
    ),
    (
        "cost = { US = \"0.05\" }",
        "courier.toml:3:1: providers.x.cost.currency: missing; allowed: an ISO 4217 code such as \"USD\"",
    ),
    (
        "receipt_timeout = { uk = \"5s\" }",
        "courier.toml:3:21: providers.x.receipt_timeout.uk: unknown key; allowed: `default` and ISO codes of countries, such as US",
    ),
    (
        "base_url = \"ftp://example.com\"",
        "courier.toml:3:12: providers.x.base_url: found \"ftp://example.com\"; allowed: an address such as \
         \"https://api.example.com\", without user, query or fragment",
    ),
    (
        "voice = { senders = [], kind = \"y\" }",
        "courier.toml:3:25: providers.x.voice.kind: unknown key; allowed: cost, max_in_flight, rate, receipt_timeout, \
         receipts, senders",
    ),
    (
        "token = { env = \"NOT_SET\" }",
        "courier.toml:3:17: providers.x.token.env: the environment variable NOT_SET is not set; allowed: the name of an \
         environment variable that holds the secret",
    ),
    (
        "token = { file = \"/nowhere\" }",
        "courier.toml:3:18: providers.x.token.file: the secret file /nowhere can't be read: there is no such file; \
         allowed: the path of a file that holds the secret",
    ),
    (
        "token = { env = \"A\", file = \"b\" }",
        "courier.toml:3:9: providers.x.token: a table that is not one of env and file; allowed: a string, { env = \
         \"NAME\" } or { file = \"path\" }",
    ),
    (
        "token = \"\"",
        "courier.toml:3:9: providers.x.token: an empty secret; allowed: a string, { env = \"NAME\" } or { file = \"path\" }",
    ),
    (
        "[[routes]]\nchannel = \"sms\"\nproviders = [\"y\"]",
        "courier.toml:5:14: routes[0].providers[0]: found \"y\", which is not configured; allowed: x",
    ),
    (
        "[[routes]]\nchannel = \"sms\"\nproviders = []",
        "courier.toml:5:13: routes[0].providers: an empty array; allowed: an array of names of configured providers, at least one",
    ),
    (
        "[[routes]]\nchannel = \"sms\"\nproviders = [\"x\", \"x\"]",
        "courier.toml:5:19: routes[0].providers[1]: x again; allowed: each provider once",
    ),
    (
        "[[routes]]\nproviders = [\"x\"]",
        "courier.toml:3:1: routes[0].channel: missing; allowed: \"sms\", \"voice\", \"push\"",
    ),
    (
        "[[routes]]\nchannel = \"sms\"\nproviders = [\"x\"]\nstrategy = \"cheapest\"",
        "courier.toml:6:12: routes[0].strategy: found \"cheapest\"; allowed: \"priority\"",
    ),
    (
        "[[routes]]\nchannel = \"sms\"\nproviders = [\"x\"]\nto = [\"+0\"]",
        "courier.toml:6:7: routes[0].to[0]: found \"+0\"; allowed: the ISO code of a country, or + and the first digits of numbers, such as \"+852\"",
    ),
    (
        "[providers.\"a b\"]\nkind = \"x\"",
        "courier.toml:3:12: providers.\"a b\": \"a b\" can't name a provider; allowed: 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`",
    ),
    (
        "[providers.y]\nauth = \"z\"",
        "courier.toml:3:12: providers.y.kind: missing; allowed: the name of a provider definition, such as \"twilio\"",
    ),
    (
        "[providers.X]\nkind = \"x\"",
        "courier.toml:3:12: providers.X: a name that no variable can tell from x; allowed: names that differ in more \
         than case, `-` and `_`",
    ),
    ("[providers.x]\ntoken = \"y\"", "courier.toml:3:12: not TOML: duplicate key `x`"),
    ("token = \"abc", "courier.toml:3:13: not TOML: invalid basic string, expected `\"`"),
];

#[test]
fn each_mistake_about_providers_is_told() {
    let operator = Operator::new();
    for (toml, expected) in PROVIDER_MISTAKES {
        let toml = format!("[providers.x]\nkind = \"x\"\n{toml}\n");
        assert_eq!(operator.errors(&toml, &[]), [*expected], "{toml}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let toml =
        "log = 5\n[delivery]\ngrace = \"never\"\nretry.max = -1\n[broker]\nprefetch = 70000\nnames.dead = \"\"\n";
    let operator = Operator::new();
    let places: Vec<_> = operator
        .errors(toml, &[("COURIER__BROKR__URL", "x"), ("COURIER__GUARD__TEST_NUMBERS", "deny")])
        .iter()
        .map(|error| error.split(": found").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        places,
        [
            "courier.toml:1:7: log",
            "courier.toml:3:9: delivery.grace",
            "courier.toml:4:13: delivery.retry.max",
            "courier.toml:6:12: broker.prefetch",
            "courier.toml:7:14: broker.names.dead",
            "COURIER__BROKR__URL: brokr: unknown key; did you mean `broker`?; allowed: admin, broker, delivery, guard, \
             health, http, ledger, log, log_format, messages, messages_dir, providers, providers_dir, routes, tenants",
            "COURIER__GUARD__TEST_NUMBERS: guard.test_numbers",
        ]
    );
}

#[test]
fn a_missing_file_is_told() {
    let error = Settings::load(Some(Path::new("/nowhere/courier.toml")), []).expect_err("missing");
    assert_eq!(error[0].to_string(), "/nowhere/courier.toml:1:1: can't be read: there is no such file");
    let operator = Operator::new();
    std::fs::write(operator.path("courier.toml"), b"log = \"\xff\"").expect("writable");
    let errors = Settings::load(Some(&operator.path("courier.toml")), []).expect_err("not text");
    assert!(errors[0].to_string().ends_with("can't be read: not UTF-8"), "{errors:?}");
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let operator = Operator::new();
    for (name, value, expected) in [
        (
            "COURIER__BROKER__PREFETCH",
            "many",
            "COURIER__BROKER__PREFETCH: broker.prefetch: found \"many\"; allowed: a whole number from 1 to 65535",
        ),
        (
            "COURIER__GUARD__COUNTRIES__ALLOW",
            "US,CN",
            "COURIER__GUARD__COUNTRIES__ALLOW: guard.countries.allow: found \"US,CN\"; allowed: an array of ISO codes of \
             countries, such as [\"US\", \"CN\"]",
        ),
        (
            "COURIER__PROVIDERS__X__AUTH_TOKEN",
            "hunter2",
            "COURIER__PROVIDERS__X__AUTH_TOKEN: providers.x.kind: missing; allowed: the name of a provider definition, such \
             as \"twilio\"",
        ),
        (
            "COURIER__BROKER__URL",
            "hunter2",
            "COURIER__BROKER__URL: broker.url: found an address of another kind (not shown: it may hold a password); \
             allowed: amqp://user:password@host:port/vhost, amqps://…, or memory:",
        ),
        ("COURIER__LOG", "a\0", "COURIER__LOG: a value with a NUL byte; allowed: at most 64 KiB of text"),
    ] {
        assert_eq!(operator.errors("", &[(name, value)]), [expected]);
    }
}

#[test]
fn a_variable_that_adds_to_a_table_takes_no_blame_for_it() {
    let operator = Operator::new();
    let errors =
        operator.errors("[providers.x]\nrate = { burst = 1 }\n", &[("COURIER__PROVIDERS__X__RATE__BURST", "2")]);
    assert_eq!(
        errors,
        [
            "courier.toml:1:12: providers.x.kind: missing; allowed: the name of a provider definition, such as \"twilio\"",
            "courier.toml:2:1: providers.x.rate.per_second: missing; allowed: a number of messages",
        ]
    );
}

#[test]
fn a_setting_unknown_to_its_definition_is_told_where_it_was_written() {
    let operator = Operator::new();
    let settings = operator.load("[providers.x]\nkind = \"x\"\nbase_ulr = \"http://h\"\n", &[]).expect("right so far");
    let error = settings.providers[0].unknown_setting("base_ulr", &["auth_token"]).to_string();
    assert!(
        error.ends_with(
            "courier.toml:3:1: providers.x.base_ulr: unknown key; did you mean `base_url`?; allowed: apps, auth_token, \
             base_url, cost, endpoints, kind, max_in_flight, rate, receipt_timeout, receipts, senders"
        ),
        "{error}"
    );
}

#[test]
fn nothing_that_can_be_written_stops_the_reader() {
    let deep = format!("a = {}\n", "[".repeat(100_000));
    let operator = Operator::new();
    assert!(!operator.errors(&deep, &[]).is_empty());
    assert!(!operator.errors("", &[("COURIER__ROUTES", &"[".repeat(60_000))]).is_empty());
    assert!(!operator.errors("", &[("COURIER__", "x"), ("COURIER__A__", "[{")]).is_empty());
}

/// Nothing but a host and a hash may stand in the lines that phones read.
#[test]
fn lines_for_autofill_take_no_other_text() {
    let operator = Operator::new();
    let errors = |key: &str, value: &str| {
        let toml = format!("[messages]\nautofill.{key} = {value:?}\n");
        operator.load(&toml, &[]).map_or_else(|errors| errors.len(), |_| 0)
    };
    let long = format!("{}.com", "a".repeat(64));
    for bad in [
        "",
        "com",
        "Example.com",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a-.b",
        "a_b.c",
        "a.b:8080",
        "a.b/c",
        "é.fr",
        "a.b\n@c.d #1",
        &long,
    ] {
        assert_eq!(errors("domain", bad), 1, "{bad}");
    }
    for bad in ["", "FA+9qCX9VS", "FA+9qCX9VSuu", "FA+9qCX9VS=", "FA+9qCX9 Su", "FA+9qCX9VS\n"] {
        assert_eq!(errors("android_hash", bad), 1, "{bad}");
    }
    assert_eq!((errors("domain", "a-1.b"), errors("android_hash", "/+34567890a")), (0, 0));
}

proptest::proptest! {
    /// Whatever a file and a variable hold, the answer is settings or errors that say where.
    #[test]
    fn any_file_and_variable_is_settings_or_errors(
        keys in proptest::collection::vec("(log|broker|guard|providers\\.x|routes|tenants\\.é|http|delivery\\.retry)(\\.[a-z_]{1,6})?", 0..4),
        value in "(\"[^\"\\\\\n]{0,6}\"|[0-9]{1,20}|\\[\\]|\\{ env = \"A\" \\}|true|nan|[ -~]{0,8})",
        variable in "COURIER__[A-Z_]{0,12}",
        content in "\\PC{0,12}",
    ) {
        let toml = keys.iter().fold(String::new(), |toml, key| toml + key + " = " + &value + "\n");
        let operator = Operator::new();
        if let Err(errors) = operator.load(&toml, &[(&variable, &content)]) {
            proptest::prop_assert!(!errors.is_empty());
            for error in errors {
                proptest::prop_assert!(error.origin.place.is_own(), "{}", error);
            }
        }
    }
}
