//! HTTP/2 as a push service speaks it: so many streams and no more, one until the client has proven who it is, and
//! connections that end in every way they can. On the same port as everything else: a connection that begins with
//! HTTP/2's preface comes here.
//!
//! What a request means is its service's ([`super::apns`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Sender, error::RecvError};

use super::connection::Cord;
use super::{Shared, Simulator, apns};

/// How many streams are allowed at once unless told otherwise.
const STREAMS: u32 = 100;
/// More of a body is not read.
const MOST_OF_A_BODY: usize = 64 * 1_024;

/// What a simulator does to every such connection that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// GOAWAY: what began is finished, and nothing new is taken.
    GoAway,
    /// Cuts it.
    Cut,
    /// Reads nothing more and says nothing more, and does not close it.
    Freeze,
}

/// What is known of all such connections.
pub(super) struct Streams {
    limit: AtomicU32,
    made: AtomicU64,
    most: AtomicUsize,
    refused: AtomicU64,
    endings: Sender<Ending>,
}

impl Default for Streams {
    fn default() -> Self {
        let endings = broadcast::channel(16).0;
        let (made, most, refused) = (AtomicU64::default(), AtomicUsize::default(), AtomicU64::default());
        Self { limit: AtomicU32::new(STREAMS), made, most, refused, endings }
    }
}

/// One connection.
#[derive(Default)]
pub(super) struct Link {
    in_flight: AtomicUsize,
    /// Whether a request was answered by anything but that its sender is not known.
    proven: AtomicBool,
    pub(super) shown: apns::Shown,
}

impl Simulator {
    /// How many streams HTTP/2 connections allow at once that are made from now on.
    pub fn set_stream_limit(&self, streams: u32) {
        self.shared.streams.limit.store(streams, Ordering::Release);
    }

    /// Ends every HTTP/2 connection that is open.
    pub fn end_connections(&self, how: Ending) {
        // Nobody listens where none is open.
        let _ = self.shared.streams.endings.send(how);
    }

    /// How many HTTP/2 connections were made.
    #[must_use]
    pub fn connections_made(&self) -> u64 {
        self.shared.streams.made.load(Ordering::Acquire)
    }

    /// The most streams that any of them had at once.
    #[must_use]
    pub fn most_streams(&self) -> usize {
        self.shared.streams.most.load(Ordering::Acquire)
    }

    /// How many streams were refused, since they were too many before the client had proven who it is.
    #[must_use]
    pub fn streams_refused(&self) -> u64 {
        self.shared.streams.refused.load(Ordering::Acquire)
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut endings = shared.streams.endings.subscribe();
    shared.streams.made.fetch_add(1, Ordering::AcqRel);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(shared.streams.limit.load(Ordering::Acquire));
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let link = Arc::new(Link::default());
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                tokio::spawn(answer(Arc::clone(&shared), Arc::clone(&link), request, respond));
            }
            ending = endings.recv() => match ending {
                Ok(Ending::GoAway) => connection.graceful_shutdown(),
                Ok(Ending::Freeze) => return shared.stop.cancelled().await,
                Ok(Ending::Cut) | Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(_)) => {}
            },
            () = shared.stop.cancelled() => return,
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let in_flight = link.in_flight.fetch_add(1, Ordering::AcqRel) + 1;
    shared.streams.most.fetch_max(in_flight, Ordering::AcqRel);
    if in_flight > 1 && !link.proven.load(Ordering::Acquire) {
        shared.streams.refused.fetch_add(1, Ordering::AcqRel);
        respond.send_reset(Reason::REFUSED_STREAM);
    } else {
        let (head, body) = request.into_parts();
        let cord = Cord::default();
        let response = apns::serve(&shared, &link, &head, whole(body).await, &cord).await;
        if response.status() != StatusCode::FORBIDDEN {
            link.proven.store(true, Ordering::Release);
        }
        if cord.is_cut() {
            respond.send_reset(Reason::INTERNAL_ERROR);
        } else {
            // The client may have left.
            let _ = write(response, respond).await;
        }
    }
    link.in_flight.fetch_sub(1, Ordering::AcqRel);
}

/// The body, as far as it came.
async fn whole(mut body: RecvStream) -> Bytes {
    let mut whole = BytesMut::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        whole.extend_from_slice(&chunk);
        if whole.len() > MOST_OF_A_BODY {
            break;
        }
    }
    whole.freeze()
}

async fn write(response: Response, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MOST_OF_A_BODY).await.unwrap_or_default();
    let mut stream = respond.send_response(http::Response::from_parts(head, ()), body.is_empty())?;
    if body.is_empty() { Ok(()) } else { stream.send_data(body, true) }
}
