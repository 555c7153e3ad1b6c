//! Several HTTP/2 connections to one peer, for providers in code whose service speaks nothing else.
//!
//! The common client ([`super::exchange`]) has one connection for each address, can't say how many streams a peer
//! allows, and can't leave a connection. Here a request waits for a place that the peer allows, before anything of it
//! is written; a connection that is busy gets another beside it; one that the peer ends (GOAWAY), that died, or that
//! the provider has no use for takes no more requests, while those on it end. What the peer says it did not process is
//! written again, on another connection where the first is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use self::line::{Line, Unprocessed};
use super::{Mistakes, ProviderSettings, Request};
use crate::clock::Clock;
use crate::provider::Reply;

mod line;
mod tls;

/// The most connections to one peer.
const MOST_CONNECTIONS: usize = 4;
/// A connection with this many requests on it is busy: another is made beside it.
const BUSY: usize = 100;
/// How often a request is written that the peer did not process.
const MOST_WRITES: usize = 3;

/// The connections to one peer. Cloning shares them.
#[derive(Clone)]
pub(in crate::provider) struct Connections(Arc<Inner>);

struct Inner {
    peer: Peer,
    clock: Clock,
    state: Mutex<State>,
    /// A place may be free, or a connection was made or failed.
    changed: Arc<Notify>,
}

/// Where the peer is.
struct Peer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
}

#[derive(Default)]
struct State {
    lines: Vec<Arc<Line>>,
    /// Whether one is being made.
    dialing: bool,
    /// How many could not be made, and why the latest could not.
    failures: u64,
    latest: String,
}

/// The connection that a request was answered on.
pub(in crate::provider) struct Used(Arc<Line>);

impl Used {
    /// Sends nothing more on this connection.
    pub(in crate::provider) fn leave(&self) {
        self.0.retire();
    }
}

/// A place for one request on a connection.
struct Place {
    line: Arc<Line>,
    changed: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.release();
        self.changed.notify_one();
    }
}

impl Connections {
    /// Connections to the host of `base`, made when they are needed.
    pub(in crate::provider) fn new(
        given: &ProviderSettings,
        base: &Url,
        clock: Clock,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let host = match base.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let tls = if base.scheme() == "https" {
            let Some(connector) = tls::connector(given.extra_roots.as_deref()) else {
                mistakes.add("ca_file", "no certificate that can be used", "one or more certificates in PEM");
                return None;
            };
            Some((connector, ServerName::try_from(host.clone()).ok()?))
        } else {
            None
        };
        let port = base.port_or_known_default()?;
        let peer = Peer { host, port, tls, connect_timeout: given.connect_timeout };
        let inner = Inner { peer, clock, state: Mutex::default(), changed: Arc::default() };
        Some(Self(Arc::new(inner)))
    }

    /// Writes `request` and waits for its whole answer until `deadline`; also which connection it came by.
    pub(in crate::provider) async fn exchange(&self, request: &Request, deadline: Instant) -> (Reply, Option<Used>) {
        let mut why = "no time was left".to_owned();
        for _ in 0..MOST_WRITES {
            let place = match self.place(deadline).await {
                Ok(place) => place,
                Err(why) => return (Reply::NotSent { why }, None),
            };
            match place.line.exchange(request, deadline, &self.0.clock).await {
                Ok(reply) => return (reply, Some(Used(Arc::clone(&place.line)))),
                Err(Unprocessed { why, late: true }) => return (Reply::NotSent { why }, None),
                Err(unprocessed) => why = unprocessed.why,
            }
        }
        (Reply::NotSent { why }, None)
    }

    /// A place for one request; what is in the way where none came in time.
    async fn place(&self, deadline: Instant) -> Result<Place, String> {
        let mut known = None;
        loop {
            let changed = self.0.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From before the look: what changes after it is not missed.
            changed.as_mut().enable();
            if Clock::instant() >= deadline {
                return Err("no time was left".to_owned());
            }
            if let Some(place) = self.look(&mut known)? {
                return Ok(place);
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err("no connection had a place in time".to_owned());
            }
        }
    }

    /// Takes a place where one is free, and sees to it that there will be more. `known` is how many connections had
    /// failed when the request began to wait.
    fn look(&self, known: &mut Option<u64>) -> Result<Option<Place>, String> {
        let mut state = self.state();
        state.lines.retain(|line| !line.is_over());
        let known = *known.get_or_insert(state.failures);
        let free = state.lines.iter().filter(|line| line.room() > 0).min_by_key(|line| line.in_flight()).cloned();
        if free.is_none() && state.lines.is_empty() && !state.dialing && state.failures > known {
            return Err(state.latest.clone());
        }
        if free.as_ref().is_none_or(|line| line.in_flight() >= BUSY) {
            self.dial(&mut state);
        }
        let Some(line) = free else { return Ok(None) };
        line.take();
        if line.room() > 0 {
            // Whoever waits beside this one need not wait for the end of a request.
            self.0.changed.notify_one();
        }
        Ok(Some(Place { line, changed: Arc::clone(&self.0.changed) }))
    }

    /// Makes one more connection, unless there are enough or one is being made.
    fn dial(&self, state: &mut State) {
        if state.dialing || state.lines.len() >= MOST_CONNECTIONS {
            return;
        }
        state.dialing = true;
        let this = self.clone();
        tokio::spawn(async move {
            let made = this.0.peer.dial(Arc::clone(&this.0.changed)).await;
            let mut state = this.state();
            state.dialing = false;
            match made {
                Ok(line) => state.lines.push(Arc::new(line)),
                Err(why) => {
                    state.failures += 1;
                    state.latest = why;
                }
            }
            drop(state);
            this.0.changed.notify_waiters();
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    async fn dial(&self, changed: Arc<Notify>) -> Result<Line, String> {
        let made = timeout(self.connect_timeout, self.connect(changed)).await;
        made.unwrap_or_else(|_| Err("too slow".to_owned())).map_err(|why| format!("no connection: {why}"))
    }

    async fn connect(&self, changed: Arc<Notify>) -> Result<Line, String> {
        // The name is looked up anew for each connection.
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|why| why.kind().to_string())?;
        tcp.set_nodelay(true).map_err(|why| why.kind().to_string())?;
        let greeted = match &self.tls {
            None => Line::greet(tcp, changed).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await.map_err(|why| refusal(&why))?;
                if stream.get_ref().1.alpn_protocol() != Some(tls::H2) {
                    return Err("the peer does not speak HTTP/2".to_owned());
                }
                Line::greet(stream, changed).await
            }
        };
        greeted.map_err(|error| line::told(&error))
    }
}

fn refusal(failure: &std::io::Error) -> String {
    let inner = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map_or_else(|| failure.kind().to_string(), |tls| format!("TLS: {tls}"))
}
