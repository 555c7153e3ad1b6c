//! `mfa-courier simulate`: the simulated providers alone, for staging.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::boot;
use crate::clock::Clock;
use crate::simulator::{
    ACCOUNT_SID, API_KEY, API_SECRET, APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC, APPLICATION_ID, AUTH_TOKEN,
    CLIENT_ID, CLIENT_SECRET, SIGNING_SECRET, Simulator, SimulatorSettings, VONAGE_PRIVATE_KEY,
};
use crate::telemetry::LogFormat;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// What the last digits of a number ask for.
const NUMBERS: [(&str, &str); 15] = [
    ("77ccccc", "refused with the Twilio code ccccc; others say what it stands for"),
    ("7721614", "a landline: text messages are refused, calls are taken"),
    ("77000cc", "refused with the status cc of Vonage's text messages"),
    ("7700ccc", "refused with the HTTP status ccc by Vonage's calls"),
    ("9900", "no answer, ever"),
    ("9901", "status 500"),
    ("9902", "the connection is reset, nothing taken"),
    ("9903", "taken, and the connection is reset"),
    ("9904", "status 503 with Retry-After: 1"),
    ("9905", "status 429 with Retry-After: 1"),
    ("9906", "a success with an error inside; a call is refused"),
    ("9907", "a success that is no JSON"),
    ("9908", "a redirect"),
    ("9909", "taken after 300 ms"),
    ("9910", "taken after 3 s"),
];

/// What the end of a device's token asks for.
const DEVICES: [(&str, &str); 9] = [
    (":UNREGISTERED", "the device is gone"),
    (":INVALID_TOKEN", "likewise: no token of FCM's"),
    (":QUOTA_EXCEEDED", "status 429 with Retry-After: 1"),
    (":LAPSED", "status 401: the access token has lapsed, a new one is taken"),
    (":<any code of FCM's>", "refused with it: INTERNAL, UNAVAILABLE, SENDER_ID_MISMATCH, …"),
    (":<any reason of APNs'>", "refused with it: Unregistered, BadDeviceToken, Shutdown, …"),
    (":<any code of Huawei's>", "refused with it: 80300007, 80300010, …"),
    (":<word or status>", "WNS: dropped, channelthrottled, blocked, 410, …"),
    (":<reason or status>", "Web Push: VapidPkHashMismatch, 410, …"),
];

pub(super) async fn simulate(args: Args) -> Result<(), Failure> {
    super::log("info", LogFormat::Auto)?;
    let settings = SimulatorSettings { listen: args.listen, ..SimulatorSettings::default() };
    let simulator = Simulator::start(settings, Clock::system())
        .await
        .map_err(|why| Failure::Service(format!("--listen {}: {why}", args.listen)))?;
    out!("{}", configuration(&simulator));
    outln!(
        "# the name behind twilio/, vonage/, webhook/, fcm/, apns/, huawei/, wns/ and webpush/ is free (token_uri has it \
         too); a number that ends in"
    );
    for (digits, what) in NUMBERS {
        outln!("#   {digits:<8} {what}");
    }
    outln!("# a device's token that ends in one of these, or in those digits");
    for (code, what) in DEVICES {
        outln!("#   {code:<24} {what}");
    }
    let stop = CancellationToken::new();
    boot::stop_on_signals(stop.clone())?;
    stop.cancelled().await;
    let total = simulator.received_total();
    simulator.shutdown().await;
    outln!("{total} requests received");
    Ok(())
}

/// What a configuration says to use it. The credentials are the ones that it knows, and no secret.
fn configuration(simulator: &Simulator) -> String {
    let [twilio, vonage, webhook] =
        ["twilio/primary", "vonage/second", "webhook/gateway"].map(|entry| simulator.base_url(entry));
    format!(
        r#"[providers.twilio]
kind = "twilio"
base_url = "{twilio}"
account_sid = "{ACCOUNT_SID}"
auth_token = "{AUTH_TOKEN}"
senders = ["+15005550006"]

[providers.vonage]
kind = "vonage"
base_url = "{vonage}"
api_key = "{API_KEY}"
api_secret = "{API_SECRET}"
application_id = "{APPLICATION_ID}"
private_key = """
{VONAGE_PRIVATE_KEY}"""
senders = ["+15005550006"]

[providers.gateway]
kind = "webhook"
base_url = "{webhook}"
signing_secret = "{SIGNING_SECRET}"

{push}
"#,
        push = push_services(simulator),
    )
}

/// The same of the push services.
fn push_services(simulator: &Simulator) -> String {
    let [apns, fcm, huawei, wns, webpush] =
        ["apns/main", "fcm/main", "huawei/main", "wns/main", "webpush/main"].map(|entry| simulator.base_url(entry));
    let account = simulator.service_account("fcm/main");
    format!(
        r#"[providers.apns]
kind = "apns"
base_url = "{apns}"
key_id = "{APNS_KEY_ID}"
team_id = "{APNS_TEAM_ID}"
topic = "{APNS_TOPIC}"
key = """
{APNS_KEY}"""

[providers.fcm]
kind = "fcm"
base_url = "{fcm}"
service_account = '''{account}'''

[providers.huawei]
kind = "huawei"
base_url = "{huawei}"
endpoints = {{ token = "{huawei}/oauth2/v3/token" }}
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[providers.wns]
kind = "wns"
base_url = "{wns}"
endpoints = {{ token = "{wns}/token" }}
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"

[providers.webpush]
kind = "webpush"
base_url = "{webpush}"
subject = "mailto:ops@example.com"
private_key = """
{APNS_KEY}"""
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::assemble;
    use crate::challenge::Channel;
    use crate::config::Settings;

    #[tokio::test]
    async fn what_it_prints_is_a_configuration() {
        let simulator = Simulator::start(SimulatorSettings::default(), Clock::system()).await.expect("a free port");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("courier.toml");
        std::fs::write(&file, configuration(&simulator)).expect("written");
        let settings = Settings::load(Some(&file), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let parts = assemble(&settings, &Clock::system()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let carried: Vec<_> = parts.policy.providers.iter().map(|p| (p.name.as_ref(), p.channel)).collect();
        let (sms, voice) = (Channel::Sms, Channel::Voice);
        let expected = [("twilio", sms), ("twilio", voice), ("vonage", sms), ("vonage", voice), ("gateway", sms)];
        let push = ["apns", "fcm", "huawei", "wns", "webpush"].map(|name| (name, Channel::Push));
        assert_eq!(carried, [&expected[..], &push].concat());
    }
}
