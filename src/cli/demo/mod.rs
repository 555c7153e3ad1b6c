//! `mfa-courier demo`: the whole product in one process, with an outage in the middle.
//!
//! The real worker on a broker in memory (or a real one with `--amqp`), providers simulated on loopback and
//! spoken to by real HTTP. In the middle third of the load the first provider stops answering.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Failure;
use super::upstream::Upstream;
use crate::boot;
use crate::broker::memory::MemoryBroker;
use crate::broker::{Link, rabbit};
use crate::clock::Clock;
use crate::config::Settings;
use crate::simulator::{ACCOUNT_SID, AUTH_TOKEN, Mode, SIGNING_SECRET, Simulator, SimulatorSettings};
use crate::telemetry::LogFormat;
use crate::worker::Ended;

mod load;
mod tally;

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

/// The entry that the outage hits, as the simulator and the configuration call it.
const FIRST: (&str, &str) = ("twilio/first", "twilio");
const SECOND: (&str, &str) = ("webhook/second", "gateway");
/// How long a challenge of the demo is worth delivering, in seconds.
const TTL: u64 = 20;

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
    let drain = CancellationToken::new();
    let running = tokio::spawn(worker.run(link.inbox, drain.clone(), settings.delivery.drain));
    let mut tally = Tally::new(clock.clone(), args.json);
    tally.begin(args.seconds, args.rate, args.amqp.is_some());
    let plan = load::Plan { seconds: args.seconds, rate: args.rate, ttl: TTL };
    load::run(&plan, &mut upstream, &mut tally, &stop, |outage| {
        simulator.set_mode(FIRST.0, if outage { Mode::Hang } else { Mode::Normal });
    })
    .await?;
    drain.cancel();
    let ended = running.await.unwrap_or(Ended::LinkFailed);
    outbox.close().await;
    tally.end(simulator.received_total());
    simulator.shutdown().await;
    match (ended, tally.lost()) {
        (Ended::Drained, 0) => Ok(()),
        (_, lost) => Err(Failure::Failed(format!("{lost} challenges have no final outcome"))),
    }
}

/// A configuration as an operator would write it, by the variables of the environment.
fn settings(simulator: &Simulator, amqp: Option<&str>) -> Result<Settings, Failure> {
    let variables = [
        ("BROKER__URL", amqp.unwrap_or("memory:").to_owned()),
        ("PROVIDERS__TWILIO__KIND", "twilio".to_owned()),
        ("PROVIDERS__TWILIO__BASE_URL", simulator.base_url(FIRST.0)),
        ("PROVIDERS__TWILIO__ACCOUNT_SID", ACCOUNT_SID.to_owned()),
        ("PROVIDERS__TWILIO__AUTH_TOKEN", AUTH_TOKEN.to_owned()),
        ("PROVIDERS__TWILIO__SENDERS", r#"["+15005550006"]"#.to_owned()),
        ("PROVIDERS__GATEWAY__KIND", "webhook".to_owned()),
        ("PROVIDERS__GATEWAY__BASE_URL", simulator.base_url(SECOND.0)),
        ("PROVIDERS__GATEWAY__SIGNING_SECRET", SIGNING_SECRET.to_owned()),
        ("ROUTES", r#"[{ channel = "sms", providers = ["twilio", "gateway"] }]"#.to_owned()),
        // Shorter than a product's, so that an outage and the recovery from it fit into a few seconds.
        ("DELIVERY__ATTEMPT_TIMEOUT", r#"{ sms = "1s", voice = "1s", push = "1s" }"#.to_owned()),
        ("HEALTH__WINDOW", "5s".to_owned()),
        ("HEALTH__OPEN", "2s".to_owned()),
        ("HEALTH__MAX_OPEN", "4s".to_owned()),
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
