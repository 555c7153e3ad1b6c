//! The challenges of [`super`]: whose tenant they are says by which providers they go, the number what becomes of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use mfa_courier::clock::Clock;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::simulator::{ACCOUNT_SID, AUTH_TOKEN, Mode};
use serde_json::{Value, json};

use super::Stage;
use crate::contract::Row;

/// A number that all take and tell of: sent, and then delivered.
pub(super) const MOBILE: &str = "+14155552671";
/// One that nothing is ever told of, and one that nothing arrives at.
const SILENT: &str = "+14155559920";
const UNDELIVERED: &str = "+14157830005";

/// The codes of those that signals are about: their messages are told by them.
pub(super) const CANCELLED_CODE: &str = "700001";
pub(super) const VERIFIED_CODE: &str = "700002";
pub(super) const ENTERED_CODE: &str = "700003";
const CODE: &str = "481516";

/// The time of those that nobody works on, in seconds: longer than the wait for a second try.
pub(super) const STOPPED_TTL: u64 = 10;

/// A challenge and how it ends.
pub(super) struct Case {
    name: &'static str,
    tenant: &'static str,
    /// Its method: a number for a text message, or another in JSON.
    method: &'static str,
    code: &'static str,
    pub(super) status: Status,
    pub(super) reason: Option<Reason>,
    pub(super) confirmed_by: Option<&'static str>,
}

const fn case(
    name: &'static str,
    tenant: &'static str,
    method: &'static str,
    (status, reason): (Status, Reason),
) -> Case {
    Case { name, tenant, method, code: CODE, status, reason: Some(reason), confirmed_by: None }
}

const fn delivered(name: &'static str, method: &'static str, by: &'static str) -> Case {
    let (tenant, status) = ("default", Status::Delivered);
    Case { name, tenant, method, code: CODE, status, reason: None, confirmed_by: Some(by) }
}

/// Published while no worker runs, and over before one does.
pub(super) const LEFT_ALONE: &[Case] = &[case("late", "default", MOBILE, (Status::Expired, Reason::ExpiredOnArrival))];

/// Tried once, and over before a worker could try again.
pub(super) const STOPPED: &[Case] = &[
    case("stopped-busy", "busy", MOBILE, (Status::Expired, Reason::ProviderUnavailable)),
    case("stopped-full", "full", MOBILE, (Status::Expired, Reason::RateLimited)),
    case("stopped-mixed", "mixed", MOBILE, (Status::Expired, Reason::ExpiredInFlight)),
];

/// The broker delivers them too often.
pub(super) const GIVEN_UP: &[Case] = &[case("given-up", "plain", MOBILE, (Status::Failed, Reason::Internal))];

/// All others.
pub(super) const AT_ONCE: &[Case] = &[
    Case { code: "not a code", ..case("malformed", "plain", MOBILE, (Status::Rejected, Reason::Malformed)) },
    case("no-method", "plain", "", (Status::Rejected, Reason::NoMethod)),
    case("fax", "plain", r#"{"channel":"fax","to":"+1"}"#, (Status::Rejected, Reason::NoSupportedMethod)),
    case("disabled", "strict", MOBILE, (Status::Rejected, Reason::MethodDisabled)),
    case("no-number", "plain", "+1", (Status::Rejected, Reason::InvalidDestination)),
    case("blocked", "plain", "+447400123456", (Status::Rejected, Reason::DestinationBlocked)),
    case("unknown", "nobody", MOBILE, (Status::Rejected, Reason::UnknownTenant)),
    case("no-route", "default", "+4915112345678", (Status::Rejected, Reason::NoRoute)),
    case(
        "gone",
        "default",
        r#"{"channel":"push","platform":"android","token":"device:UNREGISTERED"}"#,
        (Status::Failed, Reason::DeviceNotActivated),
    ),
    case("unreachable", "default", "+14157721211", (Status::Failed, Reason::RecipientUnreachable)),
    case("opted-out", "default", "+14157721610", (Status::Failed, Reason::RecipientOptedOut)),
    case("content", "filter", MOBILE, (Status::Failed, Reason::ContentRejected)),
    case("unavailable", "busy", MOBILE, (Status::Failed, Reason::ProviderUnavailable)),
    case("full", "full", MOBILE, (Status::Failed, Reason::RateLimited)),
    case("mixed", "mixed", MOBILE, (Status::Failed, Reason::AllHopsFailed)),
    case("undelivered", "twice", UNDELIVERED, (Status::Failed, Reason::Undelivered)),
    case("doubt", "broken", MOBILE, (Status::Unknown, Reason::InDoubt)),
    case("silent", "default", SILENT, (Status::Sent, Reason::ReceiptTimeout)),
    case("taken", "plain", MOBILE, (Status::Sent, Reason::NoReceipts)),
    case("expired", "plain", MOBILE, (Status::Expired, Reason::ExpiredOnArrival)),
    Case { code: CANCELLED_CODE, ..case("cancelled", "busy", MOBILE, (Status::Cancelled, Reason::Cancelled)) },
    Case { code: VERIFIED_CODE, ..case("verified", "busy", MOBILE, (Status::Cancelled, Reason::Verified)) },
    delivered("told", MOBILE, "receipt"),
    delivered("called", r#"{"channel":"voice","to":"+14155552671"}"#, "answer"),
    Case { code: ENTERED_CODE, ..delivered("entered", SILENT, "verification") },
];

impl Case {
    /// Its challenges: one, and where the app's codes are an advice, one of a person who has the app.
    pub(super) fn ids(&self) -> Vec<(String, bool)> {
        let with_app = self.reason.is_some_and(|reason| Row::of(reason).gives_way_to_the_app());
        let ids = [(self.name.to_owned(), false), (format!("{}-app", self.name), true)];
        ids.into_iter().take(if with_app { 2 } else { 1 }).collect()
    }

    /// What upstream publishes.
    pub(super) fn body(&self, id: &str, has_app: bool) -> Value {
        let method = match self.method {
            "" => None,
            json if json.starts_with('{') => Some(serde_json::from_str(json).expect("JSON")),
            to => Some(json!({ "channel": "sms", "to": to })),
        };
        // The app, on a platform that no provider of the test reaches.
        let app = json!({ "channel": "push", "platform": "windows", "token": "https://push.example.com/channel" });
        let methods: Vec<Value> = method.into_iter().chain(has_app.then_some(app)).collect();
        let mut body = json!({ "id": id, "code": self.code, "tenant": self.tenant, "methods": methods });
        match self.reason {
            Some(Reason::ExpiredOnArrival) => body["expires_at"] = json!(Clock::system().now().to_string()),
            _ if self.status == Status::Expired => body["ttl"] = json!(STOPPED_TTL),
            _ => body["ttl"] = json!(30),
        }
        body
    }
}

/// What some providers do with everything.
pub(super) fn modes() -> [(&'static str, Mode); 4] {
    [
        ("twilio/busy", Mode::Busy),
        ("twilio/full", Mode::Throttle),
        ("twilio/filter", Mode::Refuse("30007".to_owned())),
        ("twilio/broken", Mode::Error(500)),
    ]
}

/// A worker whose tenants go by providers of their own.
pub(super) fn config(stage: &Stage) -> PathBuf {
    let receipts = "receipts = true\nreceipt_timeout = \"3s\"";
    let mut more = format!("{receipts}\n");
    for name in ["busy", "full", "filter", "broken", "plain"] {
        let url = stage.simulator.base_url(&format!("twilio/{name}"));
        writeln!(
            more,
            "[providers.{name}]\nkind = \"twilio\"\nbase_url = \"{url}\"\naccount_sid = \"{ACCOUNT_SID}\"\n\
             auth_token = \"{AUTH_TOKEN}\"\nsenders = [\"+15005550006\"]"
        )
        .expect("memory");
    }
    let account = stage.simulator.service_account("fcm/main");
    let fcm = stage.simulator.base_url("fcm/main");
    writeln!(more, "[providers.fcm]\nkind = \"fcm\"\nbase_url = \"{fcm}\"\nservice_account = '''{account}'''")
        .expect("memory");
    let routes = [
        ("busy", "\"busy\""),
        ("full", "\"full\""),
        ("filter", "\"filter\""),
        ("broken", "\"broken\""),
        ("plain", "\"plain\""),
        ("mixed", "\"filter\", \"busy\""),
        ("twice", "\"twilio\", \"gateway\""),
    ];
    for (tenant, providers) in routes {
        let route = "[[routes]]\nchannel = \"sms\"";
        writeln!(more, "[tenants.{tenant}]\n{route}\ntenants = [\"{tenant}\"]\nproviders = [{providers}]")
            .expect("memory");
    }
    more.push_str(
        r#"
[tenants.strict]
methods = ["push"]
[[routes]]
channel = "sms"
to = ["US"]
providers = ["twilio"]
[[routes]]
channel = "voice"
providers = ["twilio"]
[delivery]
unknown_tenant = "reject"
retry = { max = 1, initial = "8s", max_delay = "8s" }
[guard]
countries = { deny = ["GB"] }
[health]
min_sample = 1000
"#,
    );
    let config = stage.config_with(receipts, &more);
    let text = std::fs::read_to_string(&config).expect("there");
    std::fs::write(&config, text.replacen("[broker]", "[broker]\ndelivery_limit = 2", 1)).expect("written");
    config
}
