//! One attempt: slot, permit, circuit, the right to send, the request, and what its answer means. Slots that the fleet
//! shares are [`super::slot`]'s.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Desk;
use super::flow::{Claim, Task};
use super::pressure::{Permit, country};
use crate::broker::DELAY_LEVELS;
use crate::challenge::{Challenge, ChallengeId, Note};
use crate::clock::{Clock, Timestamp};
use crate::delivery::policy::SEND_RIGHT_MARGIN;
use crate::delivery::route::Hop;
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::delivery::{Blocked, Event, LEAST_TIME, PATIENCE, backoff};
use crate::guard::health::Admission;
use crate::ledger::Phase;
use crate::provider::{Message, Reply};
use crate::secret::Secret;
use crate::telemetry::metrics;

/// What the broker's shortest delay is; a shorter wait is slept for, always.
pub(super) const SHORTEST_DELAY: Duration = Duration::from_millis(DELAY_LEVELS[0] as u64);

/// A place to sleep, where one is needed.
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Desk {
    /// Whether `until` may be slept for inside the worker.
    pub(super) fn place_to_sleep(&self, until: Timestamp, now: Timestamp) -> Option<Place> {
        let wait = until.since(now);
        if wait < SHORTEST_DELAY {
            return Some(Place(None));
        }
        let short = wait <= PATIENCE && !self.draining.is_cancelled();
        short.then(|| self.tools.pressure.sleeper()).flatten().map(|place| Place(Some(place)))
    }

    /// Sleeps until then, until news of the challenge comes, or until the worker drains.
    pub(super) async fn sleep(&self, id: &ChallengeId, until: Timestamp) {
        let news = self.listen_for(id);
        tokio::select! {
            () = self.tools.clock.sleep_until(until) => {}
            () = news.notified() => {}
            () = self.draining.cancelled(), if until.since(self.tools.clock.now()) >= SHORTEST_DELAY => {}
        }
        drop(news);
        self.stop_listening(id);
    }

    fn listen_for(&self, id: &ChallengeId) -> std::sync::Arc<tokio::sync::Notify> {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::sync::Arc::clone(sleeping.entry(id.clone()).or_default())
    }

    fn stop_listening(&self, id: &ChallengeId) {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Only the last of several sleepers takes the bell away.
        if sleeping.get(id).is_some_and(|news| std::sync::Arc::strong_count(news) == 1) {
            sleeping.remove(id);
        }
    }
}

/// The right to write one request: not longer than an attempt may take, never past the deadline.
struct SendRight(Instant);

impl SendRight {
    fn new(challenge: &Challenge, timeout: Duration, now: Timestamp) -> Self {
        let lasts = (timeout + SEND_RIGHT_MARGIN).min(challenge.expires_at.since(now));
        Self(Clock::instant() + lasts)
    }

    fn has_lapsed(&self) -> bool {
        Clock::instant() >= self.0
    }
}

impl Task {
    /// Carries out [`crate::delivery::Step::Attempt`]; `None` where somebody else owns the delivery now.
    pub(super) async fn attempt(&mut self, index: usize) -> Option<Event> {
        let hop = self.delivery.hop(index).clone();
        let (permit, admitted) = match self.pace(index, &hop).await {
            Ok(paced) => paced,
            Err(event) => {
                // Facts may have come while it slept.
                return match self.refresh().await {
                    Claim::Lost => None,
                    Claim::Gone => self.after(Claim::Gone),
                    Claim::Held | Claim::FactsMoved => Some(event),
                };
            }
        };
        let event = self.write_and_send(index, &hop, admitted).await;
        if !matches!(event, Some(Event::Answered { .. })) {
            self.desk.tools.pressure.withdraw(&hop.provider, country(&self.delivery, &hop), admitted);
        }
        drop(permit);
        event
    }

    /// The ledger first, then the request, and that only while the right to send holds.
    async fn write_and_send(&mut self, index: usize, hop: &Hop, admitted: Timestamp) -> Option<Event> {
        let timeout = *self.desk.tools.policy.attempt_timeout.get(hop.channel);
        let now = self.now();
        let right = SendRight::new(self.delivery.challenge(), timeout, now);
        let (mut message, segments) = self.message(hop, now).unzip();
        if let Some(message) = &mut message {
            message.callback_url = self.callback(hop).await;
        }
        let segments = segments.flatten();
        let mut begun = self.delivery.clone();
        begun.begin(index, now);
        match self.write(Phase::Working(std::sync::Arc::new(begun))).await {
            Claim::Held => self.delivery.begin(index, now),
            claim => return self.after(claim),
        }
        self.report_fallback(hop);
        let too_late = self.now() + LEAST_TIME > self.delivery.challenge().expires_at;
        if right.has_lapsed() || too_late || self.missed_its_slot(hop, now) {
            return Some(Event::Blocked { hop: index, why: Blocked::NotWritten });
        }
        let verdict = self.send(hop, message, timeout).await;
        let at = self.now();
        let pause = self.account(hop, &verdict, at.since(now), (admitted, at));
        if let Some(lasting) = pause {
            self.pause_fleet(hop, verdict.scope, lasting).await;
        }
        Some(Event::Answered { verdict, at, segments })
    }

    /// Slot, permit, circuit: in this order, so that whoever waits for a slot starves nobody of a permit.
    async fn pace(&self, index: usize, hop: &Hop) -> Result<(Permit, Timestamp), Event> {
        let blocked = |why| Event::Blocked { hop: index, why };
        let pressure = &self.desk.tools.pressure;
        let (now, expires_at) = (self.now(), self.delivery.challenge().expires_at);
        if !self.delivery.holds_slot(index, now) {
            let slot = self.slot(index, hop, expires_at - LEAST_TIME).await?;
            let now = self.now();
            if slot > now {
                metrics::rate_limited(&hop.provider, "lane");
                let reserved = || blocked(Blocked::SlotReserved(slot));
                let place = self.desk.place_to_sleep(slot, now).ok_or_else(reserved)?;
                self.desk.sleep(&self.delivery.challenge().id, slot).await;
                drop(place);
                if self.now() < slot {
                    return Err(reserved());
                }
            }
        }
        let patience = PATIENCE.min(expires_at.since(self.now()));
        let permit = pressure.permit(&hop.provider, patience).await.ok_or_else(|| {
            metrics::rate_limited(&hop.provider, "in_flight");
            blocked(Blocked::SlotAt(self.now() + PATIENCE + self.spread()))
        })?;
        let now = self.now();
        match pressure.admit(&hop.provider, country(&self.delivery, hop), now) {
            Admission::Pass => Ok((permit, now)),
            Admission::OpenUntil(until) => Err(blocked(Blocked::CircuitOpen(until + self.spread() / 4))),
        }
    }

    /// Up to two seconds by the challenge's own chance, so that many that wait do not come back at once.
    fn spread(&self) -> Duration {
        self.desk.dice().up_to(PATIENCE)
    }

    /// What `hop` is asked to carry, and how many segments it has.
    fn message(&mut self, hop: &Hop, now: Timestamp) -> Option<(Message, Option<u32>)> {
        let tools = &self.desk.tools;
        let challenge = self.delivery.challenge();
        let locale = tools.policy.tenant(&challenge.tenant).and_then(|tenant| tenant.locale.as_deref());
        let method = challenge.methods.get(hop.method)?;
        let rendered = tools.texts.render(challenge, method, locale)?;
        let said = rendered.said;
        let message = Message {
            reference: tools.reader.reference(&challenge.id, self.delivery.next_attempt()),
            challenge: challenge.id.clone(),
            address: method.address.clone(),
            sender: hop.sender.clone(),
            title: said.title,
            text: said.text,
            code: challenge.code.clone(),
            language: rendered.language,
            purpose: challenge.purpose.clone(),
            tenant: challenge.tenant.clone(),
            validity: challenge.expires_at.since(now),
            callback_url: None,
        };
        if rendered.by_default {
            self.delivery.note(Note::TextDefault);
        }
        Some((message, said.segments))
    }

    /// Where news of the next attempt is wanted, where any can come. The ledger knows of it before anybody else.
    async fn callback(&self, hop: &Hop) -> Option<Secret> {
        let tools = &self.desk.tools;
        let id = &self.delivery.challenge().id;
        let hears = tools.policy.provider(&hop.provider, hop.channel).is_some_and(|provider| provider.receipts);
        let callbacks = tools.callbacks.as_ref().filter(|_| hears)?;
        let until = self.delivery.challenge().expires_at + tools.retention;
        let attempt = self.delivery.next_attempt();
        let (handle, address) = callbacks.address(&hop.provider, id, hop.channel, attempt, until)?;
        self.desk.remember_handle(handle, id, until).await;
        Some(address)
    }

    async fn send(&self, hop: &Hop, message: Option<Message>, timeout: Duration) -> Verdict {
        let Some(mut message) = message else {
            return Verdict::of(AttemptResult::Content).because("no text can be made for this channel");
        };
        let Some(provider) = self.desk.tools.roster.get(&hop.provider) else {
            return Verdict::of(AttemptResult::Provider).because("the provider is not configured any more");
        };
        // What remains now: the ledger may have taken its time since the message was made.
        message.validity = self.delivery.challenge().expires_at.since(self.now());
        let deadline = Clock::instant() + timeout.min(message.validity);
        // The provider keeps to the deadline itself and knows how far its request came; this one is for bugs.
        let reply = tokio::time::timeout_at(deadline + Duration::from_millis(200), provider.send(&message, deadline));
        let reply = reply.await.unwrap_or_else(|_| Reply::InDoubt { why: "no answer in time".to_owned() });
        let verdict = provider.classify(&message, &reply);
        if let Some(handle) = provider.handle_of(&verdict) {
            let challenge = self.delivery.challenge();
            self.desk.remember_handle(handle, &challenge.id, challenge.expires_at + self.desk.tools.retention).await;
        }
        verdict
    }

    /// Health, lanes, figures and the log line of an answer; says how long its lane pauses, where it does.
    fn account(
        &mut self,
        hop: &Hop,
        verdict: &Verdict,
        took: Duration,
        (begun, at): (Timestamp, Timestamp),
    ) -> Option<Duration> {
        let desk = std::sync::Arc::clone(&self.desk);
        let country = country(&self.delivery, hop);
        desk.tools.pressure.learn(hop, country, verdict, (begun, at), &mut self.dice);
        let pause = (verdict.result == AttemptResult::Throttled).then(|| {
            let tries = 1;
            backoff::after_throttled(&desk.tools.policy.retry, tries, verdict.retry_after, &mut self.dice)
        });
        if let Some(wait) = pause {
            desk.tools.pressure.pause(hop, verdict.scope, at + wait);
        }
        metrics::attempt(&hop.provider, hop.channel, country, verdict.result, took);
        let challenge = self.delivery.challenge();
        tracing::debug!(
            challenge.id = %challenge.id,
            provider = hop.provider.as_ref(),
            channel = hop.channel.as_str(),
            result = verdict.result.as_str(),
            code = verdict.code.as_deref(),
            took_ms = took.as_millis(),
            "attempt answered"
        );
        pause
    }

    fn report_fallback(&self, to: &Hop) {
        if let Some((from, report)) = self.delivery.attempts().next_back()
            && from.provider != to.provider
        {
            metrics::fallback(&from.provider, &to.provider, report.result.as_str());
        }
    }
}
