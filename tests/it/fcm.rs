//! Prompts by Firebase Cloud Messaging against its simulated twin: access tokens under load and at their end,
//! what each device's answer comes to, and peers that say what no FCM would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mfa_courier::challenge::Platform;
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::provider::fcm::Fcm;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{Mode, Simulator, SimulatorSettings, service_account};

use crate::push::{self, CODE, NUMBER};
use crate::replies::server::{Then, answer, canned, peer, read_request};

mod peers;
mod worker;

const ENTRY: &str = "fcm/main";
const TOKENS: &str = "fcm/main/token";

/// A simulated FCM, and a provider that knows it.
struct Stage {
    simulator: Simulator,
    fcm: Arc<Fcm>,
    clock: Clock,
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::starting_at(Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").expect("valid"));
        let simulator = Simulator::start(SimulatorSettings::default(), clock.clone()).await.expect("a simulator");
        let fcm = fcm(&simulator.base_url(ENTRY), &simulator.service_account(ENTRY), &clock);
        Self { simulator, fcm: Arc::new(fcm), clock }
    }

    async fn result(&self, device: &str) -> AttemptResult {
        send(&self.fcm, device).await.0.result
    }

    /// Sends to so many devices at once; how many of each result.
    async fn flood(&self, count: usize) -> BTreeMap<&'static str, usize> {
        push::flood(&self.fcm, message, count).await
    }

    fn asked(&self) -> u64 {
        self.simulator.received_by(TOKENS)
    }
}

fn fcm(base_url: &str, account: &str, clock: &Clock) -> Fcm {
    let mut given = ProviderSettings::new("fcm");
    given.base_url = Some(base_url.to_owned());
    given.settings = BTreeMap::from([("service_account".to_owned(), Secret::new(account))]);
    Fcm::new(&given, clock).expect("usable")
}

fn message(device: &str) -> Message {
    push::message(Platform::Android, device)
}

/// Sends one prompt: the verdict, and how far it got in a word.
async fn send(fcm: &Fcm, device: &str) -> (Verdict, String) {
    push::send(fcm, &message(device)).await
}

#[tokio::test]
async fn a_prompt_is_taken_as_it_was_meant() {
    let stage = Stage::new().await;
    let (verdict, progress) = send(&stage.fcm, "device-x").await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Accepted, "answered 200"));
    assert!(verdict.message_id.is_some_and(|id| id.starts_with("projects/simulated/messages/")));
    let mut ios = message("device-y");
    push::device(&mut ios).platform = Platform::Ios;
    assert_eq!(push::send(stage.fcm.as_ref(), &ios).await.0.result, AttemptResult::Accepted);
    let received = stage.simulator.received();
    let prompts: Vec<_> = received.iter().filter(|received| received.provider == ENTRY).collect();
    assert_eq!(prompts.len(), 2);
    for prompt in prompts {
        assert_eq!(prompt.text.expose(), "Sign-in request\nOpen to confirm");
        assert_eq!((prompt.reference.as_deref(), prompt.taken), (Some("c-1"), true));
        assert!(matches!(prompt.validity, Some(119..=120)), "{:?}", prompt.validity);
    }
}

#[tokio::test]
async fn what_a_device_asks_for_comes_to_its_verdict() {
    let stage = Stage::new().await;
    for (device, expected) in [
        ("d:UNREGISTERED", "answered 404: device_gone"),
        ("d:INVALID_TOKEN", "answered 400: device_gone"),
        ("d:SENDER_ID_MISMATCH", "answered 403: device_gone"),
        ("no token", "answered 400: device_gone"),
        ("d:INVALID_ARGUMENT", "answered 400: content"),
        ("d:THIRD_PARTY_AUTH_ERROR", "answered 401: provider"),
        ("d:PERMISSION_DENIED", "answered 403: provider"),
        ("d:NOT_FOUND", "answered 404: provider"),
        ("d:QUOTA_EXCEEDED", "answered 429: throttled"),
        ("d:DEVICE_QUOTA", "answered 429: recipient"),
        ("d:INTERNAL", "answered 500: transient"),
        ("d:UNAVAILABLE", "answered 503: transient"),
        ("d-9900", "in doubt: unknown"),
        ("d-9901", "answered 500: unknown"),
        ("d-9902", "in doubt: unknown"),
        ("d-9903", "in doubt: unknown"),
        ("d-9904", "answered 503: transient"),
        ("d-9905", "answered 429: throttled"),
        ("d-9906", "answered 200: unknown"),
        ("d-9907", "answered 201: unknown"),
        ("d-9908", "answered 307: provider"),
        ("d-9909", "answered 200: accepted"),
        ("d-9910", "in doubt: unknown"),
    ] {
        let (verdict, progress) = send(&stage.fcm, device).await;
        assert_eq!(format!("{progress}: {}", verdict.result.as_str()), expected, "{device}");
    }
    let hinted = send(&stage.fcm, "d:QUOTA_EXCEEDED").await.0;
    assert_eq!(hinted.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(stage.asked(), 1, "none of them was the access token's fault");
}

#[tokio::test]
async fn however_many_need_a_token_one_asks_for_it() {
    let stage = Stage::new().await;
    stage.simulator.set_mode(TOKENS, Mode::Slow(Duration::from_millis(300)));
    assert_eq!(stage.flood(200).await, BTreeMap::from([("accepted", 200)]));
    assert_eq!((stage.asked(), stage.simulator.received_by(ENTRY)), (1, 200));
}

#[tokio::test]
async fn a_token_that_lapses_early_is_fetched_once_and_each_prompt_sent_once() {
    let stage = Stage::new().await;
    assert_eq!(stage.result("device-x").await, AttemptResult::Accepted);
    for round in 2..5 {
        stage.simulator.revoke_access(ENTRY);
        assert_eq!(stage.flood(100).await, BTreeMap::from([("accepted", 100)]));
        assert_eq!(stage.asked(), round, "one for all of them");
    }
    let taken = stage.simulator.received().into_iter().filter(|received| received.provider == ENTRY && received.taken);
    assert_eq!(taken.count(), 301, "what was refused with the token was sent once more, nothing else");
}

#[tokio::test]
async fn a_token_that_is_always_refused_is_the_providers_fault() {
    let stage = Stage::new().await;
    let (verdict, progress) = send(&stage.fcm, "d:UNAUTHENTICATED").await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Provider, "answered 401"));
    assert_eq!((stage.asked(), stage.simulator.received_by(ENTRY)), (2, 2), "once more, and no more");
    assert_eq!(stage.result("d:LAPSED").await, AttemptResult::Accepted, "a token that was used before is not taken");
    assert_eq!(stage.asked(), 3);
}

#[tokio::test]
async fn a_token_is_fetched_ahead_of_its_end_and_nobody_waits_for_it() {
    let stage = Stage::new().await;
    assert_eq!(stage.result("device-x").await, AttemptResult::Accepted);
    push::pass(Duration::from_mins(54)).await;
    assert_eq!((stage.result("device-x").await, stage.asked()), (AttemptResult::Accepted, 1));
    // The endpoint is slow just then: what is sent meanwhile goes with the old token.
    push::pass(Duration::from_mins(2)).await;
    stage.simulator.set_mode(TOKENS, Mode::Hang);
    assert_eq!(stage.result("device-x").await, AttemptResult::Accepted);
    assert_eq!(stage.flood(50).await, BTreeMap::from([("accepted", 50)]));
    crate::node::eventually("a fetch has begun", async || (stage.asked() == 2).then_some(())).await;
    // That fetch gives up; the next one succeeds, well before the end.
    push::pass(Duration::from_secs(11)).await;
    stage.simulator.set_mode(TOKENS, Mode::Normal);
    crate::node::eventually("a later fetch succeeds", async || {
        assert_eq!(stage.result("device-x").await, AttemptResult::Accepted);
        (stage.asked() == 3).then_some(())
    })
    .await;
    // The first token is over now, and nobody noticed.
    push::pass(Duration::from_mins(10)).await;
    assert_eq!((stage.result("device-x").await, stage.asked()), (AttemptResult::Accepted, 3));
    // Nobody sent anything for longer than a token lives.
    push::pass(Duration::from_hours(2)).await;
    assert_eq!((stage.result("device-x").await, stage.asked()), (AttemptResult::Accepted, 4));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_verdict_says_whose_fault_it_is() {
    for (mode, expected) in [
        (Mode::Refuse("invalid_grant".into()), "refused 400: provider"),
        (Mode::Refuse("invalid_client".into()), "refused 401: provider"),
        (Mode::Redirect, "refused 307: provider"),
        (Mode::Throttle, "refused 429: throttled"),
        (Mode::Busy, "not sent: transient"),
        (Mode::Error(500), "not sent: transient"),
        (Mode::Error(403), "refused 403: provider"),
        (Mode::Hang, "not sent: transient"),
        (Mode::Slow(Duration::from_secs(3)), "not sent: transient"),
        (Mode::Reset, "not sent: transient"),
        (Mode::Garble, "not sent: transient"),
        (Mode::FailWithin("no".into()), "not sent: transient"),
    ] {
        let stage = Stage::new().await;
        stage.simulator.set_mode(TOKENS, mode.clone());
        let (verdict, progress) = send(&stage.fcm, "device-x").await;
        assert_eq!(format!("{progress}: {}", verdict.result.as_str()), expected, "{mode:?}");
        assert_eq!(stage.simulator.received_by(ENTRY), 0, "{mode:?}");
    }
}

#[tokio::test]
async fn a_failing_endpoint_is_not_asked_by_each_of_many() {
    let stage = Stage::new().await;
    stage.simulator.set_mode(TOKENS, Mode::Error(500));
    assert_eq!(stage.flood(200).await, BTreeMap::from([("transient", 200)]));
    assert!(stage.asked() < 20, "asked {} times", stage.asked());
    tokio::time::sleep(Duration::from_millis(110)).await;
    stage.simulator.set_mode(TOKENS, Mode::Normal);
    assert_eq!(stage.result("device-x").await, AttemptResult::Accepted, "a retry finds it mended");
}

#[tokio::test]
async fn many_devices_gone_at_once_are_not_believed() {
    let stage = Stage::new().await;
    for n in 0..4 {
        assert_eq!(stage.result(&format!("{n}:SENDER_ID_MISMATCH")).await, AttemptResult::DeviceGone);
    }
    assert_eq!(stage.result("4:UNREGISTERED").await, AttemptResult::Provider);
    for n in 0..6 {
        assert_eq!(stage.result(&format!("device-{n}x")).await, AttemptResult::Accepted);
    }
    assert_eq!(stage.result("4:UNREGISTERED").await, AttemptResult::DeviceGone);
    let mut renewed = message("4:UNREGISTERED");
    push::device(&mut renewed).registered_at = Some(stage.clock.now() + Duration::from_mins(1));
    assert_eq!(push::send(stage.fcm.as_ref(), &renewed).await.0.result, AttemptResult::Recipient);
}

#[tokio::test]
async fn a_prompt_that_would_tell_is_not_sent() {
    let stage = Stage::new().await;
    for text in [format!("Type {NUMBER} in the app"), format!("{CODE} is your code"), "x".repeat(5_000)] {
        let telling = Message { text: Secret::new(text), ..message("device-x") };
        let (verdict, progress) = push::send(stage.fcm.as_ref(), &telling).await;
        assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Content, "unfit"));
    }
    assert_eq!(stage.simulator.received_by(ENTRY), 0);
}

/// One prompt to a peer that says `bytes` once it has the request; the access token comes from the simulator.
async fn to_canned(stage: &Stage, bytes: impl Into<Vec<u8>>, then: Then) -> String {
    let base = format!("http://{}", canned(bytes.into(), then).await);
    let fcm = fcm(&base, &stage.simulator.service_account(ENTRY), &stage.clock);
    let (verdict, progress) = send(&fcm, "dev1ce:APA91b").await;
    format!("{progress}: {}", verdict.result.as_str())
}

#[tokio::test]
async fn n87_to_n105_hostile_answers_to_a_prompt() {
    let stage = Stage::new().await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let named = r#"{"name":"projects/p/messages/1"}"#;
    for (bytes, then, expected) in [
        (answer("200 OK", "", named), Then::Hold, "answered 200: accepted"),
        (answer("200 OK", "", ""), Then::Hold, "answered 200: unknown"),
        (answer("200 OK", "", r#"{"name":["x"]}"#), Then::Hold, "answered 200: unknown"),
        (answer("200 OK", "", r#"{"name":"#), Then::Hold, "answered 200: unknown"),
        (answer("206 Partial Content", "", "{}"), Then::Hold, "answered 206: unknown"),
        (answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""), Then::Hold, "answered 302: provider"),
        (answer("500 Internal", "", named), Then::Hold, "answered 500: unknown"),
        (answer("404 Not Found", "", &"[".repeat(100_000)), Then::Hold, "answered 404: provider"),
        (format!("{chunked}FFFFFFFFFFFFFFFF\r\nx").into_bytes(), Then::Hold, "torn 200: accepted"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}".to_vec(), Then::Close, "torn 200: accepted"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 999\r\n\r\n{}".to_vec(), Then::Close, "torn 503: unknown"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 999\r\n\r\n{}".to_vec(), Then::Close, "torn 401: provider"),
        (answer("200 OK", &"X-A: 1\r\n".repeat(10_000), named), Then::Hold, "in doubt: unknown"),
        (Vec::new(), Then::Close, "in doubt: unknown"),
        (Vec::new(), Then::Reset, "in doubt: unknown"),
        (b"HTTP/1.1 20".to_vec(), Then::Close, "in doubt: unknown"),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(to_canned(&stage, bytes, then).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn hostile_answers_of_a_token_endpoint_leave_everything_unsent() {
    let stage = Stage::new().await;
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(300 * 1_024));
    for (bytes, then) in [
        (answer("200 OK", "", r#"{"access_token":"a\r\nX-Evil: 1"}"#), Then::Hold),
        (answer("200 OK", "", &long), Then::Hold),
        (answer("200 OK", "", &"[".repeat(100_000)), Then::Hold),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"access_token\":\"a\"}".to_vec(), Then::Close),
        (Vec::new(), Then::Reset),
        (b"HTTP/1.1 200 OK\r\nContent-".to_vec(), Then::Hold),
    ] {
        let endpoint = format!("http://{}/token", canned(bytes, then).await);
        let fcm = fcm(&stage.simulator.base_url(ENTRY), &service_account(&endpoint), &stage.clock);
        let (verdict, progress) = send(&fcm, "device-x").await;
        assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Transient, "not sent"));
    }
    assert_eq!(stage.simulator.received_by(ENTRY), 0);
}

#[tokio::test]
async fn a_sender_that_gives_up_does_not_take_the_token_from_the_others() {
    let stage = Stage::new().await;
    stage.simulator.set_mode(TOKENS, Mode::Slow(Duration::from_millis(500)));
    let hasty = stage.fcm.send(&message("device-x"), Clock::instant() + Duration::from_millis(100)).await;
    assert!(matches!(hasty, Reply::NotSent { .. }), "{hasty:?}");
    assert_eq!(stage.result("device-y").await, AttemptResult::Accepted);
    assert_eq!((stage.asked(), stage.simulator.received_by(ENTRY)), (1, 1));
}

#[tokio::test]
async fn what_a_wait_for_the_token_took_is_not_promised_to_the_device() {
    let (seen, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            let _ = seen.send(read_request(&mut stream).await);
        }
    })
    .await;
    let stage = Stage::new().await;
    stage.simulator.set_mode(TOKENS, Mode::Slow(Duration::from_millis(1_200)));
    let fcm = fcm(&format!("http://{address}"), &stage.simulator.service_account(ENTRY), &stage.clock);
    send(&fcm, "device-x").await;
    let request = heard.recv().await.expect("a request");
    assert!(request.contains(r#""ttl":"119s""#), "{request}");
    assert!(request.contains("authorization: Bearer simulated-access-1\r\n"), "{request}");
}

#[tokio::test]
async fn mistakes_in_the_settings_are_told_by_key_without_values() {
    let good = service_account("https://oauth2.googleapis.com/token");
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    for (account, found) in [
        (None, "nothing"),
        (Some("not JSON".to_owned()), "a text that is no such JSON"),
        (Some(with("service_account", "authorized_user")), "credentials whose `type` is not service_account"),
        (Some(with("client_email", "x")), "a service account without client_email"),
        (
            Some(r#"{"type":"service_account"}"#.into()),
            "a service account without project_id, client_email, private_key, token_uri",
        ),
        (Some(with("MII", "AAA")), "a service account whose `private_key` is no RSA key in PEM"),
        (
            Some(with("https://oauth2", "file://oauth2")),
            "a service account whose `token_uri` is no http or https address",
        ),
        (
            Some(with(r#""project_id":"simulated""#, r#""project_id":"../x""#)),
            "a service account whose `project_id` can't stand in an address",
        ),
    ] {
        let mut given = ProviderSettings::new("fcm");
        given.settings = account.into_iter().map(|text| ("service_account".to_owned(), Secret::new(text))).collect();
        let wrong = Fcm::new(&given, &Clock::system()).err().expect("refused");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!((wrong[0].path.as_str(), wrong[0].found.as_str()), ("providers.fcm.service_account", found));
    }
    let mut given = ProviderSettings::new("fcm");
    given.settings = BTreeMap::from([("project_id".to_owned(), Secret::new("a/b"))]);
    given.base_url = Some("ftp://x".into());
    given.token_endpoint = Some("https://user@x".into());
    let wrong = Fcm::new(&given, &Clock::system()).err().expect("refused");
    let keys: Vec<_> = wrong.iter().map(|mistake| mistake.path.as_str()).collect();
    let all =
        ["service_account", "project_id", "base_url", "endpoints.token"].map(|key| format!("providers.fcm.{key}"));
    assert_eq!(keys, all);
}
