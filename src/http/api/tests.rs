//! The admin API over real sockets: who is let in, what is told, and what strangers get.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Timestamp;
use crate::http::Listener;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::suite::{published, say};

const TOKEN: &str = "a token of sixteen";

struct Served {
    address: SocketAddr,
    ledger: watch::Sender<Option<Arc<dyn Ledger>>>,
    _stop: tokio_util::sync::DropGuard,
}

async fn serve(token: Option<&str>) -> Served {
    let (tell, ledger) = watch::channel(None);
    let listener = Listener::bind("admin.listen", ([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let (address, stop) = (listener.address(), CancellationToken::new());
    let routes = api_routes(Office { token: token.map(Secret::new), ledger });
    tokio::spawn(listener.serve(routes, stop.clone(), Duration::ZERO));
    Served { address, ledger: tell, _stop: stop.drop_guard() }
}

/// One with a ledger in which these outcomes are.
async fn with_outcomes(token: Option<&str>) -> Served {
    let served = serve(token).await;
    let ledger = MemoryLedger::new(Clock::starting_at(Timestamp::EPOCH), 100, 1);
    say(&ledger, &[published("a", "1:sent", "s é&\"", Some("u")), published("a", "final", "s é&\"", Some("u"))]).await;
    say(&ledger, &[published("b", "final", "t", None)]).await;
    served.ledger.send_replace(Some(Arc::new(ledger)));
    served
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Served {
    /// Asks with these further header lines, each with its end.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = if headers.contains("Host: ") { "" } else { "Host: 127.0.0.1:8081\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).await.expect("listening");
        stream.write_all(request.as_bytes()).await.expect("taken");
        let mut answer = Vec::new();
        let _end = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
        Answer { status, head: head.to_ascii_lowercase(), body }
    }

    async fn get(&self, query: &str) -> Answer {
        self.ask("GET", &format!("/api/v1/outcomes{query}"), "").await
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let answer = self.get(query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let outcomes = answer.body["outcomes"].as_array().expect("a list").iter();
        outcomes.map(|outcome| outcome["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[tokio::test]
async fn outcomes_are_found_by_challenge_session_and_user_and_the_latest_without() {
    let served = with_outcomes(None).await;
    for (query, expected) in [
        ("?challenge_id=a", ["a:final", "a:1:sent"].as_slice()),
        ("?session_id=s%20%C3%A9%26%22", &["a:final", "a:1:sent"]),
        ("?user_id=u&limit=1", &["a:final"]),
        ("?session_id=nobody", &[]),
        ("?user_id=s", &[]),
    ] {
        assert_eq!(served.ids(query).await, expected, "{query}");
    }
    assert_eq!(served.ids("").await.len(), 3);
    let answer = served.get("?user_id=u&limit=1").await;
    assert_eq!(answer.body["more"], true);
    let outcome = published("a", "final", "s é&\"", Some("u")).body;
    assert_eq!(answer.body["outcomes"][0], serde_json::from_slice::<Value>(&outcome).expect("JSON"));
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert!(answer.head.contains("cache-control: no-store") && answer.head.contains("default-src 'none'"));
    assert!(!answer.head.contains("access-control-"), "no other site is shown it: {}", answer.head);
}

#[tokio::test]
async fn what_makes_no_sense_is_told_as_json() {
    let served = with_outcomes(None).await;
    for query in [
        "?challenge_id=a&session_id=s",
        "?session_id=s&user_id=u",
        "?challenge_id=a%0Ab",
        "?challenge_id=",
        "?session_id=",
        &format!("?user_id={}", "x".repeat(257)),
        "?limit=0",
        "?limit=501",
        "?limit=many",
        "?session=s",
        "?user_id=a&user_id=b",
    ] {
        let answer = served.get(query).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("bad_request")), "{query}: {}", answer.body);
        assert!(answer.body["message"].is_string());
    }
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/outcomes", 404),
        ("GET", "/api/v1/outcomes/", 404),
        ("GET", "/api/v1/outcomes/../../healthz", 404),
    ] {
        assert_eq!(served.ask(method, path, "").await.status, status, "{method} {path}");
    }
    let long = format!("/api/v1/outcomes?user_id={}", "x".repeat(70_000));
    let refused = served.ask_raw("GET", &long).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let served = with_outcomes(Some(TOKEN)).await;
    let path = "/api/v1/outcomes";
    for headers in [
        String::new(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Cookie: token={TOKEN}\r\n"),
    ] {
        let begun = Clock::instant();
        let answer = served.ask("GET", path, &headers).await;
        assert_eq!((answer.status, &answer.body["error"]), (401, &json!("unauthorized")), "{headers}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        assert!(begun.elapsed() >= REFUSED_AFTER, "whoever tries many waits for each");
    }
    let in_query = served.ask("GET", &format!("{path}?token={}", TOKEN.replace(' ', "%20")), "").await;
    assert_eq!(in_query.status, 401);
    for scheme in ["Bearer", "bearer"] {
        let headers = format!("Host: courier.example.com\r\nAuthorization: {scheme} {TOKEN}\r\n");
        assert_eq!(served.ask("GET", path, &headers).await.status, 200, "from elsewhere too");
    }
    let post = served.ask("POST", path, &format!("Authorization: Bearer {TOKEN}\r\n")).await;
    assert_eq!((post.status, &post.body["error"]), (405, &json!("method_not_allowed")));
}

#[tokio::test]
async fn without_a_token_only_this_machine_may_ask_and_only_to_read() {
    let served = with_outcomes(None).await;
    let path = "/api/v1/outcomes";
    for host in ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.3.2.1:1", "[::1]:8081"] {
        assert_eq!(served.ask("GET", path, &format!("Host: {host}\r\n")).await.status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8081", "192.0.2.1", "[::2]:8081", "127.0.0.1.evil.example", ""]
    {
        let answer = served.ask("GET", path, &format!("Host: {host}\r\n")).await;
        assert_eq!((answer.status, &answer.body["error"]), (403, &json!("strange_host")), "{host}");
    }
    let local = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        assert_eq!(Guard::new(None).admit(&method, &local), Err(Refusal::ReadOnly), "{method}");
    }
    assert_eq!(Guard::new(None).admit(&Method::HEAD, &local), Ok(()));
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_with_and_without_a_token() {
    for token in [None, Some(TOKEN)] {
        let served = with_outcomes(token).await;
        let own = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
            let headers = format!("{own}Sec-Fetch-Site: {site}\r\n");
            assert_eq!(served.ask("GET", "/api/v1/outcomes", &headers).await.status, status, "{site}");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_is_not_there_yet_is_told() {
    let served = serve(None).await;
    let answer = served.get("").await;
    assert_eq!((answer.status, &answer.body["error"]), (503, &json!("ledger_unavailable")));
}

impl Served {
    /// The whole answer, JSON or not.
    async fn ask_raw(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("listening");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        // It may be refused before all of it is written.
        let _cut = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _end = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}
