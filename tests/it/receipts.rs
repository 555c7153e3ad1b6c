//! Receipts, from the address that a provider was given to what the worker makes of them: the real listener's routes
//! and the real worker on the memory broker, in virtual time.

use std::time::Duration;

use mfa_courier::broker::Route;
use mfa_courier::broker::wire::receipt::Told;
use mfa_courier::challenge::Channel;
use mfa_courier::delivery::outcome::{ConfirmedBy, Outcome, ReceiptStatus, Status};
use mfa_courier::delivery::verdict::AttemptResult::Accepted;

use crate::world::{Act, Sent, Setup, World, callbacks};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn world(providers: &[(&str, Channel)]) -> World {
    let mut setup = Setup::with(providers);
    setup.policy.providers.iter_mut().for_each(|provider| provider.receipts = true);
    let mut world = World::new(setup, |_: &Sent| Act::answer(Accepted, 1_000));
    world.start_worker();
    world
}

/// What the listener would publish for a receipt at the address that `sent` came with.
fn told(sent: &Sent, status: ReceiptStatus) -> Told {
    let address = sent.callback_url.as_deref().expect("it was told where");
    let mut parts = address.rsplit('/');
    let (token, provider) = (parts.next().expect("a token"), parts.next().expect("a provider"));
    assert_eq!(provider, sent.provider);
    let callback = callbacks().read(provider, token, sent.at).expect("one of ours");
    Told { handle: callback.handle, attempt: Some(callback.attempt), status, code: None, at: sent.at + seconds(3) }
}

async fn tell(world: &World, sent: &Sent, status: ReceiptStatus) {
    world.inject(told(sent, status).publication(Route::Signals)).await;
}

const TWO: [(&str, Channel); 2] = [("a", Channel::Sms), ("b", Channel::Sms)];

#[tokio::test(start_paused = true)]
async fn a_receipt_ends_the_wait_at_once() {
    let mut world = world(&TWO);
    world.challenge("c1", 60);
    world.pass(seconds(5)).await;
    let sent = world.sent();
    tell(&world, &sent[0], ReceiptStatus::Delivered).await;
    world.pass(seconds(1)).await;
    let outcome = world.outcome("c1");
    assert_eq!((outcome.status, outcome.confirmed_by), (Status::Delivered, Some(ConfirmedBy::Receipt)));
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_says_no_moves_it_on_at_once() {
    let mut world = world(&TWO);
    world.challenge("c1", 60);
    world.pass(seconds(5)).await;
    let first = world.sent()[0].clone();
    tell(&world, &first, ReceiptStatus::Undelivered).await;
    tell(&world, &first, ReceiptStatus::Undelivered).await;
    world.pass(seconds(3)).await;
    let sent = world.sent();
    assert_eq!(sent.iter().map(|sent| sent.provider.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_ne!(sent[0].callback_url, sent[1].callback_url, "an address for each attempt");
    tell(&world, &sent[1], ReceiptStatus::Delivered).await;
    world.pass(seconds(1)).await;
    assert_eq!(world.outcome("c1").status, Status::Delivered);
}

/// A receipt may be faster than the answer to the request that it is about.
#[tokio::test(start_paused = true)]
async fn a_receipt_before_the_answer_finds_its_challenge() {
    let mut world = world(&TWO);
    world.challenge("c1", 60);
    world.pass(Duration::from_millis(500)).await;
    let sent = world.sent();
    tell(&world, &sent[0], ReceiptStatus::Delivered).await;
    world.pass(seconds(2)).await;
    assert_eq!(world.outcome("c1").status, Status::Delivered);
}

fn late(world: &World) -> Vec<&Outcome> {
    world.heard().iter().filter(|outcome| outcome.id.contains(":late:")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_receipt_after_the_end_is_told_once_and_changes_nothing() {
    let mut world = world(&TWO[..1]);
    world.challenge("c1", 60);
    world.settle(seconds(70)).await;
    assert_eq!(world.outcome("c1").status, Status::Sent);
    let sent = world.sent();
    for status in [ReceiptStatus::Sent, ReceiptStatus::Undelivered, ReceiptStatus::Undelivered, ReceiptStatus::Sent] {
        tell(&world, &sent[0], status).await;
        world.pass(seconds(1)).await;
    }
    let said: Vec<_> = late(&world).iter().map(|outcome| (outcome.id.clone(), outcome.is_final)).collect();
    assert_eq!(said, [("c1:1:late:undelivered".to_owned(), false)]);
    tell(&world, &sent[0], ReceiptStatus::Delivered).await;
    world.pass(seconds(1)).await;
    assert_eq!(late(&world).last().map(|outcome| outcome.id.as_str()), Some("c1:1:late:delivered"));
    assert_eq!(world.different_bodies("c1:final"), 1);
}

/// What is about nothing that the ledger knows of is acked and forgotten.
#[tokio::test(start_paused = true)]
async fn a_receipt_of_nothing_known_does_nothing() {
    let mut world = world(&TWO);
    world.challenge("c1", 60);
    world.pass(seconds(5)).await;
    let sent = world.sent();
    let mut told = told(&sent[0], ReceiptStatus::Delivered);
    told.handle.0[0] ^= 1;
    world.inject(told.publication(Route::Signals)).await;
    world.pass(seconds(5)).await;
    assert!(world.heard().iter().all(|outcome| !outcome.is_final), "nobody was told that it ended");
}

/// A phone may ring for longer than a receipt is awaited; once it rings, the wait starts anew.
#[tokio::test(start_paused = true)]
async fn a_call_that_rings_is_waited_for_anew() {
    let mut world = world(&[("v", Channel::Voice)]);
    world.publish(&serde_json::json!({
        "id": "c1", "code": "481516", "ttl": 300, "methods": [{"channel": "voice", "to": "+14155552671"}],
    }));
    world.pass(seconds(60)).await;
    let sent = world.sent();
    let ringing = Told { at: sent[0].at + seconds(60), ..told(&sent[0], ReceiptStatus::Sent) };
    world.inject(ringing.publication(Route::Signals)).await;
    world.pass(seconds(60)).await;
    assert!(world.heard().iter().all(|outcome| !outcome.is_final), "it was given up after 75 s of silence");
    tell(&world, &sent[0], ReceiptStatus::Answered).await;
    world.pass(seconds(1)).await;
    assert_eq!(world.outcome("c1").confirmed_by, Some(ConfirmedBy::Answer));
}
