//! What upstream and the courier's own queues may bring, against the whole worker.
//!
//! The numbers are those of the list of bad inputs. What needs a broker that speaks AMQP is in
//! [`crate::broker`]; everything that reaches the reader as properties and body is here.

mod body;
mod cloud_events;
mod duplicates;
mod envelope;
mod parked;
mod recipient;
pub(crate) mod sealed;

use std::time::Duration;

use mfa_courier::broker::Properties;
use mfa_courier::broker::wire::schema::Body;
use mfa_courier::challenge::Channel;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::verdict::AttemptResult::Accepted;
use serde_json::{Value, json};

use crate::documents::schemas::{assert_invalid, assert_valid};
use crate::world::{Act, CODE, Setup, World};

/// What has to become of an input.
#[derive(Clone, Copy, Debug)]
enum Becomes {
    /// Whole and unchanged in quarantine; no outcome, nothing sent.
    Quarantined,
    /// A final `rejected` that names the field, and a copy in quarantine.
    Rejected(Reason, &'static str),
    /// A final `rejected` by policy, with advice; it can be read, so no copy is kept.
    Refused(Reason),
    /// A final `expired`, nothing sent.
    Expired,
    /// Sent, once.
    Delivered,
}

struct Case {
    number: u8,
    properties: Properties,
    body: Vec<u8>,
    becomes: Becomes,
}

/// A body as it is.
fn raw(number: u8, body: impl AsRef<[u8]>, becomes: Becomes) -> Case {
    Case { number, properties: Properties::default(), body: body.as_ref().to_vec(), becomes }
}

/// A good challenge but for these fields; `null` takes one away.
fn with(number: u8, fields: &Value, becomes: Becomes) -> Case {
    raw(number, challenge(fields), becomes)
}

/// A good challenge but for the number that it goes to.
fn to(number: u8, to: &str, becomes: Becomes) -> Case {
    with(number, &json!({"methods": [{"channel": "sms", "to": to}]}), becomes)
}

/// A good challenge in an envelope.
fn in_envelope(number: u8, properties: Properties, becomes: Becomes) -> Case {
    Case { properties, ..with(number, &json!({}), becomes) }
}

fn challenge(fields: &Value) -> Vec<u8> {
    let mut body = json!({"id": "c", "code": CODE, "ttl": 60, "methods": [{"channel": "sms", "to": "+14155552671"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn setup() -> Setup {
    Setup::with(&[("a", Channel::Sms)])
}

fn world(setup: Setup) -> World {
    World::new(setup, |_| Act::answer(Accepted, 20))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Publishes every case to a world of its own, and a good challenge after it.
async fn try_all(setup: impl Fn() -> Setup, cases: Vec<Case>) {
    hold_against_the_schema(&cases);
    for case in cases {
        let mut world = world(setup());
        world.start_worker();
        let Case { properties, body, .. } = &case;
        world.broker.publish_challenge("challenge.requested", properties.clone(), body.clone(), None);
        world.settle(seconds(62)).await;
        check(&world, &case);
        let sent = world.sent().len();
        world.challenge("next", 60);
        world.settle(seconds(62)).await;
        assert_eq!(world.outcome("next").status, Status::Sent, "{}: the next one", shown(&case));
        assert_eq!(world.sent().len(), sent + 1, "{}: the next one", shown(&case));
    }
}

/// Written as a time is, and later than times go in every zone.
const BEYOND_TIME: &str = "9999-12-31T23:59:59Z";

/// The schema takes what the courier takes, and refuses what it refuses for its form.
fn hold_against_the_schema(cases: &[Case]) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for case in cases.iter().filter(|case| case.properties == Properties::default()) {
        let Ok(body) = serde_json::from_slice::<Value>(&case.body) else { continue };
        match case.becomes {
            Becomes::Delivered => good.push(body),
            // What is wrong with a time may be the hour, which no schema knows.
            Becomes::Rejected(Reason::Malformed, "issued_at") => {}
            Becomes::Rejected(Reason::Malformed, "expires_at") if body["expires_at"] == BEYOND_TIME => {}
            Becomes::Rejected(Reason::Malformed | Reason::NoMethod, _) => bad.push(body),
            Becomes::Quarantined | Becomes::Rejected(..) | Becomes::Refused(_) | Becomes::Expired => {}
        }
    }
    if !good.is_empty() {
        assert_valid(Body::Challenge, &good);
    }
    if !bad.is_empty() {
        assert_invalid(Body::Challenge, &bad);
    }
}

fn shown(case: &Case) -> String {
    let body = &case.body[..case.body.len().min(120)];
    format!("{} {} {:?}", case.number, String::from_utf8_lossy(body), case.properties.content_type)
}

#[track_caller]
fn check(world: &World, case: &Case) {
    let shown = shown(case);
    let kept = match case.becomes {
        Becomes::Quarantined => {
            assert!(world.heard().is_empty(), "{shown}: {:?}", world.heard());
            true
        }
        Becomes::Rejected(reason, field) => {
            let end = world.outcome("c");
            assert_eq!((end.status, end.reason), (Status::Rejected, Some(reason)), "{shown}");
            assert_eq!(end.field.as_deref(), Some(field), "{shown}");
            true
        }
        Becomes::Refused(reason) => {
            let end = world.outcome("c");
            assert_eq!((end.status, end.reason), (Status::Rejected, Some(reason)), "{shown}");
            assert!(end.advice.is_some(), "{shown}");
            false
        }
        Becomes::Expired => {
            assert_eq!(world.outcome("c").status, Status::Expired, "{shown}");
            false
        }
        Becomes::Delivered => {
            assert_eq!(world.outcome("c").status, Status::Sent, "{shown}");
            false
        }
    };
    let sent = usize::from(matches!(case.becomes, Becomes::Delivered));
    assert_eq!(world.sent().len(), sent, "{shown}");
    assert_eq!(world.broker.quarantined().len(), usize::from(kept), "{shown}");
    for copy in world.broker.quarantined() {
        assert!(copy.body == case.body, "{shown}: its bytes were changed");
        let names: Vec<_> = copy.properties.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-courier-why", "x-courier-from", "x-courier-at"], "{shown}");
        let properties = Properties { headers: Vec::new(), ..copy.properties };
        assert_eq!(properties, Properties { headers: Vec::new(), ..case.properties.clone() }, "{shown}");
    }
}
