//! Who may stay connected: at most so many, and none that is idle for long.
//!
//! A connection beyond the limit takes the place of the one that has been still for longest: that one finishes what it
//! is answering and ends. One that neither sends nor takes a byte for [`IDLE`] is closed, so a peer that stops in the
//! middle of its headers or body holds nothing.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How long a connection may be idle: longer than scrapers and balancers pause.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// How long the one that was asked to leave is waited for before the next is asked: about what an answer takes.
const PATIENCE: Duration = Duration::from_millis(50);

/// A listener that counts its connections.
pub(super) struct Gate {
    socket: TcpListener,
    house: House,
}

impl Gate {
    /// So many have a place at once; all are asked to leave when `stop` is cancelled.
    pub(super) fn new(socket: TcpListener, places: usize, stop: CancellationToken) -> Self {
        Self { socket, house: House::new(places, stop) }
    }

    /// The next connection, once there is a place for it. What the system refuses meanwhile passes.
    pub(super) async fn accept(&mut self) -> Guarded<TcpStream> {
        let (stream, _) = axum::serve::Listener::accept(&mut self.socket).await;
        self.house.admit(stream).await
    }
}

/// The places of a listener, and who has them.
#[derive(Clone)]
struct House {
    places: Arc<Semaphore>,
    guests: Arc<Mutex<Vec<Arc<Guest>>>>,
    opened: Instant,
    stop: CancellationToken,
}

/// What is known of a connection while it has a place.
struct Guest {
    /// When it last sent or took a byte, in milliseconds from the opening.
    moved_ms: AtomicU64,
    leave: CancellationToken,
}

impl House {
    fn new(places: usize, stop: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), guests: Arc::default(), opened: Clock::instant(), stop }
    }

    async fn admit<S>(&self, stream: S) -> Guarded<S> {
        let place = self.place().await;
        let moved_ms = self.since_opening(Clock::instant()).into();
        let guest = Arc::new(Guest { moved_ms, leave: self.stop.child_token() });
        self.guests().push(Arc::clone(&guest));
        Guarded { stream, idle: Box::pin(sleep(IDLE)), guest, house: self.clone(), _place: place }
    }

    /// A free place; while there is none, one after the other is asked to leave.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let mut patience = Duration::ZERO;
        loop {
            let place = Arc::clone(&self.places).acquire_owned();
            if let Ok(place) = timeout(patience, place).await {
                return place.ok();
            }
            self.ask_the_stillest_to_leave();
            patience = PATIENCE;
        }
    }

    fn ask_the_stillest_to_leave(&self) {
        let guests = self.guests();
        let staying = guests.iter().filter(|guest| !guest.leave.is_cancelled());
        if let Some(stillest) = staying.min_by_key(|guest| guest.moved_ms.load(Ordering::Relaxed)) {
            stillest.leave.cancel();
        }
    }

    /// In milliseconds.
    fn since_opening(&self, now: Instant) -> u64 {
        now.duration_since(self.opened).as_millis().try_into().unwrap_or(u64::MAX)
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that ends when it is idle, and then gives its place back.
pub(super) struct Guarded<S> {
    stream: S,
    idle: Pin<Box<Sleep>>,
    guest: Arc<Guest>,
    house: House,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Guarded<S> {
    /// Cancelled when this connection should end, once it has answered what it was asked.
    pub(super) fn leave(&self) -> CancellationToken {
        self.guest.leave.clone()
    }

    fn moved(&mut self) {
        let now = Clock::instant();
        self.idle.as_mut().reset(now + IDLE);
        self.guest.moved_ms.store(self.house.since_opening(now), Ordering::Relaxed);
    }

    /// What a pending operation becomes: still pending, or an error when nothing moved for too long.
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        self.house.guests().retain(|guest| !Arc::ptr_eq(guest, &self.guest));
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
        let house = House::new(1, CancellationToken::new());
        let (mut peer, stream) = duplex(64);
        let mut guarded = house.admit(stream).await;
        for _ in 0..3 {
            sleep(IDLE / 2).await;
            peer.write_all(b"x").await.expect("open");
            assert_eq!(guarded.read_u8().await.expect("moves"), b'x');
        }
        let error = guarded.read_u8().await.expect_err("idle");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(guarded);
        assert_eq!(house.places.available_permits(), 1, "its place is free");
        assert!(house.guests().is_empty(), "it is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_place_the_stillest_leaves() {
        let house = House::new(2, CancellationToken::new());
        let (mut peer, stream) = duplex(64);
        let mut lively = house.admit(stream).await;
        let (_peer, stream) = duplex(64);
        let still = house.admit(stream).await;
        sleep(Duration::from_secs(1)).await;
        peer.write_all(b"x").await.expect("open");
        lively.read_u8().await.expect("moves");

        let (_peer, stream) = duplex(64);
        let leave = still.leave();
        let (_third, ()) = tokio::join!(house.admit(stream), async {
            leave.cancelled().await;
            drop(still);
        });
        assert!(!lively.leave().is_cancelled(), "who moves is not asked");
    }
}
