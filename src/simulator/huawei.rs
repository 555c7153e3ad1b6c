//! Push Kit as it answers: a token endpoint by client credentials, and `messages:send` of version 1.
//!
//! A device's token that ends in `:` and a code is refused with that code, as `device:80300007` is; `:LAPSED` refuses
//! an access token that was used before. Else its last digits decide as a number's do.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::access::{CLIENT_ID, Credentials};
use super::connection::Cord;
use super::{Incoming, Mode, Shared, Told, Wire};
use crate::challenge::Channel;

/// The most of a message, in bytes, its token not counted.
const MAX_BYTES: usize = 4_096;
const LAPSED: &str = "80200003";

/// Its two addresses.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/huawei/{entry}/oauth2/v3/token", post(to_token_endpoint))
        .route("/huawei/{entry}/v1/{client}/messages:send", post(to_messages))
}

async fn to_token_endpoint(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(entry): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: None, headers, body, now: shared.clock.now() };
    let entry = format!("huawei/{entry}");
    let wire = Credentials { shared: &shared, entry: &entry, scopes: &[], in_text: false };
    shared.serve(&wire, format!("{entry}/token"), cord, request).await
}

async fn to_messages(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path((entry, client)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: Some(client), headers, body, now: shared.clock.now() };
    let entry = format!("huawei/{entry}");
    let wire = Messages { shared: &shared, entry: &entry };
    shared.serve(&wire, entry.clone(), cord, request).await
}

/// `messages:send` of an entry.
struct Messages<'s> {
    shared: &'s Shared,
    entry: &'s str,
}

impl Wire for Messages<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refuse = |code: &str| Mode::Refuse(code.to_owned());
        let Some((bearer, served)) = self.shared.use_access(self.entry, request) else { return Err(refuse(LAPSED)) };
        if request.account.as_deref() != Some(CLIENT_ID) {
            return Err(refuse("80300002"));
        }
        let body: Value = serde_json::from_slice(&request.body).map_err(|_| refuse("80100003"))?;
        let message = &body["message"];
        let token = match message["token"].as_array().map(Vec::as_slice) {
            Some([token]) => token.as_str().filter(|token| !token.is_empty()).ok_or_else(|| refuse("80300007"))?,
            _ => return Err(refuse("80100001")),
        };
        if request.body.len() > MAX_BYTES + token.len() {
            return Err(refuse("80300008"));
        }
        if served > 0 && token.ends_with(":LAPSED") {
            self.shared.take_access(self.entry, bearer);
            return Err(refuse(LAPSED));
        }
        told(token, message).ok_or_else(|| refuse("80100003"))
    }

    fn mode_of(&self, token: &str) -> Mode {
        let code = token.rsplit_once(':').map(|(_, code)| code);
        match code.filter(|code| code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(code) => Mode::Refuse(code.to_owned()),
            None => Mode::of_number(token),
        }
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        Json(json!({ "code": "80000000", "msg": "Success", "requestId": format!("{id}") })).into_response()
    }

    fn refused(&self, code: &str) -> Response {
        let status = match code {
            LAPSED | "80200001" => StatusCode::UNAUTHORIZED,
            "81000001" => StatusCode::INTERNAL_SERVER_ERROR,
            "80100001" | "80100003" => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        (status, Json(json!({ "code": code, "msg": "simulated", "requestId": "0" }))).into_response()
    }

    fn failed_within(&self, _: u64, _: &str) -> Response {
        self.refused("80300010")
    }
}

/// What a right message says; `None` where one of its fields is none.
fn told(token: &str, message: &Value) -> Option<Told> {
    let android = message["android"].as_object()?;
    let validity = android.get("ttl")?.as_str()?.strip_suffix('s')?.parse().ok()?;
    let collapses =
        android.get("collapse_key").is_none_or(|key| key.as_i64().is_some_and(|key| (-1..=100).contains(&key)));
    let opens = message.pointer("/android/notification/click_action/type").and_then(Value::as_i64)?;
    let shown = |key: &str| message.pointer(&format!("/android/notification/{key}")).and_then(Value::as_str);
    let text = ["title", "body"].into_iter().filter_map(shown).collect::<Vec<_>>().join("\n");
    let data: Value = serde_json::from_str(message["data"].as_str()?).ok()?;
    let reference = data["challenge_id"].as_str().map(str::to_owned);
    let told = Told { to: token.to_owned(), from: None, text, reference, validity: Some(validity), callback: None };
    (collapses && opens == 3 && android.get("category")?.is_string()).then_some(told)
}
