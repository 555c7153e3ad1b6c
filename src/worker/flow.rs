//! The path of a message, on one page: read, look, and then gather, decide, do until it is settled.
//!
//! Parked deliveries come back through `followups` into the same loop, so retrying, waiting for news and
//! restarting share one path.

use std::sync::Arc;

use tokio::task::JoinError;

use super::look::{Look, look};
use super::settle::{Letter, note_skew};
use super::{Desk, in_hand, signals};
use crate::broker::wire::challenge::Read;
use crate::broker::wire::parked::{self, Dead, Job, Returned, Work};
use crate::broker::wire::receipt::RECEIPT_TYPE;
use crate::broker::{DeathWhy, Delivered, Source, wire};
use crate::challenge::Note;
use crate::clock::{Dice, Timestamp};
use crate::delivery::{Delivery, Event, Fact, Facts, Step};
use crate::ledger::{Entry, Expected, Phase, Record, Written};
use crate::telemetry::metrics;

/// Handles one message to its end.
pub(super) async fn handle(desk: Arc<Desk>, delivered: Delivered) {
    if delivered.properties.kind.as_deref() == Some(RECEIPT_TYPE) && delivered.source != Source::Challenges {
        return signals::told(&desk, delivered).await;
    }
    match delivered.source {
        Source::Challenges => arrived(&desk, delivered, None).await,
        Source::Signals => signals::arrived(&desk, delivered).await,
        Source::Followups => returned(&desk, delivered, None).await,
        Source::Dead => {
            let death = delivered.death.clone();
            let expired = death.as_ref().is_some_and(|death| death.why == DeathWhy::Expired);
            let dead = Some(if expired { Dead::Expired } else { Dead::GivenUp });
            let from = death.and_then(|death| death.from);
            tracing::warn!(from = from.map(Source::as_str), expired, "the broker gave a message up");
            if delivered.properties.kind.as_deref() == Some(wire::PARKED_TYPE) {
                returned(&desk, delivered, dead).await;
            } else if from == Some(Source::Signals) {
                signals::arrived(&desk, delivered).await;
            } else {
                arrived(&desk, delivered, dead).await;
            }
        }
    }
}

/// A task that panicked has put its message back; the delivery limit bounds how often.
pub(super) fn report_panic(ended: Result<(), JoinError>) {
    if let Err(why) = ended
        && why.is_panic()
    {
        tracing::error!("a task panicked; its message will be delivered again");
    }
}

/// A challenge as upstream published it.
async fn arrived(desk: &Arc<Desk>, delivered: Delivered, dead: Option<Dead>) {
    let now = desk.tools.clock.now();
    match desk.tools.reader.challenge(&delivered.properties, &delivered.body, now) {
        Read::Good(mut challenge) => {
            if delivered.redelivered {
                challenge.notes.push(Note::Redelivered);
            }
            if let Some(at) = delivered.properties.timestamp {
                note_skew(at, now);
            }
            let job = Job { work: Work::Fresh(Arc::from(challenge)), seen: None, dead, due: now };
            work(desk, job, Letter::new(delivered, dead, now, desk)).await;
        }
        Read::Wrong(challenge, rejection) => {
            let letter = Letter::with_copy(delivered, "wrong", now, desk);
            desk.refuse(&challenge, rejection, letter).await;
        }
        Read::Unreadable(why) => desk.quarantine(delivered, &why).await,
    }
}

/// Something that was parked.
async fn returned(desk: &Arc<Desk>, delivered: Delivered, dead: Option<Dead>) {
    let now = desk.tools.clock.now();
    match parked::read(&delivered.body, &desk.tools.seal) {
        Returned::Job(mut job) => {
            job.dead = job.dead.or(dead);
            desk.recognise(&mut job);
            let letter = Letter::new(delivered, job.dead, now, desk);
            // What is dead and waits for nobody ends now; a shadow, dead or not, waits for whoever may still send.
            let waits = job.dead.is_none() || job.seen.is_some();
            if job.due > now && waits {
                wait_for_the_rest(desk, *job, letter, now).await;
            } else {
                work(desk, *job, letter).await;
            }
        }
        Returned::Signal { id, fact, until, due } => {
            desk.tools.clock.sleep_until(due.min(now + super::attempt::SHORTEST_DELAY)).await;
            signals::record(desk, id, fact, until, Letter::new(delivered, None, now, desk)).await;
        }
        Returned::Unopenable(envelope) => {
            if let Some(held) = desk.read(&envelope.id).await.and_then(what_was_parked) {
                // The ledger still holds what the message has lost.
                let letter = desk.set_aside(delivered, "unopenable").await;
                return work(desk, Job { work: held, seen: None, dead, due: now }, letter).await;
            }
            let letter = Letter::with_copy(delivered, "unopenable", now, desk);
            desk.conclude_unopenable(*envelope, letter).await;
        }
        Returned::Garbage => desk.quarantine(delivered, "not something that was parked").await,
    }
}

fn what_was_parked(record: Record) -> Option<Work> {
    match record.phase {
        Phase::Parked { delivery, .. } | Phase::Working(delivery) => {
            Some(Work::Continued { version: record.version, delivery })
        }
        Phase::FactsOnly | Phase::Concluded(_) => None,
    }
}

/// It came back before its time: a wait takes the longest level that fits, and then the rest.
async fn wait_for_the_rest(desk: &Arc<Desk>, job: Job, letter: Letter, now: Timestamp) {
    let id = &job.challenge().id;
    let record = desk.read(id).await;
    if look(&job, record.as_ref(), now) == Look::Ack {
        return letter.ack(desk).await;
    }
    match desk.place_to_sleep(job.due, now) {
        Some(_place) => {
            desk.sleep(id, job.due).await;
            // News is for whoever has the challenge; a shadow waits for that one's right to send, whatever comes.
            let waits = desk.draining.is_cancelled() || job.seen.is_some();
            if waits && desk.tools.clock.now() < job.due {
                return desk.park_again(job, letter).await;
            }
            work(desk, job, letter).await;
        }
        None => desk.park_again(job, letter).await,
    }
}

/// Looks at the record until what the message asks for is done, by whomever.
async fn work(desk: &Arc<Desk>, job: Job, letter: Letter) {
    let _held = in_hand::Held::new(desk, job.challenge().issued_at);
    let mut hand = Some((job, letter));
    let mut again = false;
    while let Some((job, letter)) = hand.take() {
        // Whoever lost the challenge and can't settle its message leaves both to the copy that comes.
        if std::mem::replace(&mut again, true) && letter.is_void() {
            return;
        }
        let record = desk.read(&job.challenge().id).await;
        let now = desk.tools.clock.now();
        let seen = look(&job, record.as_ref(), now);
        if matches!(seen, Look::Open | Look::AsItStood { .. })
            && let Some(word) = desk.recent.get(&job.challenge().id)
        {
            return desk.repeat(&word, letter).await;
        }
        hand = match (seen, record) {
            (Look::Open, record) => {
                let event = job.dead.map_or(Event::Look, gave_up);
                start(desk, job, letter, record.as_ref(), event).await
            }
            (Look::AsItStood { in_doubt }, record) => {
                start(desk, job, letter, record.as_ref(), Event::Lost { in_doubt }).await
            }
            (Look::Fire | Look::TakeOver, Some(record)) => go_on(desk, job, letter, &record, seen).await,
            (Look::Shadow, Some(record)) => return desk.shadow(job, &record, letter).await,
            (Look::PublishStored, Some(record)) => publish_stored(desk, job, letter, record).await,
            (Look::Conflict, Some(_)) => return desk.conflict(&job, letter).await,
            (Look::Ack, Some(_)) => {
                metrics::duplicate("message");
                return letter.ack(desk).await;
            }
            // Each of these is only ever said of a record.
            (Look::Fire | Look::TakeOver | Look::Shadow | Look::PublishStored | Look::Ack | Look::Conflict, None) => {
                None
            }
        };
    }
}

/// What the record stores is not known to be published: it may be, once it is this message's turn.
async fn publish_stored(desk: &Arc<Desk>, job: Job, letter: Letter, record: Record) -> Option<(Job, Letter)> {
    let turn = desk.turns.take(&job.challenge().id).await;
    let record = if turn.waited { desk.read(&job.challenge().id).await } else { Some(record) };
    match record {
        Some(record) if look(&job, Some(&record), desk.tools.clock.now()) == Look::PublishStored => {
            // Without a session it comes again by itself.
            if !letter.is_void() {
                desk.publish_stored(&job, &record, letter).await;
            }
            None
        }
        _ => Some((job, letter)),
    }
}

const fn gave_up(dead: Dead) -> Event {
    Event::Dead { expired: matches!(dead, Dead::Expired) }
}

/// Nobody has begun, or nobody remembers.
async fn start(
    desk: &Arc<Desk>,
    job: Job,
    letter: Letter,
    record: Option<&Record>,
    event: Event,
) -> Option<(Job, Letter)> {
    let delivery = match &job.work {
        Work::Fresh(challenge) => match Delivery::open(Arc::clone(challenge), &desk.tools.policy) {
            Ok(delivery) => delivery,
            Err(refused) => {
                let (challenge, rejection) = *refused;
                desk.refuse(&challenge, rejection, letter).await;
                return None;
            }
        },
        Work::Continued { delivery, .. } => delivery.as_ref().clone(),
    };
    let facts = record.map(|record| Arc::clone(&record.facts)).unwrap_or_default();
    let mut dice = desk.dice();
    let task = Task {
        desk: Arc::clone(desk),
        expected: Expected { version: None, facts: facts.len() },
        lineage: dice.number(),
        ending: matches!(event, Event::Lost { .. } | Event::Dead { .. }).then(|| event.clone()),
        announcing: None,
        unwritten: false,
        facts,
        delivery,
        dice,
        job,
        letter: Some(letter),
    };
    task.run(event).await
}

/// Its time has come, or its owner is gone.
async fn go_on(desk: &Arc<Desk>, job: Job, letter: Letter, record: &Record, seen: Look) -> Option<(Job, Letter)> {
    let (Phase::Parked { delivery, .. } | Phase::Working(delivery)) = &record.phase else { return None };
    let mut delivery = delivery.as_ref().clone();
    if record.published {
        delivery.interims_published();
    }
    let mut dice = desk.dice();
    // Also where a timer fires: copies of one timer must not take each other's writes for their own.
    let lineage = dice.number();
    let event = match (job.dead, seen) {
        (Some(dead), _) => gave_up(dead),
        (None, Look::TakeOver) => Event::TakenOver,
        (None, _) => Event::Look,
    };
    let task = Task {
        desk: Arc::clone(desk),
        expected: Expected { version: Some(record.version), facts: record.facts.len() },
        lineage,
        ending: job.dead.map(gave_up),
        announcing: None,
        unwritten: false,
        facts: Arc::clone(&record.facts),
        delivery,
        dice,
        job,
        letter: Some(letter),
    };
    task.run(event).await
}

/// One delivery in this worker's hands.
pub(super) struct Task {
    pub(super) desk: Arc<Desk>,
    pub(super) delivery: Delivery,
    pub(super) dice: Dice,
    pub(super) letter: Option<Letter>,
    pub(super) announcing: Option<tokio_util::task::AbortOnDropHandle<()>>,
    job: Job,
    expected: Expected,
    lineage: u64,
    facts: Arc<Vec<Fact>>,
    /// Whether the delivery knows an answer that the record does not.
    unwritten: bool,
    /// An event that ends the delivery; it holds when facts make the core decide again.
    ending: Option<Event>,
}

/// What came of an owner's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It holds.
    Held,
    /// Only the facts had changed; they are taken in now.
    FactsMoved,
    /// The record is gone.
    Gone,
    /// Somebody else speaks for the challenge.
    Lost,
}

impl Task {
    /// Gather, decide, do, until it is settled (`None`) or somebody else owns it (look again).
    async fn run(mut self, event: Event) -> Option<(Job, Letter)> {
        let mut step = self.decide(event);
        loop {
            let event = match step {
                Step::Attempt(hop) => match self.write_ahead().await {
                    Claim::Held => self.attempt(hop).await,
                    claim => self.after(claim),
                },
                Step::Wait(until) => match self.desk.place_to_sleep(until, self.now()) {
                    Some(_place) => match self.write_ahead().await {
                        Claim::Held => self.wait(until).await,
                        claim => self.after(claim),
                    },
                    None => match self.park(until).await {
                        Claim::Held => return None,
                        claim => self.after(claim),
                    },
                },
                Step::Conclude(outcome) => match self.conclude(*outcome).await {
                    Claim::Held => return None,
                    claim => self.after(claim),
                },
            };
            let Some(event) = event else {
                metrics::stale_step();
                return self.letter.take().map(|letter| (self.job, letter));
            };
            step = self.decide(event);
        }
    }

    /// Writes an answer before anything follows from it; parking and concluding write it themselves.
    async fn write_ahead(&mut self) -> Claim {
        if !self.unwritten {
            return Claim::Held;
        }
        let claim = self.write(Phase::Working(Arc::new(self.delivery.clone()))).await;
        if claim == Claim::Held {
            self.announce();
        }
        claim
    }

    fn decide(&mut self, event: Event) -> Step {
        self.unwritten |= matches!(event, Event::Answered { .. } | Event::TakenOver);
        let now = self.now();
        let conditions = self.desk.tools.pressure.conditions(&self.delivery, now);
        let facts = Facts { signals: &self.facts, conditions };
        self.delivery.advance(event, &facts, &self.desk.tools.policy, now, &mut self.dice)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.desk.tools.clock.now()
    }

    async fn wait(&mut self, until: Timestamp) -> Option<Event> {
        let id = self.delivery.challenge().id.clone();
        self.desk.sleep(&id, until).await;
        let claim = self.refresh().await;
        self.after(claim)
    }

    /// Takes in facts that came meanwhile; says whether the delivery is still this task's.
    pub(super) async fn refresh(&mut self) -> Claim {
        let record = self.desk.read(&self.delivery.challenge().id).await;
        self.compare(record)
    }

    fn compare(&mut self, record: Option<Record>) -> Claim {
        let (owner, facts) = match record {
            None => (None, Arc::default()),
            Some(record) if matches!(record.phase, Phase::FactsOnly) => (None, record.facts),
            Some(record) => (Some(record.version), record.facts),
        };
        if owner.is_some() && owner != self.expected.version {
            return Claim::Lost;
        }
        let gone = owner.is_none() && self.expected.version.is_some();
        self.expected = Expected { version: owner, facts: facts.len() };
        self.facts = facts;
        if gone { Claim::Gone } else { Claim::FactsMoved }
    }

    /// Writes the next state, if the record is still as expected.
    pub(super) async fn write(&mut self, phase: Phase) -> Claim {
        let challenge = self.delivery.challenge();
        // Another task of this worker said the last word, and the ledger was emptied since.
        if self.expected.version.is_none() && self.desk.recent.get(&challenge.id).is_some() {
            return Claim::Lost;
        }
        let version = match self.expected.version {
            None => crate::delivery::version::Version { lineage: self.lineage, step: 1 },
            Some(held) if held.lineage == self.lineage => held.next(),
            Some(held) => held.taken_over_by(self.lineage),
        };
        let keep_until = challenge.expires_at.max(self.now()) + self.desk.tools.retention;
        let entry = Entry { version, phase, content: challenge.content, keep_until };
        match self.desk.write(&challenge.id, self.expected, entry).await {
            Written::Done => {
                self.expected.version = Some(version);
                self.unwritten = false;
                Claim::Held
            }
            Written::Lost(record) => self.compare(record),
        }
    }

    /// What the core has to be told after a write that did not hold; `None` where another owns it now.
    pub(super) fn after(&mut self, claim: Claim) -> Option<Event> {
        match claim {
            Claim::Gone if self.delivery.may_have_arrived() => {
                let event = Event::Lost { in_doubt: false };
                self.ending = Some(event.clone());
                Some(event)
            }
            Claim::Held | Claim::FactsMoved | Claim::Gone => Some(self.ending.clone().unwrap_or(Event::Look)),
            Claim::Lost => None,
        }
    }

    /// The state that this task holds; only meaningful once a write has held.
    pub(super) const fn version(&self) -> Option<crate::delivery::version::Version> {
        self.expected.version
    }
}
