//! A provider that is spoken to over HTTP, as its [`Definition`] says.
//!
//! One client for each provider, built when the configuration is read: no proxy, redirect, cookie,
//! decompression or retry of the library's own. `exchange` writes one request and says what came of it;
//! [`auth`] holds the schemes that need code. No error text holds an address, a header or a body.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client};
use tokio::time::Instant;
use url::Url;

use self::auth::Credentials;
use self::exchange::Caller;
use self::receipt::{Given, News, Proof};
use self::settings::resolve_settings;
use self::signing::Unsigned;
use super::definition::request::{Body, Method, Unfit, fill_query};
use super::definition::variables::{SETTINGS, Values};
use super::definition::{Definition, Dialect};
use super::flow::{Flows, LONGEST_ADDRESS};
use super::{Batch, Message, Provider, Reply};
use crate::challenge::{Address, Channel};
use crate::clock::{Clock, Timestamp};
use crate::delivery::message::Template;
use crate::delivery::verdict::Verdict;
use crate::secret::Secret;

pub mod auth;
pub(super) mod exchange;
pub(super) mod http2;
pub mod jwt;
pub(super) mod oauth;
pub mod receipt;
pub mod retry_after;
mod settings;
pub mod signing;
mod token;

/// The most of an answer's body that is read, in bytes.
pub const MAX_REPLY_BYTES: usize = 256 * 1024;

/// Who we say that we are.
const USER_AGENT: &str = concat!("mfa-courier/", env!("CARGO_PKG_VERSION"));

/// Keys of a configured provider that a definition can't have as settings: they mean the same for all.
pub const RESERVED_SETTINGS: [&str; 18] = [
    "kind",
    "apps",
    "base_url",
    "endpoints",
    "ca_file",
    "connect_timeout",
    "senders",
    "rate",
    "max_in_flight",
    "receipts",
    "receipt_timeout",
    "attempt_timeout",
    "cost",
    "enabled",
    "name",
    "sms",
    "voice",
    "push",
];

/// What the operator says of one provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Its name.
    pub name: String,
    /// Where its requests go; the definition's own address if absent.
    pub base_url: Option<String>,
    /// Where those of one channel go, if elsewhere.
    pub endpoints: BTreeMap<Channel, String>,
    /// Where access tokens are asked for, if elsewhere; only for kinds that ask for them.
    pub token_endpoint: Option<String>,
    /// The settings that its definition declares.
    pub settings: BTreeMap<String, Secret>,
    /// How long a connection may take to be there, its TLS included.
    pub connect_timeout: Duration,
    /// What makes the addresses of what vendors fetch; absent where nothing of ours can be reached.
    pub flows: Option<Flows>,
    /// Whether news of what it accepted is wanted.
    pub receipts: bool,
    /// Certificates (PEM) to trust beside those of the system, for gateways of one's own.
    pub extra_roots: Option<String>,
}

impl ProviderSettings {
    /// Settings that say only what must be said.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: None,
            endpoints: BTreeMap::new(),
            token_endpoint: None,
            settings: BTreeMap::new(),
            connect_timeout: Duration::from_secs(2),
            flows: None,
            receipts: false,
            extra_roots: None,
        }
    }

    /// Where the operator sends what a channel carries, if anywhere, and the key that says so.
    fn base(&self, channel: Channel) -> (String, Option<&str>) {
        match self.endpoints.get(&channel) {
            Some(text) => (format!("endpoints.{channel}"), Some(text)),
            None => ("base_url".to_owned(), self.base_url.as_deref()),
        }
    }
}

/// One thing that is wrong with the settings of a provider. Shows no value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}; allowed: {allowed}")]
pub struct SettingError {
    /// The path of the key: `providers.twilio.auth_token`.
    pub path: String,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
}

/// One request, ready to be written. `Debug` shows neither its address nor what it carries.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its address.
    pub url: Url,
    /// Its headers, those of the connection not among them.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Request {
    /// A `POST` of this body.
    pub(super) fn post(url: Url, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        Self { method: Method::Post, url, headers, body: body.into() }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A configured provider whose definition is data.
pub struct HttpProvider {
    name: String,
    definition: Arc<Definition>,
    settings: BTreeMap<String, Secret>,
    lines: BTreeMap<Channel, Line>,
    flows: Option<Flows>,
    caller: Caller,
}

/// Where one channel's requests go, and how they prove who sends them.
struct Line {
    base: Url,
    credentials: Credentials,
    /// How its receipts prove who sends them, where they can come.
    proof: Option<Proof>,
}

impl HttpProvider {
    /// Joins what the operator says to the definition.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub fn new(given: ProviderSettings, definition: Arc<Definition>, clock: Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let settings = resolve_settings(&definition, &given.settings, &mut mistakes);
        let mut lines = BTreeMap::new();
        for channel in definition.channels_with(|key| given.settings.contains_key(key)) {
            let own =
                || definition.base_url(channel).and_then(|base| settings::address(base, &settings, &mut mistakes));
            let (key, said) = given.base(channel);
            let text = said.map(str::to_owned).or_else(own);
            let base = mistakes.address(&key, text.as_deref());
            let credentials = definition.dialect(channel).map(|dialect| Credentials::new(&dialect.auth, &settings));
            let credentials = credentials.and_then(|made| mistakes.unless(made));
            let rule = definition.dialect(channel).and_then(Dialect::receipt);
            let proof = rule.map(|rule| auth::proof(&rule.scheme, &settings)).and_then(|made| mistakes.unless(made));
            let made = base.zip(credentials).map(|(base, credentials)| Line { base, credentials, proof });
            lines.extend(made.map(|line| (channel, line)));
        }
        let plain = lines.values().any(|line| line.base.scheme() == "http");
        let caller = caller(&given, plain, clock, &mut mistakes);
        match (caller, mistakes.found) {
            (Some(caller), found) if found.is_empty() => {
                Ok(Self { name: given.name, definition, settings, lines, flows: given.flows, caller })
            }
            (_, mut found) => {
                found.dedup();
                Err(found)
            }
        }
    }

    /// The request for `message`, written at `now`.
    ///
    /// # Errors
    /// Why this message can't be put into one.
    pub fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Unfit> {
        let channel = message.channel();
        let (Some(dialect), Some(line)) = (self.definition.dialect(channel), self.lines.get(&channel)) else {
            return Err(Unfit::Channel(channel));
        };
        if matches!(&message.address, Address::Voice { extension: Some(_), .. }) && !dialect.dials_extensions() {
            return Err(Unfit::Extension);
        }
        let mut values = self.values(dialect, message, now);
        let flow_url = self.flow_url(dialect, &values, now + message.validity)?;
        values.flow_url = flow_url.as_ref();
        let mut url = dialect.path.fill(&line.base, &values)?;
        let news = dialect.receipt.as_ref().filter(|_| message.callback_url.is_some());
        let added = match (&dialect.body, news.map(|rule| &rule.request)) {
            (Body::Empty, Some(Body::Form(fields))) => fields.as_slice(),
            _ => &[],
        };
        url.set_query(fill_query(dialect.query.iter().chain(added), &values)?.as_deref());
        let body = dialect.body.fill(news.map(|rule| &rule.request), &values)?;
        let mut headers = HeaderMap::new();
        let media_type = dialect.media_type.as_deref().or(dialect.body.media_type());
        headers.extend(media_type.and_then(|text| Some((CONTENT_TYPE, HeaderValue::from_str(text).ok()?))));
        for header in &dialect.headers {
            headers.extend(header.fill(&values)?);
        }
        let method = dialect.method.as_str();
        let unsigned = Unsigned { method, url: &url, body: &body, id: &message.reference, now };
        line.credentials.apply(&mut headers, &unsigned)?;
        Ok(Request { method: dialect.method, url, headers, body })
    }
}

impl HttpProvider {
    fn values<'v>(&'v self, dialect: &'v Dialect, message: &'v Message, now: Timestamp) -> Values<'v> {
        let validity = dialect.validity.map(|validity| validity.of(message.validity));
        let lasts = dialect.validity.zip(validity).map(|(validity, count)| validity.span(count));
        Values {
            message,
            settings: &self.settings,
            rules: self.definition.settings(),
            validity,
            expires_at: lasts.map(|lasts| now + lasts),
            flow_url: None,
            lookups: &dialect.lookups,
        }
    }

    /// Where the vendor fetches what the call says, where it does.
    fn flow_url(&self, dialect: &Dialect, values: &Values<'_>, until: Timestamp) -> Result<Option<Secret>, Unfit> {
        let Some(rule) = &dialect.flow else { return Ok(None) };
        let missing = || Unfit::Missing { place: "flow".to_owned(), variable: "http.public_url".to_owned() };
        let flows = self.flows.as_ref().ok_or_else(missing)?;
        let too_long = || Unfit::TooLong { place: "flow".to_owned(), longest: LONGEST_ADDRESS };
        flows.address(&self.name, &rule.fill(values)?, until).ok_or_else(too_long).map(Some)
    }
}

#[async_trait]
impl Provider for HttpProvider {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        match self.request(message, self.caller.clock.now()) {
            Ok(request) => self.caller.exchange(request, deadline).await,
            Err(why) => Reply::Unfit { why: why.to_string() },
        }
    }

    fn classify(&self, message: &Message, reply: &Reply) -> Verdict {
        self.definition.classify(message.channel(), reply)
    }

    fn receipt(&self, channel: Channel, given: &Given<'_>) -> Option<News> {
        let proof = self.lines.get(&channel)?.proof.as_ref()?;
        let rule = self.definition.dialect(channel)?.receipt.as_ref()?;
        (!rule.is_by_token() && proof.holds(given)).then(|| rule.judge(&given.fields().into()).0)
    }

    fn batch(&self, channel: Channel, given: &Given<'_>) -> Option<Batch> {
        let proof = self.lines.get(&channel)?.proof.as_ref()?;
        let rule = self.definition.dialect(channel)?.receipt.as_ref().filter(|rule| rule.is_by_token())?;
        if !proof.holds(given) {
            return None;
        }
        let items = given.items();
        let told = items.iter().filter_map(|item| Some((rule.token(item)?, rule.judge(item).0))).collect();
        let handshake = items.iter().find_map(|item| rule.handshake(item));
        Some(Batch { told, answer: rule.answer().cloned(), handshake })
    }

    fn may_fetch(&self, given: &Given<'_>) -> bool {
        let fetched = |(channel, line): (&Channel, &Line)| {
            let signed = self.definition.dialect(*channel)?.flow.as_ref()?.signed;
            Some(!signed || line.proof.as_ref().is_none_or(|proof| proof.holds(given)))
        };
        self.lines.iter().filter_map(fetched).any(|genuine| genuine)
    }
}

/// What is wrong with one provider's settings, as far as it was read.
pub(super) struct Mistakes {
    provider: String,
    pub(super) found: Vec<SettingError>,
}

impl Mistakes {
    pub(super) fn about(provider: &str) -> Self {
        Self { provider: provider.to_owned(), found: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &str, found: impl Into<String>, allowed: impl Into<String>) {
        let path = format!("providers.{}.{key}", self.provider);
        self.found.push(SettingError { path, found: found.into(), allowed: allowed.into() });
    }

    /// A setting of a kind in code that has to be there: what `read` makes of it. Its value is not shown.
    pub(super) fn required<T>(
        &mut self,
        given: &ProviderSettings,
        key: &str,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = given.settings.get(key);
        let read = value.and_then(|value| read(value.expose()));
        if read.is_none() {
            self.add(key, if value.is_some() { "another text" } else { "nothing" }, allowed);
        }
        read
    }

    /// Where prompts go: what the operator says, else `own`; nothing where neither says anything.
    pub(super) fn base_of_prompts(&mut self, given: &ProviderSettings, own: Option<&str>) -> Option<Url> {
        let (key, said) = given.base(Channel::Push);
        said.or(own).and_then(|text| self.address(&key, Some(text)))
    }

    fn unless<T>(&mut self, made: Result<T, auth::Unusable>) -> Option<T> {
        made.map_err(|why| self.add(&why.settings, "a value that can't be used", why.allowed)).ok()
    }

    pub(super) fn address(&mut self, key: &str, text: Option<&str>) -> Option<Url> {
        let parsed = text.and_then(base_url);
        if parsed.is_none() {
            // The text is not shown: it may hold a password.
            let found = if text.is_some() { "an address that can't be used" } else { "nothing" };
            self.add(key, found, "an http or https address without user, query and fragment");
        }
        parsed
    }
}

/// Reads the address that requests are built upon.
#[must_use]
pub fn base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain && bare).then_some(url)
}

/// Fills a template that knows only settings; `None` where one of them is unset.
fn fill_from_settings(template: &Template, settings: &BTreeMap<String, Secret>) -> Option<String> {
    template.fill(|name| Some(settings.get(name.strip_prefix(SETTINGS)?)?.expose().into()))
}

/// What writes the requests of one provider; `plain` where some of its addresses are without TLS.
pub(super) fn caller(given: &ProviderSettings, plain: bool, clock: Clock, mistakes: &mut Mistakes) -> Option<Caller> {
    let roots = match given.extra_roots.as_deref().map(|pem| Certificate::from_pem_bundle(pem.as_bytes())) {
        None => Vec::new(),
        Some(Ok(roots)) if !roots.is_empty() => roots,
        Some(_) => {
            mistakes.add("ca_file", "no certificate", "one or more certificates in PEM");
            return None;
        }
    };
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .https_only(!plain)
        .connect_timeout(given.connect_timeout)
        // Below the keep-alive of every common server: a connection that both sides think open is what
        // makes a request end in doubt.
        .pool_idle_timeout(Duration::from_secs(20))
        .tcp_keepalive(Duration::from_secs(30))
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(5));
    let builder = if roots.is_empty() { builder } else { builder.tls_certs_merge(roots) };
    let client = builder.build();
    if client.is_err() {
        mistakes.add("ca_file", "certificates that can't be used", "certificates in PEM, or none beside the system's");
    }
    Some(Caller { client: client.ok()?, clock })
}
