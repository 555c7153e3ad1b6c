//! Web Push (RFC 8030): prompts to browsers, by whichever service the browser subscribed with.
//!
//! In code because each message is sealed for its browser ([`encryption`]), because each service gets a token of its
//! own ([`vapid`]), and because each subscription has an address of its own, which somebody else chose
//! ([`super::push::address`]). [`reply`] says what an answer means; `super::push::gone` when a subscription is believed
//! to be gone.
//!
//! `Topic` lets a repeat replace what was not delivered yet; the page's service worker shows one over the other by the
//! challenge's id.

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use self::encryption::{Keys, seal};
use self::vapid::Vapid;
use super::http::exchange::Caller;
use super::http::{Mistakes, ProviderSettings, Request, SettingError, caller};
use super::push::address::{Hosts, by_way_of};
use super::push::gone::Gone;
use super::push::prompt::{Prompt, Unfit};
use super::push::target;
use super::{Message, Provider, Reply};
use crate::challenge::{Platform, PushTarget};
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::secret::Secret;

mod encryption;
pub mod reply;
mod vapid;

/// The services of the browsers that there are; an operator's list takes its place.
const HOSTS: &str = "fcm.googleapis.com, *.push.services.mozilla.com, *.push.apple.com, *.notify.windows.com";
/// The service that has a limit of its own for messages with a topic: some 20 for each app and device, then one in three
/// minutes.
const COUNTS_TOPICS: &str = "fcm.googleapis.com";
/// Whose subscriptions it reaches.
pub const PLATFORMS: [Platform; 1] = [Platform::Web];
/// The settings it takes: our key, whom services may write to, and which hosts are written to.
pub const SETTINGS: [&str; 3] = [PRIVATE_KEY, SUBJECT, ENDPOINT_HOSTS];
const PRIVATE_KEY: &str = "private_key";
const SUBJECT: &str = "subject";
const ENDPOINT_HOSTS: &str = "endpoint_hosts";

/// One server, as browsers' subscriptions know it by its key.
pub struct WebPush {
    name: String,
    vapid: Vapid,
    hosts: Hosts,
    /// What stands in for the services of all browsers.
    base: Option<Url>,
    caller: Caller,
    clock: Clock,
    gone: Gone,
}

/// What a browser gave when it subscribed.
#[derive(Deserialize)]
struct Subscription {
    endpoint: Secret,
    keys: SubscriptionKeys,
}

#[derive(Deserialize)]
struct SubscriptionKeys {
    p256dh: Secret,
    auth: Secret,
}

impl WebPush {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let allowed = "a private key on P-256: 32 bytes in base64url, or in PEM";
        let key = mistakes.required(given, PRIVATE_KEY, allowed, vapid::key);
        let allowed = "whom the services may write to, such as \"mailto:ops@example.com\"";
        let subject = mistakes.required(given, SUBJECT, allowed, vapid::subject);
        let hosts = Hosts::parse(given.settings.get(ENDPOINT_HOSTS).map_or(HOSTS, Secret::expose));
        if hosts.is_none() {
            mistakes.add(ENDPOINT_HOSTS, "another text", "names of hosts with commas between, or *. and a domain");
        }
        let base = mistakes.base_of_prompts(given, None);
        let plain = base.as_ref().is_some_and(|base| base.scheme() == "http");
        let caller = caller(given, plain, clock.clone(), &mut mistakes);
        let (Some(key), Some(subject), Some(hosts), Some(caller), []) =
            (key, subject, hosts, caller, mistakes.found.as_slice())
        else {
            return Err(mistakes.found);
        };
        let vapid = Vapid::new(key, subject);
        let (name, clock) = (given.name.clone(), clock.clone());
        Ok(Self { name, vapid, hosts, base, caller, clock, gone: Gone::default() })
    }

    /// The request for `message`, written at `now`.
    ///
    /// # Errors
    /// [`Reply::Unfit`] where it can't be one.
    pub fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Reply> {
        let no_subscription = Unfit::Address("no subscription of a browser whose service is known");
        let found = target(message).and_then(|target| Some((target, self.read(target)?)));
        let (target, (endpoint, keys)) = found.ok_or(no_subscription)?;
        let prompt = Prompt::of(message, target, now)?;
        let ttl = prompt.ttl;
        let text = prompt.fitting(encryption::MAX_BYTES, |prompt| {
            let mut shown = prompt.shown();
            shown["data"] = prompt.data();
            json!(shown).to_string()
        })?;
        let impossible = || Reply::NotSent { why: "it could not be sealed or signed".to_owned() };
        let body = seal(text.as_bytes(), &keys).ok_or_else(impossible)?;
        let proof = self.vapid.authorization(&endpoint, now).ok_or_else(impossible)?;
        let mut request = Request::post(by_way_of(self.base.as_ref(), &endpoint), "application/octet-stream", body);
        for (name, value) in [
            (HeaderName::from_static("ttl"), HeaderValue::from(ttl)),
            (HeaderName::from_static("urgency"), HeaderValue::from_static("high")),
            (CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
            (AUTHORIZATION, proof),
        ] {
            request.headers.insert(name, value);
        }
        if endpoint.host_str() != Some(COUNTS_TOPICS) {
            request.headers.insert(HeaderName::from_static("topic"), topic(message)?);
        }
        Ok(request)
    }

    /// Where a subscription's messages go and what they are sealed with, where it is one that may be written to.
    fn read(&self, target: &PushTarget) -> Option<(Url, Keys)> {
        if target.platform != Platform::Web {
            return None;
        }
        let subscription: Subscription = serde_json::from_str(target.token.expose()).ok()?;
        let endpoint = self.hosts.admit(subscription.endpoint.expose())?;
        Some((endpoint, Keys::new(bytes(&subscription.keys.p256dh)?, bytes(&subscription.keys.auth)?)?))
    }
}

/// What tells a service that two messages are about one challenge: 32 characters of base64url, as long as it may be.
fn topic(message: &Message) -> Result<HeaderValue, Reply> {
    let hash = digest::digest(&digest::SHA256, message.challenge.as_str().as_bytes());
    let name = BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..24]);
    HeaderValue::from_str(&name).map_err(|_| Reply::NotSent { why: "no topic".to_owned() })
}

fn bytes(text: &Secret) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.expose().trim_end_matches('=')).ok()
}

#[async_trait]
impl Provider for WebPush {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let reply = match self.request(message, self.clock.now()) {
            Ok(request) => self.caller.exchange(request, deadline).await,
            Err(unfit) => unfit,
        };
        if let Some(target) = target(message) {
            self.gone.learn(target, reply::judge(&reply).0.result, self.clock.now());
        }
        reply
    }

    fn classify(&self, message: &Message, reply: &Reply) -> Verdict {
        let mut verdict = reply::judge(reply).0;
        let Some(target) = target(message) else { return verdict };
        if matches!(reply, Reply::Unfit { .. }) && self.read(target).is_none() {
            verdict.result = AttemptResult::Recipient;
        }
        let now = self.clock.now();
        // No service names a time: it speaks of the moment of its answer.
        self.gone.judge(verdict, target, now, now)
    }
}
