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
use mfa_courier::provider::huawei::{self, Huawei};
use mfa_courier::provider::webpush::{self, WebPush};
use mfa_courier::provider::wns::{self, Wns};
use mfa_courier::provider::{Message, Provider, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::{
    APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC, CLIENT_ID, CLIENT_SECRET, service_account, webpush_opened,
    webpush_subscription,
};
use reqwest::header::AUTHORIZATION;
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
            token: Secret::new(match self.platform {
                Platform::Web => webpush_subscription(&self.token),
                _ => self.token,
            }),
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

fn huawei() -> Kind {
    let settings = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    let made = || Huawei::new(&given("huawei", &settings), &clock()).expect("usable");
    let (huawei, asking) = (made(), made());
    Kind {
        provider: Box::new(made()),
        request: Box::new(move |message| huawei.request(message, now()).expect("fits")),
        asks: Some(Box::new(move || asking.token_request())),
        row: |reply| huawei::reply::judge(reply, &Secret::default()).1,
        rows: huawei::reply::rows().collect(),
    }
}

fn wns() -> Kind {
    let settings = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("tenant_id", "contoso.example")];
    let made = || Wns::new(&given("wns", &settings), &clock()).expect("usable");
    let (wns, asking) = (made(), made());
    Kind {
        provider: Box::new(made()),
        request: Box::new(move |message| wns.request(message, now()).expect("fits")),
        asks: Some(Box::new(move || asking.token_request())),
        row: |reply| wns::reply::judge(reply).1,
        rows: wns::reply::rows().collect(),
    }
}

/// In its files a message's token is the endpoint alone, the request's body what the browser reads of it, and its
/// proof what that claims.
fn webpush() -> Kind {
    let settings = [("private_key", APNS_KEY), ("subject", "mailto:ops@contoso.example")];
    let made = || WebPush::new(&given("webpush", &settings), &clock()).expect("usable");
    let webpush = made();
    let opened = move |message: &Message| {
        let mut request = webpush.request(message, now()).expect("fits");
        request.body = webpush_opened(&request.body).expect("sealed for this browser").into();
        let proof = request.headers[AUTHORIZATION].to_str().expect("text").to_owned();
        let claims = proof.strip_prefix("vapid t=").and_then(|rest| rest.split('.').nth(1)).expect("a token");
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).expect("base64url");
        request.headers.insert(AUTHORIZATION, claims.as_slice().try_into().expect("text"));
        request
    };
    Kind {
        provider: Box::new(made()),
        request: Box::new(opened),
        asks: None,
        row: |reply| webpush::reply::judge(reply).1,
        rows: webpush::reply::rows().collect(),
    }
}

#[tokio::test]
async fn conversations_go_as_recorded_and_cover_every_row() {
    for (name, kind) in [("apns", apns()), ("fcm", fcm()), ("huawei", huawei()), ("webpush", webpush()), ("wns", wns())]
    {
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
