//! Access tokens that simulated providers give, and the endpoint that gives them for an app's id and secret.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{Incoming, Mode, Shared, Simulator, Told, Wire};
use crate::challenge::Channel;
use crate::clock::Timestamp;

/// The id and the secret of the app that simulated Push Kit and WNS know.
pub const CLIENT_ID: &str = "100000001";
/// Its secret.
pub const CLIENT_SECRET: &str = "simulated-client-secret";
/// How long an access token lives unless told otherwise.
const LIFE: Duration = Duration::from_secs(3_599);

/// The access tokens of one entry.
pub(super) struct Access {
    life: Duration,
    issued: u64,
    /// Those that are valid: until when, and how many messages came with each.
    valid: BTreeMap<String, (Timestamp, u64)>,
}

impl Default for Access {
    fn default() -> Self {
        Self { life: LIFE, issued: 0, valid: BTreeMap::new() }
    }
}

impl Simulator {
    /// How long the access tokens live that an entry gives from now on.
    pub fn set_access_life(&self, provider: &str, life: Duration) {
        self.shared.book().access.entry(provider.to_owned()).or_default().life = life;
    }

    /// Lets every access token of an entry lapse.
    pub fn revoke_access(&self, provider: &str) {
        self.shared.book().access.entry(provider.to_owned()).or_default().valid.clear();
    }
}

impl Shared {
    /// The answer of a token endpoint that gives a new access token; some write its life as a text.
    pub(super) fn grant(&self, entry: &str, in_text: bool) -> Response {
        let (token, life) = self.give_access(entry);
        let life = if in_text { json!(life.as_secs().to_string()) } else { json!(life.as_secs()) };
        Json(json!({ "access_token": token, "expires_in": life, "token_type": "Bearer" })).into_response()
    }

    /// A new access token of an entry, and how long it lives.
    fn give_access(&self, entry: &str) -> (String, Duration) {
        let now = self.clock.now();
        let mut book = self.book();
        let access = book.access.entry(entry.to_owned()).or_default();
        access.issued += 1;
        let token = format!("simulated-access-{}", access.issued);
        access.valid.retain(|_, (until, _)| *until > now);
        access.valid.insert(token.clone(), (now + access.life, 0));
        (token, access.life)
    }

    /// The access token that a request comes with, and how many messages came with it before, where it is valid.
    pub(super) fn use_access<'r>(&self, entry: &str, request: &'r Incoming) -> Option<(&'r str, u64)> {
        let token = request.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let now = self.clock.now();
        let mut book = self.book();
        let (until, served) = book.access.entry(entry.to_owned()).or_default().valid.get_mut(token)?;
        *served += 1;
        (now < *until).then_some((token, *served - 1))
    }

    /// Lets one access token lapse.
    pub(super) fn take_access(&self, entry: &str, token: &str) {
        self.book().access.entry(entry.to_owned()).or_default().valid.remove(token);
    }
}

/// The answer of a token endpoint that gives none (RFC 6749, section 5.2).
pub(super) fn refusal(code: &str) -> Response {
    let status = if code == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    (status, Json(json!({ "error": code, "error_description": "simulated" }))).into_response()
}

/// An endpoint that takes client credentials (RFC 6749, section 4.4).
pub(super) struct Credentials<'s> {
    pub(super) shared: &'s Shared,
    pub(super) entry: &'s str,
    /// What has to be asked for, where something has to.
    pub(super) scopes: &'static [&'static str],
    /// Whether the life is written as a text.
    pub(super) in_text: bool,
}

impl Wire for Credentials<'_> {
    fn channel(&self) -> Channel {
        Channel::Push
    }

    fn read(&self, request: &Incoming) -> Result<Told, Mode> {
        let refuse = |code: &str| Mode::Refuse(code.to_owned());
        if !request.is_form() {
            return Err(refuse("invalid_request"));
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(&request.body).into_owned().collect();
        let given = |key: &str| form.get(key).map(String::as_str).unwrap_or_default();
        if given("grant_type") != "client_credentials" {
            return Err(refuse("unsupported_grant_type"));
        }
        if given("client_id") != CLIENT_ID || given("client_secret") != CLIENT_SECRET {
            return Err(refuse("invalid_client"));
        }
        if !self.scopes.is_empty() && !self.scopes.contains(&given("scope")) {
            return Err(refuse("invalid_scope"));
        }
        let to = given("client_id").to_owned();
        Ok(Told { to, from: None, text: String::new(), reference: None, validity: None, callback: None })
    }

    fn taken(&self, _: u64, _: &str) -> Response {
        self.shared.grant(self.entry, self.in_text)
    }

    fn refused(&self, code: &str) -> Response {
        refusal(code)
    }

    fn failed_within(&self, _: u64, code: &str) -> Response {
        Json(json!({ "error": code })).into_response()
    }
}
