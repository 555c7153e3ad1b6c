//! Plays a story on virtual time, as the worker would, and compares.

use mfa_courier::challenge::{Challenge, Channel};
use mfa_courier::clock::{Dice, Timestamp};
use mfa_courier::delivery::admission::Rejection;
use mfa_courier::delivery::outcome::{Outcome, ReceiptReport, ReceiptStatus, UnusedWhy};
use mfa_courier::delivery::policy::Policy;
use mfa_courier::delivery::verdict::{AttemptResult, Verdict};
use mfa_courier::delivery::{Blocked, Condition, Delivery, Event, Fact, Facts, Step};
use serde::Serialize;

use super::format::{Dead, End, File, Lost, Moment, START, Span, Story, word};

/// What was told in one story.
pub(crate) struct Told {
    pub(crate) has_push: bool,
    pub(crate) end: Outcome,
    pub(crate) interims: Vec<Outcome>,
    pub(crate) late: Vec<Outcome>,
}

/// Plays `story`; says what went otherwise than it tells.
pub(crate) fn play(file: &File, story: &Story) -> Result<Told, String> {
    let policy = file.policy(story)?;
    let challenge = file.challenge(story)?;
    let has_push = challenge.methods.iter().any(|method| method.channel() == Channel::Push);
    let opened = match story.refused {
        Some(reason) => Err(Box::new((challenge.into(), Rejection::new(reason)))),
        None => Delivery::open(challenge, &policy),
    };
    let mut told = match opened {
        Ok(delivery) => Player::new(delivery, &policy).play(&story.steps)?,
        Err(refused) => rejected(&refused.0, &refused.1, &story.steps)?,
    };
    told.has_push = has_push;
    let end = describe(&told.end)?;
    if end == story.end { Ok(told) } else { Err(format!("ends with {end:#?},\nnot with {:#?}", story.end)) }
}

fn rejected(challenge: &Challenge, why: &Rejection, steps: &[Moment]) -> Result<Told, String> {
    if !steps.is_empty() {
        return Err(format!("is rejected at once: {why:?}"));
    }
    let end = why.outcome(challenge, START);
    Ok(Told { has_push: false, end, interims: Vec::new(), late: Vec::new() })
}

struct Player<'p> {
    delivery: Delivery,
    policy: &'p Policy,
    dice: Dice,
    signals: Vec<Fact>,
    conditions: Vec<Condition>,
    /// The hop that the courier asked to be tried, and when.
    asked: Option<(usize, Timestamp)>,
    interims: Vec<Outcome>,
}

impl<'p> Player<'p> {
    fn new(delivery: Delivery, policy: &'p Policy) -> Self {
        let conditions = vec![Condition::Ready; delivery.plan().len()];
        let (signals, interims) = (Vec::new(), Vec::new());
        Self { delivery, policy, dice: Dice::seeded(7), signals, conditions, asked: None, interims }
    }

    fn play(mut self, moments: &[Moment]) -> Result<Told, String> {
        let mut before = Span::default();
        for (i, moment) in moments.iter().enumerate() {
            let place = |why: String| format!("step {}: {why}", i + 1);
            if moment.at < before {
                return Err(place("is earlier than the one before".to_owned()));
            }
            before = moment.at;
            let step = self.advance(moment).map_err(place)?;
            self.compare_interims(moment).map_err(place)?;
            let Step::Conclude(end) = step else {
                self.compare(&step, moment).map_err(place)?;
                continue;
            };
            if let Some(then) = &moment.then {
                return Err(place(format!("ends with {:#?}\ninstead of `{then}`", describe(&end)?)));
            }
            let late = after_the_end(&end, &moments[i + 1..])?;
            return Ok(Told { has_push: false, end: *end, interims: self.interims, late });
        }
        Err("does not end".to_owned())
    }

    fn advance(&mut self, moment: &Moment) -> Result<Step, String> {
        for (hop, text) in &moment.conditions {
            let hop = self.hop(hop)?;
            self.conditions[hop] = condition(text)?;
        }
        self.signals.extend(facts(moment)?);
        let event = self.event(moment)?;
        let facts = Facts { signals: &self.signals, conditions: self.conditions.clone() };
        Ok(self.delivery.advance(event, &facts, self.policy, moment.at.moment(), &mut self.dice))
    }

    fn event(&mut self, moment: &Moment) -> Result<Event, String> {
        let at = moment.at.moment();
        let asked = self.asked.take();
        let the_hop = || asked.ok_or("nothing was to be attempted");
        if moment.begun || moment.answer.is_some() {
            let (hop, since) = the_hop()?;
            self.delivery.begin(hop, since);
        }
        let mut events = Vec::new();
        if let Some(result) = moment.answer {
            events.push(Event::Answered { verdict: verdict(moment, result), at, segments: None });
        }
        if let Some(text) = &moment.blocked {
            events.push(Event::Blocked { hop: the_hop()?.0, why: blocked(text)? });
        }
        if moment.taken_over {
            events.push(Event::TakenOver);
        }
        if let Some(lost) = moment.lost {
            events.push(Event::Lost { in_doubt: matches!(lost, Lost::InDoubt) });
        }
        if let Some(dead) = moment.dead {
            events.push(Event::Dead { expired: dead == Dead::Expired });
        }
        match events.len() {
            0 => Ok(Event::Look),
            1 => Ok(events.remove(0)),
            _ => Err("one thing at a time".to_owned()),
        }
    }

    fn hop(&self, name: &str) -> Result<usize, String> {
        let fits = |i: &usize| self.name(*i) == name;
        (0..self.delivery.plan().len()).find(fits).ok_or_else(|| format!("`{name}` is not in the plan"))
    }

    fn name(&self, hop: usize) -> String {
        let hop = self.delivery.hop(hop);
        label(hop.channel, &hop.provider, self.delivery.challenge().methods[hop.method].id.as_deref())
    }

    fn compare(&mut self, step: &Step, moment: &Moment) -> Result<(), String> {
        let expected = moment.then.as_deref().unwrap_or("the end");
        let (went, right) = match step {
            Step::Attempt(hop) => {
                self.asked = Some((*hop, moment.at.moment()));
                let went = format!("attempt {}", self.name(*hop));
                let right = went == expected;
                (went, right)
            }
            Step::Wait(until) => (format!("wait until {}", seconds(*until)), is_within(*until, expected)?),
            Step::Conclude(_) => return Ok(()),
        };
        if right { Ok(()) } else { Err(format!("goes on with `{went}`, not `{expected}`")) }
    }

    fn compare_interims(&mut self, moment: &Moment) -> Result<(), String> {
        let said: Vec<String> = self.delivery.interims().iter().map(interim).collect();
        self.interims.extend_from_slice(self.delivery.interims());
        self.delivery.interims_published();
        if said == moment.says { Ok(()) } else { Err(format!("says {said:?}, not {:?}", moment.says)) }
    }
}

/// Receipts that come after the end change nothing, but are told where they say something new.
fn after_the_end(end: &Outcome, moments: &[Moment]) -> Result<Vec<Outcome>, String> {
    let mut told: Vec<Outcome> = Vec::new();
    let mut earlier: Option<ReceiptStatus> = None;
    for moment in moments {
        let Some(Fact::Receipt { attempt, status, code, at }) = facts(moment)?.pop() else {
            return Err("only receipts come after the end".to_owned());
        };
        let late = end.late(attempt, ReceiptReport { status, code, at }, earlier, moment.at.moment());
        let said: Vec<String> = late.iter().map(interim).collect();
        if said != moment.says {
            return Err(format!("says {said:?} after the end, not {:?}", moment.says));
        }
        if late.is_some() {
            earlier = Some(status);
        }
        told.extend(late);
    }
    Ok(told)
}

fn verdict(moment: &Moment, result: AttemptResult) -> Verdict {
    let mut verdict = Verdict::of(result);
    verdict.retry_after = moment.retry_after.map(Span::duration);
    verdict.scope = moment.scope;
    verdict.opted_out = moment.opted_out;
    verdict.code.clone_from(&moment.code);
    verdict.detail.clone_from(&moment.detail);
    verdict
}

fn facts(moment: &Moment) -> Result<Vec<Fact>, String> {
    let mut facts = Vec::new();
    if let Some(text) = &moment.receipt {
        let (attempt, status) = text.split_once(' ').ok_or_else(|| format!("`{text}` is no receipt"))?;
        let attempt = attempt.parse().map_err(|_| format!("`{attempt}` is no attempt"))?;
        facts.push(Fact::Receipt { attempt, status: word(status)?, code: None, at: moment.at.moment() });
    }
    if moment.cancelled {
        facts.push(Fact::Cancelled);
    }
    match moment.verified.as_deref() {
        None => {}
        Some("") => facts.push(Fact::Verified { channel: None, provider: None }),
        Some(text) => {
            let (channel, provider) = text.split_once('/').unwrap_or((text, ""));
            let provider = (!provider.is_empty()).then(|| provider.to_owned());
            facts.push(Fact::Verified { channel: Some(word(channel)?), provider });
        }
    }
    Ok(facts)
}

fn blocked(text: &str) -> Result<Blocked, String> {
    match text.split_once(' ') {
        None if text == "not_written" => Ok(Blocked::NotWritten),
        Some(("slot_reserved", at)) => Ok(Blocked::SlotReserved(moment(at)?)),
        Some(("slot_at", at)) => Ok(Blocked::SlotAt(moment(at)?)),
        Some(("circuit_open", at)) => Ok(Blocked::CircuitOpen(moment(at)?)),
        _ => Err(format!("`{text}` blocks nothing")),
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    match text.rsplit_once(' ') {
        None if text == "ready" => Ok(Condition::Ready),
        None => word::<UnusedWhy>(text).map(Condition::Barred),
        Some(("slot at", at)) => Ok(Condition::SlotAt(moment(at)?)),
        Some(("open until", at)) => Ok(Condition::OpenUntil(moment(at)?)),
        Some(_) => Err(format!("`{text}` is no condition")),
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Span::parse(text).map(Span::moment).ok_or_else(|| format!("`{text}` is no time"))
}

/// Whether `expected` is `wait until 2s`, or `wait until 1s to 2s`, where chance has its part.
fn is_within(until: Timestamp, expected: &str) -> Result<bool, String> {
    let Some(times) = expected.strip_prefix("wait until ") else { return Ok(false) };
    let (first, last) = times.split_once(" to ").unwrap_or((times, times));
    Ok(moment(first)? <= until && until <= moment(last)?)
}

fn seconds(at: Timestamp) -> String {
    let millis = at.as_millis() - START.as_millis();
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn label(channel: Channel, provider: &str, method: Option<&str>) -> String {
    let method = method.map(|id| format!("@{id}")).unwrap_or_default();
    format!("{channel}/{provider}{method}")
}

/// The word of a vocabulary.
pub(crate) fn spelt(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => panic!("{other:?} is no word"),
    }
}

fn about(outcome: &Outcome) -> Option<String> {
    let (channel, provider) = (outcome.channel?, outcome.provider.as_deref()?);
    Some(label(channel, provider, outcome.method_id.as_deref()))
}

fn interim(outcome: &Outcome) -> String {
    let mut words = vec![spelt(outcome.status), about(outcome).unwrap_or_default()];
    words.extend(outcome.reason.map(spelt));
    let awaited = outcome.receipt_by.filter(|_| words[0] == "sent");
    words.extend(awaited.map(|by| format!("by {}", seconds(by))));
    words.extend(outcome.notes.iter().any(|note| spelt(note) == "late_receipt").then(|| "late".to_owned()));
    words.join(" ")
}

fn describe(outcome: &Outcome) -> Result<End, String> {
    let attempts = outcome.attempts.iter().map(|report| {
        let hop = label(report.channel, &report.provider, report.method_id.as_deref());
        let receipt = report.receipt.as_ref().map(|receipt| format!(" ({})", spelt(receipt.status)));
        format!("{hop} {}{}", spelt(report.result), receipt.unwrap_or_default())
    });
    let unused = outcome.unused.iter().map(|unused| {
        format!("{} {}", label(unused.channel, &unused.provider, unused.method_id.as_deref()), spelt(unused.why))
    });
    let id = if outcome.is_final { "c1:final" } else { "c1:conflict:00c0ffee" };
    if outcome.id != id {
        return Err(format!("ends under the id {}", outcome.id));
    }
    Ok(End {
        status: outcome.status,
        reason: outcome.reason,
        advice: outcome.advice,
        about: about(outcome),
        confirmed_by: outcome.confirmed_by,
        field: outcome.field.clone(),
        attempts: attempts.collect(),
        unused: unused.collect(),
        notes: outcome.notes.clone(),
    })
}
