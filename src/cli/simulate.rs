//! `mfa-courier simulate`: the simulated providers alone, for staging.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::boot;
use crate::clock::Clock;
use crate::simulator::{ACCOUNT_SID, AUTH_TOKEN, SIGNING_SECRET, Simulator, SimulatorSettings};
use crate::telemetry::LogFormat;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// What the last digits of a number ask for.
const NUMBERS: [(&str, &str); 12] = [
    ("77ccccc", "refused with the Twilio code ccccc"),
    ("9900", "no answer, ever"),
    ("9901", "status 500"),
    ("9902", "the connection is reset, nothing taken"),
    ("9903", "taken, and the connection is reset"),
    ("9904", "status 503 with Retry-After: 1"),
    ("9905", "status 429 with Retry-After: 1"),
    ("9906", "a success with an error inside"),
    ("9907", "a success that is no JSON"),
    ("9908", "a redirect"),
    ("9909", "taken after 300 ms"),
    ("9910", "taken after 3 s"),
];

pub(super) async fn simulate(args: Args) -> Result<(), Failure> {
    super::log("info", LogFormat::Auto)?;
    let settings = SimulatorSettings { listen: args.listen, ..SimulatorSettings::default() };
    let simulator = Simulator::start(settings, Clock::system())
        .await
        .map_err(|why| Failure::Service(format!("--listen {}: {why}", args.listen)))?;
    let (twilio, webhook) = (simulator.base_url("twilio/primary"), simulator.base_url("webhook/gateway"));
    println!("[providers.twilio]\nkind = \"twilio\"\nbase_url = \"{twilio}\"");
    println!("account_sid = \"{ACCOUNT_SID}\"\nauth_token = \"{AUTH_TOKEN}\"\nsenders = [\"+15005550006\"]\n");
    println!(
        "[providers.gateway]\nkind = \"webhook\"\nbase_url = \"{webhook}\"\nsigning_secret = \"{SIGNING_SECRET}\"\n"
    );
    println!("# the name behind twilio/ and webhook/ is free; a number that ends in");
    for (digits, what) in NUMBERS {
        println!("#   {digits:<8} {what}");
    }
    let stop = CancellationToken::new();
    boot::stop_on_signals(stop.clone())?;
    stop.cancelled().await;
    let total = simulator.received_total();
    simulator.shutdown().await;
    println!("{total} requests received");
    Ok(())
}
