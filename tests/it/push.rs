//! What tests of push services in code share: a prompt, sending it, and what must never be shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mfa_courier::challenge::{Address, ChallengeId, Platform, PushTarget};
use mfa_courier::clock::Clock;
use mfa_courier::delivery::verdict::Verdict;
use mfa_courier::provider::{Message, Provider};
use mfa_courier::secret::Secret;
use tokio::task::JoinSet;

use crate::replies::progress;

mod apns;
mod huawei;
pub(crate) mod running;
mod webpush;
mod wns;

pub(crate) const NUMBER: &str = "7319";
pub(crate) const CODE: &str = "QX481516";
/// What every send here has to end within, and what it may take beside it on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

/// A prompt with a number to type.
pub(crate) fn message(platform: Platform, device: &str) -> Message {
    let target = PushTarget {
        platform,
        token: Secret::new(device),
        app: None,
        registered_at: None,
        number_match: Some(Secret::new(NUMBER)),
        context: BTreeMap::from([("city".to_owned(), "Lyon".to_owned())]),
    };
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: Address::Push(target),
        sender: None,
        title: Some("Sign-in request".into()),
        text: Secret::new("Open to confirm"),
        code: Some(Secret::new(CODE)),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_mins(2),
        callback_url: None,
    }
}

/// The device that a prompt is for.
pub(crate) fn device(message: &mut Message) -> &mut PushTarget {
    match &mut message.address {
        Address::Push(target) => target,
        Address::Sms { .. } | Address::Voice { .. } => panic!("a device"),
    }
}

/// Sends one prompt: the verdict, which shows nothing secret, and how far it got in a word.
pub(crate) async fn send(provider: &dyn Provider, message: &Message) -> (Verdict, String) {
    let begun = Clock::instant();
    let reply = provider.send(message, begun + DEADLINE).await;
    let verdict = provider.classify(message, &reply);
    assert!(begun.elapsed() < DEADLINE + SLACK, "took {:?}: {reply:?}", begun.elapsed());
    let shown = format!("{verdict:?}");
    let mut message = message.clone();
    for secret in [device(&mut message).token.expose(), NUMBER, CODE, "simulated-access", "127.0.0.1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    (verdict, progress(&reply))
}

/// The same in one word.
pub(crate) async fn outcome(provider: &dyn Provider, message: &Message) -> String {
    let (verdict, progress) = send(provider, message).await;
    format!("{progress}: {}", verdict.result.as_str())
}

/// Sends to so many devices at once; how many of each result.
pub(crate) async fn flood<P: Provider + 'static>(
    provider: &Arc<P>,
    message: fn(&str) -> Message,
    count: usize,
) -> BTreeMap<&'static str, usize> {
    let mut sending = JoinSet::new();
    for n in 0..count {
        let provider = Arc::clone(provider);
        sending
            .spawn(async move { send(provider.as_ref(), &message(&format!("device-{n}x"))).await.0.result.as_str() });
    }
    let mut results = BTreeMap::new();
    for result in sending.join_all().await {
        *results.entry(result).or_default() += 1;
    }
    results
}

/// Lets time pass that nobody waits through: requests in flight are on real sockets.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
