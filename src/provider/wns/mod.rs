//! Windows Push Notification Services: prompts to Windows, as toasts.
//!
//! In code because each device has an address of its own ([`super::push::address`]), because it first asks for an
//! access token ([`super::http::oauth`]) by client credentials, and because it answers in headers. [`reply`] says what
//! an answer means; `super::push::gone` when a device is believed to be gone. Wire facts: Microsoft's "Push
//! notification service request and response headers".
//!
//! A toast has no buttons: a tap opens the app, which shows the rest in the person's language. A request is written
//! twice only where the access token was refused and nothing taken. The deadline bounds both.

use std::sync::Arc;

use async_trait::async_trait;
use form_urlencoded::Serializer;
use reqwest::header::HeaderValue;
use tokio::time::Instant;
use url::Url;

use super::definition::xml::escape;
use super::http::oauth::{AccessTokens, client_credentials};
use super::http::{Mistakes, ProviderSettings, Request, SettingError, caller};
use super::push::address::{Hosts, by_way_of};
use super::push::gone::Gone;
use super::push::prompt::{Prompt, Unfit};
use super::push::{aged, target};
use super::{Message, Provider, Reply};
use crate::challenge::{Platform, PushTarget};
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::secret::Secret;

pub mod reply;

/// Where the channels of all apps are. Microsoft asks that it is checked: whoever got our token could push.
const HOSTS: &str = "*.notify.windows.com";
/// Where access tokens are asked for by an app of Entra, and what for.
const ENTRA: (&str, &str) = ("https://login.microsoftonline.com", "https://wns.windows.com/.default");
/// The same for an app of the Store.
const STORE: (&str, &str) = ("https://login.live.com/accesstoken.srf", "notify.windows.com");
/// Whose devices it reaches.
pub const PLATFORMS: [Platform; 1] = [Platform::Windows];
/// The settings it takes: the app's id and secret, and the tenant that an app of Entra belongs to.
pub const SETTINGS: [&str; 3] = [CLIENT_ID, CLIENT_SECRET, TENANT_ID];
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const TENANT_ID: &str = "tenant_id";

/// The most that WNS takes of a toast, in bytes.
const MAX_BYTES: usize = 5_000;

/// One app.
pub struct Wns {
    name: String,
    hosts: Hosts,
    /// What stands in for the addresses of all devices.
    base: Option<Url>,
    tokens: AccessTokens,
    clock: Clock,
    gone: Gone,
    account: Arc<Account>,
}

/// Who asks for tokens, where, and what for.
struct Account {
    client_id: String,
    secret: Secret,
    endpoint: Url,
    scope: &'static str,
}

impl Account {
    fn request(&self) -> Request {
        let fields = [("client_id", self.client_id.as_str()), ("client_secret", self.secret.expose())];
        client_credentials(&self.endpoint, &[fields[0], fields[1], ("scope", self.scope)])
    }
}

impl Wns {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let allowed = "the app's id: of Entra, or the package SID of the Store (ms-app://…)";
        let client_id = mistakes.required(given, CLIENT_ID, allowed, some);
        let secret = mistakes.required(given, CLIENT_SECRET, "the app's secret", some).map(Secret::new);
        let tenant = given.settings.get(TENANT_ID).map(Secret::expose);
        if tenant.is_some_and(|tenant| !is_tenant(tenant)) {
            mistakes.add(TENANT_ID, "another text", "the id or the domain of a tenant of Entra");
        }
        let (own, scope) = match tenant {
            Some(tenant) => (format!("{}/{tenant}/oauth2/v2.0/token", ENTRA.0), ENTRA.1),
            None => (STORE.0.to_owned(), STORE.1),
        };
        let endpoint = mistakes.address("endpoints.token", Some(given.token_endpoint.as_deref().unwrap_or(&own)));
        let base = mistakes.base_of_prompts(given, None);
        let plain = [&base, &endpoint].into_iter().flatten().any(|url| url.scheme() == "http");
        let caller = caller(given, plain, clock.clone(), &mut mistakes);
        let (Some(client_id), Some(secret), Some(endpoint), Some(caller), Some(hosts), []) =
            (client_id, secret, endpoint, caller, Hosts::parse(HOSTS), mistakes.found.as_slice())
        else {
            return Err(mistakes.found);
        };
        let account = Arc::new(Account { client_id, secret, endpoint, scope });
        let asking = Arc::clone(&account);
        let tokens = AccessTokens::with_heads(Box::new(move |_| Some(asking.request())), caller, &reply::HEADS);
        let (name, clock) = (given.name.clone(), clock.clone());
        Ok(Self { name, hosts, base, tokens, clock, gone: Gone::default(), account })
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
        let found = target(message).and_then(|target| Some((target, self.channel(target)?)));
        let (target, channel) = found.ok_or(Unfit::Address("no channel of a Windows device"))?;
        let prompt = Prompt::of(message, target, now)?;
        let ttl = prompt.ttl;
        let body = prompt.fitting(MAX_BYTES, toast)?;
        let mut request = Request::post(by_way_of(self.base.as_ref(), &channel), "text/xml", body);
        for (name, value) in [
            ("x-wns-type", HeaderValue::from_static("wns/toast")),
            ("x-wns-ttl", HeaderValue::from(ttl)),
            ("x-wns-priority", HeaderValue::from_static("1")),
            ("x-wns-requestforstatus", HeaderValue::from_static("true")),
        ] {
            request.headers.insert(name, value);
        }
        Ok(request)
    }

    /// The channel of a device, where it is one that may be written to.
    fn channel(&self, target: &PushTarget) -> Option<Url> {
        (target.platform == Platform::Windows).then(|| self.hosts.admit(target.token.expose()))?
    }
}

#[async_trait]
impl Provider for Wns {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let begun = Clock::instant();
        let write = || self.request(&aged(message, begun.elapsed()), self.clock.now());
        let reply = self.tokens.exchange(write, reply::is_access_refused, deadline).await;
        if let Some(target) = target(message) {
            self.gone.learn(target, reply::judge(&reply).0.result, self.clock.now());
        }
        reply
    }

    async fn try_out(&self, deadline: Instant) -> Option<Result<(), String>> {
        Some(self.tokens.try_out(deadline).await)
    }

    fn classify(&self, message: &Message, reply: &Reply) -> Verdict {
        let mut verdict = reply::judge(reply).0;
        let Some(target) = target(message) else { return verdict };
        if matches!(reply, Reply::Unfit { .. }) && self.channel(target).is_none() {
            verdict.result = AttemptResult::Recipient;
        }
        let now = self.clock.now();
        // WNS names no time: it speaks of the moment of its answer.
        self.gone.judge(verdict, target, now, now)
    }
}

fn is_tenant(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// The prompt as a toast. `launch` is what the app is opened with: the same that other services call data, as a form.
fn toast(prompt: &Prompt<'_>) -> String {
    let mut launch = Serializer::new(String::new());
    for (key, value) in prompt.data().as_object().into_iter().flatten() {
        launch.append_pair(key, value.as_str().unwrap_or_default());
    }
    let lines = prompt.title.into_iter().chain([prompt.text]);
    let text = lines.fold(String::new(), |text, line| text + "<text>" + &escaped(line) + "</text>");
    format!(
        "<toast scenario=\"urgent\" launch=\"{}\"><visual><binding template=\"ToastGeneric\">{text}</binding></visual></toast>",
        escaped(&launch.finish())
    )
}

/// What XML can't hold is left out: no text of a prompt has it but by mistake.
fn escaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for character in text.chars() {
        let mut buffer = [0; 4];
        let before = whole.len();
        if escape(&mut whole, character.encode_utf8(&mut buffer)).is_none() {
            whole.truncate(before);
        }
    }
    whole
}
