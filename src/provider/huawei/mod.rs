//! Huawei Push Kit, v1: prompts to Android with HMS Core and to `HarmonyOS` up to 4.
//!
//! In code because it first asks for an access token ([`super::http::oauth`]) by client credentials, and because a
//! success is told by a code in the body. [`reply`] says what an answer means; `super::push::gone` when a device is
//! believed to be gone. Wire facts: Huawei's reference of `messages:send`.
//!
//! Each request is for one device, so that the answer is about it. A request is written twice only where the access
//! token was refused and nothing taken. The deadline bounds both.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::http::oauth::{AccessTokens, client_credentials};
use super::http::{Mistakes, ProviderSettings, Request, SettingError, caller};
use super::push::gone::Gone;
use super::push::prompt::{Prompt, Unfit};
use super::push::{aged, target};
use super::{Message, Provider, Reply};
use crate::challenge::Platform;
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::Verdict;
use crate::secret::Secret;

pub mod reply;

/// Where requests go unless the operator says otherwise.
const BASE_URL: &str = "https://push-api.cloud.huawei.com";
/// Where access tokens are asked for.
const TOKEN_URL: &str = "https://oauth-login.cloud.huawei.com/oauth2/v3/token";
/// Whose devices it reaches.
pub const PLATFORMS: [Platform; 1] = [Platform::Huawei];
/// The settings it takes: the app's id and secret, and what its messages are classified as.
pub const SETTINGS: [&str; 3] = [CLIENT_ID, CLIENT_SECRET, CATEGORY];
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const CATEGORY: &str = "category";
/// What a message is that is about an account. Without the right to it, messages count as marketing: two a day.
const ACCOUNT: &str = "ACCOUNT";

/// The most that Push Kit takes of a message, in bytes, its token not counted.
const MAX_BYTES: usize = 4_096;

/// One app.
pub struct Huawei {
    name: String,
    url: Url,
    category: String,
    tokens: AccessTokens,
    clock: Clock,
    gone: Gone,
    account: Arc<Account>,
}

/// Who asks for tokens, and where.
struct Account {
    client_id: String,
    secret: Secret,
    endpoint: Url,
}

impl Account {
    fn request(&self) -> Request {
        client_credentials(&self.endpoint, &[("client_id", &self.client_id), ("client_secret", self.secret.expose())])
    }
}

impl Huawei {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let client_id = mistakes.required(given, CLIENT_ID, "the digits of the app's id", digits);
        let some = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
        let secret = mistakes.required(given, CLIENT_SECRET, "the app's secret", some);
        let category = given.settings.get(CATEGORY).map_or(ACCOUNT, Secret::expose).to_owned();
        if category.is_empty() || !category.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            mistakes.add(CATEGORY, "another text", "a category of Huawei's, such as ACCOUNT");
        }
        let base = mistakes.base_of_prompts(given, Some(BASE_URL));
        let endpoint = mistakes.address("endpoints.token", Some(given.token_endpoint.as_deref().unwrap_or(TOKEN_URL)));
        let plain = [&base, &endpoint].into_iter().flatten().any(|url| url.scheme() == "http");
        let caller = caller(given, plain, clock.clone(), &mut mistakes);
        let (Some(client_id), Some(secret), Some(mut url), Some(endpoint), Some(caller), []) =
            (client_id, secret, base, endpoint, caller, mistakes.found.as_slice())
        else {
            return Err(mistakes.found);
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", &client_id, "messages:send"]);
        }
        let account = Arc::new(Account { client_id, secret, endpoint });
        let asking = Arc::clone(&account);
        let tokens = AccessTokens::new(Box::new(move |_| Some(asking.request())), caller);
        let (name, clock) = (given.name.clone(), clock.clone());
        Ok(Self { name, url, category, tokens, clock, gone: Gone::default(), account })
    }

    /// The request for an access token.
    #[must_use]
    pub fn token_request(&self) -> Request {
        self.account.request()
    }

    /// The request for `message`, written at `now`, but for its access token.
    ///
    /// # Errors
    /// [`Reply::Unfit`] where it can't be one.
    pub fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Reply> {
        let target = target(message).filter(|target| target.platform == Platform::Huawei);
        let target = target.ok_or(Unfit::Address("Push Kit carries prompts to Huawei's devices alone"))?;
        let token = target.token.expose();
        let prompt = Prompt::of(message, target, now)?;
        let body = prompt.fitting(MAX_BYTES + token.len(), |prompt| self.body(prompt, token).to_string())?;
        Ok(Request::post(self.url.clone(), "application/json", body))
    }

    /// `tag` lets a prompt replace an earlier one of the same challenge; nothing else is collapsed.
    fn body(&self, prompt: &Prompt<'_>, token: &str) -> Value {
        let mut shown = prompt.shown();
        shown["tag"] = prompt.challenge.into();
        shown["click_action"] = json!({ "type": 3 });
        shown["importance"] = "NORMAL".into();
        shown["visibility"] = "PRIVATE".into();
        json!({
            "validate_only": false,
            "message": {
                "token": [token],
                "data": prompt.data().to_string(),
                "android": {
                    "ttl": format!("{}s", prompt.ttl), "collapse_key": -1, "category": self.category,
                    "notification": shown,
                },
            },
        })
    }
}

#[async_trait]
impl Provider for Huawei {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let begun = Clock::instant();
        let write = || self.request(&aged(message, begun.elapsed()), self.clock.now());
        let reply = self.tokens.exchange(write, reply::is_access_refused, deadline).await;
        if let Some(target) = target(message) {
            self.gone.learn(target, reply::judge(&reply, &target.token).0.result, self.clock.now());
        }
        reply
    }

    async fn try_out(&self, deadline: Instant) -> Option<Result<(), String>> {
        Some(self.tokens.try_out(deadline).await)
    }

    fn classify(&self, message: &Message, reply: &Reply) -> Verdict {
        let Some(target) = target(message) else { return reply::judge(reply, &Secret::default()).0 };
        let now = self.clock.now();
        // Huawei names no time: it speaks of the moment of its answer.
        self.gone.judge(reply::judge(reply, &target.token).0, target, now, now)
    }
}

fn digits(text: &str) -> Option<String> {
    ((1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
}
