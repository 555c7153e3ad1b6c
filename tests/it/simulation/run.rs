//! Carries a plan out in a world and keeps its history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mfa_courier::broker::memory::{MemoryBroker, Trouble};
use mfa_courier::broker::{Outbox, Properties};
use mfa_courier::challenge::ChallengeId;
use mfa_courier::clock::{Clock, Dice, Timestamp};
use mfa_courier::delivery::SLOT_KEEPS;
use mfa_courier::delivery::policy::Policy;
use mfa_courier::ledger::lanes::FleetLanes;
use mfa_courier::ledger::lanes::memory::MemoryLanes;
use mfa_courier::ledger::memory::MemoryLedger;
use mfa_courier::ledger::{Ledger, Phase};
use mfa_courier::worker::{Ended, Tools};

use super::around::{FarLanes, FarLedger, FarOutbox, Way};
use super::history::{History, Life, Request, Rest};
use super::plan::{Ask, Kind, LIMITED, Odds, Plan, Step};
use crate::world::{BEGIN, Sent, World, reader};

/// Each loss brings back all that is in hand: beyond this, a world would do nothing else.
const MOST_SESSIONS_LOST: u32 = 40;
/// The drain that every worker is given.
const DRAIN: Duration = Duration::from_secs(25);
/// Long enough for every deadline of a plan to pass, and for what waits behind it.
const LONG: Duration = Duration::from_mins(5);

/// Runs the world of a plan in its own virtual time.
pub(crate) fn run(plan: Plan) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { Simulation::new(plan).play().await })
}

struct Simulation {
    plan: Arc<Plan>,
    world: World,
    history: Arc<Mutex<History>>,
    /// The life of each seat's worker.
    seats: [Option<usize>; 2],
    /// The ledger of the worker that lives, where it dies with it.
    mortal: Arc<MemoryLedger>,
    /// The lanes that two workers share. They stay when the ledger is emptied: those who asked before know them.
    lanes: Option<Arc<dyn FleetLanes>>,
    begin: tokio::time::Instant,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let setup = plan.setup();
        let history = History {
            grace: setup.policy.grace,
            send_right: setup.policy.longest_send_right(),
            is_traced: std::env::var_os("COURIER_SIM_ID").is_some(),
            skew: Duration::from_millis(plan.skew[0].unsigned_abs() + plan.skew[1].unsigned_abs()),
            lane: plan.limits.rate.map(|rate| (LIMITED.0.to_owned(), rate, jitter(&plan))),
            is_lane_shared: plan.is_for_two(),
            ..History::default()
        };
        let history = Arc::new(Mutex::new(history));
        let world = World::new(setup, providers(Arc::clone(&plan), Arc::clone(&history)));
        watch(&world.broker, &world.clock, &history);
        break_publishing(&world.broker, &plan);
        let mortal = Arc::new(MemoryLedger::new(world.clock.clone(), 100_000, plan.seed));
        let shared = || Arc::new(MemoryLanes::new(world.clock.clone())) as Arc<dyn FleetLanes>;
        let lanes = plan.is_for_two().then(shared);
        Self { plan, world, history, seats: [None; 2], mortal, lanes, begin: Clock::instant() }
    }

    async fn play(mut self) -> History {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let plan = Arc::clone(&self.plan);
        for (at, step) in &plan.steps {
            tokio::time::sleep_until(self.begin + *at).await;
            self.take(step);
        }
        for seat in 0..if plan.is_for_two() { 2 } else { 1 } {
            self.start(seat);
        }
        let latest = Clock::instant() + LONG;
        while self.world.broker.pending() > 0 && Clock::instant() < latest {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let messages = self.world.broker.pending();
        self.end().await;
        let unfinished = self.unfinished().await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() - tasks;
        let mut history = std::mem::take(&mut *self.history.lock().unwrap());
        history.rest = Rest { messages, unfinished, tasks };
        history
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Publish(ask) => self.publish(ask),
            Step::Signal(kind, id) => self.world.signal(kind, id),
            Step::DropSessions => self.world.broker.drop_sessions(),
            Step::Kill(seat) => self.kill(*seat),
            Step::Stop(seat) => self.stop(*seat),
            Step::Start(seat) => self.start(*seat),
            Step::EmptyLedger => {
                self.world.ledger.wipe(self.plan.seed ^ u64::from(self.begin.elapsed().subsec_nanos()));
                let now = self.world.clock.now();
                self.history.lock().unwrap().lose(now);
            }
        }
    }

    fn publish(&self, ask: &Ask) {
        let now = self.world.clock.now();
        let mut properties = Properties::default();
        if !ask.id.is_empty() {
            self.history.lock().unwrap().ask(&ask.id, now, ask.expires_at);
            properties.message_id = Some(ask.id.clone());
        }
        self.world.broker.publish_challenge("challenge.requested", properties, ask.body.clone(), ask.expiration);
    }

    fn kill(&mut self, seat: usize) {
        let Some(life) = self.seats[seat].take() else { return };
        self.world.abort_worker(life);
        let now = self.world.clock.now();
        let life = &mut self.history.lock().unwrap().lives[life];
        life.until.get_or_insert(now);
        life.killed = Some(now);
    }

    fn stop(&mut self, seat: usize) {
        let Some(life) = self.seats[seat] else { return };
        self.world.stop_worker(life);
        self.history.lock().unwrap().lives[life].until.get_or_insert(self.world.clock.now());
    }

    /// Puts a worker on a seat, unless one works there.
    fn start(&mut self, seat: usize) {
        let now = self.world.clock.now();
        if let Some(life) = self.seats[seat] {
            let stopped = self.history.lock().unwrap().lives[life].until.is_some();
            match stopped {
                false => return,
                // A worker whose ledger is its own has to be gone first.
                true if self.plan.kind == Kind::MortalLedger && !self.world.has_ended(life) => self.kill(seat),
                true => {}
            }
        }
        if self.plan.kind == Kind::MortalLedger && self.world.workers() > 0 {
            self.mortal = Arc::new(MemoryLedger::new(self.world.clock.clone(), 100_000, self.plan.seed + 1));
            self.history.lock().unwrap().lose(now);
        }
        let (plan, history) = (Arc::clone(&self.plan), Arc::clone(&self.history));
        let ledger = match plan.kind {
            Kind::MortalLedger => Arc::clone(&self.mortal),
            Kind::OneWorker | Kind::TwoWorkers | Kind::EmptiedLedger => Arc::clone(&self.world.ledger),
        };
        let lanes = self.lanes.clone();
        let life = self.world.start_worker_with(|tools| go_far(tools, &plan, seat, (ledger, lanes), &history));
        self.history.lock().unwrap().lives.push(Life { from: now, until: None, killed: None, ended: None });
        self.seats[seat] = Some(life);
    }

    /// Stops every worker and waits for its end.
    async fn end(&mut self) {
        let lives = self.history.lock().unwrap().lives.clone();
        for (number, life) in lives.iter().enumerate().filter(|(_, life)| life.killed.is_none()) {
            let ended = self.world.drain_worker(number).await;
            let mut history = self.history.lock().unwrap();
            history.lives[number].ended = Some(ended);
            if let (Ended::CutOff(_), Some(stopped)) = (ended, life.until) {
                history.lives[number].killed = Some(stopped + DRAIN);
            }
        }
    }

    async fn unfinished(&self) -> usize {
        let ids: Vec<_> = self.history.lock().unwrap().asked.keys().cloned().collect();
        let mut unfinished = 0;
        for id in ids {
            let id = ChallengeId::parse(&id).unwrap();
            let record = self.world.ledger.read(&id).await.unwrap();
            let phase = record.map(|record| record.phase);
            unfinished += usize::from(matches!(phase, Some(Phase::Working(_) | Phase::Parked { .. })));
        }
        unfinished
    }
}

impl Plan {
    const fn is_for_two(&self) -> bool {
        matches!(self.kind, Kind::TwoWorkers | Kind::EmptiedLedger)
    }
}

/// From the slot that a request got to the provider: how long the slot keeps, the ledger, and a permit that had to be
/// waited for.
fn jitter(plan: &Plan) -> Duration {
    let permit = if plan.limits.max_in_flight < 200 { Duration::from_secs(2) } else { Duration::ZERO };
    SLOT_KEEPS + plan.ledger_takes * 2 + permit
}

fn watch(broker: &MemoryBroker, clock: &Clock, history: &Arc<Mutex<History>>) {
    let (clock, history) = (clock.clone(), Arc::clone(history));
    broker.watch(move |doing| history.lock().unwrap().take(doing, clock.now()));
}

fn break_publishing(broker: &MemoryBroker, plan: &Plan) {
    let Odds { confirm_lost, session_lost, refused, doubled, .. } = plan.odds;
    let mut dice = Dice::seeded(plan.seed ^ 0xb40c);
    let mut sessions = MOST_SESSIONS_LOST;
    broker.set_troubles(move |_| {
        let mut roll = dice.unit();
        let troubles = [
            (confirm_lost, Trouble::ConfirmLost),
            (session_lost, Trouble::SessionLost),
            (refused, Trouble::Refused),
            (doubled, Trouble::Doubled),
        ];
        for (odds, trouble) in troubles {
            if roll < odds {
                if matches!(trouble, Trouble::ConfirmLost | Trouble::SessionLost) {
                    let Some(left) = sessions.checked_sub(1) else { return Trouble::None };
                    sessions = left;
                }
                return trouble;
            }
            roll -= odds;
        }
        Trouble::None
    });
}

/// What providers do, and how it is written down.
fn providers(plan: Arc<Plan>, history: Arc<Mutex<History>>) -> impl FnMut(&Sent) -> crate::world::Act + Send + 'static {
    let begin = Timestamp::parse_rfc3339(BEGIN).unwrap();
    let reader = reader(&Policy::default());
    let mut dice = Dice::seeded(plan.seed ^ 0x9407);
    let reference = |id: &str| reader.reference(&ChallengeId::parse(id).unwrap(), 1);
    let asked = plan.steps.iter().filter_map(|(_, step)| match step {
        Step::Publish(ask) if !ask.id.is_empty() => Some(ask.id.clone()),
        _ => None,
    });
    let ids: HashMap<String, String> =
        asked.map(|id| (reference(&id).rsplit_once('-').unwrap().0.to_owned(), id)).collect();
    move |sent| {
        let act = plan.act(&sent.provider, sent.at.since(begin), &mut dice);
        let (reference, _) = sent.reference.rsplit_once('-').unwrap();
        let mut history = history.lock().unwrap();
        let timeout = match sent.provider.as_str() {
            "call" => Duration::from_secs(8),
            "app" => Duration::from_secs(10),
            _ => Duration::from_secs(5),
        };
        let patience = timeout.min(sent.validity);
        let answered = act.result.filter(|_| act.after <= patience);
        history.requests.push(Request {
            id: ids.get(reference).cloned().unwrap_or_default(),
            worker: sent.worker,
            provider: sent.provider.clone(),
            to: sent.to.clone(),
            code: sent.code.clone(),
            at: sent.at,
            validity: sent.validity,
            result: answered,
            until: sent.at + if answered.is_some() { act.after } else { patience },
        });
        act
    }
}

/// Puts a worker's ledger and broker far away, and its clock off.
fn go_far(
    tools: &mut Tools,
    plan: &Plan,
    seat: usize,
    (ledger, lanes): (Arc<MemoryLedger>, Option<Arc<dyn FleetLanes>>),
    history: &Arc<Mutex<History>>,
) {
    let way = |takes, fails, salt| Way {
        takes,
        fails,
        dice: Mutex::new(Dice::seeded(tools.seed ^ salt)),
        history: Arc::clone(history),
    };
    let (to_ledger, to_broker) =
        (way(plan.ledger_takes, plan.odds.ledger, 0x1ed6), way(plan.broker_takes, 0.0, 0x0b0c));
    let outbox: Arc<dyn Outbox> = Arc::clone(&tools.outbox);
    tools.outbox = Arc::new(FarOutbox { outbox, way: to_broker });
    if let Some(lanes) = lanes {
        tools.pressure.share(Arc::new(FarLanes { lanes, way: way(plan.ledger_takes, plan.odds.ledger, 0x1a9e) }));
    }
    tools.ledger = Arc::new(FarLedger { ledger, way: to_ledger });
    tools.clock = Clock::starting_at(tools.clock.now());
    tools.clock.skew_by(plan.skew[seat]);
}
