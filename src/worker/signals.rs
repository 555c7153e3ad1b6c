//! Signals carry facts, never work: a fact is recorded; if its delivery is parked, that is continued or
//! concluded at once; and only then is the signal acked.

use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use super::settle::{Letter, word_of};
use crate::broker::wire::receipt::Told;
use crate::broker::wire::{form, parked};
use crate::broker::{Delivered, Route};
use crate::challenge::{ChallengeId, Origin};
use crate::clock::Timestamp;
use crate::delivery::outcome::{AttemptReport, ReceiptReport, Status};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::delivery::version::Version;
use crate::delivery::{Delivery, Event, Fact, Facts, Step};
use crate::ledger::{Entry, Expected, Phase, Record, Word, Written, says_something_new};
use crate::telemetry::metrics;

/// How long a signal waits before it is tried again.
const RETRY_DELAY_MS: u32 = 800;

/// How long a receipt may come before the answer to the message that it names.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);

/// A receipt as the listener published it.
pub(super) async fn told(desk: &Arc<Desk>, delivered: Delivered) {
    let Some(told) = Told::read(&delivered.body) else {
        return desk.quarantine(delivered, "not a receipt as the courier writes them").await;
    };
    let (now, until) = (desk.tools.clock.now(), told.at + desk.tools.policy.max_ttl);
    let is_repeat = delivered.redelivered;
    let letter = Letter::new(delivered, None, now, desk);
    match desk.tools.ledger.find(told.handle).await {
        Ok(Some(id)) => {
            let Some(attempt) = attempt_of(desk, &id, &told).await else {
                return wait_for_message(desk, &told, letter).await;
            };
            let Told { status, code, at, .. } = told;
            let fact = Fact::Receipt { attempt, status, code, at };
            say_if_late(desk, &id, &fact, is_repeat).await;
            record(desk, id, fact, until, letter).await;
        }
        // It may have come before the answer to what it is about.
        Ok(None) if told.attempt.is_none() => wait_for_message(desk, &told, letter).await,
        // The ledger was lost, and with it what this was about.
        Ok(None) => {
            metrics::duplicate("orphan");
            letter.ack(desk).await;
        }
        Err(why) => {
            metrics::ledger_error();
            tracing::warn!(%why, "a receipt can't be recorded now; it is parked");
            if now < until {
                desk.publish(&told.publication(Route::Delay(RETRY_DELAY_MS))).await;
            }
            letter.ack(desk).await;
        }
    }
}

/// The attempt that a receipt is about; `None` where its answer is not recorded yet, or never was.
async fn attempt_of(desk: &Arc<Desk>, id: &ChallengeId, told: &Told) -> Option<u32> {
    if told.attempt.is_some() {
        return told.attempt;
    }
    let is_it = |report: &&AttemptReport| {
        let verdict = Verdict { message_id: report.message_id.clone(), ..Verdict::of(report.result) };
        let handle = desk.tools.roster.get(&report.provider).and_then(|provider| provider.handle_of(&verdict));
        handle == Some(told.handle)
    };
    let record = desk.tools.ledger.read(id).await.ok()??;
    match &record.phase {
        Phase::FactsOnly => None,
        Phase::Working(delivery) | Phase::Parked { delivery, .. } => {
            delivery.attempts().map(|(_, report)| report).find(is_it).map(|report| report.n)
        }
        Phase::Concluded(word) => {
            let outcome = form::outcome(word.last.properties.content_type.as_deref(), &word.last.body)?;
            outcome.attempts.iter().find(is_it).map(|report| report.n)
        }
    }
}

/// Tries a receipt again that names a message which nobody knows yet: it may have overtaken the answer.
async fn wait_for_message(desk: &Arc<Desk>, told: &Told, letter: Letter) {
    if desk.tools.clock.now() < told.at + MESSAGE_PATIENCE {
        desk.publish(&told.publication(Route::Delay(RETRY_DELAY_MS))).await;
    } else {
        metrics::duplicate("orphan");
    }
    letter.ack(desk).await;
}

/// A receipt after the end is published before it is recorded. One that is recorded was published, unless its message
/// comes again: then it may not have been.
async fn say_if_late(desk: &Arc<Desk>, id: &ChallengeId, fact: &Fact, is_repeat: bool) {
    // Where the ledger fails, the receipt is parked, and this is done when it comes back.
    let Ok(Some(record)) = desk.tools.ledger.read(id).await else { return };
    let is_known = !says_something_new(&record.facts, fact);
    if let Phase::Concluded(word) = &record.phase
        && (!is_known || is_repeat)
    {
        if !record.published {
            desk.say(word).await;
        }
        say_late(desk, word, &record.facts, fact).await;
    }
}

/// Publishes what a receipt says beside `word`, the final one, and the receipts before it.
async fn say_late(desk: &Arc<Desk>, word: &Word, before: &[Fact], fact: &Fact) {
    let Fact::Receipt { attempt, status, code, at } = fact else { return };
    let properties = &word.last.properties;
    let Some(outcome) = form::outcome(properties.content_type.as_deref(), &word.last.body) else { return };
    let earlier = before.iter().filter_map(|other| match other {
        Fact::Receipt { attempt: a, status: s, .. } if a == attempt && s != status => Some(*s),
        Fact::Receipt { .. } | Fact::Cancelled | Fact::Verified { .. } => None,
    });
    let most = earlier.reduce(|most, next| if next.says_more_than(most) { next } else { most });
    let report = ReceiptReport { status: *status, code: code.clone(), at: *at };
    // By the receipt's own time, so that a repeat has the same bytes.
    if let Some(late) = outcome.late(*attempt, report, most, *at) {
        desk.say(&word_of(&[], &late, &origin_of(word))).await;
    }
}

/// How the challenge of a final word wanted to be answered.
fn origin_of(word: &Word) -> Origin {
    let properties = &word.last.properties;
    Origin {
        correlation_id: properties.correlation_id.clone(),
        reply_to: word.reply_to.clone(),
        traceparent: properties.traceparent.clone(),
        form: form::form_of(properties.content_type.as_deref()),
    }
}

/// A signal as upstream published it.
pub(super) async fn arrived(desk: &Arc<Desk>, delivered: Delivered) {
    let now = desk.tools.clock.now();
    match desk.tools.reader.signal(&delivered.routing_key, &delivered.properties, &delivered.body) {
        Ok((id, fact)) => {
            let until = now + desk.tools.policy.max_ttl;
            record(desk, id, fact, until, Letter::new(delivered, None, now, desk)).await;
        }
        Err(why) => desk.quarantine(delivered, &why).await,
    }
}

/// Records a fact and lets it take effect; parks it where the ledger can't take it now.
pub(super) async fn record(desk: &Arc<Desk>, id: ChallengeId, fact: Fact, until: Timestamp, letter: Letter) {
    let Some(appended) = desk.append(&id, fact.clone()).await else {
        let now = desk.tools.clock.now();
        if now < until {
            let due = now + Duration::from_millis(u64::from(RETRY_DELAY_MS));
            let route = Route::Delay(RETRY_DELAY_MS);
            desk.publish(&parked::signal(&id, &fact, until, due, desk.tools.ledger.epoch(), route)).await;
        }
        return letter.ack(desk).await;
    };
    if appended.is_new {
        count_conversion(&appended.record, &fact);
        count_delay(&appended.record, &fact);
    } else {
        metrics::duplicate("signal");
    }
    desk.wake(&id);
    let turn = desk.turns.take(&id).await;
    let now = if turn.waited { desk.read(&id).await } else { Some(appended.record) };
    let Some(mut record) = now else { return letter.ack(desk).await };
    loop {
        match take_effect(desk, &id, &record).await {
            Effect::Nothing => return letter.ack(desk).await,
            Effect::Stored(version, Phase::Concluded(word)) => return desk.conclude(&id, version, &word, letter).await,
            Effect::Stored(version, Phase::Parked { delivery, due }) => {
                return desk.continue_later(version, &delivery, due, letter).await;
            }
            Effect::Stored(_, Phase::FactsOnly | Phase::Working(_)) | Effect::Moved(None) => {
                return letter.ack(desk).await;
            }
            Effect::Moved(Some(newer)) => record = newer,
        }
    }
}

/// What a fact brings about.
enum Effect {
    /// Whoever works on the challenge will take it in, or it came after the end.
    Nothing,
    /// This state is stored now and has to be published before the signal is acked.
    Stored(Version, Phase),
    /// The record changed meanwhile.
    Moved(Option<Record>),
}

async fn take_effect(desk: &Arc<Desk>, id: &ChallengeId, record: &Record) -> Effect {
    let Phase::Parked { delivery, due } = &record.phase else {
        let stored = matches!(record.phase, Phase::Concluded(_)) && !record.published;
        return if stored { Effect::Stored(record.version, record.phase.clone()) } else { Effect::Nothing };
    };
    let mut delivery = delivery.as_ref().clone();
    if record.published {
        delivery.interims_published();
    }
    let (phase, concluded) = match decide(desk, &mut delivery, record) {
        Step::Conclude(outcome) => {
            let word = word_of(delivery.interims(), &outcome, &delivery.challenge().origin);
            (Phase::Concluded(Arc::new(word)), Some(outcome))
        }
        Step::Attempt(_) => {
            let due = desk.tools.clock.now();
            (Phase::Parked { delivery: Arc::new(delivery.clone()), due }, None)
        }
        Step::Wait(until) if until < *due => (Phase::Parked { delivery: Arc::new(delivery.clone()), due: until }, None),
        Step::Wait(_) if record.published => return Effect::Nothing,
        Step::Wait(_) => return Effect::Stored(record.version, record.phase.clone()),
    };
    let version = record.version.taken_over_by(desk.dice().number());
    let challenge = delivery.challenge();
    let keep_until = challenge.expires_at.max(desk.tools.clock.now()) + desk.tools.retention;
    let entry = Entry { version, phase: phase.clone(), content: challenge.content, keep_until };
    let expected = Expected { version: Some(record.version), facts: record.facts.len() };
    match desk.write(id, expected, entry).await {
        Written::Done => {
            if let Some(outcome) = concluded {
                desk.count(&outcome, challenge);
            }
            Effect::Stored(version, phase)
        }
        Written::Lost(newer) => Effect::Moved(newer),
    }
}

fn decide(desk: &Desk, delivery: &mut Delivery, record: &Record) -> Step {
    let now = desk.tools.clock.now();
    let conditions = desk.tools.pressure.conditions(delivery, now);
    let facts = Facts { signals: &record.facts, conditions };
    delivery.advance(Event::Look, &facts, &desk.tools.policy, now, &mut desk.dice())
}

/// How long after the request its receipt came.
fn count_delay(record: &Record, fact: &Fact) {
    let Fact::Receipt { attempt, at, .. } = fact else { return };
    let (Phase::Parked { delivery, .. } | Phase::Working(delivery)) = &record.phase else { return };
    if let Some((hop, report)) = delivery.attempts().find(|(_, report)| report.n == *attempt) {
        metrics::receipt_delay(&hop.provider, at.since(report.started_at));
    }
}

/// A verification is a conversion for the provider, country and channel that delivered.
fn count_conversion(record: &Record, fact: &Fact) {
    let Fact::Verified { .. } = fact else { return };
    match &record.phase {
        Phase::FactsOnly => {}
        Phase::Parked { delivery, .. } | Phase::Working(delivery) => {
            let delivered = delivery.attempts().rev().find(|(_, report)| report.result == AttemptResult::Accepted);
            if let Some((hop, _)) = delivered {
                metrics::conversion(&hop.provider, hop.channel, super::pressure::country(delivery, hop));
            }
        }
        Phase::Concluded(word) => {
            let content_type = word.last.properties.content_type.as_deref();
            let Some(outcome) = form::outcome(content_type, &word.last.body) else { return };
            if let (Status::Sent | Status::Delivered, Some(provider), Some(channel)) =
                (outcome.status, outcome.provider, outcome.channel)
            {
                metrics::conversion(&provider.into(), channel, outcome.country);
            }
        }
    }
}
