//! Conversations with push services in code: `tests/dialects/<kind>/*.json`.
//!
//! A conversation is about a prompt, or about an access token (`"asks": "token"`); the prompt's own
//! `Authorization` is not in it. Every row of each provider's table is covered by some answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId, Platform, PushTarget};
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::provider::apns::{self, Apns};
use mfa_courier::provider::fcm::{self, Fcm};
use mfa_courier::provider::http::{ProviderSettings, Request};
use mfa_courier::provider::{Message, Provider, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC, service_account};
use serde::Deserialize;

use super::{Answer, Written, files_below, now, root, written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    asks: Asks,
    message: Option<Said>,
    request: Written,
    replies: Vec<Answer>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    #[default]
    Message,
    Token,
}

/// The message, as the file tells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    challenge: String,
    platform: Platform,
    token: String,
    registered_at: Option<Timestamp>,
    number_match: Option<Secret>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    title: Option<String>,
    text: String,
    validity_ms: u64,
}

impl Said {
    fn message(self) -> Message {
        let target = PushTarget {
            platform: self.platform,
            token: Secret::new(self.token),
            app: None,
            registered_at: self.registered_at,
            number_match: self.number_match,
            context: self.context,
        };
        Message {
            reference: "r-1".into(),
            challenge: ChallengeId::parse(&self.challenge).expect("valid"),
            address: Address::Push(target),
            sender: None,
            title: self.title,
            text: Secret::new(self.text),
            code: Some(Secret::new("481516")),
            language: "en".into(),
            purpose: "sign_in".into(),
            tenant: "default".into(),
            validity: Duration::from_millis(self.validity_ms),
            callback_url: None,
        }
    }
}

/// One kind, as its conversations need it.
struct Kind {
    provider: Box<dyn Provider>,
    /// The requests for a message and for an access token.
    request: Box<dyn Fn(&Message) -> Request>,
    asks: Option<Box<dyn Fn() -> Request>>,
    /// The row that an answer is judged by; of a message or, without one, of an access token.
    row: fn(&Reply) -> &'static str,
    rows: BTreeSet<&'static str>,
}

fn given(kind: &str, settings: &[(&str, &str)]) -> ProviderSettings {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value)));
    ProviderSettings { settings: settings.collect(), ..ProviderSettings::new(kind) }
}

fn clock() -> Clock {
    Clock::starting_at(now())
}

fn fcm() -> Kind {
    let account = service_account("https://oauth2.googleapis.com/token");
    let made = || Fcm::new(&given("fcm", &[("service_account", &account)]), &clock()).expect("usable");
    let (fcm, asking) = (made(), made());
    Kind {
        provider: Box::new(made()),
        request: Box::new(move |message| fcm.request(message, now()).expect("fits")),
        asks: Some(Box::new(move || asking.token_request(now()).expect("signed"))),
        row: |reply| fcm::reply::judge(reply, &Secret::default()).1,
        rows: fcm::reply::rows().collect(),
    }
}

fn apns() -> Kind {
    let settings = [("key", APNS_KEY), ("key_id", APNS_KEY_ID), ("team_id", APNS_TEAM_ID), ("topic", APNS_TOPIC)];
    let made = || Apns::new(&given("apns", &settings), &clock()).expect("usable");
    let apns = made();
    Kind {
        provider: Box::new(made()),
        request: Box::new(move |message| apns.request(message, now()).expect("fits")),
        asks: None,
        row: |reply| apns::reply::judge(reply).1,
        rows: apns::reply::rows().collect(),
    }
}

#[tokio::test]
async fn conversations_go_as_recorded_and_cover_every_row() {
    for (name, kind) in [("apns", apns()), ("fcm", fcm())] {
        let mut covered = BTreeSet::new();
        for file in files_below(&root().join(name)) {
            let text = std::fs::read_to_string(&file).expect("readable");
            let named = |why| format!("{}: {why}", file.display());
            let conversation: Conversation = serde_json::from_str(&text).map_err(named).expect("a conversation");
            covered.extend(check(&kind, conversation, &file));
        }
        let missing: Vec<_> = kind.rows.difference(&covered).collect();
        assert!(missing.is_empty(), "no conversation of {name} covers {missing:?}");
    }
}

fn check(kind: &Kind, conversation: Conversation, file: &Path) -> Vec<&'static str> {
    let message = conversation.message.map(Said::message);
    let made = match (&message, conversation.asks, &kind.asks) {
        (Some(message), Asks::Message, _) => (kind.request)(message),
        (None, Asks::Token, Some(asks)) => asks(),
        _ => panic!("{}: a message, or `asks` = token where there are some", file.display()),
    };
    assert_eq!(written(&made), conversation.request, "{}", file.display());
    // A refusal of an access token is judged alike whatever the message.
    let any = message.unwrap_or_else(|| said().message());
    let judge = |answer: &Answer| {
        let (status, retry_after, body) = (answer.status, answer.retry_after(), answer.bytes());
        let reply = match conversation.asks {
            Asks::Message => Reply::Answered { status, retry_after, body },
            Asks::Token => Reply::Refused { status, retry_after, body },
        };
        let row = (kind.row)(&reply);
        answer.check(&kind.provider.classify(&any, &reply), row, file);
        row
    };
    conversation.replies.iter().map(judge).collect()
}

fn said() -> Said {
    Said {
        challenge: "c-1".into(),
        platform: Platform::Android,
        token: "a-device".into(),
        registered_at: None,
        number_match: None,
        context: BTreeMap::new(),
        title: None,
        text: "Open".into(),
        validity_ms: 1,
    }
}
