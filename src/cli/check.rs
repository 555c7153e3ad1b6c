//! `mfa-courier check`: everything that is wrong in the configuration, or what it comes to.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use self::texts::Sample;
use super::Failure;
use crate::boot::{Parts, assemble};
use crate::challenge::Channel;
use crate::clock::{Clock, Dice};
use crate::config::Settings;
use crate::ledger::redis::RedisLedger;

mod texts;

/// How long a provider may take to say whether it takes the credentials.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag of the command line")]
pub(super) struct Args {
    /// Also tries whether the broker, the ledger and those providers where it costs nothing take the credentials.
    #[arg(long)]
    live: bool,
    /// Prints the settings in effect, all layers together, secrets left out.
    #[arg(long)]
    effective: bool,
    /// Shows every text in full rather than as a line of figures.
    #[arg(long)]
    texts: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(args: &Args, file: Option<&Path>) -> Result<(), Failure> {
    let checked = super::settings(file).and_then(|settings| {
        let parts = assemble(&settings, &Clock::system()).map_err(Failure::Config)?;
        Ok((settings, parts))
    });
    let (settings, parts) = match checked {
        Ok(checked) => checked,
        Err(Failure::Config(errors)) if args.json => {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            outln!("{}", json!({ "ok": false, "errors": errors }));
            return Err(Failure::Told(64));
        }
        Err(failure) => return Err(failure),
    };
    let live = if args.live { Some(Live::of(&settings, &parts).await) } else { None };
    let samples = texts::samples(&parts.texts);
    let mut warnings: Vec<_> = settings.warnings.iter().chain(&parts.warnings).map(ToString::to_string).collect();
    warnings.extend(samples.iter().filter_map(Sample::warning));
    if args.json {
        print_json(&warnings, &samples, &parts, live.as_ref());
    } else {
        if args.effective {
            outln!("{}", settings.redacted());
        }
        print_text(&parts, file, live.as_ref());
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
        out!("{}", texts::shown(&samples, args.texts));
    }
    match live {
        Some(live) => live.result().map_err(Failure::Service),
        None => Ok(()),
    }
}

/// What came of trying the services out.
struct Live {
    broker: Result<(), String>,
    ledger: Result<(), String>,
    /// By name; `None` where there is nothing to try that costs nothing.
    providers: Vec<(String, Option<Result<(), String>>)>,
}

impl Live {
    async fn of(settings: &Settings, parts: &Parts) -> Self {
        let by = Clock::instant() + PROVIDER_PATIENCE;
        let providers =
            parts.roster.all().map(async |provider| (provider.name().to_owned(), provider.try_out(by).await));
        let providers = join_all(providers);
        let (broker, ledger, providers) = tokio::join!(try_broker(settings), try_ledger(settings), providers);
        Self { broker, ledger, providers }
    }

    /// The first thing that can't be used.
    fn result(self) -> Result<(), String> {
        self.broker.and(self.ledger)?;
        for (name, tried) in self.providers {
            tried.unwrap_or(Ok(())).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

async fn try_ledger(settings: &Settings) -> Result<(), String> {
    let Some(redis) = settings.ledger.redis() else { return Ok(()) };
    RedisLedger::try_out(&redis, Clock::system(), Dice::system()).await.map_err(|why| why.to_string())
}

async fn try_broker(settings: &Settings) -> Result<(), String> {
    if settings.broker.url.expose() == "memory:" {
        return Ok(());
    }
    crate::broker::rabbit::try_out(&crate::boot::rabbit_settings(settings)).await.map_err(|why| why.to_string())
}

fn print_text(parts: &Parts, file: Option<&Path>, live: Option<&Live>) {
    let defaults = || "no file was given; the built-in defaults and the environment".to_owned();
    let source = file.map_or_else(defaults, |file| file.display().to_string());
    outln!("{source}: good");
    if parts.policy.providers.is_empty() {
        outln!("  no provider is configured: every challenge would be rejected with no_route");
        return print_live(live);
    }
    for provider in &parts.policy.providers {
        let senders: Vec<_> = provider.senders.iter().map(|sender| sender.from.as_ref()).collect();
        let from = if senders.is_empty() { String::new() } else { format!(", from {}", senders.join(", ")) };
        outln!("  {} carries {}{from}", provider.name, provider.channel);
    }
    for channel in Channel::ALL {
        let first = parts.policy.providers.iter().any(|provider| provider.channel == channel);
        if !first {
            outln!("  nobody carries {channel}");
        }
    }
    print_live(live);
}

fn print_live(live: Option<&Live>) {
    if let Some(Live { broker, ledger, providers }) = live {
        for (service, tried) in [("broker", broker), ("ledger", ledger)] {
            match tried {
                Ok(()) => outln!("  the {service} can be used"),
                Err(_) => outln!("  the {service} can't be used"),
            }
        }
        for (name, tried) in providers {
            match tried {
                Some(Ok(())) => outln!("  {name} takes the credentials"),
                Some(Err(why)) => outln!("  {name} can't be used: {why}"),
                None => outln!("  {name} was not tried: nothing is known that costs nothing"),
            }
        }
    }
}

fn print_json(warnings: &[String], samples: &[Sample<'_>], parts: &Parts, live: Option<&Live>) {
    let provider = |provider: &crate::delivery::policy::ProviderPolicy| {
        let senders: Vec<_> = provider.senders.iter().map(|sender| sender.from.as_ref()).collect();
        json!({ "name": provider.name.as_ref(), "channel": provider.channel, "senders": senders })
    };
    let texts: Vec<_> = samples.iter().map(Sample::json).collect();
    let providers: Vec<_> = parts.policy.providers.iter().map(provider).collect();
    let told = |tried: &Result<(), String>| match tried {
        Ok(()) => json!({ "ok": true }),
        Err(why) => json!({ "ok": false, "why": why }),
    };
    let (broker, ledger) = (live.map(|live| told(&live.broker)), live.map(|live| told(&live.ledger)));
    let tried = live.map(|live| {
        let row =
            |(name, tried): &(String, Option<Result<(), String>>)| (name.clone(), json!(tried.as_ref().map(told)));
        live.providers.iter().map(row).collect::<serde_json::Map<_, _>>()
    });
    let told = json!({
        "ok": true, "warnings": warnings, "providers": providers, "texts": texts, "broker": broker, "ledger": ledger,
        "credentials": tried,
    });
    outln!("{told}");
}
