//! Conversations with Firebase Cloud Messaging: `tests/dialects/fcm/*.json`.
//!
//! A conversation is about a prompt, or about an access token (`"asks": "token"`); the prompt's own
//! `Authorization` is not in it. Every row of the provider's table is covered by some answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId, Platform, PushTarget};
use mfa_courier::clock::Clock;
use mfa_courier::provider::fcm::{Fcm, reply};
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::{Message, Provider as _, Reply};
use mfa_courier::secret::Secret;
use mfa_courier::simulator::service_account;
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
            registered_at: None,
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

fn fcm() -> Fcm {
    let mut given = ProviderSettings::new("fcm");
    let account = service_account("https://oauth2.googleapis.com/token");
    given.settings = BTreeMap::from([("service_account".to_owned(), Secret::new(account))]);
    Fcm::new(&given, &Clock::starting_at(now())).expect("usable")
}

#[tokio::test]
async fn conversations_go_as_recorded_and_cover_every_row() {
    let mut covered = BTreeSet::new();
    for file in files_below(&root().join("fcm")) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let named = |why| format!("{}: {why}", file.display());
        let conversation: Conversation = serde_json::from_str(&text).map_err(named).expect("a conversation");
        covered.extend(check(conversation, &file));
    }
    let missing: Vec<_> = reply::rows().filter(|row| !covered.contains(*row)).collect();
    assert!(missing.is_empty(), "no conversation covers {missing:?}");
}

fn check(conversation: Conversation, file: &Path) -> Vec<&'static str> {
    let provider = fcm();
    let message = conversation.message.map(Said::message);
    let made = match (&message, conversation.asks) {
        (Some(message), Asks::Message) => provider.request(message, now()).expect("fits"),
        (None, Asks::Token) => provider.token_request(now()).expect("signed"),
        _ => panic!("{}: a message, or `asks` = token", file.display()),
    };
    assert_eq!(written(&made), conversation.request, "{}", file.display());
    let judge = |answer: &Answer| {
        let (status, retry_after, body) = (answer.status, answer.retry_after(), answer.bytes());
        let reply = match conversation.asks {
            Asks::Message => Reply::Answered { status, retry_after, body },
            Asks::Token => Reply::Refused { status, retry_after, body },
        };
        let device = message.as_ref().map(|message| match &message.address {
            Address::Push(target) => target.token.clone(),
            Address::Sms { .. } | Address::Voice { .. } => panic!("a device"),
        });
        let (verdict, row) = reply::judge(&reply, &device.unwrap_or_default());
        answer.check(&verdict, row, file);
        if let Some(message) = &message {
            assert_eq!(provider.classify(message, &reply), verdict);
        }
        row
    };
    conversation.replies.iter().map(judge).collect()
}
