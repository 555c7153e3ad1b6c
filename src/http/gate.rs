//! Who may stay connected: at most so many, and none that is idle for long.
//!
//! A connection beyond the limit waits in the system's backlog. One that neither sends nor takes a byte
//! for [`IDLE`] is closed, so a peer that stops in the middle of its headers or body holds nothing.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::clock::Clock;

/// How many connections one listener serves at once.
const MOST_CONNECTIONS: usize = 512;
/// How long a connection may be idle: longer than scrapers and balancers pause.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// A listener that counts its connections.
pub(super) struct Gate {
    socket: TcpListener,
    places: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(socket: TcpListener) -> Self {
        Self { socket, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)) }
    }

    /// The next connection, once there is a place for it. What the system refuses meanwhile passes.
    pub(super) async fn accept(&mut self) -> Guarded<TcpStream> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, _) = axum::serve::Listener::accept(&mut self.socket).await;
        Guarded::new(stream, place)
    }
}

/// A connection that ends when it is idle, and then gives its place back.
pub(super) struct Guarded<S> {
    stream: S,
    idle: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Guarded<S> {
    fn new(stream: S, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream, idle: Box::pin(sleep(IDLE)), _place: place }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Clock::instant() + IDLE);
    }

    /// What a pending operation becomes: still pending, or an error when nothing moved for too long.
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            return self.pending(cx);
        }
        self.moved();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            return self.pending(cx);
        }
        self.moved();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_moves_stays() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let (mut peer, stream) = duplex(64);
        let mut guarded = Guarded::new(stream, place);
        for _ in 0..3 {
            sleep(IDLE / 2).await;
            peer.write_all(b"x").await.expect("open");
            assert_eq!(guarded.read_u8().await.expect("moves"), b'x');
        }
        let error = guarded.read_u8().await.expect_err("idle");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(guarded);
        assert_eq!(places.available_permits(), 1, "its place is free");
    }
}
