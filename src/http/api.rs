//! The admin API: `/api/v1/…` on the `[admin]` listener, for the page, for commands and for support's own tools.
//!
//! Who may ask is decided here, before any route; each file below answers for one path. Guarantees: nothing is told or
//! changed without the token where one is set; without one only this machine may ask, and only to read; a page of
//! another site can neither ask nor be shown an answer; errors are JSON: `error` for programs, `message` for people.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::secret::Secret;

mod outcomes;

/// When a wrong token is answered, from the request's arrival: whoever tries them gets no further than ten a second
/// on each connection.
const REFUSED_AFTER: Duration = Duration::from_millis(100);

/// What the admin API needs.
pub struct Office {
    /// What authorises; without one only this machine may ask, and only to read.
    pub token: Option<Secret>,
    /// What knows; `None` until it is there.
    pub ledger: watch::Receiver<Option<Arc<dyn Ledger>>>,
}

/// What the `[admin]` listener answers below `/api`.
pub fn api_routes(office: Office) -> Router {
    let guard = Arc::new(Guard::new(office.token.as_ref()));
    Router::new()
        .route("/api/v1/outcomes", get(outcomes::list))
        .with_state(office.ledger)
        .layer(from_fn_with_state(guard, guarded))
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// A page of another site asks.
    CrossSite,
    /// By a name that this machine does not have: a page may have bent its own name to it.
    StrangeHost,
    /// No token, or another one.
    Unauthorized,
    /// Without a token nothing can be changed.
    ReadOnly,
}

/// Who may ask for what.
struct Guard {
    /// The hash of what a request has to carry, so that comparing tells nothing, its length included.
    token: Option<digest::Digest>,
}

impl Guard {
    fn new(token: Option<&Secret>) -> Self {
        Self { token: token.map(|token| hash(token.expose().as_bytes())) }
    }

    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        // Browsers say where a request comes from; others say nothing.
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
            return Err(Refusal::CrossSite);
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match &self.token {
            Some(token) if carries(headers, token) => Ok(()),
            Some(_) => Err(Refusal::Unauthorized),
            None if !is_this_machine(headers) => Err(Refusal::StrangeHost),
            None if !is_read => Err(Refusal::ReadOnly),
            None => Ok(()),
        }
    }
}

fn hash(token: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, token)
}

fn carries(headers: &HeaderMap, token: &digest::Digest) -> bool {
    let given = headers.get(header::AUTHORIZATION).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let (scheme, credentials) = given.split_at(given.iter().position(|b| *b == b' ').unwrap_or(given.len()));
    let is_equal = verify_slices_are_equal(hash(credentials.trim_ascii()).as_ref(), token.as_ref()).is_ok();
    scheme.eq_ignore_ascii_case(b"bearer") && is_equal
}

/// Whether the request was meant for this machine by one of the names that nobody else can give.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority = host.parse::<Authority>();
    authority.is_ok_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let arrived = Clock::instant();
    match guard.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Unauthorized) => {
            tokio::time::sleep_until(arrived + REFUSED_AFTER).await;
            let message = "give admin.token: `Authorization: Bearer <token>`";
            let mut answer = error(StatusCode::UNAUTHORIZED, "unauthorized", message);
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        Err(Refusal::CrossSite) => {
            error(StatusCode::FORBIDDEN, "cross_site", "pages of other sites can't use the admin API")
        }
        Err(Refusal::StrangeHost) => {
            let message = "without admin.token only this machine may ask, as localhost or by its loopback address";
            error(StatusCode::FORBIDDEN, "strange_host", message)
        }
        Err(Refusal::ReadOnly) => {
            error(StatusCode::FORBIDDEN, "read_only", "nothing can be changed where admin.token is not set")
        }
    }
}

/// An error as this API tells it.
fn error(status: StatusCode, word: &str, message: &str) -> Response {
    (status, Json(json!({ "error": word, "message": message }))).into_response()
}

#[cfg(test)]
mod tests;
