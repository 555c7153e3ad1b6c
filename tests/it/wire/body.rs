//! What is in the body: syntax, fields and times, 21 to 44.

use mfa_courier::challenge::Note;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::policy::UnknownTenant;
use serde_json::{Value, json};

use super::Becomes::{Delivered, Expired, Quarantined, Refused, Rejected};
use super::{Becomes, Case, challenge, raw, seconds, setup, try_all, with, world};
use crate::world::Setup;

const fn malformed(field: &'static str) -> Becomes {
    Rejected(Reason::Malformed, field)
}

/// A good challenge with `from` replaced in its text by these bytes.
fn spliced(number: u8, from: &str, by: &[u8], becomes: Becomes) -> Case {
    let body = challenge(&json!({}));
    let at = body.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    raw(number, [&body[..at], by, &body[at + from.len()..]].concat(), becomes)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_one_clean_object_is_set_aside() {
    let text = |number, body: &str| raw(number, body, Quarantined);
    let mut cases: Vec<_> =
        ["{", "null", "[]", "\"x\"", "{} {}", "\u{feff}{}"].into_iter().map(|body| text(21, body)).collect();
    cases.extend([
        spliced(22, "481516", b"\xff", Quarantined),
        spliced(22, "481516", b"\xc0\xaf", Quarantined),
        spliced(22, "481516", br"\ud800", Quarantined),
        text(23, &"[".repeat(60_000)),
        text(23, &"[".repeat(100_000)),
        text(24, &format!("{{{}\"id\":\"c\"}}", "\"k\":1,".repeat(1_000_000))),
        spliced(25, "\"to\"", br#""to":"+14155550000","to""#, Quarantined),
        spliced(26, "60", b"1e400", Quarantined),
        spliced(26, "60", b"NaN", Quarantined),
        spliced(26, "\"c\"", b"123456789012345678901234567890", Quarantined),
        spliced(26, "60", b"123456789012345678901234567890", malformed("ttl")),
        spliced(26, "60", b"-1", malformed("ttl")),
        spliced(26, "60", b"-0", Expired),
    ]);
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn an_id_outside_its_grammar_is_set_aside() {
    let long = "x".repeat(10_000);
    let ids = ["a\0", "a\u{1b}b", &long, "", "a/b", "a#", "a*", "e\u{301}", "\u{e9}", "../c", "c\n"];
    let numbers = [27, 27, 28, 28, 28, 28, 28, 29, 29, 28, 27];
    let cases = numbers.into_iter().zip(ids).map(|(number, id)| with(number, &json!({"id": id}), Quarantined));
    try_all(setup, cases.collect()).await;
}

#[tokio::test(start_paused = true)]
async fn ids_that_differ_in_case_are_two_challenges() {
    // 29.
    let mut world = world(setup());
    world.start_worker();
    for id in ["c", "C", "c.d", "c:d"] {
        world.challenge(id, 60);
    }
    world.settle(seconds(5)).await;
    assert_eq!((world.sent().len(), world.heard().len()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_wrong_is_named() {
    let method = json!({"channel": "sms", "to": "+14155552671"});
    let fax = json!({"channel": "fax", "to": "x"});
    let cases = vec![
        with(30, &json!({"code": null}), malformed("code")),
        with(30, &json!({"methods": null}), Rejected(Reason::NoMethod, "methods")),
        with(30, &json!({"methods": []}), Rejected(Reason::NoMethod, "methods")),
        with(30, &json!({"methods": {}}), malformed("methods")),
        with(30, &json!({"methods": vec![&method; 1_000]}), malformed("methods")),
        with(30, &json!({"methods": [method, 1]}), malformed("methods[1]")),
        with(31, &json!({"methods": [fax]}), Rejected(Reason::NoSupportedMethod, "methods")),
        with(32, &json!({"version": 2}), Quarantined),
        with(32, &json!({"version": "1"}), Quarantined),
        with(32, &json!({"version": 1, "minor": 7}), Delivered),
        with(33, &json!({"code": 12_345}), malformed("code")),
        with(33, &json!({"vars": {"n": 1}}), malformed("vars")),
        with(33, &json!({"fallback": true}), malformed("fallback")),
        with(33, &json!({"methods": [{"channel": "sms", "to": 14_155_552_671_u64}]}), malformed("methods[0].to")),
        with(34, &json!({"__proto__": {"x": 1}, "constructor": [], "extra": null}), Delivered),
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_channel_beside_a_good_one_is_skipped() {
    // 31.
    let mut world = world(setup());
    world.start_worker();
    let methods = json!([{"channel": "fax", "to": "x"}, {"channel": "sms", "to": "+14155552671"}]);
    world.publish(&json!({"id": "c", "code": "1", "methods": methods}));
    world.settle(seconds(5)).await;
    let end = world.outcome("c");
    assert_eq!(end.status, Status::Sent);
    assert!(end.notes.contains(&Note::MethodSkipped));
}

#[tokio::test(start_paused = true)]
async fn a_code_keeps_to_its_pattern() {
    let long = "1".repeat(64);
    let bad = ["", "12 34", "12\n34", "\u{1f600}", "\u{202e}12", "<Say>", "{{7*7}}", &long, "\u{0661}\u{0662}"];
    let mut cases: Vec<_> = bad.map(|code| with(35, &json!({"code": code}), malformed("code"))).into();
    cases.extend(["7", "AbC-123", &"1".repeat(16)].map(|code| with(35, &json!({"code": code}), Delivered)));
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn tenants_and_locales_from_outside_reach_nothing() {
    let strict = || {
        let mut setup = setup();
        setup.policy.unknown_tenant = UnknownTenant::Reject;
        setup
    };
    try_all(strict, vec![with(36, &json!({"tenant": "nobody"}), Refused(Reason::UnknownTenant))]).await;
    let mut cases = vec![with(36, &json!({"tenant": "nobody"}), Delivered)];
    cases.extend(["UPPER", "a/b", "\u{e9}"].map(|tenant| with(36, &json!({"tenant": tenant}), malformed("tenant"))));
    let long = "x".repeat(300);
    cases.extend(["zz-ZZ", "../../etc/passwd", &long].map(|locale| with(37, &json!({"locale": locale}), Delivered)));
    try_all(setup, cases).await;
}

fn expires_at(number: u8, at: impl Into<Value>, becomes: Becomes) -> Case {
    with(number, &json!({"ttl": null, "expires_at": at.into()}), becomes)
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_late_expires_and_is_not_sent() {
    let cases = vec![
        expires_at(38, "2026-11-24T11:59:59Z", Expired),
        expires_at(39, "2026-11-24T12:00:00.050Z", Expired),
        with(39, &json!({"ttl": 0.05}), Expired),
        expires_at(44, "1969-12-31T23:59:59Z", Expired),
        expires_at(44, "-0001-01-01T00:00:00Z", malformed("expires_at")),
    ];
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn times_that_cannot_be_are_named() {
    let impossible = [
        "2026-02-30T12:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T23:59:60Z",
        "2026-11-24T12:05:00",
        "2026-11-24T12:05:00+99:99",
        "1795521900000",
        "tomorrow",
    ];
    let mut cases: Vec<_> = impossible.map(|at| expires_at(43, at, malformed("expires_at"))).into();
    cases.extend([
        expires_at(40, "292277026596-12-04T15:30:07Z", malformed("expires_at")),
        expires_at(40, "9999-12-31T23:59:59Z", malformed("expires_at")),
        expires_at(43, 1_795_521_900_000_u64, malformed("expires_at")),
        with(40, &json!({"ttl": 1e10}), malformed("ttl")),
        with(
            41,
            &json!({"issued_at": "2026-11-24T12:10:00Z", "expires_at": "2026-11-24T12:05:00Z"}),
            malformed("issued_at"),
        ),
        with(42, &json!({"issued_at": "2026-11-25T12:00:00Z"}), malformed("issued_at")),
    ]);
    try_all(setup, cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_skewed_clock_and_a_far_deadline_are_noted() {
    let noted = [
        (json!({"ttl": null, "expires_at": "2036-11-24T12:00:00Z"}), Note::TtlClamped),
        (json!({"ttl": null, "expires_at": "9999-12-30T00:00:00Z"}), Note::TtlClamped),
        // 42: `ttl` counts from arrival, so it is safe with skewed clocks.
        (json!({"issued_at": "2026-11-24T12:05:00Z"}), Note::ClockSkew),
        (json!({"issued_at": "2026-11-24T12:05:00Z", "expires_at": "2026-11-24T12:06:00Z"}), Note::ClockSkew),
    ];
    for (fields, note) in noted {
        let mut world = world(setup());
        world.start_worker();
        world.publish(&serde_json::from_slice(&challenge(&fields)).unwrap());
        world.settle(seconds(5)).await;
        let end = world.outcome("c");
        assert!(end.status == Status::Sent && end.notes.contains(&note), "{fields}: {end:?}");
        assert!(end.expires_at.unwrap() <= world.clock.now() + Setup::with(&[]).policy.max_ttl, "{fields}");
    }
}
