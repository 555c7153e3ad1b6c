//! Hostile input 110: HTTP/2 peers. Only what the protocol itself calls unprocessed was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mfa_courier::delivery::verdict::AttemptResult;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::server::{hold, peer};
use super::tls::Authority;
use super::{ask, settings, twilio_with};

pub(crate) const DATA: u8 = 0;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

pub(crate) fn goaway(last: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, &[&last.to_be_bytes()[..], &reason.to_be_bytes(), b"+14155552671"].concat())
}

/// Reads frames until the request's body was there; `false` if the connection ended first.
async fn read_body(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() {
        return false;
    }
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).await.is_err() {
            return false;
        }
        if head[3] == DATA {
            return true;
        }
    }
}

/// A peer that greets, reads the request, says `frames`, and then closes or stays. What was made of it, and
/// whether the peer had the request's body.
async fn to_peer(greeting: Vec<u8>, frames: Vec<u8>, stays: bool) -> ((AttemptResult, String), bool) {
    let had_body = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&had_body);
    let authority = Authority::new();
    let acceptor = authority.server("127.0.0.1", (2020, 2050), &[b"h2"]);
    let script = move |stream: TcpStream, _| {
        let (acceptor, greeting, frames, seen) = (acceptor.clone(), greeting.clone(), frames.clone(), seen.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(&greeting).await;
            if !read_body(&mut stream).await {
                return;
            }
            seen.store(true, Ordering::SeqCst);
            let _ = stream.write_all(&frames).await;
            if stays {
                hold().await;
            }
            let _ = stream.shutdown().await;
        }
    };
    let (address, _) = peer(script).await;
    let mut given = settings(&format!("https://{address}"));
    given.extra_roots = Some(authority.pem.clone());
    let (verdict, progress) = ask(&twilio_with(given)).await;
    ((verdict.result, progress), had_body.load(Ordering::SeqCst))
}

fn not_sent() -> (AttemptResult, String) {
    (AttemptResult::Transient, "not sent".to_owned())
}

fn in_doubt() -> (AttemptResult, String) {
    (AttemptResult::Unknown, "in doubt".to_owned())
}

#[tokio::test]
async fn n110_streams_that_were_not_processed() {
    let empty = || frame(SETTINGS, 0, &[]);
    let reset = |reason: u32| frame(RST_STREAM, 1, &reason.to_be_bytes());
    for (what, frames, stays, expected) in [
        ("REFUSED_STREAM", reset(7), true, not_sent()),
        ("RST_STREAM CANCEL", reset(8), true, in_doubt()),
        ("RST_STREAM INTERNAL_ERROR", reset(2), true, in_doubt()),
        ("RST_STREAM NO_ERROR", reset(0), true, in_doubt()),
        ("GOAWAY above the last id", goaway(0, 0), true, not_sent()),
        ("GOAWAY above the last id, in anger", goaway(0, 11), false, not_sent()),
        ("GOAWAY not above it, then nothing", goaway(1, 0), true, in_doubt()),
        ("GOAWAY not above it, then closed", goaway(1, 0), false, in_doubt()),
        ("GOAWAY in anger, not above it, then closed", goaway(1, 2), false, in_doubt()),
        ("closed", Vec::new(), false, in_doubt()),
        ("a frame of no sense", frame(RST_STREAM, 0, &[1, 2, 3]), true, in_doubt()),
        ("a flood of pings", frame(PING, 0, &[7; 8]).repeat(20_000), true, in_doubt()),
    ] {
        assert_eq!(to_peer(empty(), frames, stays).await, (expected, true), "{what}");
    }
}

/// A client may begin before it has read these settings; what counts is that it knows whether it did.
#[tokio::test]
async fn n110_streams_that_can_not_begin() {
    for (what, id) in [("no concurrent streams", 3), ("no window", 4)] {
        let (verdict, had_body) = to_peer(setting(id, 0), Vec::new(), true).await;
        assert!(verdict == in_doubt() || (verdict == not_sent() && !had_body), "{what}: {verdict:?} {had_body}");
    }
}
