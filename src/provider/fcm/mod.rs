//! Firebase Cloud Messaging, HTTP v1: prompts to Android and, by way of APNs, to iOS.
//!
//! In code because it first asks for an access token ([`super::http::oauth`]) by an assertion of its
//! [`account`]. [`payload`] says what a prompt holds, [`reply`] what an answer means; `super::push::gone` when
//! a device is believed to be gone. Wire facts: Google's reference of `projects.messages`.
//!
//! A request is written twice only where FCM answered 401: then the token was refused and nothing taken. The
//! deadline bounds both, and the time to get the token.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use url::Url;

use self::account::{ServiceAccount, is_project};
use super::http::oauth::AccessTokens;
use super::http::{Mistakes, ProviderSettings, Request, SettingError, caller};
use super::push::gone::Gone;
use super::push::{aged, target};
use super::{Message, Provider, Reply};
use crate::challenge::Platform;
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::Verdict;
use crate::secret::Secret;

pub mod account;
mod payload;
pub mod reply;

/// Where requests go unless the operator says otherwise.
pub const BASE_URL: &str = "https://fcm.googleapis.com";
/// Whose devices it reaches. A browser's subscription is none of its tokens: that is for Web Push.
pub const PLATFORMS: [Platform; 2] = [Platform::Android, Platform::Ios];
/// The settings it takes: who it is, which is required, and the project where it is another than the account's.
pub const SETTINGS: [&str; 2] = [SERVICE_ACCOUNT, PROJECT_ID];
const SERVICE_ACCOUNT: &str = "service_account";
const PROJECT_ID: &str = "project_id";

/// One Firebase project.
pub struct Fcm {
    name: String,
    url: Url,
    tokens: AccessTokens,
    clock: Clock,
    gone: Gone,
    account: Arc<Account>,
}

/// Who asks for tokens, and where.
struct Account {
    who: ServiceAccount,
    endpoint: Url,
}

impl Fcm {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let text = given.settings.get(SERVICE_ACCOUNT).ok_or_else(|| "nothing".to_owned());
        let who = text.and_then(|text| ServiceAccount::parse(text.expose()));
        let allowed = "the JSON of a service account's key, as Google Cloud writes it";
        let who = who.map_err(|found| mistakes.add(SERVICE_ACCOUNT, found, allowed)).ok();
        let project = given.settings.get(PROJECT_ID).map(Secret::expose);
        if project.is_some_and(|project| !is_project(project)) {
            mistakes.add(PROJECT_ID, "another text", "the id of a Firebase project");
        }
        let base = mistakes.base_of_prompts(given, Some(BASE_URL));
        let endpoint = match &given.token_endpoint {
            Some(text) => mistakes.address("endpoints.token", Some(text)),
            None => who.as_ref().map(|who| who.token_uri.clone()),
        };
        let plain = [&base, &endpoint].into_iter().flatten().any(|url| url.scheme() == "http");
        let caller = caller(given, plain, clock.clone(), &mut mistakes);
        let (Some(who), Some(base), Some(endpoint), Some(caller), []) =
            (who, base, endpoint, caller, mistakes.found.as_slice())
        else {
            return Err(mistakes.found);
        };
        let url = messages_of(base, project.unwrap_or(&who.project_id));
        let account = Arc::new(Account { who, endpoint });
        let asking = Arc::clone(&account);
        let ask = Box::new(move |now| asking.who.token_request(&asking.endpoint, now).ok());
        let tokens = AccessTokens::new(ask, caller);
        Ok(Self { name: given.name.clone(), url, tokens, clock: clock.clone(), gone: Gone::default(), account })
    }

    /// The request for an access token, as it is written at `now`; `None` where it can't be made.
    #[must_use]
    pub fn token_request(&self, now: Timestamp) -> Option<Request> {
        self.account.who.token_request(&self.account.endpoint, now).ok()
    }

    /// The request for `message`, written at `now`, but for its access token.
    ///
    /// # Errors
    /// [`Reply::Unfit`] where it can't be one.
    pub fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Reply> {
        let target = target(message).ok_or_else(|| Reply::Unfit { why: "FCM carries prompts alone".to_owned() })?;
        let body = payload::body(message, target, now)?;
        Ok(Request::post(self.url.clone(), "application/json", body))
    }
}

#[async_trait]
impl Provider for Fcm {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let begun = Clock::instant();
        // What is left of the message's time is what is left when it is written.
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
        // FCM names no time: it speaks of the moment of its answer.
        self.gone.judge(reply::judge(reply, &target.token).0, target, now, now)
    }
}

/// Where the messages of a project are sent.
fn messages_of(mut base: Url, project: &str) -> Url {
    if let Ok(mut path) = base.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "projects", project, "messages:send"]);
    }
    base
}
