//! Hostile answers of providers, each by its number in the catalogue of hostile inputs: whatever a peer
//! says, or does not say, there is a verdict within the deadline, and only what surely was not sent is
//! called so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId};
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::phone::PhoneNumber;
use mfa_courier::provider::definition::builtin;
use mfa_courier::provider::http::{HttpProvider, ProviderSettings};
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use self::server::{Then, answer, canned, finish, hold, peer, read_request};

pub(crate) mod http2;
pub(crate) mod server;
pub(crate) mod tls;

/// What every call here has to end within, and what it may take beside it on a busy machine.
const DEADLINE: Duration = Duration::from_millis(700);
const SLACK: Duration = Duration::from_millis(600);

const NUMBER: &str = "+14155552671";
const CODE: &str = "481516";
const TAKEN: &str = r#"{"sid":"SM1","error_code":null,"num_segments":"2"}"#;

fn message() -> Message {
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: Address::Sms { to: PhoneNumber::parse(NUMBER, None).expect("valid") },
        sender: Some("Contoso".into()),
        title: None,
        text: Secret::new(format!("{CODE} is your code")),
        code: Some(Secret::new(CODE)),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_mins(2),
        callback_url: None,
    }
}

fn settings(base_url: &str) -> ProviderSettings {
    let mut settings = ProviderSettings::new("primary");
    settings.base_url = Some(base_url.to_owned());
    settings.connect_timeout = Duration::from_millis(400);
    settings
}

fn twilio_with(mut given: ProviderSettings) -> HttpProvider {
    let set = [("account_sid", "AC1"), ("auth_token", "t0ken")];
    given.settings = set.map(|(key, value)| (key.to_owned(), Secret::new(value))).into();
    let clock = Clock::starting_at(Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").expect("valid"));
    HttpProvider::new(given, Arc::clone(&builtin().expect("valid")["twilio"]), clock).expect("usable")
}

fn twilio(base_url: &str) -> HttpProvider {
    twilio_with(settings(base_url))
}

fn webhook(base_url: &str) -> HttpProvider {
    HttpProvider::new(settings(base_url), Arc::clone(&builtin().expect("valid")["webhook"]), Clock::system())
        .expect("usable")
}

/// Sends one message: the verdict, and how far it got in a word.
async fn ask_with(provider: &HttpProvider, message: &Message) -> (Verdict, String) {
    let begun = Clock::instant();
    let reply = provider.send(message, begun + DEADLINE).await;
    let took = Clock::instant().duration_since(begun);
    assert!(took < DEADLINE + SLACK, "took {took:?}: {reply:?}");
    let verdict = provider.classify(message, &reply);
    let shown = format!("{verdict:?}");
    assert!(![NUMBER, CODE, "t0ken", "127.0.0.1"].iter().any(|secret| shown.contains(secret)), "{shown}");
    (verdict, progress(&reply))
}

/// How far a request got, in a word.
pub(crate) fn progress(reply: &Reply) -> String {
    match reply {
        Reply::Answered { status, .. } => format!("answered {status}"),
        Reply::Torn { status, .. } => format!("torn {status}"),
        Reply::Unfit { .. } => "unfit".to_owned(),
        Reply::Refused { status, .. } => format!("refused {status}"),
        Reply::NotSent { .. } => "not sent".to_owned(),
        Reply::InDoubt { .. } => "in doubt".to_owned(),
    }
}

async fn ask(provider: &HttpProvider) -> (Verdict, String) {
    ask_with(provider, &message()).await
}

/// One message to Twilio as played by a peer that says `bytes`: "progress: result".
async fn to_canned(bytes: impl Into<Vec<u8>>, then: Then) -> String {
    let address = canned(bytes.into(), then).await;
    let (verdict, progress) = ask(&twilio(&format!("http://{address}"))).await;
    format!("{progress}: {}", verdict.result.as_str())
}

async fn verdict_of(bytes: Vec<u8>) -> Verdict {
    let address = canned(bytes, Then::Hold).await;
    ask(&twilio(&format!("http://{address}"))).await.0
}

#[tokio::test]
async fn a_plain_answer_is_taken() {
    let verdict = verdict_of(answer("201 Created", "", TAKEN)).await;
    let expected =
        Verdict { message_id: Some("SM1".into()), segments: Some(2), ..Verdict::of(AttemptResult::Accepted) };
    assert_eq!(verdict, expected);
}

#[tokio::test]
async fn n87_bodies_that_say_nothing() {
    for (status, body, expected) in [
        ("201 Created", "", "answered 201: accepted"),
        ("201 Created", "<html>", "answered 201: accepted"),
        ("201 Created", r#"{"sid":"SM"#, "answered 201: accepted"),
        ("200 OK", "", "answered 200: unknown"),
        ("200 OK", "<html>captive portal</html>", "answered 200: unknown"),
        ("200 OK", r#"{"sid":null}"#, "answered 200: unknown"),
        ("200 OK", r#"{"sid":["SM1"]}"#, "answered 200: unknown"),
        ("200 OK", TAKEN, "answered 200: accepted"),
    ] {
        assert_eq!(to_canned(answer(status, "", body), Then::Hold).await, expected, "{status} {body}");
    }
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n".to_vec();
    bytes.extend(b"{\"sid\":\"\xff\xfe\"}");
    assert_eq!(to_canned(bytes, Then::Hold).await, "answered 200: unknown");
}

#[tokio::test]
async fn n87_an_endless_body_is_not_read_to_its_end() {
    let script = |mut stream: TcpStream, _| async move {
        read_request(&mut stream).await;
        let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", 10u64 << 30);
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(&[b'x'; 16_384]).await.is_ok() {}
    };
    let (address, _) = peer(script).await;
    let (verdict, progress) = ask(&twilio(&format!("http://{address}"))).await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Accepted, "torn 201"));
    assert_eq!(verdict.detail.as_deref(), Some("the answer is longer than 256 KiB"));
}

#[tokio::test]
async fn n88_an_error_within_a_success_is_an_error() {
    let body = |code: &str| format!(r#"{{"sid":"SM1","error_code":{code},"error_message":"no: +14155552671"}}"#);
    let refused = verdict_of(answer("201 Created", "", &body("30007"))).await;
    assert_eq!((refused.result, refused.code.as_deref()), (AttemptResult::Content, Some("30007")));
    assert_eq!((refused.detail.as_deref(), refused.message_id), (Some("no: +#"), None));
    let opted_out = verdict_of(answer("201 Created", "", &body("\"21610\""))).await;
    assert_eq!((opted_out.result, opted_out.opted_out), (AttemptResult::Recipient, true));
    let new = verdict_of(answer("201 Created", "", &body("77777"))).await;
    assert_eq!((new.result, new.code.as_deref()), (AttemptResult::Transient, Some("77777")));
}

#[tokio::test]
async fn n89_ids_that_are_none_are_dropped() {
    let long = "x".repeat(10_240);
    for id in [long.as_str(), r"SM1\r\nX-Evil: 1", "a b", r"\u0000", "é"] {
        let verdict = verdict_of(answer("201 Created", "", &format!(r#"{{"sid":"{id}"}}"#))).await;
        assert_eq!((verdict.result, verdict.message_id), (AttemptResult::Accepted, None), "{id}");
    }
}

#[tokio::test]
async fn n90_other_successes_need_a_proof() {
    for (status, twilio_says, webhook_says) in [
        ("202 Accepted", "unknown", "accepted"),
        ("204 No Content", "unknown", "accepted"),
        ("206 Partial Content", "unknown", "unknown"),
        ("226 IM Used", "unknown", "unknown"),
    ] {
        let bytes = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let base = format!("http://{}", canned(bytes, Then::Hold).await);
        assert_eq!(ask(&twilio(&base)).await.0.result.as_str(), twilio_says, "{status}");
        assert_eq!(ask(&webhook(&base)).await.0.result.as_str(), webhook_says, "{status}");
    }
}

#[tokio::test]
async fn n91_informational_answers() {
    let taken = answer("201 Created", "", TAKEN);
    let continued = ["HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000).as_bytes(), &taken].concat();
    assert_eq!(to_canned(continued, Then::Hold).await, "answered 201: accepted");
    let hinted = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".as_slice(), &taken].concat();
    assert_eq!(to_canned(hinted, Then::Hold).await, "answered 201: accepted");
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    assert!(to_canned(upgrade, Then::Hold).await.ends_with(": unknown"));
}

#[tokio::test]
async fn n92_redirects_are_not_followed() {
    let (elsewhere, visits) = peer(|stream, _| finish(stream, Then::Close)).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "300 Many", "304 Same"]
    {
        for location in [format!("http://{elsewhere}/"), "file:///etc/passwd".to_owned(), "//example.com".to_owned()] {
            let verdict = verdict_of(answer(status, &format!("Location: {location}\r\n"), "")).await;
            assert_eq!(verdict.result, AttemptResult::Provider, "{status} {location}");
        }
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn n93_to_n96_what_a_status_says() {
    for (status, body, expected) in [
        ("401 Unauthorized", r#"{"code":20003}"#, "answered 401: provider"),
        ("401 Unauthorized", "", "answered 401: provider"),
        ("403 Forbidden", "<html>", "answered 403: provider"),
        ("400 Bad Request", r#"{"code":21211}"#, "answered 400: recipient"),
        ("400 Bad Request", "", "answered 400: provider"),
        ("404 Not Found", r#"{"code":20404}"#, "answered 404: provider"),
        ("408 Request Timeout", "", "answered 408: transient"),
        ("425 Too Early", "", "answered 425: transient"),
        ("429 Too Many Requests", r#"{"code":20429}"#, "answered 429: throttled"),
        ("429 Too Many Requests", r#"{"code":21999}"#, "answered 429: throttled"),
        ("999 What", "", "answered 999: unknown"),
    ] {
        assert_eq!(to_canned(answer(status, "", body), Then::Hold).await, expected, "{status} {body}");
    }
    let base = format!("http://{}", canned(answer("410 Gone", "", ""), Then::Hold).await);
    assert_eq!(ask(&webhook(&base)).await.0.result, AttemptResult::Recipient);
}

#[tokio::test]
async fn n97_n112_hints_are_bounded_and_the_peers_clock_is_ignored() {
    let day = Duration::from_hours(24);
    for (headers, expected) in [
        ("", None),
        ("Retry-After: 120\r\n", Some(Duration::from_mins(2))),
        ("Retry-After: 0\r\n", Some(Duration::ZERO)),
        ("Retry-After: -5\r\n", None),
        ("Retry-After: 1e9\r\n", None),
        ("Retry-After: 99999999999999999999\r\n", Some(day)),
        ("Retry-After: 1\r\nRetry-After: 60\r\n", Some(Duration::from_mins(1))),
        ("Retry-After: Tue, 24 Nov 2026 11:00:00 GMT\r\n", Some(Duration::ZERO)),
        ("Date: Tue, 24 Nov 2026 13:00:00 GMT\r\nRetry-After: Wed, 25 Nov 2026 13:00:00 GMT\r\n", Some(day)),
        ("Retry-After: Tuesday, 24-Nov-26 12:00:05 GMT\r\n", None),
    ] {
        let verdict = verdict_of(answer("429 Too Many Requests", headers, "")).await;
        assert_eq!((verdict.result, verdict.retry_after), (AttemptResult::Throttled, expected), "{headers}");
    }
    let busy = answer("503 Service Unavailable", "Retry-After: 3\r\n", "");
    let verdict = verdict_of(busy).await;
    assert_eq!((verdict.result, verdict.retry_after), (AttemptResult::Transient, Some(Duration::from_secs(3))));
}

#[tokio::test]
async fn n98_a_server_error_leaves_it_in_doubt_whatever_it_says() {
    for status in ["500 Internal", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "599 ?"] {
        let expected = format!("answered {}: unknown", &status[..3]);
        let body = r#"{"status":"accepted","sid":"SM1"}"#;
        assert_eq!(to_canned(answer(status, "", body), Then::Hold).await, expected);
    }
    let base = format!("http://{}", canned(answer("500 Internal", "", r#"{"result":"accepted"}"#), Then::Hold).await);
    assert_eq!(ask(&webhook(&base)).await.0.result, AttemptResult::Unknown);
}

/// A peer that says `fast` at once and then one byte of `slow` at a time.
async fn to_slow(fast: &'static str, slow: &'static str) -> String {
    let script = move |mut stream: TcpStream, _| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(fast.as_bytes()).await;
        for byte in slow.as_bytes() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = stream.write_all(&[*byte]).await;
        }
        hold().await;
    };
    let (address, _) = peer(script).await;
    let (verdict, progress) = ask(&twilio(&format!("http://{address}"))).await;
    format!("{progress}: {}", verdict.result.as_str())
}

#[tokio::test]
async fn n99_slowness_does_not_move_the_deadline() {
    let head = "HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n";
    let (bytewise, silent, body, empty) = tokio::join!(
        to_slow("", "HTTP/1.1 201 Created\r\n"),
        to_slow("HTTP/1.1 201 Created\r\nContent-", ""),
        to_slow(head, "{                 "),
        to_slow("", ""),
    );
    assert_eq!([bytewise, silent, empty], ["in doubt: unknown"; 3]);
    assert_eq!(body, "torn 201: accepted", "the status alone proves it");
}

#[tokio::test]
async fn n100_connections_that_break_after_the_request() {
    for then in [Then::Close, Then::Reset] {
        assert_eq!(to_canned("", then).await, "in doubt: unknown", "{then:?}");
        assert_eq!(to_canned("HTTP/1.1 20", then).await, "in doubt: unknown", "{then:?}");
    }
}

#[tokio::test]
async fn n100_a_reused_connection_that_closes_is_in_doubt_and_not_repeated() {
    let script = |mut stream: TcpStream, _| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&answer("201 Created", "", TAKEN)).await;
        read_request(&mut stream).await;
        finish(stream, Then::Close).await;
    };
    let (address, connections) = peer(script).await;
    let provider = twilio(&format!("http://{address}"));
    assert_eq!(ask(&provider).await.0.result, AttemptResult::Accepted);
    let (verdict, progress) = ask(&provider).await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Unknown, "in doubt"));
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the request was written once, on the first connection");
}

#[tokio::test]
async fn n101_a_peer_that_never_reads() {
    let (address, _) = peer(|stream, _| async move {
        hold().await;
        drop(stream);
    })
    .await;
    let large = Message { text: Secret::new("x".repeat(16 << 20)), ..message() };
    let (verdict, progress) = ask_with(&twilio(&format!("http://{address}")), &large).await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Unknown, "in doubt"));
}

#[tokio::test]
async fn n102_bad_chunks() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailers = format!("0\r\n{}\r\n", "X-T: 1\r\n".repeat(10_000));
    let endless = "1\r\nx\r\n".repeat(MAX_CHUNKS);
    for (name, chunks) in [
        ("huge size", "FFFFFFFFFFFFFFFF\r\nx".to_owned()),
        ("beyond 64 bits", "1FFFFFFFFFFFFFFFFF\r\nx".to_owned()),
        ("negative size", "-1\r\nx".to_owned()),
        ("no size", "\r\nx".to_owned()),
        ("long extension", format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1 << 20))),
        ("never ends", endless),
        ("many trailers", trailers),
        ("cut", "5\r\nab".to_owned()),
    ] {
        assert_eq!(to_canned(format!("{head}{chunks}"), Then::Hold).await, "torn 200: unknown", "{name}");
    }
}

/// As many chunks of one byte as are more than the most that is read.
const MAX_CHUNKS: usize = mfa_courier::provider::http::MAX_REPLY_BYTES + 1;

#[tokio::test]
async fn n103_lengths_that_lie() {
    for (name, bytes, expected) in [
        ("too big, closed", format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{TAKEN}"), "torn 200: unknown"),
        ("too small", format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{TAKEN}"), "answered 200: unknown"),
        (
            "two",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{TAKEN}"),
            "in doubt: unknown",
        ),
        ("negative", format!("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{TAKEN}"), "in doubt: unknown"),
        (
            "beyond 64 bits",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{TAKEN}"),
            "in doubt: unknown",
        ),
        (
            "both",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{TAKEN}"),
            "torn 200: unknown",
        ),
    ] {
        assert_eq!(to_canned(bytes, Then::Close).await, expected, "{name}");
    }
}

#[tokio::test]
async fn n104_compressed_answers_are_not_unpacked() {
    for encoding in ["gzip", "br", "deflate", "nonsense"] {
        let bytes = answer("200 OK", &format!("Content-Encoding: {encoding}\r\n"), "\u{1f}\u{8b}\u{8}");
        assert_eq!(to_canned(bytes, Then::Hold).await, "answered 200: unknown", "{encoding}");
    }
}

#[tokio::test]
async fn n105_floods_of_headers() {
    for (name, headers) in [
        ("many", "X-A: 1\r\n".repeat(10_000)),
        ("long", format!("X-A: {}\r\n", "a".repeat(1 << 20))),
        ("with NUL", "X-A: a\0b\r\n".to_owned()),
        ("without a colon", "XA\r\n".to_owned()),
        ("folded", "X-A: a\r\n b\r\n".to_owned()),
    ] {
        assert_eq!(to_canned(answer("201 Created", &headers, TAKEN), Then::Hold).await, "in doubt: unknown", "{name}");
    }
}

#[tokio::test]
async fn n106_cookies_are_not_kept() {
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&requests);
    let script = move |mut stream: TcpStream, _| {
        let seen = Arc::clone(&seen);
        async move {
            loop {
                let request = read_request(&mut stream).await;
                seen.lock().expect("unpoisoned").push(request);
                let cookies = "Set-Cookie: a=b; Path=/\r\n".repeat(90);
                if stream.write_all(&answer("201 Created", &cookies, TAKEN)).await.is_err() {
                    return;
                }
            }
        }
    };
    let (address, _) = peer(script).await;
    let provider = twilio(&format!("http://{address}"));
    for _ in 0..2 {
        assert_eq!(ask(&provider).await.0.result, AttemptResult::Accepted);
    }
    let requests = requests.lock().expect("unpoisoned").clone();
    let lower: Vec<_> = requests.iter().map(|request| request.to_ascii_lowercase()).collect();
    assert!(lower.len() >= 2 && lower.iter().all(|request| !request.contains("cookie")), "{lower:?}");
    assert!(lower.iter().all(|request| request.contains("content-length:") && !request.contains("chunked")));
}

#[tokio::test]
async fn n108_n109_names_and_peers_that_do_not_exist() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let refused = listener.local_addr().expect("bound");
    drop(listener);
    for base in [
        "http://nothing.invalid".to_owned(),
        format!("http://{}.invalid", "a".repeat(63)),
        format!("http://{refused}"),
        // Port 1 of a loopback address that nobody listens on.
        "http://127.255.255.254:1".to_owned(),
    ] {
        let (verdict, progress) = ask(&twilio(&base)).await;
        assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Transient, "not sent"), "{base}");
    }
}

#[tokio::test]
async fn n111_bytes_of_a_second_answer_are_not_matched_to_the_next_request() {
    let script = |mut stream: TcpStream, n: usize| async move {
        loop {
            read_request(&mut stream).await;
            let body = |id: String| answer("201 Created", "", &format!(r#"{{"sid":"{id}"}}"#));
            let bytes = [body(format!("SM{n}")), body("stray".to_owned())].concat();
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let (address, _) = peer(script).await;
    let provider = twilio(&format!("http://{address}"));
    for _ in 0..20 {
        let (verdict, progress) = ask(&provider).await;
        assert_ne!(verdict.message_id.as_deref(), Some("stray"), "{progress}");
    }
}

#[tokio::test]
async fn after_the_deadline_nothing_is_written() {
    let (address, connections) = peer(|stream, _| finish(stream, Then::Hold)).await;
    let provider = twilio(&format!("http://{address}"));
    let reply = provider.send(&message(), Clock::instant()).await;
    assert_eq!(reply, Reply::NotSent { why: "no time was left".into() });
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
