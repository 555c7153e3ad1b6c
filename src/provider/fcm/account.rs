//! A Google service account: who we are to the token endpoint, and the assertion that proves it (RFC 7523).
//!
//! Read when the configuration is; what was read can sign. No error shows what the file holds.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::clock::Timestamp;
use crate::provider::http::jwt::{RsaKey, Unsigned};
use crate::provider::http::{Request, base_url};
use crate::secret::Secret;

/// What tokens are asked for: to send messages, and nothing else.
pub const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The grant that an assertion is.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion holds: the longest that Google takes.
const ASSERTION_LIFE: Duration = Duration::from_hours(1);

/// A service account that can sign.
#[derive(Clone, Debug)]
pub(super) struct ServiceAccount {
    pub(super) project_id: String,
    pub(super) token_uri: Url,
    client_email: String,
    key_id: Option<String>,
    key: RsaKey,
}

/// The file as Google writes it; what of it is used.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    project_id: String,
    #[serde(default)]
    client_email: String,
    private_key_id: Option<String>,
    #[serde(default)]
    private_key: Secret,
    #[serde(default)]
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    scope: &'c str,
    aud: &'c str,
    iat: i64,
    exp: i64,
}

impl ServiceAccount {
    /// Reads the JSON of a service account.
    ///
    /// # Errors
    /// What is there instead, without any value of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|_| "a text that is no such JSON".to_owned())?;
        if file.kind != "service_account" {
            return Err("credentials whose `type` is not service_account".to_owned());
        }
        let required = [
            ("project_id", file.project_id.is_empty()),
            ("client_email", file.client_email.is_empty()),
            ("private_key", file.private_key.is_empty()),
            ("token_uri", file.token_uri.is_empty()),
        ];
        let missing: Vec<_> = required.into_iter().filter(|(_, empty)| *empty).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            return Err(format!("a service account without {}", missing.join(", ")));
        }
        if !is_project(&file.project_id) {
            return Err("a service account whose `project_id` can't stand in an address".to_owned());
        }
        let key = RsaKey::parse(file.private_key.expose())
            .ok_or_else(|| "a service account whose `private_key` is no RSA key in PEM".to_owned())?;
        let token_uri = base_url(&file.token_uri)
            .ok_or_else(|| "a service account whose `token_uri` is no http or https address".to_owned())?;
        let File { project_id, client_email, private_key_id: key_id, .. } = file;
        Ok(Self { project_id, token_uri, client_email, key_id, key })
    }

    /// The request for an access token, sent to `endpoint`.
    ///
    /// # Errors
    /// Where no assertion can be signed; since the key was tried, never.
    pub(super) fn token_request(&self, endpoint: &Url, now: Timestamp) -> Result<Request, Unsigned> {
        let assertion = self.assertion(now)?;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", GRANT_TYPE).append_pair("assertion", assertion.expose());
        Ok(Request::post(endpoint.clone(), "application/x-www-form-urlencoded", form.finish()))
    }

    fn assertion(&self, now: Timestamp) -> Result<Secret, Unsigned> {
        let seconds = |at: Timestamp| at.as_millis().div_euclid(1_000);
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            // The account's own address, also where requests take another way to it.
            aud: self.token_uri.as_str(),
            iat: seconds(now),
            exp: seconds(now + ASSERTION_LIFE),
        };
        self.key.sign_rs256(self.key_id.as_deref(), &claims)
    }
}

/// Whether `text` can be a project's id: letters, digits, hyphens, and the colon and point of old domains.
pub(super) fn is_project(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
