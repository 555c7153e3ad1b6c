//! The listeners over real sockets, as strangers, scrapers and balancers use them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

mod doors;

const PATIENCE: Duration = Duration::from_millis(500);

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn serve(routes: Router) -> Served {
    serve_at_most(MOST_CONNECTIONS, routes).await
}

async fn serve_at_most(most_connections: usize, routes: Router) -> Served {
    let mut listener = Listener::bind("http.listen", ([127, 0, 0, 1], 0).into()).await.expect("a free port");
    listener.most_connections = most_connections;
    let (address, stop) = (listener.address(), CancellationToken::new());
    Served { address, stop: stop.clone(), task: tokio::spawn(listener.serve(routes, stop, PATIENCE)) }
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    stream.write_all(request.as_bytes()).await.expect("taken");
    stream
}

async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("UTF-8")
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    rest_of(connect(address, &request).await).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn readiness_is_told_with_its_reasons() {
    let (tell, readiness) = watch::channel(Readiness::default());
    let served = serve(health_routes(readiness)).await;
    assert_eq!(body(&ask(served.address, "GET", "/healthz").await), r#"{"alive":true}"#);
    let ready = ask(served.address, "GET", "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 OK\r\n"), "{ready}");
    assert_eq!(body(&ready), r#"{"ready":true}"#);
    tell.send_replace(Readiness { reasons: vec!["the broker is not connected".into()] });
    let unready = ask(served.address, "GET", "/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503 "), "{unready}");
    assert_eq!(body(&unready), r#"{"ready":false,"reasons":["the broker is not connected"]}"#);
    let alive = ask(served.address, "GET", "/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200 "), "a worker that waits for its broker lives: {alive}");
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let (_tell, readiness) = watch::channel(Readiness::default());
    let served = serve(health_routes(readiness)).await;
    let unknown = ask(served.address, "GET", "/admin/../etc/passwd").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert_eq!(body(&unknown), r#"{"error":"not_found"}"#);
    let wrong_method = ask(served.address, "POST", "/healthz").await;
    assert!(wrong_method.starts_with("HTTP/1.1 405 "), "{wrong_method}");
    assert_eq!(body(&wrong_method), r#"{"error":"method_not_allowed"}"#);
    for answer in [unknown, wrong_method, ask(served.address, "GET", "/healthz").await] {
        let head = answer.to_ascii_lowercase();
        for (name, value) in HEADERS {
            assert!(head.contains(&format!("{name}: {}\r\n", value.to_ascii_lowercase())), "{name} in {head}");
        }
        assert!(!head.contains("server:") && !head.contains(env!("CARGO_PKG_VERSION")), "{head}");
    }
    let metrics = ask(served.address, "GET", "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 404 "), "only the admin listener tells figures: {metrics}");
}

#[tokio::test]
async fn figures_are_told_in_the_format_that_scrapers_want() {
    let served = serve(metrics_routes(Metrics::detached())).await;
    let answer = ask(served.address, "GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_setting() {
    let first = Listener::bind("http.listen", ([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let second = Listener::bind("admin.listen", first.address()).await.expect_err("taken");
    assert_eq!(second.to_string(), format!("admin.listen = {}: address already in use", first.address()));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let routes = Router::new().route("/echo", post(|body: Bytes| std::future::ready(body)));
    let served = serve(routes).await;
    for (length, status) in [(MAX_BODY_BYTES, "200"), (MAX_BODY_BYTES + 1, "413")] {
        let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = rest_of(connect(served.address, &(head + &"x".repeat(length))).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{length}: {answer:.100}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_given_up() {
    let served = serve(Router::new().route("/hang", get(std::future::pending::<()>))).await;
    let answer = ask(served.address, "GET", "/hang").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_its_headers_is_dropped() {
    let served = serve(Router::new()).await;
    let before = crate::clock::Clock::instant();
    let stream = connect(served.address, "GET / HTTP/1.1\r\nHost: ").await;
    rest_of(stream).await;
    assert!(before.elapsed() >= gate::IDLE && before.elapsed() < gate::IDLE * 2, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_head_drips_is_dropped() {
    let served = serve(Router::new()).await;
    let before = crate::clock::Clock::instant();
    let mut stream = connect(served.address, "GET / HTTP/1.1\r\nX: ").await;
    // Far more often than an idle connection is given up.
    while stream.write_all(b"x").await.is_ok() && before.elapsed() < HEAD_WITHIN * 4 {
        tokio::time::sleep(HEAD_WITHIN / 10).await;
    }
    assert!(before.elapsed() >= HEAD_WITHIN && before.elapsed() < HEAD_WITHIN * 2, "{:?}", before.elapsed());
}

#[tokio::test]
async fn heads_are_bounded() {
    let served = serve(Router::new().route("/", get(|| std::future::ready("read")))).await;
    for (length, status) in [(MAX_HEAD_BYTES / 2, "200"), (MAX_HEAD_BYTES, "431")] {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(length));
        let answer = rest_of(connect(served.address, &head).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{length}: {answer:.100}");
    }
}

/// What providers do that keep connections open: the newest request is never the one that waits.
#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let served = serve_at_most(4, Router::new().route("/", get(|| std::future::ready("read")))).await;
    let before = crate::clock::Clock::instant();
    let mut kept = Vec::new();
    for n in 0..12 {
        let mut stream = connect(served.address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK", "of connection {n}");
        kept.push(stream);
    }
    assert!(before.elapsed() < gate::IDLE / 2, "none waited until another was idle for too long");
    assert_eq!(body(&rest_of(kept.swap_remove(0)).await), "read", "the first was answered and then ended");
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_finished() {
    let started = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = std::sync::Arc::clone(&started);
    let slow = move || async move {
        told.notify_one();
        tokio::time::sleep(PATIENCE / 5).await;
        "done"
    };
    let served = serve(Router::new().route("/slow", get(slow))).await;
    let asked = tokio::spawn(async move { ask(served.address, "GET", "/slow").await });
    started.notified().await;
    served.stop.cancel();
    assert_eq!(body(&asked.await.expect("answered")), "done");
    served.task.await.expect("ended");
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn an_endless_answer_does_not_hold_the_end_up() {
    let endless = || {
        let chunks = futures_util::stream::repeat(Ok::<_, Infallible>("x"));
        let paced = futures_util::StreamExt::then(chunks, |chunk| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            chunk
        });
        std::future::ready(Body::from_stream(paced))
    };
    let served = serve(Router::new().route("/events", get(endless))).await;
    let mut stream = connect(served.address, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n").await;
    stream.read_u8().await.expect("it began");
    served.stop.cancel();
    tokio::time::timeout(PATIENCE * 4, served.task).await.expect("in time").expect("ended");
}
