//! `mfa-courier explain`: which hops a challenge would have, in which order, why not others, and what that can take
//! and cost at most. Nothing is sent. What would be rejected ends with 1.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

use super::Failure;
use crate::boot::{assemble, reader};
use crate::broker::Properties;
use crate::broker::wire::challenge::Read;
use crate::challenge::{Challenge, Method};
use crate::clock::{Clock, Dice};
use crate::config::{Amount, Settings};
use crate::delivery::admission::Rejection;
use crate::delivery::explain::{Expected, Explanation, Skipped, SkippedWhy, explain};

#[derive(Debug, clap::Args)]
#[group(id = "address", required = true, multiple = true)]
pub(super) struct Args {
    /// The number, E.164: by text message, then by call.
    #[arg(long, value_name = "NUMBER", group = "address")]
    to: Option<String>,
    /// A device of this platform, before the number.
    #[arg(long, group = "address", value_parser = ["android", "ios", "windows", "web", "huawei"])]
    platform: Option<String>,
    /// The app on the device, where several are configured.
    #[arg(long, requires = "platform")]
    app: Option<String>,
    /// Only this channel; several with a comma between them are tried in that order.
    #[arg(long, value_delimiter = ',', value_parser = ["sms", "voice", "push"])]
    channel: Vec<String>,
    /// Whose challenge it is.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// What the person is doing.
    #[arg(long, default_value = "sign_in")]
    purpose: String,
    /// How far beyond the first hop.
    #[arg(long, default_value = "auto", value_parser = ["auto", "same_channel", "none"])]
    fallback: String,
    /// Seconds until it expires; `delivery.default_ttl` if absent.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl: Option<u64>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, settings: &Settings) -> Result<(), Failure> {
    let parts = assemble(settings, &Clock::system()).map_err(Failure::Config)?;
    let read = reader(settings, &mut Dice::system());
    let body = args.challenge()?.to_string();
    let (challenge, explanation) = match read.challenge(&Properties::default(), body.as_bytes(), Clock::system().now())
    {
        Read::Good(challenge) => {
            let explanation = explain(&challenge, &parts.policy);
            (challenge, explanation)
        }
        Read::Wrong(challenge, rejection) => (challenge, refused(rejection)),
        Read::Unreadable(why) => return Err(Failure::Failed(why)),
    };
    let costs = Costs { settings, challenge: &challenge };
    if args.json {
        outln!("{}", as_json(&explanation, &costs));
    } else {
        print(&explanation, &costs);
    }
    // Said above: a script has to see it too.
    if explanation.rejection.is_some() { Err(Failure::Told(1)) } else { Ok(()) }
}

const fn refused(rejection: Rejection) -> Explanation {
    Explanation { hops: Vec::new(), skipped: Vec::new(), rejection: Some(rejection) }
}

impl Args {
    fn challenge(&self) -> Result<Value, Failure> {
        let default: &[&str] = match (&self.platform, &self.to) {
            (Some(_), Some(_)) => &["push", "sms", "voice"],
            (Some(_), None) => &["push"],
            (None, _) => &["sms", "voice"],
        };
        let asked: Vec<&str> = self.channel.iter().map(String::as_str).collect();
        let channels = if asked.is_empty() { default } else { &asked };
        let method = |channel: &&str| match (*channel, &self.to, &self.platform) {
            ("push", _, None) => Err(Failure::Usage("a push needs --platform".to_owned())),
            // No token is known here, and none is needed to plan.
            ("push", _, Some(platform)) if platform == "web" => {
                Ok(json!({"channel": channel, "platform": platform, "app": self.app, "token": {}}))
            }
            ("push", _, Some(platform)) => {
                Ok(json!({"channel": channel, "platform": platform, "app": self.app, "token": "-"}))
            }
            (_, Some(to), _) => Ok(json!({"channel": channel, "to": to})),
            (_, None, _) => Err(Failure::Usage(format!("{channel} needs --to"))),
        };
        let methods = channels.iter().map(method).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({
            "id": "explain", "tenant": self.tenant, "purpose": self.purpose, "fallback": self.fallback,
            "code": "000000", "ttl": self.ttl, "methods": methods,
        }))
    }
}

/// What one message costs by each provider, as far as the operator said.
struct Costs<'s> {
    settings: &'s Settings,
    challenge: &'s Challenge,
}

impl Costs<'_> {
    fn of(&self, hop: &Expected) -> Option<(Amount, String)> {
        let entry = self.settings.providers.iter().find(|entry| entry.name == hop.provider)?;
        let cost = entry.per_channel(hop.channel).cost?;
        let country = self.challenge.methods[hop.method].country();
        let here = country.and_then(|country| cost.by_country.get(&country).copied());
        Some((here.or(cost.default)?, cost.currency))
    }

    /// Each hop tried once, by currency; `None` where one of them is not known.
    fn at_most(&self, hops: &[Expected]) -> Option<BTreeMap<String, Amount>> {
        let mut sums = BTreeMap::new();
        for hop in hops.iter().filter(|hop| !hop.may_be_too_late) {
            let (amount, currency) = self.of(hop)?;
            sums.entry(currency).or_insert(Amount { micros: 0 }).micros += amount.micros;
        }
        Some(sums)
    }
}

/// Until the last hop is over, or the challenge expires.
fn longest(explanation: &Explanation, challenge: &Challenge) -> Duration {
    let last = explanation.hops.last().map(|hop| hop.begins_within + hop.takes_at_most).unwrap_or_default();
    last.min(challenge.expires_at.since(challenge.arrived_at))
}

fn as_json(explanation: &Explanation, costs: &Costs<'_>) -> Value {
    let method = |position: usize| costs.challenge.methods.get(position).map(Method::masked);
    let hops = explanation.hops.iter().map(|hop| {
        json!({
            "channel": hop.channel, "provider": hop.provider.as_ref(), "sender": hop.sender.as_deref(),
            "destination": method(hop.method), "route": hop.route.map(|route| route + 1),
            "begins_within_ms": millis(hop.begins_within), "takes_at_most_ms": millis(hop.takes_at_most),
            "may_be_too_late": hop.may_be_too_late,
            "cost": costs.of(hop).map(|(amount, currency)| json!({"amount": amount.to_string(), "currency": currency})),
        })
    });
    let hops: Vec<Value> = hops.collect();
    let skipped: Vec<_> = explanation
        .skipped
        .iter()
        .map(|skipped| {
            json!({
                "channel": skipped.channel, "provider": skipped.provider.as_deref(),
                "destination": method(skipped.method), "why": skipped.why, "sentence": sentence(skipped),
            })
        })
        .collect();
    let rejection = explanation.rejection.as_ref();
    let at_most = costs.at_most(&explanation.hops);
    json!({
        "hops": hops,
        "skipped": skipped,
        "rejected": rejection.map(|rejection| json!({"reason": rejection.reason, "field": rejection.field})),
        "takes_at_most_ms": millis(longest(explanation, costs.challenge)),
        "costs_at_most": at_most.map(|sums| {
            sums.iter().map(|(currency, sum)| (currency.clone(), sum.to_string())).collect::<BTreeMap<_, _>>()
        }),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn print(explanation: &Explanation, costs: &Costs<'_>) {
    let challenge = costs.challenge;
    if let Some(rejection) = &explanation.rejection {
        let field = rejection.field.as_ref().map(|field| format!("; look at `{field}`")).unwrap_or_default();
        outln!("rejected: {}{field}", rejection.reason.as_str());
    }
    if !explanation.hops.is_empty() {
        let to = challenge.methods.last().map(Method::masked).unwrap_or_default();
        outln!("to {to}, in this order, each beginning and taking so long at most:\n{}\n", hops(explanation, costs));
        let time = seconds(longest(explanation, challenge));
        let cost = match costs.at_most(&explanation.hops) {
            Some(sums) => {
                sums.iter().map(|(currency, sum)| format!("{sum} {currency}")).collect::<Vec<_>>().join(" + ")
            }
            None => "not known for every provider".to_owned(),
        };
        outln!("all of them: {time}; one segment or minute by each: {cost}");
        if explanation.hops.iter().any(|hop| hop.may_be_too_late) {
            let lasts = seconds(challenge.expires_at.since(challenge.arrived_at));
            outln!("late: the challenge, which lasts {lasts}, may have expired before this hop begins");
        }
    }
    if !explanation.skipped.is_empty() {
        outln!("\nnot tried:");
    }
    for skipped in &explanation.skipped {
        let by = skipped.provider.as_ref().map(|provider| format!(" by {provider}")).unwrap_or_default();
        outln!("  {}{by}: {}", skipped.channel, sentence(skipped));
    }
}

fn hops(explanation: &Explanation, costs: &Costs<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "channel", "provider", "sender", "route", "begins by", "takes", "costs"]);
    for (n, hop) in explanation.hops.iter().enumerate() {
        let late = if hop.may_be_too_late { " late" } else { "" };
        table.add_row([
            (n + 1).to_string(),
            hop.channel.to_string(),
            hop.provider.to_string(),
            hop.sender.as_deref().unwrap_or("-").to_owned(),
            hop.route.map_or_else(|| "-".to_owned(), |route| (route + 1).to_string()),
            format!("{}{late}", seconds(hop.begins_within)),
            seconds(hop.takes_at_most),
            costs.of(hop).map_or_else(|| "-".to_owned(), |(amount, currency)| format!("{amount} {currency}")),
        ]);
    }
    table
}

/// Why, as a person reads it.
const fn sentence(skipped: &Skipped) -> &'static str {
    match skipped.why {
        SkippedWhy::MethodDisabled => "the tenant does not allow this channel",
        SkippedWhy::DestinationBlocked => "the number may not be reached: its country, its kind, or a sender of yours",
        SkippedWhy::InvalidDestination => "nobody has this number",
        SkippedWhy::NoSender => "none of its senders is for this country",
        SkippedWhy::NotInRoute => "the route that matches does not name it",
        SkippedWhy::NoRoute => "the channel has routes, and none of them matches",
        SkippedWhy::NoProvider => "no provider of this channel is configured",
        SkippedWhy::Repeated => "it is the same way to the same address as an earlier one",
        SkippedWhy::OtherDevice => "it reaches no devices of this platform and app",
        SkippedWhy::FallbackLimit => "`fallback` does not reach so far",
    }
}
