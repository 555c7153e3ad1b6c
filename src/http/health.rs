//! `/healthz` and `/readyz`: whether the process lives, and whether it can work.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Whether the worker can work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Why it can't, for people; empty when it can.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Whether it can.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

pub(super) fn routes(readiness: watch::Receiver<Readiness>) -> Router {
    let alive = || std::future::ready(Json(json!({ "alive": true })));
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(readiness)
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, Json<Value>) {
    let readiness = readiness.borrow();
    if readiness.is_ready() {
        (StatusCode::OK, Json(json!({ "ready": true })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": readiness.reasons })))
    }
}
