//! Stands between the socket and lapin, and lets through only what lapin survives.
//!
//! Below it are TCP and TLS, above it is lapin's frame parser, beside it the [`Outbox`](super::outbox), which asks
//! what came back. AMQP's short strings are bytes; lapin takes them for UTF-8 and drops the whole connection when one
//! is not, so that a single hostile message would end every session of every worker, for ever. Guarantees:
//!
//! - texts that are not UTF-8 reach lapin as NULs (properties: dropped later) or with `?` (keys), and tables that nest
//!   too deep as opaque bytes; no length changes, so framing is untouched;
//! - returned messages never reach lapin, which pairs them with the wrong confirm and logs their bodies: they are
//!   noted in [`Returns`] before the broker's ack behind them can be read, so an ack is always judged with them known;
//! - cutting the [`Cord`] ends the connection at once, whatever state the broker or lapin is in.

use std::collections::HashMap;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::returns::{Returned, Returns};
use super::scrub;

/// Ends a connection when cancelled.
pub(super) type Cord = CancellationToken;

const FRAME_HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
/// Frames beyond this are passed on unread: no broker negotiates them, and lapin refuses them by itself.
const LONGEST_HELD: usize = 1 << 20;
const READ_SIZE: usize = 64 * 1024;

/// A stream whose inbound side is screened.
pub(super) struct Screen<S> {
    inner: S,
    sieve: Sieve,
    chunk: Box<[u8]>,
    passed: Vec<u8>,
    taken: usize,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Screen<S> {
    pub(super) fn new(inner: S, returns: Arc<Returns>, cord: Cord) -> Self {
        Self {
            inner,
            sieve: Sieve::new(returns),
            chunk: vec![0; READ_SIZE].into_boxed_slice(),
            passed: Vec::with_capacity(READ_SIZE),
            taken: 0,
            cut: Box::pin(cord.cancelled_owned()),
        }
    }

    fn hand_over(&mut self, buf: &mut [u8]) -> usize {
        let waiting = self.passed.get(self.taken..).unwrap_or_default();
        let count = waiting.len().min(buf.len());
        buf[..count].copy_from_slice(&waiting[..count]);
        self.taken += count;
        if self.taken == self.passed.len() {
            self.passed.clear();
            self.taken = 0;
        }
        count
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screen<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        while this.passed.is_empty() {
            let count = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.chunk))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            this.sieve.feed(&this.chunk[..count], &mut this.passed);
        }
        Poll::Ready(Ok(this.hand_over(buf)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Screen<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Reads frames out of chunks of any size. Pure but for what it notes in [`Returns`].
struct Sieve {
    returns: Arc<Returns>,
    /// The head of a frame, or a whole frame that has to be judged first.
    held: Vec<u8>,
    place: Place,
    /// Returned messages whose content is still coming, by channel.
    swallowing: HashMap<u16, Swallowed>,
}

#[derive(Clone, Copy)]
enum Place {
    Head,
    Held { total: usize },
    Through { left: usize, drop: bool },
}

enum Swallowed {
    AwaitsHeader(Returned),
    AwaitsBody(u64),
}

impl Sieve {
    fn new(returns: Arc<Returns>) -> Self {
        Self { returns, held: Vec::new(), place: Place::Head, swallowing: HashMap::new() }
    }

    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Head => self.hold(bytes, FRAME_HEAD, out),
                Place::Held { total } => self.hold(bytes, total, out),
                Place::Through { left, drop } => {
                    let (now, later) = bytes.split_at(left.min(bytes.len()));
                    if !drop {
                        out.extend_from_slice(now);
                    }
                    let left = left - now.len();
                    self.place = if left == 0 { Place::Head } else { Place::Through { left, drop } };
                    later
                }
            };
        }
    }

    fn hold<'a>(&mut self, bytes: &'a [u8], total: usize, out: &mut Vec<u8>) -> &'a [u8] {
        let (now, later) = bytes.split_at((total - self.held.len()).min(bytes.len()));
        self.held.extend_from_slice(now);
        if self.held.len() == total {
            match self.place {
                Place::Head => self.begin(out),
                _ => self.judge(out),
            }
        }
        later
    }

    /// Decides by a frame's head whether the rest is held or goes through.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let [kind, c0, c1, s0, s1, s2, s3] = self.held[..] else { return };
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if matches!(kind, METHOD | HEADER) && size <= LONGEST_HELD {
            self.place = Place::Held { total: FRAME_HEAD + size + 1 };
            return;
        }
        let drop = kind == BODY && self.swallow_body(u16::from_be_bytes([c0, c1]), size as u64);
        if !drop {
            out.extend_from_slice(&self.held);
        }
        self.held.clear();
        self.place = Place::Through { left: size + 1, drop };
    }

    /// Cleans a held frame and passes it on, or takes it out.
    fn judge(&mut self, out: &mut Vec<u8>) {
        let mut held = std::mem::take(&mut self.held);
        self.place = Place::Head;
        let (kind, channel) = (held[0], u16::from_be_bytes([held[1], held[2]]));
        let end = held.len() - 1;
        let payload = &mut held[FRAME_HEAD..end];
        let drop =
            if kind == METHOD { self.judge_method(channel, payload) } else { self.judge_header(channel, payload) };
        if !drop {
            out.extend_from_slice(&held);
        }
        held.clear();
        self.held = held;
    }

    fn judge_method(&mut self, channel: u16, payload: &mut [u8]) -> bool {
        let Some(returned) = scrub::method(payload) else { return false };
        self.swallowing.insert(channel, Swallowed::AwaitsHeader(returned));
        true
    }

    fn judge_header(&mut self, channel: u16, payload: &mut [u8]) -> bool {
        let content = scrub::content_header(payload);
        if !matches!(self.swallowing.get(&channel), Some(Swallowed::AwaitsHeader(_))) {
            return false;
        }
        let Some(Swallowed::AwaitsHeader(returned)) = self.swallowing.remove(&channel) else { return false };
        self.returns.note(Returned { message_id: content.message_id, ..returned });
        if content.body_size > 0 {
            self.swallowing.insert(channel, Swallowed::AwaitsBody(content.body_size));
        }
        true
    }

    fn swallow_body(&mut self, channel: u16, size: u64) -> bool {
        let Some(Swallowed::AwaitsBody(left)) = self.swallowing.get_mut(&channel) else { return false };
        *left = left.saturating_sub(size);
        if *left == 0 {
            self.swallowing.remove(&channel);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(channel.to_be_bytes());
        bytes.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
        bytes.extend(payload);
        bytes.push(0xCE);
        bytes
    }

    fn short(text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len()).expect("short")];
        bytes.extend(text);
        bytes
    }

    /// A content header with a message id and nothing else.
    fn header(channel: u16, body_size: u64, message_id: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0];
        payload.extend(body_size.to_be_bytes());
        payload.extend((1_u16 << 7).to_be_bytes());
        payload.extend(short(message_id));
        frame(HEADER, channel, &payload)
    }

    fn deliver(channel: u16, routing_key: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 60];
        payload.extend(short(b"tag"));
        payload.extend([0, 0, 0, 0, 0, 0, 0, 1, 0]);
        payload.extend(short(b"exchange"));
        payload.extend(short(routing_key));
        frame(METHOD, channel, &payload)
    }

    fn returned(channel: u16, routing_key: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 50, 1, 56];
        payload.extend(short(b"NO_ROUTE"));
        payload.extend(short(b"exchange"));
        payload.extend(short(routing_key));
        frame(METHOD, channel, &payload)
    }

    fn sieved(bytes: &[u8], step: usize) -> (Vec<u8>, Arc<Returns>) {
        let returns = Arc::new(Returns::default());
        returns.begin();
        let mut sieve = Sieve::new(Arc::clone(&returns));
        let mut out = Vec::new();
        for chunk in bytes.chunks(step) {
            sieve.feed(chunk, &mut out);
        }
        (out, returns)
    }

    #[test]
    fn clean_frames_pass_unchanged_in_chunks_of_any_size() {
        let bytes = [
            b"AMQP\x00\x00\x09\x01".to_vec(),
            deliver(1, b"challenge.requested"),
            header(1, 5, "zoë".as_bytes()),
            frame(BODY, 1, b"\xff\xfe{}\n"),
            frame(8, 0, b""),
        ];
        // The protocol header is what a broker answers before it hangs up: it ends the frames.
        let frames = bytes[1..].concat();
        for step in 1..frames.len() {
            assert_eq!(sieved(&frames, step).0, frames, "in steps of {step}");
        }
        assert_eq!(sieved(&bytes[0], 3).0, bytes[0]);
    }

    #[test]
    fn texts_that_are_not_utf8_become_harmless_at_the_same_length() {
        let bytes = [deliver(1, b"challenge.\xff.x"), header(1, 0, b"a\xffb")].concat();
        let (out, _) = sieved(&bytes, 7);
        assert_eq!(out, [deliver(1, b"challenge.?.x"), header(1, 0, b"\0\0\0")].concat());
    }

    #[test]
    fn returns_are_taken_out_and_noted_and_others_channels_go_on() {
        let ack = frame(METHOD, 1, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let other = [deliver(2, b"key"), header(2, 2, b"other"), frame(BODY, 2, b"ok")];
        let bytes = [
            returned(1, b"nowhere"),
            other[0].clone(),
            header(1, 6, b"lost"),
            other[1].clone(),
            frame(BODY, 1, b"sec"),
            other[2].clone(),
            frame(BODY, 1, b"ret"),
            ack.clone(),
        ]
        .concat();
        for step in [1, 5, 64, 4_096] {
            let (out, returns) = sieved(&bytes, step);
            assert_eq!(out, [other.concat(), ack.clone()].concat());
            assert!(returns.came_back(0, "exchange", "nowhere", Some("lost")));
            assert!(!returns.came_back(0, "exchange", "nowhere", Some("found")));
        }
    }

    #[test]
    fn a_returned_message_without_a_body_leaves_nothing_behind() {
        let ack = frame(METHOD, 1, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let (out, _) = sieved(&[returned(1, b"nowhere"), header(1, 0, b"lost"), ack.clone()].concat(), 11);
        assert_eq!(out, ack);
    }
}
