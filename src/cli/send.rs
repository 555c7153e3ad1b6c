//! `mfa-courier send`: publishes a test challenge and follows its outcomes to the final one.

use std::time::Duration;

use serde_json::json;

use super::Failure;
use super::upstream::{REQUESTED, Upstream};
use crate::clock::Dice;
use crate::config::Settings;
use crate::delivery::outcome::{Outcome, Reason};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The number, E.164.
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// How to reach it.
    #[arg(long, default_value = "sms", value_parser = ["sms", "voice"])]
    channel: String,
    /// The code; six random digits if absent.
    #[arg(long)]
    code: Option<String>,
    /// Whose challenge it is.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// Seconds until it expires.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl: u64,
    /// One outcome a line, as JSON.
    #[arg(long)]
    json: bool,
}

/// How long after the deadline and its grace an outcome is still waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn send(args: &Args, settings: &Settings) -> Result<(), Failure> {
    super::log("warn", settings.log_format)?;
    let mut upstream = Upstream::of_rabbit(&crate::boot::rabbit_settings(settings)).await?;
    let mut dice = Dice::system();
    let id = format!("send-{:016x}", dice.number());
    let code = args.code.clone().unwrap_or_else(|| format!("{:06}", dice.below(1_000_000)));
    let challenge = json!({
        "id": id, "tenant": args.tenant, "code": code, "ttl": args.ttl,
        "methods": [{ "channel": args.channel, "to": args.to }],
    });
    upstream.publish(REQUESTED, &challenge).await?;
    if !args.json {
        outln!("{id} published; it expires in {} s", args.ttl);
    }
    let most = Duration::from_secs(args.ttl) + settings.delivery.grace + PATIENCE;
    match tokio::time::timeout(most, follow(&mut upstream, &id, args.json)).await {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(Failure::Service("the broker closed the connection before the final outcome came".to_owned())),
        Err(_) => Err(Failure::Failed(format!("no final outcome came for {id}: is a worker running on this broker?"))),
    }
}

async fn follow(upstream: &mut Upstream, id: &str, json: bool) -> Option<()> {
    loop {
        let (outcome, body) = upstream.next_outcome().await?;
        if outcome.challenge_id.as_str() != id {
            continue;
        }
        if json {
            outln!("{}", String::from_utf8_lossy(&body));
        } else {
            outln!("{}", sentence(&outcome));
        }
        if outcome.is_final {
            return Some(());
        }
    }
}

/// An outcome as a person reads it.
fn sentence(outcome: &Outcome) -> String {
    let end = if outcome.is_final { "final" } else { "so far" };
    let why = outcome.reason.map(|reason: Reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    let by = outcome.provider.as_ref().map(|provider| format!(" by {provider}")).unwrap_or_default();
    let to = outcome.destination.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
    let field = outcome.field.as_ref().map(|field| format!("; look at `{field}`")).unwrap_or_default();
    let detail = outcome.attempts.last().map(|attempt| {
        let code = attempt.code.as_ref().map(|code| format!(", code {code}")).unwrap_or_default();
        let detail = attempt.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("; attempt {} {} after {} ms{code}{detail}", attempt.n, attempt.result.as_str(), attempt.duration_ms)
    });
    format!("{end}: {}{why}{by}{to}{field}{}", outcome.status.as_str(), detail.unwrap_or_default())
}
