//! Receipts in: `/receipts/<provider>/<token>`, by POST, and by GET for providers that use it; and
//! `/receipts/<provider>/all` for vendors that have one address for everything and give back a token with each receipt.
//!
//! Guarantees: a 2xx says that the broker has the receipt, or that it says nothing that matters; a request whose
//! token or signature is not good is answered alike, and after the same time, whatever is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::watch;

use super::{below, refusal};
use crate::broker::wire::receipt::Told;
use crate::broker::{Outbox, Route};
use crate::challenge::Channel;
use crate::clock::{Clock, Timestamp};
use crate::provider::Roster;
use crate::provider::callback::{Callback, Callbacks};
use crate::provider::http::receipt::{Given, News};
use crate::telemetry::metrics;

/// The longest body that is read: receipts have some hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;
/// When a refusal is answered, from the request's arrival: later than any check takes.
pub(super) const REFUSED_AFTER: Duration = Duration::from_millis(100);

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
    let prefix = door.callbacks.path();
    let routes = below(prefix, "/receipts/{provider}/{token}", &get(receive).post(receive)).merge(below(
        prefix,
        "/receipts/{provider}/all",
        &post(receive_all),
    ));
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
    match door.tell(name, callback, news, now).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Unpublished) => refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    }
}

/// Many receipts at once; each is ours by the token that it gives back, which nobody can make up.
async fn receive_all(
    State(door): State<Arc<Door>>,
    Path(provider): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (arrived, now) = (Clock::instant(), door.clock.now());
    let url = door.callbacks.requested(uri.path_and_query().map_or("", |whole| whole.as_str()));
    let given = Given { url: &url, headers: &headers, body: &body, now };
    let known = door.roster.get(&provider);
    let batches = Channel::ALL.iter().filter_map(|channel| Some((*channel, known?.batch(*channel, &given)?)));
    let (mut heard, mut answer) = (Vec::new(), None);
    for (channel, batch) in batches {
        if let Some(handshake) = batch.handshake {
            return Json(handshake).into_response();
        }
        let ours = batch.told.into_iter().filter_map(|(token, news)| {
            let callback = door.callbacks.read(&provider, &token, now);
            callback.filter(|callback| callback.channel == channel).map(|callback| (callback, news))
        });
        let before = heard.len();
        heard.extend(ours);
        if heard.len() > before {
            answer = batch.answer;
        }
    }
    if heard.is_empty() {
        metrics::receipt(if known.is_some() { provider.as_str() } else { metrics::OTHER }, "refused");
        tokio::time::sleep_until(arrived + REFUSED_AFTER).await;
        return refusal(StatusCode::FORBIDDEN, "forbidden");
    }
    for (callback, news) in heard {
        if door.tell(&provider, callback, news, now).await.is_err() {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
        }
    }
    answer.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |answer| Json(answer).into_response())
}

/// The broker does not have it; what it was is logged.
struct Unpublished;

impl Door {
    /// Gives news to the broker, unless it says nothing that matters.
    async fn tell(&self, name: &str, callback: Callback, news: News, at: Timestamp) -> Result<(), Unpublished> {
        let Some(status) = news.status else {
            metrics::receipt(name, "nothing");
            return Ok(());
        };
        let told = Told { handle: callback.handle, attempt: Some(callback.attempt), status, code: news.code, at };
        let outbox = self.outbox.borrow().clone();
        let published = match outbox {
            Some(outbox) => outbox.publish(&told.publication(Route::Signals)).await.map_err(|why| why.to_string()),
            None => Err("there is no connection yet".to_owned()),
        };
        if let Err(why) = published {
            metrics::receipt(name, "unpublished");
            tracing::warn!(provider = name, why, "a receipt could not be published; its provider may send it again");
            return Err(Unpublished);
        }
        metrics::receipt(name, status.as_str());
        Ok(())
    }
}
