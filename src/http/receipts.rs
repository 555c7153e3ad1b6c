//! Receipts in: `/receipts/<provider>/<token>`, by POST, and by GET for providers that use it.
//!
//! Guarantees: a 2xx says that the broker has the receipt, or that it says nothing that matters; a request whose
//! token or signature is not good is answered alike, and after the same time, whatever is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::refusal;
use crate::broker::wire::receipt::Told;
use crate::broker::{Outbox, Route};
use crate::challenge::Channel;
use crate::clock::Clock;
use crate::provider::Roster;
use crate::provider::callback::Callbacks;
use crate::provider::http::receipt::Given;
use crate::telemetry::metrics;

/// The longest body that is read: receipts have some hundred bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// When a refusal is answered, from the request's arrival: later than any check takes.
const REFUSED_AFTER: Duration = Duration::from_millis(100);

/// What receiving needs.
pub struct Door {
    /// Who may tell news.
    pub roster: Roster,
    /// What reads tokens.
    pub callbacks: Callbacks,
    /// What publishes; `None` until there is a broker.
    pub outbox: watch::Receiver<Option<Arc<dyn Outbox>>>,
    /// Time.
    pub clock: Clock,
}

/// What the `[http]` listener answers besides where receipts are on.
pub fn receipt_routes(door: Door) -> Router {
    const BELOW: &str = "/receipts/{provider}/{token}";
    let receiving = || get(receive).post(receive);
    let prefix = door.callbacks.path();
    let mut routes = Router::new().route(BELOW, receiving());
    if !prefix.is_empty() {
        // Not every proxy takes off the part of the path by which it found us. Whatever stands there is only text.
        routes = routes.without_v07_checks().route(&format!("{prefix}{BELOW}"), receiving());
    }
    routes.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(Arc::new(door))
}

async fn receive(
    State(door): State<Arc<Door>>,
    Path((provider, token)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let arrived = Clock::instant();
    let now = door.clock.now();
    let url = door.callbacks.requested(uri.path_and_query().map_or("", |whole| whole.as_str()));
    // Each is asked, whatever the other says.
    let callback = door.callbacks.read(&provider, &token, now);
    let channel = callback.map_or(Channel::Sms, |callback| callback.channel);
    let given = Given { url: &url, headers: &headers, body: &body, now };
    let known = door.roster.get(&provider);
    let news = known.and_then(|provider| provider.receipt(channel, &given));
    let name = if known.is_some() { provider.as_str() } else { metrics::OTHER };
    let (Some(callback), Some(news)) = (callback, news) else {
        metrics::receipt(name, "refused");
        tokio::time::sleep_until(arrived + REFUSED_AFTER).await;
        return refusal(StatusCode::FORBIDDEN, "forbidden");
    };
    let Some(status) = news.status else {
        metrics::receipt(name, "nothing");
        return StatusCode::NO_CONTENT.into_response();
    };
    let told = Told { handle: callback.handle, attempt: callback.attempt, status, code: news.code, at: now };
    let outbox = door.outbox.borrow().clone();
    let published = match outbox {
        Some(outbox) => outbox.publish(&told.publication(Route::Signals)).await.map_err(|why| why.to_string()),
        None => Err("there is no connection yet".to_owned()),
    };
    match published {
        Ok(()) => {
            metrics::receipt(name, status.as_str());
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => {
            metrics::receipt(name, "unpublished");
            tracing::warn!(provider = name, why, "a receipt could not be published; its provider may send it again");
            refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
    }
}
