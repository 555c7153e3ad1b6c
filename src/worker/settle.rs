//! Speaking and settling: write ahead, publish what is stored, ack last, then mark it published.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::Desk;
use super::flow::{Claim, Task};
use super::look::{Look, look};
use crate::broker::wire::parked::{self, Dead, Job, Work};
use crate::broker::{Delivered, Envelope, Publication, PublishError, Route, delay_level, wire};
use crate::challenge::{Challenge, ChallengeId, Handle, Origin};
use crate::clock::Timestamp;
use crate::delivery::Delivery;
use crate::delivery::admission::Rejection;
use crate::delivery::outcome::{Outcome, Reason, Status, conflict_id};
use crate::delivery::version::Version;
use crate::ledger::{Appended, Entry, Expected, Phase, Record, Word, Written};
use crate::telemetry::metrics;

/// The first and the longest wait before something is tried again that has to succeed.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A message to be settled, and the copy of it that goes to quarantine first, if one has to.
#[derive(Debug)]
pub(super) struct Letter {
    envelope: Envelope,
    copy: Option<Box<(&'static str, Publication)>>,
}

impl Letter {
    /// What the broker gave up goes to quarantine when it is settled.
    pub(super) fn new(delivered: Delivered, dead: Option<Dead>, now: Timestamp, desk: &Desk) -> Self {
        match dead {
            Some(Dead::Expired) => Self::with_copy(delivered, "expired", now, desk),
            Some(Dead::GivenUp) => Self::with_copy(delivered, "given_up", now, desk),
            None => Self { envelope: delivered.envelope, copy: None },
        }
    }

    /// A message that goes to quarantine when it is settled.
    pub(super) fn with_copy(delivered: Delivered, why: &'static str, now: Timestamp, desk: &Desk) -> Self {
        let Delivered { source, properties, body, envelope, .. } = delivered;
        let copy =
            wire::quarantined(source.as_str(), why, properties, body, now, desk.tools.quarantine_ttl, &desk.tools.seal);
        Self { envelope, copy: Some(Box::new((why, copy))) }
    }

    /// The last act: acks, after its copy is in quarantine.
    pub(super) async fn ack(self, desk: &Desk) {
        if let Some((why, copy)) = self.copy.map(|copy| *copy) {
            metrics::quarantined(why);
            desk.publish(&copy).await;
        }
        self.envelope.ack();
    }

    /// Whether the session it came from is gone: a copy will come, and this one can't be settled.
    pub(super) fn is_void(&self) -> bool {
        self.envelope.is_void()
    }
}

impl Desk {
    /// Publishes until the broker has it.
    pub(super) async fn publish(&self, publication: &Publication) {
        self.publish_unless(|| false, publication).await;
    }

    /// Publishes until the broker has it, or it is `needless`; says whether the broker has it.
    async fn publish_unless(&self, needless: impl Fn() -> bool + Send, publication: &Publication) -> bool {
        let mut wait = FIRST_WAIT;
        while !needless() {
            match self.tools.outbox.publish(publication).await {
                Ok(()) => return true,
                Err(why) => {
                    let id = publication.properties.message_id.as_deref();
                    tracing::warn!(message.id = id, route = ?publication.route, %why, "could not publish; trying again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        false
    }

    /// Says a last word: its interims, the final outcome, the copies that were asked for.
    pub(super) async fn say(&self, word: &Word) {
        for publication in word.interims.iter().chain([&word.last]) {
            self.publish(publication).await;
            self.copy_to(word.reply_to.as_deref(), publication).await;
        }
    }

    /// Best effort: a queue that is gone is its owner's affair.
    async fn copy_to(&self, reply_to: Option<&str>, publication: &Publication) {
        let Some(queue) = reply_to else { return };
        let copy = Publication { route: Route::Reply(queue.to_owned()), ..publication.clone() };
        match self.tools.outbox.publish(&copy).await {
            Ok(()) => {}
            Err(PublishError::Unroutable) => metrics::unroutable_reply(),
            Err(why) => tracing::warn!(%why, "could not publish the copy that reply_to asked for"),
        }
    }

    /// Publishes a concluded word, acks, marks it published.
    pub(super) async fn conclude(&self, id: &ChallengeId, version: Version, word: &Arc<Word>, letter: Letter) {
        self.say(word).await;
        letter.ack(self).await;
        self.mark_published(id, version).await;
        self.remember(id, word);
    }

    /// The ledger has forgotten what this worker said: it says the same again.
    pub(super) async fn repeat(&self, word: &Word, letter: Letter) {
        metrics::duplicate("forgotten");
        self.say(word).await;
        letter.ack(self).await;
    }

    /// Publishes what a record stores: its last word, or its continuation.
    pub(super) async fn publish_stored(&self, job: &Job, record: &Record, letter: Letter) {
        metrics::duplicate("message");
        let id = &job.challenge().id;
        match &record.phase {
            Phase::Concluded(word) => self.conclude(id, record.version, word, letter).await,
            Phase::Parked { delivery, due } => self.continue_later(record.version, delivery, *due, letter).await,
            Phase::FactsOnly | Phase::Working(_) => {}
        }
    }

    /// Publishes a continuation and the interims that came before it, acks, marks it published.
    pub(super) async fn continue_later(
        &self,
        version: Version,
        delivery: &Arc<Delivery>,
        due: Timestamp,
        letter: Letter,
    ) {
        let origin = &delivery.challenge().origin;
        for interim in delivery.interims() {
            let publication = wire::outcome(interim, origin);
            self.publish(&publication).await;
            self.copy_to(origin.reply_to.as_deref(), &publication).await;
        }
        let mut parked = Arc::clone(delivery);
        if !parked.interims().is_empty() {
            Arc::make_mut(&mut parked).interims_published();
        }
        let id = parked.challenge().id.clone();
        let job = Job { work: Work::Continued { version, delivery: parked }, seen: None, dead: None, due };
        self.publish(&self.parked(&job)).await;
        letter.ack(self).await;
        self.mark_published(&id, version).await;
    }

    fn parked(&self, job: &Job) -> Publication {
        let wait = job.due.since(self.tools.clock.now());
        let route = delay_level(wait).map_or(Route::Followups, Route::Delay);
        parked::job(job, self.tools.ledger.epoch(), route, &self.tools.seal)
    }

    /// Parks the rest of a wait.
    pub(super) async fn park_again(&self, job: Job, letter: Letter) {
        // Nothing but the message itself is carried on here: where it comes again by itself, that is enough, and
        // every other copy could have copies of its own.
        if self.publish_unless(|| letter.is_void(), &self.parked(&job)).await {
            letter.envelope.ack();
        }
    }

    /// Parks a message whose challenge somebody works on. It comes back when whoever that is may no longer send.
    pub(super) async fn shadow(&self, job: Job, record: &Record, letter: Letter) {
        let right = self.tools.clock.now() + self.tools.policy.longest_send_right();
        // The deadline that holds is the record's: a `ttl` that is read again counts from this arrival.
        let deadline = match &record.phase {
            Phase::Working(delivery) | Phase::Parked { delivery, .. } => delivery.challenge().expires_at,
            Phase::FactsOnly | Phase::Concluded(_) => job.challenge().expires_at,
        };
        metrics::duplicate("shadow");
        self.park_again(Job { seen: Some(record.version), due: right.min(deadline), ..job }, letter).await;
    }

    /// Another content under an id that is taken: nothing is sent, and upstream learns of it.
    pub(super) async fn conflict(&self, job: &Job, letter: Letter) {
        self.say_conflict(job.challenge()).await;
        letter.ack(self).await;
    }

    async fn say_conflict(&self, challenge: &Challenge) {
        metrics::duplicate("conflict");
        tracing::warn!(challenge.id = %challenge.id, "another content came under the same id; nothing is sent for it");
        let now = self.tools.clock.now();
        let mut outcome = Outcome::about(challenge, Status::Rejected, Some(Reason::DuplicateId), now);
        outcome.id = conflict_id(&challenge.id, challenge.content);
        outcome.is_final = false;
        self.say(&word_of(&[], &outcome, &challenge.origin)).await;
    }

    /// A challenge that is not deliverable as asked gets its final outcome, unless it got one already.
    pub(super) async fn refuse(&self, challenge: &Challenge, rejection: Rejection, letter: Letter) {
        let now = self.tools.clock.now();
        let expired = now >= challenge.expires_at && rejection.reason != Reason::Malformed;
        let (status, reason) =
            if expired { (Status::Expired, Reason::ExpiredOnArrival) } else { (Status::Rejected, rejection.reason) };
        let mut outcome = Outcome::about(challenge, status, Some(reason), now);
        if !expired {
            outcome.field = rejection.field;
        }
        self.conclude_alone(challenge, outcome, letter, None).await;
    }

    /// A parked message that can't be opened any more: its challenge ends as its envelope says it stood.
    pub(super) async fn conclude_unopenable(&self, envelope: parked::Envelope, letter: Letter) {
        tracing::error!(challenge.id = %envelope.id, "a parked message can't be opened; its challenge ends as it stood");
        let now = self.tools.clock.now();
        let (status, reason) = match envelope.status {
            Some(_) => (Status::Unknown, Reason::InDoubt),
            None => (Status::Failed, Reason::Internal),
        };
        let challenge = self.tools.reader.stand_in(envelope, now);
        let outcome = Outcome::about(&challenge, status, Some(reason), now);
        self.conclude_alone(&challenge, outcome, letter, Some(Version { lineage: 0, step: 0 })).await;
    }

    /// Concludes a challenge that there is no delivery for. `seen` where its message is not an original, whose
    /// content could be held against the record's.
    async fn conclude_alone(&self, challenge: &Challenge, outcome: Outcome, letter: Letter, seen: Option<Version>) {
        let _turn = self.turns.take(&challenge.id).await;
        let word = Arc::new(word_of(&[], &outcome, &challenge.origin));
        let mut dice = self.dice();
        let version = Version { lineage: dice.number(), step: 1 };
        let mut facts = 0;
        loop {
            let keep_until = self.tools.clock.now() + self.tools.retention;
            let entry =
                Entry { version, phase: Phase::Concluded(Arc::clone(&word)), content: challenge.content, keep_until };
            match self.write(&challenge.id, Expected { version: None, facts }, entry).await {
                Written::Done => {
                    self.count(&outcome, challenge);
                    return self.conclude(&challenge.id, version, &word, letter).await;
                }
                Written::Lost(None) => facts = 0,
                Written::Lost(Some(record)) if matches!(record.phase, Phase::FactsOnly) => facts = record.facts.len(),
                Written::Lost(Some(record)) => return self.already(challenge, &record, letter, seen).await,
            }
        }
    }

    /// Somebody speaks for this id already.
    async fn already(&self, challenge: &Challenge, record: &Record, letter: Letter, seen: Option<Version>) {
        let now = self.tools.clock.now();
        let job = Job { work: Work::Fresh(Arc::new(challenge.clone())), seen, dead: None, due: now };
        match look(&job, Some(record), now) {
            Look::Conflict => self.conflict(&job, letter).await,
            Look::PublishStored => self.publish_stored(&job, record, letter).await,
            Look::Ack => letter.ack(self).await,
            Look::Shadow | Look::TakeOver | Look::Fire | Look::Open | Look::AsItStood { .. } => {
                self.shadow(job, record, letter).await;
            }
        }
    }

    /// Something that can't be read goes to quarantine, whole.
    pub(super) async fn quarantine(&self, delivered: Delivered, why: &str) {
        tracing::warn!(
            from = delivered.source.as_str(),
            bytes = delivered.body.len(),
            why,
            "a message can't be read; it goes to quarantine"
        );
        metrics::quarantined("unreadable");
        let now = self.tools.clock.now();
        let Delivered { source, properties, body, envelope, .. } = delivered;
        let copy =
            wire::quarantined(source.as_str(), why, properties, body, now, self.tools.quarantine_ttl, &self.tools.seal);
        self.publish(&copy).await;
        envelope.ack();
    }

    /// A copy of it goes to quarantine now; it is settled later.
    pub(super) async fn set_aside(&self, delivered: Delivered, why: &'static str) -> Letter {
        let Letter { envelope, copy } = Letter::with_copy(delivered, why, self.tools.clock.now(), self);
        if let Some((why, copy)) = copy.map(|copy| *copy) {
            metrics::quarantined(why);
            self.publish(&copy).await;
        }
        Letter { envelope, copy: None }
    }

    /// Figures and the log line of a final outcome.
    pub(super) fn count(&self, outcome: &Outcome, challenge: &Challenge) {
        let now = self.tools.clock.now();
        let known = challenge.tenant == "default" || self.tools.policy.tenants.contains_key(&challenge.tenant);
        let tenant = if known { challenge.tenant.as_str() } else { metrics::OTHER };
        let first = challenge.methods.first().map(crate::challenge::Method::channel);
        metrics::challenge(first, tenant, outcome.status.as_str());
        metrics::outcome(outcome.status, outcome.channel, outcome.reason);
        metrics::concluded(
            outcome.channel,
            outcome.status,
            now.since(challenge.issued_at),
            now.since(challenge.expires_at),
        );
        if outcome.attempts.iter().filter(|attempt| attempt.result.may_have_arrived()).count() > 1 {
            metrics::second_copy();
        }
        tracing::info!(
            challenge.id = %challenge.id,
            session.id = challenge.session_id.as_deref(),
            tenant = challenge.tenant,
            status = outcome.status.as_str(),
            reason = outcome.reason.map(Reason::as_str),
            channel = outcome.channel.map(crate::challenge::Channel::as_str),
            provider = outcome.provider.as_deref(),
            destination = outcome.destination.as_deref(),
            attempts = outcome.attempts.len(),
            took_ms = now.since(challenge.arrived_at).as_millis(),
            "challenge concluded"
        );
    }

    /// Parked work carries a content hash of another life; this worker compares by its own.
    pub(super) fn recognise(&self, job: &mut Job) {
        let content = self.tools.reader.content_of(job.challenge());
        match &mut job.work {
            Work::Fresh(challenge) => Arc::make_mut(challenge).content = content,
            Work::Continued { delivery, .. } => Arc::make_mut(delivery).recognise_as(content),
        }
    }

    /// Reads a record, however long the ledger takes to answer.
    pub(super) async fn read(&self, id: &ChallengeId) -> Option<Record> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.tools.ledger.read(id).await {
                Ok(record) => return record,
                Err(why) => self.ledger_failed(&why, &mut wait).await,
            }
        }
    }

    pub(super) async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Written {
        let mut wait = FIRST_WAIT;
        let mut in_doubt = false;
        loop {
            match self.tools.ledger.write(id, expected, entry.clone()).await {
                // It was written when its answer was lost: no other task writes this lineage.
                Ok(Written::Lost(Some(record))) if in_doubt && record.version == entry.version => return Written::Done,
                Ok(written) => return written,
                Err(why) => self.ledger_failed(&why, &mut wait).await,
            }
            in_doubt = true;
        }
    }

    /// Remembers by what a receipt will find a challenge, however long the ledger takes to answer.
    pub(super) async fn remember_handle(&self, handle: Handle, id: &ChallengeId, until: Timestamp) {
        let mut wait = FIRST_WAIT;
        while let Err(why) = self.tools.ledger.remember(handle, id, until).await {
            self.ledger_failed(&why, &mut wait).await;
        }
    }

    /// Appends a fact; `None` where the ledger can't take it now.
    pub(super) async fn append(&self, id: &ChallengeId, fact: crate::delivery::Fact) -> Option<Appended> {
        let keep_until = self.tools.clock.now() + self.tools.retention;
        match self.tools.ledger.append(id, fact, keep_until).await {
            Ok(appended) => Some(appended),
            Err(why) => {
                metrics::ledger_error();
                tracing::warn!(%why, "a signal can't be recorded now; it is parked");
                None
            }
        }
    }

    pub(super) async fn ledger_failed(&self, why: &crate::ledger::LedgerError, wait: &mut Duration) {
        metrics::ledger_error();
        tracing::warn!(%why, "the ledger failed; trying again");
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(LONGEST_WAIT);
    }

    /// Lazily: where it fails, a later copy publishes the same bytes again.
    async fn mark_published(&self, id: &ChallengeId, version: Version) {
        if let Err(why) = self.tools.ledger.mark_published(id, version).await {
            metrics::ledger_error();
            tracing::debug!(%why, "could not mark as published");
        }
    }
}

/// Everything that a conclusion publishes.
pub(super) fn word_of(interims: &[Outcome], last: &Outcome, origin: &Origin) -> Word {
    Word {
        interims: interims.iter().map(|interim| wire::outcome(interim, origin)).collect(),
        last: wire::outcome(last, origin),
        reply_to: origin.reply_to.clone(),
    }
}

/// Upstream's clock against this one, where AMQP's whole seconds tell a difference.
pub(super) fn note_skew(published_at: Timestamp, now: Timestamp) {
    let ahead = published_at.since(now);
    if ahead >= Duration::from_secs(1) {
        metrics::clock_skew(-ahead.as_secs_f64());
    }
}

impl Task {
    /// Publishes interim outcomes beside the next attempt.
    pub(super) fn announce(&mut self) {
        let challenge = self.delivery.challenge();
        let interims = self.delivery.interims().iter();
        let publications: Vec<_> = interims.map(|interim| wire::outcome(interim, &challenge.origin)).collect();
        if publications.is_empty() {
            return;
        }
        let (desk, reply_to, before) =
            (Arc::clone(&self.desk), challenge.origin.reply_to.clone(), self.announcing.take());
        self.announcing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            for publication in publications {
                desk.publish(&publication).await;
                desk.copy_to(reply_to.as_deref(), &publication).await;
            }
        })));
        self.delivery.interims_published();
    }

    /// Interims come before what follows from them.
    async fn announced(&mut self) {
        if let Some(announcing) = self.announcing.take() {
            let _ = announcing.await;
        }
    }

    /// Write ahead, publish the continuation, ack.
    pub(super) async fn park(&mut self, due: Timestamp) -> Claim {
        let desk = Arc::clone(&self.desk);
        let _turn = desk.turns.take(&self.delivery.challenge().id).await;
        let delivery = Arc::new(self.delivery.clone());
        let claim = self.write(Phase::Parked { delivery: Arc::clone(&delivery), due }).await;
        if claim == Claim::Held
            && let (Some(version), Some(letter)) = (self.version(), self.letter.take())
        {
            self.announced().await;
            desk.continue_later(version, &delivery, due, letter).await;
        }
        claim
    }

    /// Write ahead, publish the final outcome, ack.
    pub(super) async fn conclude(&mut self, outcome: Outcome) -> Claim {
        let desk = Arc::clone(&self.desk);
        let challenge = self.delivery.challenge();
        let _turn = desk.turns.take(&challenge.id).await;
        let word = Arc::new(word_of(self.delivery.interims(), &outcome, &challenge.origin));
        let claim = self.write(Phase::Concluded(Arc::clone(&word))).await;
        if claim == Claim::Held
            && let (Some(version), Some(letter)) = (self.version(), self.letter.take())
        {
            self.announced().await;
            let challenge = self.delivery.challenge();
            desk.count(&outcome, challenge);
            desk.conclude(&challenge.id, version, &word, letter).await;
        }
        claim
    }
}
