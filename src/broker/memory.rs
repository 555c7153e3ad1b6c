//! A broker inside this process: the embedded default of `demo`, and the test twin of [`super::rabbit`].
//!
//! Behaves as RabbitMQ does where the courier can tell: prefetch, redelivery when a session ends,
//! dead-lettering by time and by delivery count, delays, confirms that may be lost. It follows tokio's
//! clock, so a test can pause it, and it does what [`Trouble`] says, so a test can break it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::{
    Death, DeathWhy, Delivered, Envelope, Inbox, Link, LinkState, Outbox, Properties, Publication, PublishError, Route,
    Settle, Settlement, Source,
};
use crate::clock::Clock;

/// What goes wrong with one publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It is stored, but the confirm is lost and the session with it.
    ConfirmLost,
    /// It is not stored, and the session is lost.
    SessionLost,
    /// The broker says no.
    Refused,
    /// It is stored twice.
    Doubled,
}

/// What a test may watch of a broker's doings.
#[derive(Clone, Copy, Debug)]
pub enum Doing<'b> {
    /// It took a message, by whichever route.
    Stored(&'b Publication),
    /// A message was acked: it is gone for good.
    Left {
        /// Out of which queue.
        source: Source,
        /// What it came with.
        properties: &'b Properties,
        /// What it said.
        body: &'b Bytes,
    },
}

type Troubles = Box<dyn FnMut(&Publication) -> Trouble + Send>;
type Watcher = Box<dyn FnMut(Doing<'_>) + Send>;

/// A broker. Clones are the same one.
#[derive(Clone)]
pub struct MemoryBroker {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

struct State {
    queues: HashMap<Source, VecDeque<Stored>>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: HashMap<u64, (Source, Stored)>,
    /// By number: when they all end, what they held goes back in the same order every time.
    sessions: BTreeMap<u64, Session>,
    listeners: Vec<mpsc::UnboundedSender<Publication>>,
    quarantine: Vec<Publication>,
    replies: Vec<Publication>,
    delivery_limit: u32,
    troubles: Option<Troubles>,
    watcher: Option<Watcher>,
    next: u64,
}

struct Session {
    alive: Arc<AtomicBool>,
    unacked: BTreeMap<u64, (Source, Stored)>,
    /// How many of them came from each queue.
    held: HashMap<Source, usize>,
    prefetch: usize,
    consuming: bool,
}

#[derive(Clone)]
struct Stored {
    routing_key: String,
    properties: Properties,
    body: Bytes,
    deliveries: u32,
    expires: Option<Instant>,
    death: Option<Death>,
}

/// The order in which queues are served: signals and follow-ups carry deadlines that already run.
const ORDER: [Source; 4] = [Source::Signals, Source::Followups, Source::Dead, Source::Challenges];

impl MemoryBroker {
    /// An empty broker that dead-letters what was delivered more than `delivery_limit` times.
    #[must_use]
    pub fn new(delivery_limit: u32) -> Self {
        let state = State {
            queues: HashMap::new(),
            timers: BinaryHeap::new(),
            waiting: HashMap::new(),
            sessions: BTreeMap::new(),
            listeners: Vec::new(),
            quarantine: Vec::new(),
            replies: Vec::new(),
            delivery_limit,
            troubles: None,
            watcher: None,
            next: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), wake: Arc::new(Notify::new()) }
    }

    /// A connection that holds at most `prefetch` unsettled messages of each queue. Dropping the inbox ends it.
    #[must_use]
    pub fn connect(&self, prefetch: usize) -> Link {
        let current = self.lock().open(prefetch);
        let (sender, state) = watch::channel(LinkState::Ready);
        let client =
            Client { broker: self.clone(), current: Arc::new(Mutex::new(current)), prefetch, state: Arc::new(sender) };
        Link { inbox: Box::new(MemoryInbox(client.clone())), outbox: Arc::new(client), state }
    }

    /// Publishes as upstream would, with a time to live where `expiration` is given.
    pub fn publish_challenge(
        &self,
        routing_key: &str,
        properties: Properties,
        body: impl Into<Bytes>,
        expiration: Option<Duration>,
    ) {
        let route = Route::Challenge(routing_key.to_owned());
        self.store(&Publication { route, properties, body: body.into(), expiration });
    }

    /// Everything that is published to the outcomes exchange from now on.
    #[must_use]
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Publication> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.push(sender);
        receiver
    }

    /// What is in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Publication> {
        self.lock().quarantine.clone()
    }

    /// The copies that `reply_to` asked for.
    #[must_use]
    pub fn replies(&self) -> Vec<Publication> {
        self.lock().replies.clone()
    }

    /// Asks `troubles` about every publication from now on.
    pub fn set_troubles(&self, troubles: impl FnMut(&Publication) -> Trouble + Send + 'static) {
        self.lock().troubles = Some(Box::new(troubles));
    }

    /// Shows `watcher` every message that comes and goes from now on, under the broker's lock.
    pub fn watch(&self, watcher: impl FnMut(Doing<'_>) + Send + 'static) {
        self.lock().watcher = Some(Box::new(watcher));
    }

    /// Ends every session, as a restart of the broker does: what was unacked is delivered again.
    pub fn drop_sessions(&self) {
        let mut state = self.lock();
        let numbers: Vec<u64> = state.sessions.keys().copied().collect();
        for number in numbers {
            state.end(number);
        }
        drop(state);
        self.wake.notify_waiters();
    }

    /// How many messages are in queues, delayed, or unsettled; nothing is left when this is 0.
    #[must_use]
    pub fn pending(&self) -> usize {
        let state = self.lock();
        let queued: usize = state.queues.values().map(VecDeque::len).sum();
        let unacked: usize = state.sessions.values().map(|session| session.unacked.len()).sum();
        queued + unacked + state.waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, publication: &Publication) {
        self.lock().store(publication);
        self.wake.notify_waiters();
    }

    fn end_session(&self, number: u64) {
        self.lock().end(number);
        self.wake.notify_waiters();
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn open(&mut self, prefetch: usize) -> (u64, Arc<AtomicBool>) {
        let number = self.number();
        let alive = Arc::new(AtomicBool::new(true));
        let session = Session {
            alive: Arc::clone(&alive),
            unacked: BTreeMap::new(),
            held: HashMap::new(),
            prefetch,
            consuming: true,
        };
        self.sessions.insert(number, session);
        (number, alive)
    }

    fn tell(&mut self, doing: Doing<'_>) {
        if let Some(watcher) = &mut self.watcher {
            watcher(doing);
        }
    }

    fn store(&mut self, publication: &Publication) {
        self.tell(Doing::Stored(publication));
        let now = Clock::instant();
        let stored = Stored {
            routing_key: String::new(),
            properties: publication.properties.clone(),
            body: publication.body.clone(),
            deliveries: 0,
            expires: publication.expiration.map(|ttl| now + ttl),
            death: None,
        };
        match &publication.route {
            Route::Outcome(_) => self.listeners.retain(|listener| listener.send(publication.clone()).is_ok()),
            Route::Quarantine => self.quarantine.push(publication.clone()),
            Route::Reply(_) => self.replies.push(publication.clone()),
            Route::Signals => self.enqueue(Source::Signals, stored),
            Route::Followups => self.enqueue(Source::Followups, stored),
            Route::Delay(level) => {
                self.delay(
                    now + Duration::from_millis(u64::from(*level)),
                    Source::Followups,
                    Stored { expires: None, ..stored },
                );
            }
            Route::Challenge(key) => {
                let source = if key.starts_with("challenge.requested") { Source::Challenges } else { Source::Signals };
                self.enqueue(source, Stored { routing_key: key.clone(), ..stored });
            }
        }
    }

    fn enqueue(&mut self, source: Source, stored: Stored) {
        if let Some(at) = stored.expires {
            let number = self.number();
            self.timers.push(Reverse((at, number)));
        }
        self.queues.entry(source).or_default().push_back(stored);
    }

    fn delay(&mut self, at: Instant, source: Source, stored: Stored) {
        let number = self.number();
        self.timers.push(Reverse((at, number)));
        self.waiting.insert(number, (source, stored));
    }

    /// Ends a session: what it had not settled goes back to the front, in order.
    fn end(&mut self, number: u64) {
        let Some(session) = self.sessions.remove(&number) else { return };
        session.alive.store(false, Ordering::Release);
        for (source, stored) in session.unacked.into_values().rev() {
            self.requeue(source, stored);
        }
    }

    fn requeue(&mut self, source: Source, stored: Stored) {
        if stored.deliveries > self.delivery_limit && source != Source::Dead {
            self.bury(source, stored, DeathWhy::DeliveryLimit);
        } else {
            self.queues.entry(source).or_default().push_front(stored);
        }
    }

    fn bury(&mut self, source: Source, stored: Stored, why: DeathWhy) {
        let death = Some(Death { why, from: Some(source) });
        self.queues.entry(Source::Dead).or_default().push_back(Stored {
            deliveries: 0,
            expires: None,
            death,
            ..stored
        });
    }

    /// Moves on what time has made due; says when to look again.
    fn turn(&mut self) -> Option<Instant> {
        let now = Clock::instant();
        while let Some(Reverse((at, number))) = self.timers.peek().copied() {
            if at > now {
                return Some(at);
            }
            self.timers.pop();
            match self.waiting.remove(&number) {
                Some((source, stored)) => self.enqueue(source, stored),
                None => self.bury_expired(now),
            }
        }
        None
    }

    fn bury_expired(&mut self, now: Instant) {
        for source in [Source::Challenges, Source::Signals] {
            let queue = self.queues.entry(source).or_default();
            let (over, kept) =
                queue.drain(..).partition::<VecDeque<_>, _>(|stored| stored.expires.is_some_and(|at| at <= now));
            *queue = kept;
            for stored in over {
                self.bury(source, stored, DeathWhy::Expired);
            }
        }
    }

    fn next_for(&mut self, number: u64, broker: &Arc<dyn Settle>) -> Option<Delivered> {
        let session = self.sessions.get(&number).filter(|session| session.consuming)?;
        let held = |source: Source| session.held.get(&source).copied().unwrap_or_default();
        let source = ORDER.into_iter().find(|source| {
            self.queues.get(source).is_some_and(|queue| !queue.is_empty()) && held(*source) < session.prefetch
        })?;
        let mut stored = self.queues.get_mut(&source)?.pop_front()?;
        let tag = self.number();
        let redelivered = stored.deliveries > 0;
        stored.deliveries += 1;
        let delivered = Delivered {
            source,
            routing_key: stored.routing_key.clone(),
            properties: stored.properties.clone(),
            body: stored.body.clone(),
            redelivered,
            death: stored.death.clone(),
            envelope: Envelope::new(tag, Arc::clone(broker)),
        };
        let session = self.sessions.get_mut(&number)?;
        session.unacked.insert(tag, (source, stored));
        *session.held.entry(source).or_default() += 1;
        Some(delivered)
    }
}

/// One session's view, for settling.
struct SessionHandle {
    broker: MemoryBroker,
    number: u64,
    alive: Arc<AtomicBool>,
}

impl Settle for SessionHandle {
    fn settle(&self, tag: u64, how: Settlement) {
        let mut state = self.broker.lock();
        let Some(session) = state.sessions.get_mut(&self.number) else { return };
        let Some((source, stored)) = session.unacked.remove(&tag) else { return };
        if let Some(held) = session.held.get_mut(&source) {
            *held -= 1;
        }
        match how {
            Settlement::Requeue => state.requeue(source, stored),
            Settlement::Ack => {
                state.tell(Doing::Left { source, properties: &stored.properties, body: &stored.body });
            }
        }
        drop(state);
        self.broker.wake.notify_waiters();
    }

    fn is_void(&self) -> bool {
        !self.alive.load(Ordering::Acquire)
    }
}

#[derive(Clone)]
struct Client {
    broker: MemoryBroker,
    current: Arc<Mutex<(u64, Arc<AtomicBool>)>>,
    prefetch: usize,
    state: Arc<watch::Sender<LinkState>>,
}

impl Client {
    fn session(&self) -> (u64, Arc<AtomicBool>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A lost session is replaced, as the transport to a real broker does.
    fn adopt(&self, opened: (u64, Arc<AtomicBool>)) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = opened;
        self.state.send_replace(LinkState::Ready);
    }
}

#[async_trait]
impl Outbox for Client {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        // A confirm takes its time: others run meanwhile.
        tokio::task::yield_now().await;
        let mut state = self.broker.lock();
        let (number, alive) = self.session();
        if !alive.load(Ordering::Acquire) {
            return Err(PublishError::Unavailable("the session is gone".to_owned()));
        }
        let trouble = state.troubles.as_mut().map_or(Trouble::None, |troubles| troubles(publication));
        let stored_times = match trouble {
            Trouble::None | Trouble::ConfirmLost => 1,
            Trouble::Doubled => 2,
            Trouble::SessionLost | Trouble::Refused => 0,
        };
        for _ in 0..stored_times {
            state.store(publication);
        }
        drop(state);
        self.broker.wake.notify_waiters();
        match trouble {
            Trouble::None | Trouble::Doubled => Ok(()),
            Trouble::Refused => Err(PublishError::Refused),
            Trouble::ConfirmLost | Trouble::SessionLost => {
                self.broker.end_session(number);
                Err(PublishError::Unknown("the session ended".to_owned()))
            }
        }
    }
}

struct MemoryInbox(Client);

#[async_trait]
impl Inbox for MemoryInbox {
    async fn next(&mut self) -> Option<Delivered> {
        let broker = self.0.broker.clone();
        loop {
            let woken = broker.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let (number, alive) = self.0.session();
            let due = {
                let mut state = broker.lock();
                let due = state.turn();
                match state.sessions.get(&number) {
                    None => {
                        let opened = state.open(self.0.prefetch);
                        drop(state);
                        self.0.adopt(opened);
                        continue;
                    }
                    Some(session) if !session.consuming => return None,
                    Some(_) => {}
                }
                let handle: Arc<dyn Settle> = Arc::new(SessionHandle { broker: broker.clone(), number, alive });
                if let Some(delivered) = state.next_for(number, &handle) {
                    return Some(delivered);
                }
                due
            };
            match due {
                Some(at) => drop(tokio::time::timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    async fn stop(&mut self) {
        let (number, _) = self.0.session();
        if let Some(session) = self.0.broker.lock().sessions.get_mut(&number) {
            session.consuming = false;
        }
        self.0.broker.wake.notify_waiters();
    }
}

impl Drop for MemoryInbox {
    fn drop(&mut self) {
        let (number, _) = self.0.session();
        self.0.broker.end_session(number);
    }
}
