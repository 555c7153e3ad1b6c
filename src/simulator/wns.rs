//! WNS as it answers: a token endpoint by client credentials, and channels, which take toasts and answer in headers.
//!
//! A channel whose `token` ends in `:` and a word answers so: `dropped`, `channelthrottled`, `blocked` (its domain may
//! not send), `LAPSED` (an access token that was used before), or an HTTP status. Else its last digits decide as a
//! number's do.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::access::Credentials;
use super::connection::Cord;
use super::{Incoming, Mode, Shared, Told, Wire};
use crate::challenge::Channel;

const MAX_BYTES: usize = 5_000;
const SCOPES: [&str; 2] = ["https://wns.windows.com/.default", "notify.windows.com"];

/// Its two addresses.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/wns/{entry}/token", post(to_token_endpoint)).route("/wns/{entry}/", post(to_channel))
}

async fn to_token_endpoint(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(entry): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: None, headers, body, now: shared.clock.now() };
    let entry = format!("wns/{entry}");
    let wire = Credentials { shared: &shared, entry: &entry, scopes: &SCOPES, in_text: true };
    shared.serve(&wire, format!("{entry}/token"), cord, request).await
}

async fn to_channel(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(entry): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let token = pairs.find(|(key, _)| key == "token").map(|(_, value)| value.into_owned());
    let request = Incoming { account: token, headers, body, now: shared.clock.now() };
    let entry = format!("wns/{entry}");
    let wire = Toasts { shared: &shared, entry: &entry };
    shared.serve(&wire, entry.clone(), cord, request).await
}

/// The channels of an entry.
struct Toasts<'s> {
    shared: &'s Shared,
    entry: &'s str,
}

impl Wire for Toasts<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refuse = |code: &str| Mode::Refuse(code.to_owned());
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let Some((bearer, served)) = self.shared.use_access(self.entry, request) else { return Err(refuse("401")) };
        let token = request.account.clone().filter(|token| !token.is_empty()).ok_or_else(|| refuse("404"))?;
        if served > 0 && token.ends_with(":LAPSED") {
            self.shared.take_access(self.entry, bearer);
            return Err(refuse("401"));
        }
        let right = header("x-wns-type") == Some("wns/toast")
            && header(CONTENT_TYPE.as_str()) == Some("text/xml")
            && header("x-wns-priority").is_none_or(|priority| ["1", "2", "3", "4"].contains(&priority))
            && request.headers.contains_key("content-length");
        if !right {
            return Err(refuse("400"));
        }
        if request.body.len() > MAX_BYTES {
            return Err(refuse("413"));
        }
        let validity = header("x-wns-ttl").and_then(|ttl| ttl.parse().ok());
        let toast = std::str::from_utf8(&request.body).ok().filter(|text| text.starts_with("<toast"));
        let toast = toast.ok_or_else(|| refuse("400"))?;
        let launch = between(toast, "launch=\"", "\"").next().unwrap_or_default().replace("&amp;", "&");
        let mut pairs = form_urlencoded::parse(launch.as_bytes());
        let reference = pairs.find(|(key, _)| key == "challenge_id").map(|(_, value)| value.into_owned());
        let text = between(toast, "<text>", "</text>").collect::<Vec<_>>().join("\n");
        Ok(Told { to: token, from: None, text, reference, validity, callback: None })
    }

    fn mode_of(&self, token: &str) -> Mode {
        match token.rsplit_once(':').map(|(_, word)| word) {
            Some("LAPSED") | None => Mode::of_number(token),
            Some(word) => Mode::Refuse(word.to_owned()),
        }
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        answer(StatusCode::OK, &format!("{id:016X}"), "received", "")
    }

    fn refused(&self, word: &str) -> Response {
        match word {
            "dropped" | "channelthrottled" => answer(StatusCode::OK, "0", word, ""),
            "blocked" => answer(StatusCode::GONE, "0", "dropped", "The domain is blocked"),
            status => {
                let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
                answer(status.unwrap_or(StatusCode::BAD_GATEWAY), "0", "dropped", "simulated")
            }
        }
    }

    fn failed_within(&self, _: u64, _: &str) -> Response {
        self.refused("dropped")
    }
}

fn answer(status: StatusCode, id: &str, became: &str, why: &str) -> Response {
    let mut response = status.into_response();
    for (name, value) in [
        ("x-wns-msg-id", id),
        ("x-wns-notificationstatus", became),
        ("x-wns-deviceconnectionstatus", "connected"),
        ("x-wns-error-description", why),
    ] {
        if let Some(value) = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Every part of a text between two marks.
fn between<'t>(text: &'t str, from: &'t str, to: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(from).skip(1).filter_map(move |rest| rest.split_once(to).map(|(part, _)| part))
}
