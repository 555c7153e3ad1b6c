//! The two listeners: `[http]` for the outside, `[admin]` for operators; both tell how the worker is.
//!
//! Whoever connects is a stranger: connections, idle time, the time and the size of heads and of bodies, and handling
//! time are bounded, an unknown path says nothing but that, and every answer to what can be read carries the headers
//! that keep browsers from guessing, framing and caching. Other modules bring their routes as [`Router`]s.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::metrics::Metrics;

mod api;
mod flows;
mod gate;
mod health;
mod receipts;

pub use self::api::{Office, api_routes};
pub use self::flows::{Stage, flow_routes};
pub use self::health::Readiness;
pub use self::receipts::{Door, receipt_routes};

/// How many connections one listener serves at once.
const MOST_CONNECTIONS: usize = 512;
/// How long a request's head may take from the moment that one is awaited, however steadily it drips.
const HEAD_WITHIN: Duration = gate::IDLE;
/// The longest head that is read; a longer one is answered with 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a handler may take, reading the body included.
const HANDLING_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest body that is read where a handler does not say otherwise.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Set on every answer that does not set them itself.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{setting} = {address}: {}", reason(.source))]
pub struct BindError {
    /// The key of the setting, `admin.listen`.
    pub setting: &'static str,
    /// Its value.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied; ports below 1024 need a privilege".to_owned(),
        _ => error.to_string(),
    }
}

/// A port that is listened on; connections wait until [`Listener::serve`].
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    most_connections: usize,
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// [`BindError`] names the `setting` and the address.
    pub async fn bind(setting: &'static str, address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { setting, address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, most_connections: MOST_CONNECTIONS })
    }

    /// Where it listens; tells the port where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop`, then lets those under way finish, for at most `patience`.
    pub async fn serve(self, routes: Router, stop: CancellationToken, patience: Duration) {
        let mut gate = gate::Gate::new(self.socket, self.most_connections, stop.clone());
        let service = TowerToHyperService::new(hardened(routes));
        let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MAX_HEAD_BYTES);
        let open = TaskTracker::new();
        while let Some(stream) = stop.run_until_cancelled(gate.accept()).await {
            let leave = stream.leave();
            let connection = server.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
            open.spawn(async move {
                let mut connection = pin!(connection);
                let ended = if let Some(ended) = leave.run_until_cancelled(connection.as_mut()).await {
                    ended
                } else {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                };
                if let Err(why) = ended {
                    tracing::debug!(why, "a connection ended early");
                }
            });
        }
        // The port is free before the last answers are out.
        drop(gate);
        open.close();
        // An open stream of events never ends by itself: the deadline does not wait for it.
        if tokio::time::timeout(patience, open.wait()).await.is_err() {
            tracing::warn!(address = %self.address, "connections were still open at the deadline");
        }
    }
}

/// What both listeners answer: `/healthz` (alive) and `/readyz` (ready, or why not).
pub fn health_routes(readiness: watch::Receiver<Readiness>) -> Router {
    health::routes(readiness)
}

/// What the `[admin]` listener answers besides: `/metrics`.
pub fn metrics_routes(metrics: Metrics) -> Router {
    const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let render = move || std::future::ready(([(header::CONTENT_TYPE, TEXT_FORMAT)], metrics.render()));
    Router::new().route("/metrics", get(render))
}

/// Routes with everything around them that a stranger meets.
fn hardened(routes: Router) -> Router {
    routes
        .fallback(|| std::future::ready(refusal(StatusCode::NOT_FOUND, "not_found")))
        .method_not_allowed_fallback(|| {
            std::future::ready(refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(from_fn(with_headers))
}

/// Routes at `path`, and below the part of the path by which a proxy found us: not every one takes that off.
fn below<S: Clone + Send + Sync + 'static>(prefix: &str, path: &str, methods: &MethodRouter<S>) -> Router<S> {
    let routes = Router::new().route(path, methods.clone());
    if prefix.is_empty() {
        return routes;
    }
    // Whatever stands there is only text.
    routes.without_v07_checks().route(&format!("{prefix}{path}"), methods.clone())
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    let handled = tokio::time::timeout(HANDLING_TIMEOUT, next.run(request)).await;
    handled.unwrap_or_else(|_| refusal(StatusCode::REQUEST_TIMEOUT, "timeout"))
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
