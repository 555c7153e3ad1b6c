//! Call flows out: `/voice/<provider>/<token>`, by GET and by POST, as vendors fetch what a call says.
//!
//! Guarantees: what is served is what was sealed into the address, and only while the challenge is good; a request whose
//! token or signature is not good is answered alike, and after the same time, whatever is wrong with it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::receipts::{MAX_BODY_BYTES, REFUSED_AFTER};
use super::{below, refusal};
use crate::clock::Clock;
use crate::provider::Roster;
use crate::provider::callback::Callbacks;
use crate::provider::flow::Flows;
use crate::provider::http::receipt::Given;
use crate::telemetry::metrics;

/// What serving needs.
pub struct Stage {
    /// Who may fetch.
    pub roster: Roster,
    /// What knows our own address.
    pub callbacks: Callbacks,
    /// What opens tokens.
    pub flows: Flows,
    /// Time.
    pub clock: Clock,
}

/// What the `[http]` listener answers besides where a vendor fetches what calls say.
pub fn flow_routes(stage: Stage) -> Router {
    below(stage.callbacks.path(), "/voice/{provider}/{token}", &get(serve).post(serve))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(stage))
}

async fn serve(
    State(stage): State<Arc<Stage>>,
    Path((provider, token)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (arrived, now) = (Clock::instant(), stage.clock.now());
    let url = stage.callbacks.requested(uri.path_and_query().map_or("", |whole| whole.as_str()));
    let given = Given { url: &url, headers: &headers, body: &body, now };
    // Each is asked, whatever the other says.
    let known = stage.roster.get(&provider);
    let genuine = known.is_some_and(|provider| provider.may_fetch(&given));
    let said = stage.flows.open(&provider, &token, now);
    let name = if known.is_some() { provider.as_str() } else { metrics::OTHER };
    let Some(said) = said.filter(|_| genuine) else {
        metrics::call_flow(name, "refused");
        tokio::time::sleep_until(arrived + REFUSED_AFTER).await;
        return refusal(StatusCode::FORBIDDEN, "forbidden");
    };
    metrics::call_flow(name, "served");
    ([(header::CONTENT_TYPE, "application/xml; charset=utf-8")], said.expose().to_owned()).into_response()
}
