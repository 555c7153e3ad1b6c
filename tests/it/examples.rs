//! The configurations in `config/examples` and in the README are right: they load without a warning, and their
//! providers can be built from what they say.

use std::path::Path;

use mfa_courier::boot::assemble;
use mfa_courier::challenge::Channel;
use mfa_courier::clock::Clock;
use mfa_courier::config::Settings;
use mfa_courier::simulator::{
    ACCOUNT_SID, API_KEY, API_SECRET, APPLICATION_ID, AUTH_TOKEN, SIGNING_SECRET, VONAGE_PRIVATE_KEY, service_account,
};

const LONG_SECRET: &str = "whsec_dGhpcnR5LXR3by1ieXRlcy1vZi1hbi1leGFtcGxlLWtleSE=";

/// A file of the repository.
fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("there")
}

/// Loads an example as it stands, its mounted secrets moved to a folder of the test.
fn load(text: &str, secrets: &[(&str, &str)], env: &[(&str, &str)]) -> Settings {
    let dir = tempfile::tempdir().expect("a directory");
    for (file, secret) in secrets {
        write_secret(&dir.path().join(file), secret);
    }
    let file = dir.path().join("courier.toml");
    let here = format!("{}/", dir.path().display());
    std::fs::write(&file, text.replace("/run/secrets/", &here)).expect("writable");
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::load(Some(&file), env).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(settings.warnings, []);
    build_providers(&settings);
    settings
}

/// The key of a service account as Google writes it.
fn account() -> String {
    service_account("https://oauth2.googleapis.com/token")
}

/// As an operator should: readable by its owner.
fn write_secret(path: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, secret).expect("writable");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("own file");
}

fn build_providers(settings: &Settings) {
    let assembled = assemble(settings, &Clock::system());
    let parts = assembled.unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(parts.warnings, []);
}

fn providers_of_the_last_route(settings: &Settings) -> Vec<&str> {
    settings.routes.last().expect("a route").rule.providers.iter().map(AsRef::as_ref).collect()
}

#[test]
fn the_example_for_production_is_right() {
    let secrets = [
        ("broker-url", "amqps://courier:secret@rabbitmq.internal:5671/mfa\n"),
        ("content-key", "an example of a key\n"),
        ("callback-key", "an example of another key\n"),
        ("twilio-api-secret", "secret\n"),
        ("gateway-signing-secret", LONG_SECRET),
        ("fcm-service-account.json", &account()),
    ];
    let env = [
        ("ADMIN_TOKEN", "an example of a token"),
        ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"),
        ("TWILIO_AUTH_TOKEN", "secret"),
        ("TWILIO_API_KEY", "SK00000000000000000000000000000000"),
    ];
    let settings = load(&read("config/examples/production.toml"), &secrets, &env);
    assert_eq!(providers_of_the_last_route(&settings), ["twilio", "gateway"]);
    let twilio = settings.providers[0].per_channel(Channel::Sms);
    assert_eq!((twilio.senders.len(), twilio.receipts), (2, true));
}

/// What stands in the example as a comment is as right as the rest.
#[test]
fn the_calls_of_the_example_for_production_are_right() {
    let example = read("config/examples/production.toml");
    let (_, after) = example.split_once("#[providers.vonage]").expect("Vonage, as a comment");
    let (lines, _) = after.split_once("\n\n").expect("an end");
    let (_, http) = example.split_once("[http]").expect("where receipts come");
    let (http, _) = http.split_once("[admin]").expect("an end");
    let toml = format!("[http]{http}[providers.vonage]{}", lines.replace("\n#", "\n"));
    let secrets = [
        ("callback-key", "an example of a key"),
        ("vonage-api-secret", "secret"),
        ("vonage-private-key", VONAGE_PRIVATE_KEY),
        ("vonage-signature-secret", "secret"),
    ];
    let env = [("VONAGE_API_KEY", "abcd1234"), ("VONAGE_APPLICATION_ID", APPLICATION_ID)];
    let settings = load(&toml, &secrets, &env);
    let rate = |channel| settings.providers[0].per_channel(channel).rate.map(|rate| rate.per_second);
    assert_eq!((rate(Channel::Sms), rate(Channel::Voice)), (Some(30.0), Some(3.0)));
}

#[test]
fn the_example_for_compose_is_right_and_knows_the_simulator() {
    let env = [("BROKER_URL", "amqp://courier:secret@rabbitmq:5672/%2f"), ("ADMIN_TOKEN", "an example of a token")];
    let settings = load(&read("config/examples/compose.toml"), &[], &env);
    assert_eq!(providers_of_the_last_route(&settings), ["twilio", "vonage", "gateway"]);
    let setting = |nth: usize, key: &str| settings.providers[nth].settings[key].value.expose().to_owned();
    assert_eq!(setting(0, "account_sid"), ACCOUNT_SID);
    assert_eq!(setting(0, "auth_token"), AUTH_TOKEN);
    let vonage = ["api_key", "api_secret", "application_id", "private_key"].map(|key| setting(1, key));
    assert_eq!(vonage, [API_KEY, API_SECRET, APPLICATION_ID, VONAGE_PRIVATE_KEY]);
    assert_eq!(setting(2, "signing_secret"), SIGNING_SECRET);
}

#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = read("README.md");
    let (_, after) = readme.split_once("```toml\n").expect("a configuration");
    let (toml, _) = after.split_once("```").expect("its end");
    let secrets = [
        ("broker-url", "amqps://courier:secret@rabbitmq.internal:5671/mfa\n"),
        ("gateway-signing-secret", LONG_SECRET),
        ("fcm-service-account.json", &account()),
    ];
    let env = [("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000000"), ("TWILIO_AUTH_TOKEN", "secret")];
    assert_eq!(providers_of_the_last_route(&load(toml, &secrets, &env)), ["twilio", "gateway"]);
}
