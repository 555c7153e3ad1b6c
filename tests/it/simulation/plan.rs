//! What happens in a world, decided beforehand from its seed: who is asked, what breaks, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use mfa_courier::challenge::Channel;
use mfa_courier::clock::{Dice, Timestamp};
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::guard::quota::Rate;
use serde_json::{Value, json};

use crate::world::{Act, BEGIN, CODE, Setup};

/// The kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One worker at a time; the ledger outlives it.
    OneWorker,
    /// Two workers with one ledger, which outlives them.
    TwoWorkers,
    /// One worker at a time; its ledger dies with it.
    MortalLedger,
    /// Two workers with one ledger, which is emptied under them.
    EmptiedLedger,
}

#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Empty where the message can't be read.
    pub id: String,
    pub body: String,
    pub expiration: Option<Duration>,
    /// The deadline, where it is asked for as a moment.
    pub expires_at: Option<Timestamp>,
}

/// What happens at one moment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Publish(Ask),
    Signal(&'static str, String),
    DropSessions,
    /// One of the seats loses its worker at once, or is told to finish.
    Kill(usize),
    Stop(usize),
    Start(usize),
    EmptyLedger,
}

/// How likely each trouble is for one publication or one use of the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    pub confirm_lost: f64,
    pub session_lost: f64,
    pub refused: f64,
    pub doubled: f64,
    pub ledger: f64,
}

pub(crate) struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub steps: Vec<(Duration, Step)>,
    pub moods: BTreeMap<&'static str, Vec<Mood>>,
    pub odds: Odds,
    /// How far the clock of each seat's worker is off, in milliseconds.
    pub skew: [i64; 2],
    pub ledger_takes: Duration,
    pub broker_takes: Duration,
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub rate: Option<Rate>,
    pub max_in_flight: u32,
    pub sleepers: usize,
    pub delivery_limit: u32,
    pub receipts: bool,
}

pub(crate) const PROVIDERS: [(&str, Channel); 4] =
    [("a", Channel::Sms), ("b", Channel::Sms), ("call", Channel::Voice), ("app", Channel::Push)];
/// The provider whose lane is limited, where one is.
pub(crate) const LIMITED: (&str, Channel) = PROVIDERS[0];
/// A mood lasts this long.
const MOOD: Duration = Duration::from_secs(5);

/// How a provider is for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Mixed,
    Slow,
    Failing,
    Hanging,
    Throttling,
    Refusing,
}

impl Mood {
    fn any(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0..5 => Self::Well,
            5..7 => Self::Mixed,
            7 => Self::Slow,
            8 => Self::Failing,
            9 => Self::Hanging,
            10 => Self::Throttling,
            _ => Self::Refusing,
        }
    }

    fn act(self, dice: &mut Dice) -> Act {
        use AttemptResult::{Accepted, Content, Provider, Throttled, Transient, Unknown};
        let quick = 5 + dice.below(200);
        match (self, dice.below(100)) {
            (Self::Well, 0) | (Self::Failing, 20..90) => Act::answer(Transient, quick),
            (Self::Well, 1) | (Self::Mixed, 0..10) | (Self::Hanging, _) => Act::hang(),
            (Self::Well, _) | (Self::Throttling | Self::Failing, 0..20) => Act::answer(Accepted, quick),
            (Self::Mixed, roll) => {
                let results = AttemptResult::ALL;
                Act::answer(results[usize::try_from(roll).unwrap() % results.len()], quick)
            }
            (Self::Slow, 0..10) => Act::answer(Unknown, dice.below(6_000)),
            (Self::Slow, _) => Act::answer(Accepted, dice.below(12_000)),
            (Self::Failing, _) => Act::answer(Content, quick),
            (Self::Throttling, _) => {
                let hint = (dice.below(2) == 0).then(|| Duration::from_millis(dice.below(8_000)));
                Act { retry_after: hint, ..Act::answer(Throttled, quick) }
            }
            (Self::Refusing, _) => Act::answer(Provider, quick),
        }
    }
}

impl Plan {
    /// Everything about the world that `seed` stands for.
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        let mut dice = Dice::seeded(seed);
        let count = 150 + dice.below(250);
        let ends = millis(5_000 + dice.below(25_000));
        let calm = dice.below(8) == 0;
        let two = matches!(kind, Kind::TwoWorkers | Kind::EmptiedLedger);
        let mut steps: Vec<_> = (0..if two { 2 } else { 1 }).map(|seat| (Duration::ZERO, Step::Start(seat))).collect();
        for n in 0..count {
            ask(n, ends, calm, &mut dice, &mut steps);
        }
        if !calm {
            break_things(kind, ends, &mut dice, &mut steps);
        }
        steps.sort_by_key(|(at, _)| *at);
        let mut skew = || if two && dice.below(3) == 0 { 300 - i64::try_from(dice.below(601)).unwrap() } else { 0 };
        let skew = [skew(), skew()];
        let mood = |dice: &mut Dice| if calm { Mood::Well } else { Mood::any(dice) };
        let moods = PROVIDERS.map(|(name, _)| (name, (0..30).map(|_| mood(&mut dice)).collect())).into();
        let odds = if calm { Odds::default() } else { Odds::any(&mut dice) };
        let limits = Limits::any(calm, &mut dice);
        let ledger_takes = millis([0, 3, 40][pick(&mut dice, 3)]);
        let broker_takes = millis([0, 3, 60][pick(&mut dice, 3)]);
        Self { seed, kind, steps, moods, odds, skew, ledger_takes, broker_takes, limits }
    }

    /// What `provider` does with a request at `since` the beginning.
    pub(crate) fn act(&self, provider: &str, since: Duration, dice: &mut Dice) -> Act {
        let now = usize::try_from(since.as_millis() / MOOD.as_millis()).unwrap_or(usize::MAX);
        self.moods[provider].get(now).copied().unwrap_or(Mood::Well).act(dice)
    }

    pub(crate) fn setup(&self) -> Setup {
        let mut setup = Setup::with(&PROVIDERS);
        for provider in &mut setup.policy.providers {
            provider.receipts = self.limits.receipts && provider.name.as_ref() != "b";
            provider.receipt_timeout = Some(Duration::from_secs(4));
        }
        if let Some(rate) = self.limits.rate {
            setup.rates.insert((LIMITED.0.to_owned(), LIMITED.1), rate);
        }
        setup.max_in_flight = self.limits.max_in_flight;
        setup.sleepers = self.limits.sleepers;
        setup.delivery_limit = self.limits.delivery_limit;
        setup.seed = self.seed;
        setup
    }
}

impl Odds {
    fn any(dice: &mut Dice) -> Self {
        let mut odd = |most: f64| if dice.below(2) == 0 { 0.0 } else { most * dice.unit() };
        Self {
            confirm_lost: odd(0.01),
            session_lost: odd(0.01),
            refused: odd(0.05),
            doubled: odd(0.05),
            ledger: odd(0.03),
        }
    }
}

impl Limits {
    fn any(calm: bool, dice: &mut Dice) -> Self {
        let rate = (dice.below(2) == 0)
            .then(|| Rate { per_second: 1.0 + dice.unit() * 20.0, burst: 1 + u32::try_from(dice.below(5)).unwrap() });
        Self {
            rate,
            max_in_flight: [200, 20, 3][pick(dice, 3)],
            sleepers: [250, 10, 0][pick(dice, 3)],
            delivery_limit: if calm || dice.below(3) > 0 { 100 } else { 3 },
            receipts: dice.below(2) == 0,
        }
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn pick(dice: &mut Dice, of: u64) -> usize {
    usize::try_from(dice.below(of)).unwrap()
}

/// One challenge, what is said of it, and what else comes under its id.
fn ask(n: u64, ends: Duration, calm: bool, dice: &mut Dice, steps: &mut Vec<(Duration, Step)>) {
    let at = dice.up_to(ends);
    let id = format!("c{n}");
    let lasts = if dice.below(10) == 0 { dice.below(2_000) } else { 2_000 + dice.below(40_000) };
    let begin = Timestamp::parse_rfc3339(BEGIN).unwrap();
    let expires_at = (dice.below(2) == 0).then(|| begin + at + millis(lasts));
    let mut body = json!({"id": id, "code": CODE, "methods": methods(n, dice)});
    match expires_at {
        Some(moment) => body["expires_at"] = json!(moment.to_string()),
        None => body["ttl"] = json!(lasts.div_ceil(1_000)),
    }
    if dice.below(20) == 0 {
        spoil(&mut body, dice);
    }
    let expiration = (dice.below(30) == 0).then(|| millis(lasts / 2));
    let readable = body.get("id").is_some();
    let ask = |body: &Value| Ask {
        id: if readable { id.clone() } else { String::new() },
        body: body.to_string(),
        expiration,
        expires_at,
    };
    steps.push((at, Step::Publish(ask(&body))));
    if calm || !readable {
        return;
    }
    let mut some_time = |odds: u64| (dice.below(odds) == 0).then(|| dice.up_to(millis(lasts + 5_000)));
    if let Some(later) = some_time(12) {
        steps.push((at + later, Step::Publish(ask(&body))));
    }
    if let Some(later) = some_time(25) {
        let mut other = body.clone();
        other["code"] = json!("271828");
        steps.push((at + later + millis(1), Step::Publish(ask(&other))));
    }
    for kind in ["cancelled", "verified"] {
        for _ in 0..2 {
            if let Some(later) = some_time(16) {
                let at = (at + later).saturating_sub(millis(2_000));
                steps.push((at, Step::Signal(kind, id.clone())));
            }
        }
    }
}

fn methods(n: u64, dice: &mut Dice) -> Value {
    let (first, second) = (format!("+1415555{:04}", 2_000 + n % 7_000), format!("+447400{:06}", 123_000 + n % 800));
    let sms = json!({"channel": "sms", "to": first});
    let voice = json!({"channel": "voice", "to": first});
    let push = json!({"channel": "push", "platform": "android", "token": format!("token-{n}")});
    let other = json!({"channel": "sms", "to": second});
    match dice.below(6) {
        0..2 => json!([sms]),
        2 => json!([sms, voice]),
        3 => json!([push, sms, voice]),
        4 => json!([voice]),
        _ => json!([sms, other, push]),
    }
}

/// Makes a challenge one that can't be delivered as asked, or not even read.
fn spoil(body: &mut Value, dice: &mut Dice) {
    match dice.below(5) {
        0 => body["methods"] = json!([]),
        1 => body["code"] = json!("not a code!"),
        2 => body["methods"] = json!([{"channel": "sms", "to": "12"}]),
        3 => body["methods"] = json!([{"channel": "fax", "to": "+14155552671"}]),
        _ => drop(body.as_object_mut().unwrap().remove("id")),
    }
}

/// Sessions that end, workers that are killed or replaced, a ledger that is emptied.
fn break_things(kind: Kind, ends: Duration, dice: &mut Dice, steps: &mut Vec<(Duration, Step)>) {
    for _ in 0..dice.below(4) {
        steps.push((dice.up_to(ends), Step::DropSessions));
    }
    if kind == Kind::EmptiedLedger {
        for _ in 0..=dice.below(2) {
            steps.push((dice.up_to(ends), Step::EmptyLedger));
        }
    }
    let seats = if matches!(kind, Kind::TwoWorkers | Kind::EmptiedLedger) { 2 } else { 1 };
    for seat in 0..seats {
        let mut at = Duration::ZERO;
        for _ in 0..dice.below(4) {
            at += dice.up_to(ends / 2);
            steps.push((at, if dice.below(3) == 0 { Step::Stop(seat) } else { Step::Kill(seat) }));
            at += [Duration::ZERO, millis(dice.below(500)), millis(dice.below(6_000))][pick(dice, 3)];
            steps.push((at, Step::Start(seat)));
        }
    }
}
