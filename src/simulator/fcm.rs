//! Firebase Cloud Messaging as it answers: a token endpoint that checks assertions, and `messages:send`.
//!
//! A device's token that ends in `:` and a code is refused with that code; `:LAPSED` refuses an access token
//! that was used before, as if it had lapsed. Else its last digits decide as a number's do. The token
//! endpoint of `fcm/main` is the entry `fcm/main/token`, with a mode of its own.
//!
//! The account's key is compiled in rather than made at each start: so a staging configuration that was
//! written once stays right. It is public, and no real endpoint knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::access::refusal;
use super::connection::Cord;
use super::{Incoming, Mode, Shared, Simulator, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;
use crate::provider::fcm::account::{GRANT_TYPE, SCOPE};

/// The project that it knows.
pub const PROJECT_ID: &str = "simulated";
/// The account that it knows.
const CLIENT_EMAIL: &str = "courier@simulated.iam.gserviceaccount.com";
const KEY_ID: &str = "simulated-key-1";
const KEY: &str = include_str!("signing_key.pem");
const PUBLIC_KEY: &str = include_str!("signing_key.pub.pem");

/// The endpoint that it stands in for.
const GOOGLES_ENDPOINT: &str = "https://oauth2.googleapis.com/token";
/// How far an assertion's times may be from ours, and the longest that it may hold.
const TOLERANCE: i64 = 60;
const LONGEST_ASSERTION: i64 = 3_600;
/// The most of a message, in bytes, its token not counted.
const MAX_BYTES: usize = 4_096;

/// The service account that it knows, as the JSON of its key, with this token endpoint.
#[must_use]
pub fn service_account(token_uri: &str) -> String {
    let key = KEY.find("-----BEGIN").and_then(|at| KEY.get(at..)).unwrap_or_default();
    json!({
        "type": "service_account", "project_id": PROJECT_ID, "client_email": CLIENT_EMAIL,
        "private_key_id": KEY_ID, "private_key": key, "token_uri": token_uri,
    })
    .to_string()
}

impl Simulator {
    /// The service account that an entry such as `fcm/main` takes, as the JSON of its key.
    #[must_use]
    pub fn service_account(&self, provider: &str) -> String {
        service_account(&format!("{}/token", self.base_url(provider)))
    }
}

/// Its two addresses.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/fcm/{entry}/token", post(to_token_endpoint))
        .route("/fcm/{entry}/v1/projects/{project}/messages:send", post(to_messages))
}

async fn to_token_endpoint(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(entry): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: None, headers, body, now: shared.clock.now() };
    let entry = format!("fcm/{entry}");
    let wire = TokenEndpoint { shared: &shared, entry: &entry };
    shared.serve(&wire, format!("{entry}/token"), cord, request).await
}

async fn to_messages(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path((entry, project)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Incoming { account: Some(project), headers, body, now: shared.clock.now() };
    let entry = format!("fcm/{entry}");
    let wire = Messages { shared: &shared, entry: &entry };
    shared.serve(&wire, entry.clone(), cord, request).await
}

/// The token endpoint of an entry.
struct TokenEndpoint<'s> {
    shared: &'s Shared,
    entry: &'s str,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

impl Wire for TokenEndpoint<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let invalid = || Mode::Refuse("invalid_grant".to_owned());
        if !request.is_form() {
            return Err(Mode::Refuse("invalid_request".to_owned()));
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        if form.get("grant_type").is_none_or(|given| given != GRANT_TYPE) {
            return Err(Mode::Refuse("unsupported_grant_type".to_owned()));
        }
        let claims = form.get("assertion").and_then(|assertion| verified(assertion)).ok_or_else(invalid)?;
        let now = request.now.as_millis().div_euclid(1_000);
        let timely = claims.iat <= now + TOLERANCE
            && claims.exp > now - TOLERANCE
            && claims.exp - claims.iat <= LONGEST_ASSERTION;
        // Under which name it is reached, the simulator can't know; the path is its own. Google's libraries name
        // the real endpoint whatever `token_uri` says.
        let path = format!("/{}/token", self.entry);
        let meant = claims.aud == GOOGLES_ENDPOINT || Url::parse(&claims.aud).is_ok_and(|url| url.path() == path);
        if claims.iss != CLIENT_EMAIL || !timely || !meant {
            return Err(invalid());
        }
        if claims.scope != SCOPE {
            return Err(Mode::Refuse("invalid_scope".to_owned()));
        }
        Ok(Told { to: claims.iss, from: None, text: String::new(), reference: None, validity: None, callback: None })
    }

    fn taken(&self, _: u64, _: &str) -> Response {
        self.shared.grant(self.entry, false)
    }

    fn refused(&self, code: &str) -> Response {
        refusal(code)
    }

    fn failed_within(&self, _: u64, code: &str) -> Response {
        Json(json!({ "error": code })).into_response()
    }
}

/// The claims of an assertion that our account signed.
fn verified(assertion: &str) -> Option<Claims> {
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY.as_bytes()).ok()?;
    let mut validation = Validation::new(Algorithm::RS256);
    // Times are checked by our own clock, and the address by its path.
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let token = jsonwebtoken::decode::<Claims>(assertion, &key, &validation).ok()?;
    token.header.kid.is_none_or(|kid| kid == KEY_ID).then_some(token.claims)
}

/// `messages:send` of an entry.
struct Messages<'s> {
    shared: &'s Shared,
    entry: &'s str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    message: Message,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    token: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    android: Option<Android>,
    apns: Option<Apns>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Android {
    priority: String,
    ttl: String,
    notification: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apns {
    headers: BTreeMap<String, String>,
    payload: Value,
}

/// What Android's notification may hold, of what FCM documents.
const NOTIFICATION: [&str; 6] = ["title", "body", "channel_id", "tag", "visibility", "notification_priority"];

impl Wire for Messages<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refuse = |code: &str| Mode::Refuse(code.to_owned());
        let Some((bearer, served)) = self.shared.use_access(self.entry, request) else {
            return Err(refuse("UNAUTHENTICATED"));
        };
        if request.account.as_deref() != Some(PROJECT_ID) {
            return Err(refuse("NOT_FOUND"));
        }
        let invalid = || refuse("INVALID_ARGUMENT");
        if request.headers.get(CONTENT_TYPE).is_none_or(|value| value != "application/json") {
            return Err(invalid());
        }
        let Body { message } = serde_json::from_slice(&request.body).map_err(|_| invalid())?;
        let envelope = r#"{"message":}"#.len();
        if request.body.len() > MAX_BYTES + message.token.len() + envelope || !is_allowed(&message) {
            return Err(invalid());
        }
        if message.token.is_empty() || message.token.contains(' ') {
            return Err(refuse("INVALID_TOKEN"));
        }
        if served > 0 && message.token.ends_with(":LAPSED") {
            self.shared.take_access(self.entry, bearer);
            return Err(refuse("UNAUTHENTICATED"));
        }
        told(message, request.now).ok_or_else(invalid)
    }

    fn mode_of(&self, token: &str) -> Mode {
        let code = token.rsplit_once(':').map(|(_, code)| code);
        match code.filter(|code| ERRORS.iter().any(|error| error.0 == *code)) {
            Some(code) => Mode::Refuse(code.to_owned()),
            None => Mode::of_number(token),
        }
    }

    fn taken(&self, id: u64, _: &str) -> Response {
        Json(json!({ "name": format!("projects/{PROJECT_ID}/messages/0:{id}") })).into_response()
    }

    fn refused(&self, code: &str) -> Response {
        error(code)
    }

    fn failed_within(&self, _: u64, _: &str) -> Response {
        Json(json!({})).into_response()
    }
}

fn is_allowed(message: &Message) -> bool {
    let reserved = |key: &String| {
        matches!(key.as_str(), "from" | "message_type") || key.starts_with("google") || key.starts_with("gcm")
    };
    let shown = |android: &Android| {
        android.priority == "high" && android.notification.keys().all(|key| NOTIFICATION.contains(&key.as_str()))
    };
    !message.data.keys().any(reserved) && message.android.as_ref().is_none_or(shown)
}

/// What a right message says; `None` where its time or its text is none.
fn told(message: Message, now: Timestamp) -> Option<Told> {
    let (shown, validity) = match (&message.android, &message.apns) {
        (Some(android), None) => {
            let seconds = android.ttl.strip_suffix('s')?.parse().ok()?;
            (android.notification.clone(), seconds)
        }
        (None, Some(apns)) => {
            let expires_at: i64 = apns.headers.get("apns-expiration")?.parse().ok()?;
            let left = Timestamp::from_millis(expires_at.saturating_mul(1_000)).since(now);
            (apns.payload.pointer("/aps/alert")?.as_object()?.clone(), left.as_secs())
        }
        _ => return None,
    };
    let lines = ["title", "body"].into_iter().filter_map(|key| shown.get(key)?.as_str());
    let text = lines.collect::<Vec<_>>().join("\n");
    let reference = message.data.get("challenge_id").cloned();
    Some(Told { to: message.token, from: None, text, reference, validity: Some(validity), callback: None })
}

/// FCM's refusals: what a token asks for, the status, the canonical status, FCM's own code.
pub(super) const ERRORS: [(&str, u16, &str, &str); 12] = [
    ("UNREGISTERED", 404, "NOT_FOUND", "UNREGISTERED"),
    ("INVALID_TOKEN", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT", ""),
    ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    ("UNAUTHENTICATED", 401, "UNAUTHENTICATED", ""),
    ("PERMISSION_DENIED", 403, "PERMISSION_DENIED", ""),
    ("NOT_FOUND", 404, "NOT_FOUND", ""),
    ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    ("DEVICE_QUOTA", 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    ("INTERNAL", 500, "INTERNAL", "INTERNAL"),
    ("UNAVAILABLE", 503, "UNAVAILABLE", "UNAVAILABLE"),
];

fn error(asked: &str) -> Response {
    let known = ERRORS.into_iter().find(|error| error.0 == asked);
    let (_, status, canonical, own) = known.unwrap_or((asked, 500, "INTERNAL", ""));
    let mut details = Vec::new();
    if !own.is_empty() {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        details.push(json!({ "@type": kind, "errorCode": own }));
    }
    let message = match asked {
        "INVALID_TOKEN" => {
            let violation = json!({ "field": "message.token", "description": "Invalid registration token" });
            details
                .push(json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation] }));
            "The registration token is not a valid FCM registration token"
        }
        "UNREGISTERED" => "Requested entity was not found.",
        "DEVICE_QUOTA" => "Device message rate exceeded",
        _ => "simulated",
    };
    let body = json!({ "error": { "code": status, "message": message, "status": canonical, "details": details } });
    let mut response = (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), Json(body)).into_response();
    if matches!(asked, "QUOTA_EXCEEDED" | "UNAVAILABLE") {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
