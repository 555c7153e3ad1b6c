//! Whom a message is for: 46 to 61.

use mfa_courier::challenge::Channel;
use mfa_courier::delivery::outcome::{Reason, Status};
use mfa_courier::delivery::policy::{CountryRule, SenderPolicy};
use mfa_courier::phone::Country;
use serde_json::json;

use super::Becomes::{Delivered, Refused, Rejected};
use super::{Becomes, seconds, setup, to, try_all, with, world};
use crate::world::Setup;

const INVALID: Becomes = Rejected(Reason::InvalidDestination, "methods[0].to");
const BLOCKED: Becomes = Refused(Reason::DestinationBlocked);

#[tokio::test(start_paused = true)]
async fn only_plain_numbers_are_dialled() {
    let digits = "4".repeat(10_000);
    let all = [
        (46, "+1"),
        (46, "+"),
        (46, ""),
        (46, "911"),
        (46, "112"),
        (46, "999"),
        (46, "+1911"),
        (47, "+1234567890123456"),
        (47, &format!("+{digits}")),
        (48, "+\u{967}\u{96a}\u{967}\u{96b}\u{96b}\u{96b}\u{96b}\u{968}\u{96c}\u{96d}\u{967}"),
        (48, "+\u{661}\u{664}\u{661}\u{665}\u{665}\u{665}\u{665}\u{662}\u{666}\u{667}\u{661}"),
        (48, "\u{ff0b}14155552671"),
        (48, "+\u{ff11}4155552671"),
        (49, "+1-415-FLOWERS"),
        (50, "+1 415 555 0123 ext 9999"),
        (50, "+14155550123;ext=9"),
        (50, "+14155550123,,9#"),
        (51, "tel:+14155552671;phone-context=+1"),
        (52, "00441534496000"),
        (52, "4155552671"),
        (58, "+1415\u{200b}5552671"),
        (58, "+1415\u{a0}5552671"),
        (58, " +14155552671"),
        (60, "a@example.org"),
        (60, "https://example.org/"),
    ];
    try_all(setup, all.map(|(number, text)| to(number, text, INVALID)).into()).await;
}

#[tokio::test(start_paused = true)]
async fn numbers_that_cost_extra_or_cannot_be_texted_are_blocked() {
    let all = [
        (53, "+19002345678"),
        (53, "+449098790000"),
        (53, "+881612345678"),
        (53, "+882123456789"),
        (53, "+883123456789"),
        (53, "+979123456789"),
        (53, "+80812345678"),
        (55, "+80012345678"),
    ];
    try_all(setup, all.map(|(number, text)| to(number, text, BLOCKED)).into()).await;
}

#[tokio::test(start_paused = true)]
async fn a_country_is_more_than_its_calling_code() {
    // 54.
    let only_us = || {
        let mut setup = setup();
        setup.policy.countries = CountryRule::Allow(vec![Country::parse("US").unwrap()]);
        setup
    };
    let cases = vec![
        to(54, "+18765230123", BLOCKED),
        to(54, "+18092345678", BLOCKED),
        to(54, "+14165550199", BLOCKED),
        to(54, "+14155552671", Delivered),
    ];
    try_all(only_us, cases).await;
    // 56.
    for (number, country) in [
        ("+38343201234", "XK"),
        ("+79123456789", "RU"),
        ("+77710009998", "KZ"),
        ("+447797712345", "JE"),
        ("+4779123456", "SJ"),
    ] {
        let mut world = world(setup());
        world.start_worker();
        world.publish(&json!({"id": "c", "code": "1", "methods": [{"channel": "sms", "to": number}]}));
        world.settle(seconds(5)).await;
        let end = world.outcome("c");
        assert_eq!((end.status, end.country), (Status::Sent, Country::parse(country)), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_of_fiction_and_our_own_are_not_texted() {
    let strict = || {
        let mut setup = setup();
        setup.policy.refuse_fiction = true;
        setup.policy.providers[0].senders =
            vec![SenderPolicy { from: "+14155552672".into(), countries: Vec::new(), per_second: None }];
        setup
    };
    let cases = vec![to(57, "+14155550123", Refused(Reason::InvalidDestination)), to(59, "+14155552672", BLOCKED)];
    try_all(strict, cases).await;
    try_all(setup, vec![to(57, "+14155550123", Delivered)]).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_keep_to_their_grammar() {
    let push = || Setup::with(&[("p", Channel::Push), ("a", Channel::Sms)]);
    let long = "x".repeat(10_000);
    let refused = Rejected(Reason::InvalidDestination, "methods[0].token");
    let cases = ["a\nb", "", "a b", "\u{e9}", &long].map(|token| {
        with(61, &json!({"methods": [{"channel": "push", "platform": "android", "token": token}]}), refused)
    });
    try_all(push, cases.into()).await;
}
