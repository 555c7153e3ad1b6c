//! Which challenges there are, and what the provider tells of each: all by one seed, which a run prints and
//! `COURIER_SHOWING_SEED` repeats.

use mfa_courier::clock::Dice;
use serde_json::{Value, json};

/// The variable that repeats a run.
const SEED: &str = "COURIER_SHOWING_SEED";

/// What is told of a message. The simulator reads it from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Sent, and then delivered.
    Plain,
    /// Nothing, ever.
    Lost,
    /// Delivered, three times.
    Repeated,
    /// Delivered, and then that it was sent.
    Disordered,
    /// Delivered, before the request is answered.
    Early,
    /// Undelivered, by each provider.
    Undelivered,
    /// Delivered, which is a lie: not signed by the provider.
    WrongSignature,
    /// A lie: at an address that nobody was given.
    WrongToken,
    /// A lie: at an address with the token of another provider's attempt.
    AnothersToken,
}

/// Of a thousand, how many are of which kind; the rest are plain.
const PER_MILLE: [(Kind, u64); 8] = [
    (Kind::Lost, 50),
    (Kind::Repeated, 50),
    (Kind::Early, 50),
    (Kind::Disordered, 50),
    (Kind::Undelivered, 20),
    (Kind::WrongSignature, 4),
    (Kind::WrongToken, 3),
    (Kind::AnothersToken, 3),
];

impl Kind {
    fn thrown(dice: &mut Dice) -> Self {
        let mut fell = dice.below(1_000);
        for (kind, share) in PER_MILLE {
            match fell.checked_sub(share) {
                None => return kind,
                Some(rest) => fell = rest,
            }
        }
        Self::Plain
    }

    /// The number that lets the simulator do so.
    const fn number(self) -> &'static str {
        match self {
            Self::Plain => "+14155552671",
            Self::Lost => "+14155559920",
            Self::Repeated => "+14155559921",
            Self::Disordered => "+14155559922",
            Self::WrongSignature => "+14155559923",
            Self::Early => "+14155559924",
            Self::WrongToken => "+14155559925",
            Self::AnothersToken => "+14155559926",
            Self::Undelivered => "+14157830005",
        }
    }

    /// Whether what is told of it is a lie.
    pub(super) const fn is_forged(self) -> bool {
        matches!(self, Self::WrongSignature | Self::WrongToken | Self::AnothersToken)
    }

    /// Status and reason of its final outcome where nothing but providers misbehaves.
    pub(super) const fn end(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Plain | Self::Repeated | Self::Disordered | Self::Early => ("delivered", None),
            Self::Lost | Self::WrongSignature | Self::WrongToken | Self::AnothersToken => {
                ("sent", Some("receipt_timeout"))
            }
            Self::Undelivered => ("failed", Some("undelivered")),
        }
    }

    /// How many messages it takes.
    pub(super) const fn messages(self) -> usize {
        if matches!(self, Self::Undelivered) { 2 } else { 1 }
    }
}

/// Everything that a run leaves to chance.
pub(super) struct Schedule {
    pub(super) kinds: Vec<Kind>,
    /// After how many final outcomes things go wrong: about the middle.
    pub(super) blow: usize,
}

impl Schedule {
    /// A schedule of `count` challenges; prints what repeats it.
    pub(super) fn new(count: usize) -> Self {
        let asked = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a number"));
        let seed = asked.unwrap_or_else(|| Dice::system().number());
        let mut dice = Dice::seeded(seed);
        let kinds: Vec<Kind> = (0..count).map(|_| Kind::thrown(&mut dice)).collect();
        let spread = dice.below(count as u64 / 5);
        let blow = count * 2 / 5 + usize::try_from(spread).expect("less than count");
        println!("{SEED}={seed} repeats this schedule");
        Self { kinds, blow }
    }

    /// Challenge `n`, as upstream publishes it. Its code tells whose message one is.
    pub(super) fn challenge(&self, n: usize, ttl: u64) -> Value {
        json!({
            "id": format!("x{n}"), "code": format!("{n:06}"), "ttl": ttl,
            "methods": [{ "channel": "sms", "to": self.kinds[n].number() }],
        })
    }
}
