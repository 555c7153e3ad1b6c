//! Reading what upstream asks: challenges and signals, field by field, so that a refusal names the field.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

use super::form::{self, Opened};
use super::parked::Envelope;
use crate::broker::{Names, Properties};
use crate::challenge::{
    Address, Challenge, ChallengeId, Channel, ContentHash, Fallback, Form, Method, Note, Origin, Platform, PushTarget,
};
use crate::clock::Timestamp;
use crate::delivery::Fact;
use crate::delivery::admission::Rejection;
use crate::delivery::outcome::Reason;
use crate::phone::{Country, PhoneNumber};
use crate::secret::Secret;

/// What reading a challenge needs to know.
#[derive(Debug)]
pub struct Reader {
    /// Larger bodies are not looked at, in bytes.
    pub max_message_bytes: usize,
    /// When a challenge names no deadline.
    pub default_ttl: Duration,
    /// No deadline is later than arrival plus this.
    pub max_ttl: Duration,
    /// The region of numbers without `+`.
    pub default_region: Option<Country>,
    /// The queues that `reply_to` may not name.
    pub names: Names,
    /// Tells contents under one id apart.
    pub content_key: hmac::Key,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Read<T> {
    /// Good.
    Good(T),
    /// Its id can be read, but its content is wrong. The challenge holds what could be read, and no method.
    Wrong(Box<Challenge>, Rejection),
    /// Not even that, for this reason.
    Unreadable(String),
}

const MAX_METHODS: usize = 8;
const MAX_VARS: usize = 32;
const MAX_VALUE: usize = 512;
/// An issuer whose clock is further ahead than this is wrong, not skewed.
const MAX_SKEW: Duration = Duration::from_hours(1);

impl Reader {
    /// Reads a challenge that arrived at `now`.
    #[must_use]
    pub fn challenge(&self, properties: &Properties, body: &[u8], now: Timestamp) -> Read<Box<Challenge>> {
        let opened = match self.open(properties, body, "requested") {
            Ok(opened) => opened,
            Err(why) => return Read::Unreadable(why),
        };
        let map = opened.fields;
        let Some(id) = map.get("id").and_then(Value::as_str).and_then(ChallengeId::parse) else {
            return Read::Unreadable("`id` is missing or outside its grammar".to_owned());
        };
        if !matches!(map.get("version"), None | Some(Value::Null)) && map["version"] != 1 {
            return Read::Unreadable("`version` is not 1".to_owned());
        }
        let fields = Fields(&map);
        let mut challenge = self.stub(id, &fields, properties, now);
        challenge.origin.form = opened.form;
        challenge.origin.traceparent = challenge.origin.traceparent.or(opened.traceparent);
        match self.fill(&mut challenge, &fields, now) {
            Ok(()) => {
                challenge.content = self.content_of(&challenge);
                Read::Good(Box::new(challenge))
            }
            Err(rejection) => {
                challenge.methods.clear();
                challenge.content = ContentHash(self.hash(body));
                Read::Wrong(Box::new(challenge), rejection)
            }
        }
    }

    /// Reads `challenge.cancelled` or `challenge.verified`, told apart by the routing key.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn signal(
        &self,
        routing_key: &str,
        properties: &Properties,
        body: &[u8],
    ) -> Result<(ChallengeId, Fact), String> {
        let word = routing_key.strip_prefix("challenge.").and_then(|rest| rest.split('.').next()).unwrap_or_default();
        let map = self.open(properties, body, word)?.fields;
        let id = map.get("id").and_then(Value::as_str).and_then(ChallengeId::parse);
        let id = id.ok_or("`id` is missing or outside its grammar")?;
        match word {
            "cancelled" => Ok((id, Fact::Cancelled)),
            "verified" => {
                let text = |name: &str| map.get(name).and_then(Value::as_str);
                let channel = text("channel").and_then(|word| Channel::ALL.into_iter().find(|c| c.as_str() == word));
                let provider = text("provider").filter(|name| name.len() <= 64).map(str::to_owned);
                Ok((id, Fact::Verified { channel, provider }))
            }
            _ => Err("the routing key names no signal".to_owned()),
        }
    }

    /// The hash that tells what `challenge` stands for.
    #[must_use]
    pub fn content_of(&self, challenge: &Challenge) -> ContentHash {
        let content = (&challenge.code, &challenge.methods, &challenge.purpose, &challenge.tenant);
        ContentHash(self.hash(&serde_json::to_vec(&content).unwrap_or_default()))
    }

    /// What providers may know an attempt by: it differs for each and says nothing.
    #[must_use]
    pub fn reference(&self, id: &ChallengeId, attempt: u32) -> String {
        format!("{:016x}-{attempt}", self.hash(id.as_str().as_bytes()))
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let tag = hmac::sign(&self.content_key, bytes);
        tag.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Opens a message that upstream published as `challenge.<word>`.
    fn open(&self, properties: &Properties, body: &[u8], word: &str) -> Result<Opened, String> {
        if body.len() > self.max_message_bytes {
            return Err(format!("longer than {} bytes", self.max_message_bytes));
        }
        if !matches!(properties.content_encoding.as_deref(), None | Some("" | "identity" | "utf-8" | "UTF-8")) {
            return Err("`content_encoding` is not supported".to_owned());
        }
        form::open(properties.content_type.as_deref(), body, &format!("mfa.challenge.{word}.v1"))
    }

    /// A challenge of which only the envelope could be read: enough to give it a final outcome.
    #[must_use]
    pub fn stand_in(&self, envelope: Envelope, now: Timestamp) -> Challenge {
        let Envelope { id, tenant, correlation_id, reply_to, form, .. } = envelope;
        let properties = Properties { correlation_id, reply_to, ..Properties::default() };
        let mut challenge = self.stub(id, &Fields(&Map::new()), &properties, now);
        challenge.origin.form = form;
        Challenge { tenant, ..challenge }
    }

    /// What outcomes need even where the rest is wrong.
    fn stub(&self, id: ChallengeId, fields: &Fields<'_>, properties: &Properties, now: Timestamp) -> Challenge {
        let echo = |name| fields.text(name, 256).ok().flatten().map(str::to_owned);
        let reply_to = properties.reply_to.clone().filter(|queue| !queue.is_empty() && !self.names.is_own(queue));
        Challenge {
            id,
            session_id: echo("session_id"),
            user_id: echo("user_id"),
            tenant: echo("tenant").filter(|t| is_tenant(t)).unwrap_or_else(|| "default".to_owned()),
            purpose: echo("purpose").unwrap_or_else(|| "sign_in".to_owned()),
            code: None,
            issued_at: now,
            arrived_at: now,
            expires_at: now + self.default_ttl,
            locale: None,
            template: None,
            vars: BTreeMap::new(),
            methods: Vec::new(),
            fallback: Fallback::Auto,
            origin: Origin {
                correlation_id: properties.correlation_id.clone(),
                reply_to,
                traceparent: properties.traceparent.clone(),
                form: Form::default(),
            },
            notes: Vec::new(),
            content: ContentHash(0),
        }
        .issued(properties.timestamp, now)
    }

    fn fill(&self, challenge: &mut Challenge, fields: &Fields<'_>, now: Timestamp) -> Result<(), Rejection> {
        for name in ["session_id", "user_id"] {
            fields.text(name, 256)?;
        }
        if let Some(tenant) = fields.text("tenant", 64)?
            && !is_tenant(tenant)
        {
            return Err(malformed("tenant"));
        }
        fields.text("purpose", 64)?;
        challenge.code = fields
            .text("code", 16)?
            .map(|code| is_code(code).then(|| Secret::new(code)).ok_or(malformed("code")))
            .transpose()?;
        challenge.locale = fields.text("locale", usize::MAX)?.filter(|l| is_locale(l)).map(str::to_owned);
        challenge.template = fields.text("template", 64)?.map(str::to_owned);
        challenge.vars = fields.strings("vars")?;
        challenge.fallback = match fields.text("fallback", 16)? {
            None | Some("auto") => Fallback::Auto,
            Some("same_channel") => Fallback::SameChannel,
            Some("none") => Fallback::None,
            Some(_) => return Err(malformed("fallback")),
        };
        self.times(challenge, fields, now)?;
        self.methods(challenge, fields)?;
        let needs_code = challenge.methods.iter().any(|m| m.channel() != Channel::Push);
        if needs_code && challenge.code.is_none() { Err(malformed("code")) } else { Ok(()) }
    }

    /// When it was issued, and until when it is worth delivering.
    fn times(&self, challenge: &mut Challenge, fields: &Fields<'_>, now: Timestamp) -> Result<(), Rejection> {
        if let Some(issued_at) = fields.time("issued_at")? {
            if issued_at > now + MAX_SKEW {
                return Err(malformed("issued_at"));
            }
            challenge.issued_at = issued_at.min(now);
            if issued_at > now {
                challenge.notes.push(Note::ClockSkew);
            }
        }
        let asked = match (fields.time("expires_at")?, fields.seconds("ttl")?) {
            (Some(at), Some(ttl)) => Some(at.min(now + ttl)),
            (Some(at), None) => Some(at),
            (None, Some(ttl)) => Some(now + ttl),
            (None, None) => None,
        };
        // Only what came from one clock can be compared: `ttl` counts from arrival.
        if let (Some(expires_at), Some(issued_at)) = (fields.time("expires_at")?, fields.time("issued_at")?)
            && issued_at > expires_at
            && expires_at > now
        {
            return Err(malformed("issued_at"));
        }
        let latest = now + self.max_ttl;
        challenge.expires_at = asked.unwrap_or(challenge.issued_at + self.default_ttl).min(latest);
        if asked.is_some_and(|at| at > latest) {
            challenge.notes.push(Note::TtlClamped);
        }
        Ok(())
    }

    fn methods(&self, challenge: &mut Challenge, fields: &Fields<'_>) -> Result<(), Rejection> {
        let list = match fields.0.get("methods") {
            None | Some(Value::Null) => {
                return Err(Rejection { reason: Reason::NoMethod, field: Some("methods".to_owned()) });
            }
            Some(Value::Array(list)) => list,
            Some(_) => return Err(malformed("methods")),
        };
        match list.len() {
            0 => return Err(Rejection { reason: Reason::NoMethod, field: Some("methods".to_owned()) }),
            1..=MAX_METHODS => {}
            _ => return Err(malformed("methods")),
        }
        let mut refused = None;
        for (i, item) in list.iter().enumerate() {
            let Value::Object(map) = item else { return Err(malformed(&format!("methods[{i}]"))) };
            match self.method(&Fields(map), &mut challenge.notes) {
                Ok(Some(method)) => challenge.methods.push(method),
                Ok(None) => note(&mut challenge.notes, Note::MethodSkipped),
                // One address that can't be is skipped where another can be used.
                Err(Rejection { reason: Reason::InvalidDestination, field }) => {
                    let field = field.map(|field| format!("methods[{i}].{field}"));
                    refused.get_or_insert(Rejection { reason: Reason::InvalidDestination, field });
                    note(&mut challenge.notes, Note::MethodSkipped);
                }
                Err(Rejection { reason, field }) => {
                    return Err(Rejection { reason, field: field.map(|field| format!("methods[{i}].{field}")) });
                }
            }
        }
        if challenge.methods.is_empty() {
            return Err(
                refused.unwrap_or(Rejection { reason: Reason::NoSupportedMethod, field: Some("methods".to_owned()) })
            );
        }
        Ok(())
    }

    /// One method; `None` where its channel or platform is not known here.
    fn method(&self, fields: &Fields<'_>, notes: &mut Vec<Note>) -> Result<Option<Method>, Rejection> {
        let channel = fields.text("channel", 32)?.ok_or_else(|| malformed("channel"))?;
        let address = match channel {
            "sms" => {
                if fields.0.get("two_way") == Some(&Value::Bool(true)) {
                    note(notes, Note::TwoWayAsOneWay);
                }
                Address::Sms { to: self.number(fields)? }
            }
            "voice" => {
                let extension = fields.text("extension", 16)?;
                if extension.is_some_and(|e| !e.bytes().all(|b| b.is_ascii_digit())) {
                    return Err(malformed("extension"));
                }
                Address::Voice { to: self.number(fields)?, extension: extension.map(str::to_owned) }
            }
            "push" => match push_target(fields)? {
                Some(target) => Address::Push(target),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Method { id: fields.text("id", 128)?.map(str::to_owned), address }))
    }

    fn number(&self, fields: &Fields<'_>) -> Result<PhoneNumber, Rejection> {
        let Some(Value::String(text)) = fields.0.get("to") else { return Err(malformed("to")) };
        PhoneNumber::parse(text, self.default_region)
            .map_err(|_| Rejection { reason: Reason::InvalidDestination, field: Some("to".to_owned()) })
    }
}

fn push_target(fields: &Fields<'_>) -> Result<Option<PushTarget>, Rejection> {
    let platform = match fields.text("platform", 32)?.ok_or_else(|| malformed("platform"))? {
        "android" => Platform::Android,
        "ios" => Platform::Ios,
        "windows" => Platform::Windows,
        "web" => Platform::Web,
        "huawei" => Platform::Huawei,
        _ => return Ok(None),
    };
    let invalid = || Rejection { reason: Reason::InvalidDestination, field: Some("token".to_owned()) };
    let token = match (fields.0.get("token"), platform) {
        (Some(Value::String(token)), Platform::Android | Platform::Ios | Platform::Windows | Platform::Huawei) => {
            token.clone()
        }
        (Some(subscription @ Value::Object(_)), Platform::Web) => subscription.to_string(),
        _ => return Err(malformed("token")),
    };
    let graphic = |b: u8| b.is_ascii_graphic() || (platform == Platform::Web && b == b' ');
    let long = token.is_empty() || token.len() > 4_096;
    if long || !token.bytes().all(graphic) {
        return Err(invalid());
    }
    Ok(Some(PushTarget {
        platform,
        token: Secret::new(token),
        app: fields.text("app", 64)?.map(str::to_owned),
        registered_at: fields.time("registered_at")?,
        number_match: fields.text("number_match", 16)?.map(Secret::new),
        context: fields.strings("context")?,
    }))
}

impl Challenge {
    /// Issued when AMQP's `timestamp` says so, where that is a time that can be.
    fn issued(mut self, timestamp: Option<Timestamp>, now: Timestamp) -> Self {
        if let Some(at) = timestamp.filter(|at| *at <= now && now.since(*at) < Duration::from_hours(24)) {
            self.issued_at = at;
        }
        self
    }
}

/// The fields of one JSON object; `null` counts as absent.
struct Fields<'v>(&'v Map<String, Value>);

impl<'v> Fields<'v> {
    fn text(&self, name: &str, longest: usize) -> Result<Option<&'v str>, Rejection> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text))
                if !text.is_empty() && text.len() <= longest && !text.contains(char::is_control) =>
            {
                Ok(Some(text))
            }
            Some(_) => Err(malformed(name)),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Rejection> {
        let Some(text) = self.text(name, 64)? else { return Ok(None) };
        Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| malformed(name))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Rejection> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let seconds = value.as_f64().filter(|s| (0.0..=1e9).contains(s)).ok_or_else(|| malformed(name))?;
                Ok(Some(Duration::from_secs_f64(seconds)))
            }
        }
    }

    fn strings(&self, name: &str) -> Result<BTreeMap<String, String>, Rejection> {
        let map = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(map)) if map.len() <= MAX_VARS => map,
            Some(_) => return Err(malformed(name)),
        };
        let entry = |(key, value): (&String, &Value)| match value {
            Value::String(text) if text.len() <= MAX_VALUE && key.len() <= 64 => Some((key.clone(), text.clone())),
            _ => None,
        };
        map.iter().map(entry).collect::<Option<_>>().ok_or_else(|| malformed(name))
    }
}

fn malformed(field: &str) -> Rejection {
    Rejection { reason: Reason::Malformed, field: Some(field.to_owned()) }
}

fn note(notes: &mut Vec<Note>, note: Note) {
    if !notes.contains(&note) {
        notes.push(note);
    }
}

fn is_tenant(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_code(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_locale(text: &str) -> bool {
    text.len() <= 35 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
