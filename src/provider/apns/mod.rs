//! Apple Push Notification service, HTTP/2 with token authentication: prompts to iPhones, iPads and Macs.
//!
//! In code because it speaks HTTP/2 alone, with limits of its own ([`super::http::http2`]), and because Apple says how
//! often its [`token`] may be renewed. [`reply`] says what an answer means; `super::push::gone` when a device is
//! believed to be gone. Wire facts: Apple's "Sending notification requests to APNs" and its neighbours.
//!
//! A request is written twice only where APNs says that it did not take the first because of the token or the
//! connection it came by. The deadline bounds both.

use std::fmt::Write as _;

use async_trait::async_trait;
use aws_lc_rs::digest;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use self::reply::Remedy;
use self::token::{Token, Tokens};
use super::http::http2::Connections;
use super::http::jwt::EcKey;
use super::http::{Mistakes, ProviderSettings, Request, SettingError};
use super::push::gone::Gone;
use super::push::prompt::{Prompt, Unfit};
use super::push::{aged, target};
use super::{Message, Provider, Reply};
use crate::challenge::{Platform, PushTarget};
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::secret::Secret;

pub mod reply;
mod token;

/// Where requests go, by the environment that the app was signed for.
const HOSTS: [(&str, &str); 2] =
    [("production", "https://api.push.apple.com"), ("sandbox", "https://api.sandbox.push.apple.com")];
/// Whose devices it reaches.
pub const PLATFORMS: [Platform; 1] = [Platform::Ios];
/// The settings it takes: the key, its id and its team's, the app, and the app's environment.
pub const SETTINGS: [&str; 5] = [KEY, KEY_ID, TEAM_ID, TOPIC, ENVIRONMENT];
const KEY: &str = "key";
const KEY_ID: &str = "key_id";
const TEAM_ID: &str = "team_id";
const TOPIC: &str = "topic";
const ENVIRONMENT: &str = "environment";

/// The most that APNs takes of a prompt, in bytes.
const MAX_BYTES: usize = 4_096;
/// The longest `apns-collapse-id`, in bytes.
const LONGEST_COLLAPSE_ID: usize = 64;
/// The longest device token that is sent. Apple names no length, and says not to assume one.
const LONGEST_TOKEN: usize = 512;

/// One app of one team, in one environment.
pub struct Apns {
    name: String,
    base: Url,
    topic: HeaderValue,
    tokens: Tokens,
    connections: Connections,
    clock: Clock,
    gone: Gone,
}

impl Apns {
    /// Reads what the operator says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let mut mistakes = Mistakes::about(&given.name);
        let allowed = "an APNs key in PEM, as the file that Apple lets one download";
        let key = mistakes.required(given, KEY, allowed, EcKey::parse);
        let key_id = mistakes.required(given, KEY_ID, "the 10 letters and digits of the key's id", ten_characters);
        let team_id = mistakes.required(given, TEAM_ID, "the 10 letters and digits of the team's id", ten_characters);
        let allowed = "the app's bundle id, such as \"com.example.authenticator\"";
        let topic = mistakes.required(given, TOPIC, allowed, topic);
        let environment = given.settings.get(ENVIRONMENT).map_or(HOSTS[0].0, Secret::expose);
        let host = HOSTS.iter().find(|(word, _)| *word == environment).map(|(_, host)| *host);
        if host.is_none() {
            mistakes.add(ENVIRONMENT, "another word", HOSTS.map(|(word, _)| word).join(", "));
        }
        let base = mistakes.base_of_prompts(given, host);
        let connections = base.as_ref().and_then(|base| Connections::new(given, base, clock.clone(), &mut mistakes));
        let (Some(key), Some(key_id), Some(team_id), Some(topic), Some(base), Some(connections), []) =
            (key, key_id, team_id, topic, base, connections, mistakes.found.as_slice())
        else {
            return Err(mistakes.found);
        };
        let tokens = Tokens::new(key, key_id, team_id);
        let (name, clock) = (given.name.clone(), clock.clone());
        Ok(Self { name, base, topic, tokens, connections, clock, gone: Gone::default() })
    }

    /// The request for `message`, written at `now`, but for its token.
    ///
    /// # Errors
    /// [`Reply::Unfit`] where it can't be one.
    pub fn request(&self, message: &Message, now: Timestamp) -> Result<Request, Reply> {
        let target = target(message).filter(|target| is_reachable(target));
        let target = target.ok_or(Unfit::Address("not the token of one of Apple's devices"))?;
        let prompt = Prompt::of(message, target, now)?;
        let expiration = prompt.expires_at;
        let write = |prompt: &Prompt<'_>| json!({ "aps": prompt.aps(), "mfa": prompt.data() }).to_string();
        let body = prompt.fitting(MAX_BYTES, write)?;
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["3", "device", target.token.expose()]);
        }
        let mut request = Request::post(url, "application/json", body);
        let challenge = message.challenge.as_str();
        let collapse = (challenge.len() <= LONGEST_COLLAPSE_ID).then(|| ("apns-collapse-id", challenge.to_owned()));
        let told = [
            ("apns-push-type", "alert".to_owned()),
            ("apns-priority", "10".to_owned()),
            ("apns-expiration", expiration.to_string()),
            ("apns-id", apns_id(message)),
        ];
        request.headers.insert(HeaderName::from_static("apns-topic"), self.topic.clone());
        for (name, text) in told.into_iter().chain(collapse) {
            let Ok(mut value) = HeaderValue::from_str(&text) else { continue };
            // Each differs with each request: it would drive what is the same out of the small table (HPACK).
            value.set_sensitive(matches!(name, "apns-expiration" | "apns-id" | "apns-collapse-id"));
            request.headers.insert(HeaderName::from_static(name), value);
        }
        Ok(request)
    }

    async fn try_twice(&self, message: &Message, deadline: Instant) -> Reply {
        let begun = Clock::instant();
        let write = |token: &Token| {
            // What is left of the message's time is what is left when it is written.
            let mut request = self.request(&aged(message, begun.elapsed()), self.clock.now())?;
            request.headers.insert(AUTHORIZATION, token.bearer().clone());
            Ok::<_, Reply>(request)
        };
        let unsigned = || Reply::NotSent { why: "no token could be signed".to_owned() };
        let Some(token) = self.tokens.get(self.clock.now()) else { return unsigned() };
        let request = match write(&token) {
            Ok(request) => request,
            Err(unfit) => return unfit,
        };
        let (reply, used) = self.connections.exchange(&request, deadline).await;
        match reply::remedy(&reply) {
            None => return reply,
            Some(Remedy::Token) if !self.tokens.refuse(&token) => return reply,
            Some(Remedy::Token) => {}
            Some(Remedy::Connection) => {
                if let Some(used) = used {
                    used.leave();
                }
            }
        }
        let Some(token) = self.tokens.get(self.clock.now()) else { return unsigned() };
        match write(&token) {
            Ok(request) => self.connections.exchange(&request, deadline).await.0,
            Err(unfit) => unfit,
        }
    }
}

#[async_trait]
impl Provider for Apns {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        let reply = self.try_twice(message, deadline).await;
        if let Some(target) = target(message) {
            self.gone.learn(target, reply::judge(&reply).0.result, self.clock.now());
        }
        reply
    }

    fn classify(&self, message: &Message, reply: &Reply) -> Verdict {
        let mut verdict = reply::judge(reply).0;
        if verdict.result == AttemptResult::Accepted {
            verdict.message_id = Some(apns_id(message));
        }
        let Some(target) = target(message) else { return verdict };
        if matches!(reply, Reply::Unfit { .. }) && !is_reachable(target) {
            verdict.result = AttemptResult::Recipient;
        }
        let now = self.clock.now();
        self.gone.judge(verdict, target, reply::as_of(reply).unwrap_or(now), now)
    }
}

/// Whether a token can stand in a path. Whether it is one, Apple knows.
fn is_reachable(target: &PushTarget) -> bool {
    let token = target.token.expose();
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    target.platform == Platform::Ios
        && plain
        && (1..=LONGEST_TOKEN).contains(&token.len())
        && !matches!(token, "." | "..")
}

/// The id of the attempt: of the form of a UUID, by which Apple's console finds it.
fn apns_id(message: &Message) -> String {
    let hash = digest::digest(&digest::SHA256, message.reference.as_bytes());
    let mut id = String::with_capacity(36);
    for (at, byte) in hash.as_ref().iter().take(16).enumerate() {
        // Version 8 of RFC 9562: what is in it is our own affair.
        let byte = match at {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(id, "{dash}{byte:02x}");
    }
    id
}

fn ten_characters(text: &str) -> Option<String> {
    (text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| text.to_owned())
}

fn topic(text: &str) -> Option<HeaderValue> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!text.is_empty() && text.bytes().all(allowed)).then(|| HeaderValue::from_str(text).ok())?
}
