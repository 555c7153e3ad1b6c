//! Calls and what becomes of them, told by Twilio and Vonage as they tell it: a phone that rings is waited for anew,
//! and what ends the ringing ends the hop.

use std::fmt::Write as _;
use std::time::Duration;

use mfa_courier::clock::Timestamp;
use mfa_courier::simulator::{API_KEY, API_SECRET, APPLICATION_ID, SIGNATURE_SECRET, VONAGE_PRIVATE_KEY};
use serde_json::{Value, json};

use super::front::{call_back_at, http_port};
use super::{Courier, Heard, Stage};
use crate::node::Node;

/// How long news is awaited: less than from the call to its end, more than to its ringing (both 3 s later each).
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers whose phones ring, and what follows.
const ANSWERED: &str = "+14155559930";
const BUSY: &str = "+14155559931";
const NO_ANSWER: &str = "+14155559932";
const MACHINE: &str = "+14155559933";
/// One that nothing is told of.
const SILENT: &str = "+14155559920";

/// By which tenant's providers, to whom; and what came of each attempt, then of the challenge.
type Call = (&'static str, &'static str, &'static [(&'static str, Option<&'static str>)], [Option<&'static str>; 3]);

const UNDELIVERED: [Option<&str>; 3] = [Some("failed"), Some("undelivered"), None];
const HEARD: [Option<&str>; 3] = [Some("delivered"), None, Some("answer")];

const CALLS: [Call; 11] = [
    ("twilio", ANSWERED, &[("twilio", Some("answered"))], HEARD),
    ("twilio", BUSY, &[("twilio", Some("busy"))], UNDELIVERED),
    ("twilio", NO_ANSWER, &[("twilio", Some("no_answer"))], UNDELIVERED),
    // Nobody tells a machine from a person there.
    ("twilio", MACHINE, &[("twilio", Some("answered"))], HEARD),
    ("twilio", SILENT, &[("twilio", None)], [Some("sent"), Some("receipt_timeout"), None]),
    ("vonage", ANSWERED, &[("vonage", Some("answered"))], HEARD),
    ("vonage", BUSY, &[("vonage", Some("busy"))], UNDELIVERED),
    ("vonage", NO_ANSWER, &[("vonage", Some("no_answer"))], UNDELIVERED),
    ("vonage", MACHINE, &[("vonage", Some("machine"))], UNDELIVERED),
    // What ended without a person goes to the next.
    ("both", BUSY, &[("vonage", Some("busy")), ("twilio", Some("busy"))], UNDELIVERED),
    ("both", MACHINE, &[("vonage", Some("machine")), ("twilio", Some("answered"))], HEARD),
];

fn config(stage: &Stage) -> std::path::PathBuf {
    let receipts = format!("receipts = true\nreceipt_timeout = \"{}s\"", RECEIPT_TIMEOUT.as_secs());
    let url = stage.simulator.base_url("vonage/main");
    let mut more = format!(
        "[providers.vonage]\nkind = \"vonage\"\nbase_url = \"{url}\"\napi_key = \"{API_KEY}\"\n\
         api_secret = \"{API_SECRET}\"\nsignature_secret = \"{SIGNATURE_SECRET}\"\n\
         application_id = \"{APPLICATION_ID}\"\nprivate_key = \"\"\"{VONAGE_PRIVATE_KEY}\"\"\"\n\
         senders = [\"+15005550006\"]\n{receipts}\n"
    );
    for (tenant, providers) in
        [("twilio", "[\"twilio\"]"), ("vonage", "[\"vonage\"]"), ("both", "[\"vonage\", \"twilio\"]")]
    {
        let route = "[[routes]]\nchannel = \"voice\"";
        writeln!(more, "[tenants.{tenant}]\n{route}\ntenants = [\"{tenant}\"]\nproviders = {providers}")
            .expect("memory");
    }
    stage.config_with(&receipts, &more)
}

fn at(outcome: &Value, name: &str) -> Timestamp {
    outcome[name].as_str().and_then(Timestamp::parse_rfc3339).unwrap_or_else(|| panic!("{name} of {outcome}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_rings_is_waited_for_anew_and_what_follows_ends_the_call() {
    let stage = Stage::new(Node::shared()).await;
    let config = config(&stage);
    call_back_at(&config, &format!("http://127.0.0.1:{}", http_port(&config)));
    let _courier = Courier::start(&config).await;
    let client = stage.listener().await;
    for (n, (tenant, to, ..)) in CALLS.iter().enumerate() {
        let methods = [json!({ "channel": "voice", "to": to })];
        let body = json!({ "id": format!("v{n}"), "code": "481516", "ttl": 60, "tenant": tenant, "methods": methods });
        client.publish_challenge(&body.to_string()).await;
    }
    let heard = Heard::collect(&client, CALLS.len(), Duration::from_secs(40)).await;
    for (outcome, (tenant, to, attempts, end)) in heard.one_each("v", CALLS.len()).iter().zip(CALLS) {
        let came = outcome["attempts"].as_array().expect("attempts");
        let came: Vec<_> = came
            .iter()
            .map(|one| (one["provider"].as_str().expect("a provider"), one["receipt"]["status"].as_str()))
            .collect();
        assert_eq!(came, attempts, "{to} by {tenant}");
        let ended = ["status", "reason", "confirmed_by"].map(|name| outcome[name].as_str());
        assert_eq!(ended, end, "{to} by {tenant}");
        let waited = at(outcome, "receipt_by").since(at(outcome, "sent_at"));
        let ended = at(outcome, "occurred_at").since(at(outcome, "sent_at"));
        if to == SILENT {
            assert_eq!(waited, RECEIPT_TIMEOUT, "{outcome}");
        } else {
            assert!(waited > RECEIPT_TIMEOUT && ended > RECEIPT_TIMEOUT, "{to} by {tenant} was not waited for anew");
        }
    }
}
