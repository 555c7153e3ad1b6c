//! `mfa-courier demo`: the whole product in one process, with an outage in the middle.
//!
//! The real worker on a broker in memory (or a real one with `--amqp`), providers simulated on loopback and spoken to
//! by real HTTP. [`people`] says who signs in, [`load`] publishes and answers for them, [`tally`] counts, [`screen`]
//! shows. In the middle third of the load the first provider of text messages and calls stops answering.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Failure;
use super::upstream::Upstream;
use crate::boot;
use crate::broker::memory::MemoryBroker;
use crate::broker::{Link, rabbit};
use crate::challenge::Channel;
use crate::clock::Clock;
use crate::config::Settings;
use crate::simulator::{
    ACCOUNT_SID, API_KEY, API_SECRET, APPLICATION_ID, AUTH_TOKEN, Mode, SIGNING_SECRET, Simulator, SimulatorSettings,
    VONAGE_PRIVATE_KEY,
};
use crate::telemetry::LogFormat;
use crate::worker::Ended;

mod graph;
mod load;
mod people;
mod screen;
mod tally;

use load::{Load, Plan};
use screen::Screen;
use tally::Tally;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long the load lasts.
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(3..=3_600))]
    seconds: u64,
    /// Challenges a second.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=2_000))]
    rate: u64,
    /// A real broker instead of one in memory: amqp://user:password@host:port/vhost.
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// Figures as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Which provider carries what, in the order in which it is shown.
const ROWS: [(&str, Channel); 6] = [
    ("fcm", Channel::Push),
    (FIRST, Channel::Sms),
    ("vonage", Channel::Sms),
    ("gateway", Channel::Sms),
    (FIRST, Channel::Voice),
    ("vonage", Channel::Voice),
];
/// The provider that stops answering, and what the simulator calls it.
const FIRST: &str = "twilio";
const FIRST_ENTRY: &str = "twilio/first";

pub(super) async fn demo(args: Args) -> Result<(), Failure> {
    super::log("warn,mfa_courier=error", LogFormat::Auto)?;
    let clock = Clock::system();
    let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await?;
    let settings = settings(&simulator, args.amqp.as_deref())?;
    let parts = boot::assemble(&settings, &clock).map_err(Failure::Config)?;
    let (link, mut upstream) = connect(&settings).await?;
    let stop = CancellationToken::new();
    boot::stop_on_signals(stop.clone())?;
    let outbox = Arc::clone(&link.outbox);
    let worker = boot::worker(&settings, parts, clock.clone(), Arc::clone(&outbox));
    let mut circuits = worker.circuits();
    let drain = CancellationToken::new();
    let running = tokio::spawn(worker.run(link.inbox, drain.clone(), settings.delivery.drain));
    let run = format!("demo-{:x}", clock.now().as_millis());
    let plan = Plan { seconds: args.seconds, rate: args.rate, run };
    let (mut tally, mut screen) = (Tally::new(clock), Screen::new(args.json, args.seconds));
    screen.begin(args.rate, args.amqp.is_some());
    let mut load =
        Load { plan: &plan, upstream: &mut upstream, tally: &mut tally, screen: &mut screen, answers: BTreeSet::new() };
    let outage = |is_out| simulator.set_mode(FIRST_ENTRY, if is_out { Mode::Hang } else { Mode::Normal });
    load.run(&mut circuits, &stop, outage).await?;
    drain.cancel();
    let ended = running.await.unwrap_or(Ended::LinkFailed);
    outbox.close().await;
    screen.end(&mut tally);
    simulator.shutdown().await;
    match (ended, tally.open()) {
        (Ended::Drained, 0) => Ok(()),
        (Ended::Drained, lost) => Err(Failure::Failed(format!("{lost} challenges have no final outcome"))),
        (_, lost) => Err(Failure::Failed(format!("the worker did not drain; {lost} challenges have no final outcome"))),
    }
}

/// A configuration as an operator would write it, by the variables of the environment.
fn settings(simulator: &Simulator, amqp: Option<&str>) -> Result<Settings, Failure> {
    let routes = r#"[
        { channel = "sms", to = ["GB"], providers = ["gateway", "twilio", "vonage"] },
        { channel = "sms", providers = ["twilio", "vonage"] },
        { channel = "voice", providers = ["twilio", "vonage"] },
    ]"#;
    let senders = r#"["+15005550006"]"#;
    let variables = [
        ("BROKER__URL", amqp.unwrap_or("memory:").to_owned()),
        ("PROVIDERS__FCM__KIND", "fcm".to_owned()),
        ("PROVIDERS__FCM__BASE_URL", simulator.base_url("fcm/main")),
        ("PROVIDERS__FCM__SERVICE_ACCOUNT", simulator.service_account("fcm/main")),
        ("PROVIDERS__TWILIO__KIND", "twilio".to_owned()),
        ("PROVIDERS__TWILIO__BASE_URL", simulator.base_url(FIRST_ENTRY)),
        ("PROVIDERS__TWILIO__ACCOUNT_SID", ACCOUNT_SID.to_owned()),
        ("PROVIDERS__TWILIO__AUTH_TOKEN", AUTH_TOKEN.to_owned()),
        ("PROVIDERS__TWILIO__SENDERS", senders.to_owned()),
        ("PROVIDERS__VONAGE__KIND", "vonage".to_owned()),
        ("PROVIDERS__VONAGE__BASE_URL", simulator.base_url("vonage/second")),
        ("PROVIDERS__VONAGE__API_KEY", API_KEY.to_owned()),
        ("PROVIDERS__VONAGE__API_SECRET", API_SECRET.to_owned()),
        ("PROVIDERS__VONAGE__APPLICATION_ID", APPLICATION_ID.to_owned()),
        ("PROVIDERS__VONAGE__PRIVATE_KEY", VONAGE_PRIVATE_KEY.to_owned()),
        ("PROVIDERS__VONAGE__SENDERS", senders.to_owned()),
        ("PROVIDERS__GATEWAY__KIND", "webhook".to_owned()),
        ("PROVIDERS__GATEWAY__BASE_URL", simulator.base_url("webhook/gateway")),
        ("PROVIDERS__GATEWAY__SIGNING_SECRET", SIGNING_SECRET.to_owned()),
        ("ROUTES", routes.to_owned()),
        ("DELIVERY__AWAIT_VERIFICATION", "true".to_owned()),
        // Shorter than a product's, so that an outage, the recovery from it and a call fit into a few seconds.
        ("DELIVERY__ATTEMPT_TIMEOUT", r#"{ sms = "1s", voice = "1s", push = "1s" }"#.to_owned()),
        ("DELIVERY__RECEIPT_TIMEOUT", r#"{ sms = "2s", voice = "2s", push = "2s" }"#.to_owned()),
        ("HEALTH__WINDOW", "5s".to_owned()),
        ("HEALTH__OPEN", "1s".to_owned()),
        ("HEALTH__MAX_OPEN", "2s".to_owned()),
    ];
    let variables = variables.into_iter().map(|(name, value)| (format!("COURIER__{name}"), value));
    Settings::load(None, variables).map_err(Failure::Config)
}

async fn connect(settings: &Settings) -> Result<(Link, Upstream), Failure> {
    if settings.broker.url.expose() == "memory:" {
        let broker = MemoryBroker::new(settings.broker.delivery_limit);
        let link = broker.connect(usize::from(settings.broker.prefetch));
        return Ok((link, Upstream::of_memory(broker)));
    }
    let rabbit = boot::rabbit_settings(settings);
    let service = |why: &dyn std::fmt::Display| Failure::Service(why.to_string());
    rabbit::try_out(&rabbit).await.map_err(|why| service(&why))?;
    let link = tokio::time::timeout(Duration::from_secs(30), rabbit::connect(rabbit.clone())).await;
    let link = link.map_err(|_| service(&"the broker does not answer"))?.map_err(|why| service(&why))?;
    Ok((link, Upstream::of_rabbit(&rabbit).await.map_err(|why| service(&why))?))
}
