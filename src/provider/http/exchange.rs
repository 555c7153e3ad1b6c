//! One request and its answer, or how far it got.
//!
//! What decides between "not sent" and "in doubt" is one fact, seen where it happens: whether the
//! connection took the request's body. Every request has one, and nobody acts on a request without its
//! body; so a failure before that moment (name, connection, TLS, a full connection pool) is `NotSent`, and
//! any later one `InDoubt`, unless an HTTP/2 peer says that it did not process the stream.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout_at};

use super::retry_after::retry_after;
use super::{MAX_REPLY_BYTES, Request};
use crate::clock::Clock;
use crate::provider::Reply;
use crate::provider::definition::request::Method;

/// Writes requests of one provider.
#[derive(Clone)]
pub(in crate::provider) struct Caller {
    pub(super) client: Client,
    pub(super) clock: Clock,
}

impl Caller {
    /// Writes `request` and waits for its whole answer until `deadline`.
    pub(in crate::provider) async fn exchange(&self, request: Request, deadline: Instant) -> Reply {
        exchange(&self.client, request, deadline, &self.clock, &[]).await
    }

    /// The same with a service that says in headers what others say in a body: those of them that `heads` names stand
    /// for the body, as a JSON object.
    pub(in crate::provider) async fn exchange_heads(
        &self,
        request: Request,
        deadline: Instant,
        heads: &[&'static str],
    ) -> Reply {
        exchange(&self.client, request, deadline, &self.clock, heads).await
    }
}

async fn exchange(
    client: &Client,
    request: Request,
    deadline: Instant,
    clock: &Clock,
    heads: &[&'static str],
) -> Reply {
    if Clock::instant() >= deadline {
        return Reply::NotSent { why: "no time was left".to_owned() };
    }
    // Nobody asks for a body that is empty: such a request is taken for written as soon as there is a connection.
    let bodiless = request.body.is_empty();
    let taken = Arc::new(AtomicBool::new(false));
    let method = match request.method {
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    };
    let body = Outgoing { bytes: Some(request.body), deadline, taken: Arc::clone(&taken) };
    let prepared = client.request(method, request.url).headers(request.headers).body(reqwest::Body::wrap(body));
    let (why, unprocessed, unwritten) = match timeout_at(deadline, prepared.send()).await {
        Ok(Ok(response)) => {
            let told = told_in(&response, heads);
            return match (read(response, deadline, clock).await, told) {
                (Reply::Answered { status, retry_after, .. }, Some(body)) => {
                    Reply::Answered { status, retry_after, body }
                }
                (reply, _) => reply,
            };
        }
        Ok(Err(error)) => (explain(&error), says_unprocessed(&error), error.is_connect()),
        Err(_) => ("no answer in time".to_owned(), false, false),
    };
    let written = taken.load(Ordering::Acquire) || (bodiless && !unwritten);
    if written && !unprocessed { Reply::InDoubt { why } } else { Reply::NotSent { why } }
}

/// Those of an answer's headers that are texts and that `heads` names; `None` where it names none.
fn told_in(response: &Response, heads: &[&'static str]) -> Option<Bytes> {
    let text = |name: &&'static str| Some((*name, response.headers().get(*name)?.to_str().ok()?));
    let told: BTreeMap<_, _> = heads.iter().filter_map(text).collect();
    (!heads.is_empty()).then(|| serde_json::json!(told).to_string().into())
}

pub(super) async fn read(mut response: Response, deadline: Instant, clock: &Clock) -> Reply {
    let status = response.status().as_u16();
    let hints = response.headers().get_all(RETRY_AFTER).into_iter();
    let retry_after = retry_after(hints.map(reqwest::header::HeaderValue::as_bytes), clock.now());
    let mut body = BytesMut::new();
    let why = loop {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(None)) => return Reply::Answered { status, retry_after, body: body.freeze() },
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > MAX_REPLY_BYTES => {
                break format!("the answer is longer than {} KiB", MAX_REPLY_BYTES / 1_024);
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Err(error)) => break explain(&error),
            Err(_) => break "the answer did not end in time".to_owned(),
        }
    };
    Reply::Torn { status, why }
}

/// A request's body that tells when the connection takes it, and is not there any more after the deadline:
/// the last moment at which a late request can be kept from being written. So a call that gives up at its
/// deadline and finds the body not taken knows that it never will be.
struct Outgoing {
    bytes: Option<Bytes>,
    deadline: Instant,
    taken: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
#[error("no time was left when the connection was ready")]
struct Late;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Late;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Late>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        if Clock::instant() >= self.deadline {
            return Poll::Ready(Some(Err(Late)));
        }
        self.taken.store(true, Ordering::Release);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// The error and what caused it, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error: &&(dyn Error + 'static)| (*error).source())
}

fn cause<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// Whether an HTTP/2 peer refused the stream, or went away naming an earlier one as its last: by RFC 9113,
/// section 8.7, the request was then not processed.
fn says_unprocessed(error: &reqwest::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(is_unprocessed)
}

/// The same of HTTP/2's own error.
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// The failure in words of our own: the library's would show the address.
fn explain(error: &reqwest::Error) -> String {
    let stage = if error.is_connect() { "no connection" } else { "the connection failed" };
    if cause::<Late>(error).is_some() {
        return Late.to_string();
    }
    if let Some(reason) = cause::<h2::Error>(error).and_then(h2::Error::reason) {
        return format!("{stage}: HTTP/2: {reason}");
    }
    if let Some(failure) = cause::<io::Error>(error) {
        let inner = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        return inner.map_or_else(|| format!("{stage}: {}", failure.kind()), |tls| format!("{stage}: TLS: {tls}"));
    }
    if error.is_timeout() {
        return format!("{stage}: too slow");
    }
    format!("{stage}: not a whole HTTP answer")
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn outgoing(deadline: Instant) -> (Outgoing, Arc<AtomicBool>) {
        let taken = Arc::new(AtomicBool::new(false));
        (Outgoing { bytes: Some(Bytes::from_static(b"To=x")), deadline, taken: Arc::clone(&taken) }, taken)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_tells_when_it_is_taken() {
        let (mut body, taken) = outgoing(Clock::instant() + Duration::from_secs(1));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        assert!(!taken.load(Ordering::Acquire));
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let frame = frame.expect("there").expect("in time");
        assert_eq!(frame.into_data().ok().as_deref(), Some(b"To=x".as_slice()));
        assert!(taken.load(Ordering::Acquire) && body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_not_there_at_the_deadline() {
        let (mut body, taken) = outgoing(Clock::instant() + Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(matches!(frame, Some(Err(Late))));
        assert!(!taken.load(Ordering::Acquire));
    }
}
