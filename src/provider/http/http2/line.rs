//! One connection: made, kept alive, and what comes of a request on it.
//!
//! A request counts as sent once its body was handed over: nobody acts on one without its body. The peer's stream
//! limit is read before the first request (its SETTINGS come before its answer to our first PING), and again for each.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::Version;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::exchange::{is_unprocessed, read};
use super::super::{Method, Request, USER_AGENT};
use crate::clock::Clock;
use crate::provider::Reply;

/// How often a connection with requests on it is asked whether it lives.
const BEAT: Duration = Duration::from_secs(15);
/// The same of one without.
const IDLE_BEAT: Duration = Duration::from_mins(5);
/// How long it may take to say so.
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// A request that the peer says it did not process, or that was never written.
#[derive(Debug)]
pub(super) struct Unprocessed {
    pub(super) why: String,
    /// Whether no time is left for another try.
    pub(super) late: bool,
}

/// One connection.
pub(super) struct Line {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    in_flight: AtomicUsize,
    /// Whether the peer took who we are: until then it may allow one stream, whatever it says.
    proven: AtomicBool,
    /// Takes no more requests; those on it may end.
    over: CancellationToken,
    /// It left a request without an answer: it may be dead.
    suspected: Notify,
}

impl Line {
    /// Greets the peer on `io`, and keeps the connection until it ends; `changed` is told when it does.
    pub(super) async fn greet<T>(io: T, changed: Arc<Notify>) -> Result<Self, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = h2::client::Builder::new().enable_push(false).handshake(io).await?;
        let mut pings = connection.ping_pong();
        let state = Arc::new(State::default());
        let kept = Arc::clone(&state);
        let (first, mut alive) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let beating = async {
                match &mut pings {
                    Some(pings) => heartbeat(pings, &kept, first).await,
                    None => std::future::pending().await,
                }
            };
            let mut connection = pin!(connection);
            tokio::select! {
                ended = &mut connection => drop(ended),
                () = beating => {}
            }
            kept.over.cancel();
            changed.notify_waiters();
        });
        match alive.recv().await {
            Some(()) => Ok(Self { sender, state }),
            None => Err(Reason::NO_ERROR.into()),
        }
    }

    /// How many more requests it takes at once.
    pub(super) fn room(&self) -> usize {
        let most = self.sender.current_max_send_streams();
        let most = if self.state.proven.load(Ordering::Acquire) { most } else { most.min(1) };
        if self.is_over() { 0 } else { most.saturating_sub(self.in_flight()) }
    }

    /// How many requests are on it.
    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) {
        self.state.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn release(&self) {
        self.state.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.over.is_cancelled()
    }

    /// Takes no more requests. It closes when the last of those on it has ended.
    pub(super) fn retire(&self) {
        self.state.over.cancel();
    }

    /// Writes `request` and waits for its whole answer until `deadline`.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        deadline: Instant,
        clock: &Clock,
    ) -> Result<Reply, Unprocessed> {
        let (response, stream) = self.begin(request, deadline).await?;
        let written = hand_over(stream, request.body.clone(), deadline).await?;
        match timeout_at(deadline, response).await {
            Ok(Ok(response)) => {
                if !matches!(response.status().as_u16(), 401 | 403) {
                    self.state.proven.store(true, Ordering::Release);
                }
                let response = response.map(|body| reqwest::Body::wrap(Incoming(body)));
                Ok(read(reqwest::Response::from(response), deadline, clock).await)
            }
            Ok(Err(error)) => {
                if !error.is_reset() {
                    self.retire();
                }
                let why = told(&error);
                if is_unprocessed(&error) || !written {
                    return Err(Unprocessed { why, late: false });
                }
                Ok(Reply::InDoubt { why })
            }
            Err(_) => {
                self.state.suspected.notify_one();
                Ok(Reply::InDoubt { why: "no answer in time".to_owned() })
            }
        }
    }

    /// Opens a stream with the request's head.
    async fn begin(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Unprocessed> {
        let gone = |error: &h2::Error| {
            self.retire();
            Unprocessed { why: told(error), late: false }
        };
        let ready = timeout_at(deadline, self.sender.clone().ready()).await.map_err(|_| late())?;
        let mut sender = ready.map_err(|error| gone(&error))?;
        let head = head(request).ok_or_else(|| Unprocessed { why: "no such request".to_owned(), late: true })?;
        sender.send_request(head, false).map_err(|error| gone(&error))
    }
}

/// Hands the body over when the stream takes it; `false` where it took none, since the answer came before.
async fn hand_over(mut stream: SendStream<Bytes>, body: Bytes, deadline: Instant) -> Result<bool, Unprocessed> {
    stream.reserve_capacity(body.len());
    let capacity = timeout_at(deadline, std::future::poll_fn(|context| stream.poll_capacity(context))).await;
    match capacity {
        Ok(Some(Ok(_))) if Clock::instant() < deadline => Ok(stream.send_data(body, true).is_ok()),
        Ok(Some(Err(_)) | None) => Ok(false),
        Ok(Some(Ok(_))) | Err(_) => {
            stream.send_reset(Reason::CANCEL);
            Err(late())
        }
    }
}

fn late() -> Unprocessed {
    Unprocessed { why: "no time was left when the connection was ready".to_owned(), late: true }
}

fn head(request: &Request) -> Option<http::Request<()>> {
    let method = match request.method {
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
    };
    let mut head = http::Request::builder()
        .version(Version::HTTP_2)
        .method(method)
        .uri(request.url.as_str())
        .header(http::header::USER_AGENT, USER_AGENT)
        .body(())
        .ok()?;
    head.headers_mut().extend(request.headers.clone());
    Some(head)
}

/// The failure in words of our own: what a peer says with it may hold anything.
pub(super) fn told(error: &h2::Error) -> String {
    match (error.reason(), error.get_io()) {
        (Some(reason), _) => format!("the connection failed: HTTP/2: {reason}"),
        (None, Some(failure)) => format!("the connection failed: {}", failure.kind()),
        (None, None) => "the connection failed: not a whole HTTP answer".to_owned(),
    }
}

/// Asks the peer whether it lives, first at once; ends when it does not say so. `first` is told of its first answer.
async fn heartbeat(pings: &mut PingPong, state: &State, first: tokio::sync::mpsc::Sender<()>) {
    let mut quiet = IDLE_BEAT;
    loop {
        if quiet >= IDLE_BEAT || state.in_flight.load(Ordering::Acquire) > 0 {
            quiet = Duration::ZERO;
            let Ok(Ok(_)) = timeout(PONG_WITHIN, pings.ping(Ping::opaque())).await else { return };
            // Only the first has somebody who waits for it.
            let _ = first.try_send(());
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => quiet += BEAT,
            () = state.suspected.notified() => quiet = IDLE_BEAT,
        }
    }
}

/// An answer's body, whose window is opened as it is read.
struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let chunk = ready!(self.0.poll_data(context));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk?;
            self.0.flow_control().release_capacity(chunk.len())?;
            Ok(Frame::data(chunk))
        }))
    }
}
