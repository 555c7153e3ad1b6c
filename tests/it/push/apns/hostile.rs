//! HTTP/2 peers that end a prompt's stream or connection in every way there is. Only what the protocol itself calls
//! unprocessed was not sent, and that is written again; nothing else is.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::replies::http2::{DATA, PING, RST_STREAM, SETTINGS, frame, goaway};
use crate::replies::server::{hold, peer};

/// What a peer says of a stream.
type Frames = fn(u32) -> Vec<u8>;

/// Answers pings and reads until a body was there: the stream that it came on. `None` if the connection ended first.
async fn read_body(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.ok()?;
        match head[3] {
            PING => {
                let mut pong = frame(PING, 0, &payload);
                pong[4] = 1;
                stream.write_all(&pong).await.ok()?;
            }
            DATA => return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
            _ => {}
        }
    }
}

/// One prompt to a peer that greets, reads a body, says the `frames` that are made of its stream, and then closes or
/// goes on; what was made of it, and how many bodies the peer had.
async fn to_peer(frames: Frames, stays: bool) -> (String, usize) {
    let bodies = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&bodies);
    let (address, _) = peer(move |mut stream: TcpStream, _| {
        let seen = Arc::clone(&seen);
        async move {
            let mut preface = [0; 24];
            let _ = stream.write_all(&frame(SETTINGS, 0, &[])).await;
            if stream.read_exact(&mut preface).await.is_err() {
                return;
            }
            while let Some(id) = read_body(&mut stream).await {
                seen.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&frames(id)).await;
                if !stays {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
            hold().await;
        }
    })
    .await;
    let apns = Apns::new(&settings(&format!("http://{address}")), &Clock::system()).expect("usable");
    let came = outcome(&apns, &message("device")).await;
    (came, bodies.load(Ordering::SeqCst))
}

fn reset(id: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, id, &reason.to_be_bytes())
}

#[tokio::test]
async fn only_what_was_not_processed_is_written_again() {
    let not_sent = || ("not sent: transient".to_owned(), 3);
    let in_doubt = || ("in doubt: unknown".to_owned(), 1);
    let cases: [(&str, Frames, bool, (String, usize)); 10] = [
        ("REFUSED_STREAM", |id| reset(id, 7), true, not_sent()),
        ("RST_STREAM CANCEL", |id| reset(id, 8), true, in_doubt()),
        ("RST_STREAM INTERNAL_ERROR", |id| reset(id, 2), true, in_doubt()),
        ("GOAWAY above the last id", |_| goaway(0, 0), true, not_sent()),
        ("GOAWAY above the last id, in anger", |_| goaway(0, 11), false, not_sent()),
        ("GOAWAY not above it, then nothing", |id| goaway(id, 0), true, in_doubt()),
        ("GOAWAY not above it, then closed", |id| goaway(id, 0), false, in_doubt()),
        ("closed", |_| Vec::new(), false, in_doubt()),
        ("a frame of no sense", |_| frame(RST_STREAM, 0, &[1, 2, 3]), true, in_doubt()),
        ("a flood of pings", |_| frame(PING, 0, &[7; 8]).repeat(20_000), true, in_doubt()),
    ];
    for (what, frames, stays, expected) in cases {
        assert_eq!(to_peer(frames, stays).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_peer_that_allows_no_stream_gets_none() {
    let stage = Stage::new().await;
    stage.simulator.set_stream_limit(0);
    assert_eq!(stage.outcome("device").await, "not sent: transient");
    assert_eq!(stage.simulator.received_by(ENTRY), 0);
}
