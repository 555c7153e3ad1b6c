//! Time and chance: the only readers of both.
//!
//! Everything else takes a [`Timestamp`] or a [`Dice`] as an argument, so the whole product can run
//! in virtual time and repeat a run from its seed. `clippy.toml` forbids other readers.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

/// When a wait that goes on is told of: as it begins, and then each time that it has lasted twice as long, but
/// every few minutes at least.
#[derive(Debug)]
pub struct Waiting {
    since: Instant,
    told_again_after: Duration,
}

impl Waiting {
    const FIRST: Duration = Duration::from_secs(2);
    const RAREST: Duration = Duration::from_mins(5);

    /// A wait that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { since: Clock::instant(), told_again_after: Duration::ZERO }
    }

    /// For how many seconds it has lasted, where it is time to tell.
    pub fn due(&mut self) -> Option<u64> {
        let lasted = Clock::instant().duration_since(self.since);
        if lasted < self.told_again_after {
            return None;
        }
        self.told_again_after = lasted + lasted.clamp(Self::FIRST, Self::RAREST);
        Some(lasted.as_secs())
    }
}

/// A moment of wall-clock time in milliseconds since the Unix epoch. Arithmetic saturates.
///
/// Serialised as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Later than every moment that can be written as RFC 3339.
    pub const MAX: Self = Self(253_402_300_799_999);
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the Unix epoch, clamped to years 1 to 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(-62_135_596_800_000, Self::MAX.0))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// In UTC to the second, as RFC 3339: `2026-11-24T12:00:00Z`.
    #[must_use]
    pub fn seconds(self) -> String {
        self.written("%Y-%m-%dT%H:%M:%SZ")
    }

    /// The same in ISO 8601's basic form: `20261124T120000Z`.
    #[must_use]
    pub fn basic(self) -> String {
        self.written("%Y%m%dT%H%M%SZ")
    }

    /// As HTTP writes dates (RFC 9110, IMF-fixdate): `Tue, 24 Nov 2026 12:00:00 GMT`.
    #[must_use]
    pub fn rfc1123(self) -> String {
        self.written("%a, %d %b %Y %H:%M:%S GMT")
    }

    fn written(self, format: &str) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        moment.strftime(format).to_string()
    }

    /// Parses RFC 3339 with an explicit offset; leap seconds and impossible dates are refused.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let shape = text.as_bytes();
        let seconds = shape.get(17..19)?;
        if !shape.first()?.is_ascii_digit() || !shape.get(10)?.eq_ignore_ascii_case(&b'T') || seconds == b"60" {
            return None;
        }
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Self::from_millis(parsed.as_millisecond()))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// A duration as whole milliseconds, for serde's `with`.
pub mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes whole milliseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads whole milliseconds.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Reads wall-clock time. Cloning shares the source.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Follows tokio's clock, which a test may pause; `skew` moves this reader alone.
    Tokio {
        wall: Timestamp,
        start: Instant,
        skew: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that reads `wall` now and then advances with tokio's, also when that is paused.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Source::Tokio { wall, start: Self::instant(), skew: Arc::default() })
    }

    /// The current wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Tokio { wall, start, skew } => {
                let skewed = wall.0.saturating_add(skew.load(Ordering::Relaxed));
                Timestamp::from_millis(skewed) + Self::instant().duration_since(*start)
            }
        }
    }

    /// Moves a clock made by [`Clock::starting_at`] by `millis`; the machine's clock stays.
    pub fn skew_by(&self, millis: i64) {
        if let Source::Tokio { skew, .. } = &self.0 {
            skew.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// The current monotonic time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one lawful reader of monotonic time")]
    pub fn instant() -> Instant {
        Instant::now()
    }

    /// Sleeps until the wall clock reads `until`.
    pub async fn sleep_until(&self, until: Timestamp) {
        tokio::time::sleep(until.since(self.now())).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the one lawful reader of wall-clock time")]
fn system_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + since
}

/// A source of chance that repeats itself from its seed. Not for secrets.
#[derive(Debug)]
pub struct Dice(SmallRng);

impl Dice {
    /// Dice that always fall alike for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Dice seeded by the operating system.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one lawful reader of the system's chance")]
    pub fn system() -> Self {
        Self::seeded(rand::random())
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Uniform over all 64-bit numbers.
    pub fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// Uniform in zero to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_strictly_and_written_with_milliseconds() {
        let at = Timestamp::parse_rfc3339("2026-11-24T02:10:40+02:00").expect("valid");
        assert_eq!(at.to_string(), "2026-11-24T00:10:40.000Z");
        for bad in [
            "2026-02-30T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T23:59:60Z",
            "2026-11-24T00:10:40",
            "2026-11-24T00:10:40+99:99",
            "1790000000000",
            "",
            "2026-11-24 00:10:40Z",
            "-000001-11-24T00:10:40Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_started_clock_follows_virtual_time() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(6_000));
        clock.skew_by(-2_000);
        assert_eq!(clock.now(), Timestamp::from_millis(4_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_told_of_ever_more_rarely() {
        let (mut waiting, mut told) = (Waiting::begin(), Vec::new());
        for _ in 0..3_600 {
            told.extend(waiting.due());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told[..8], [0, 2, 4, 8, 16, 32, 64, 128]);
        assert!(told.windows(2).all(|pair| pair[1] - pair[0] <= 300) && told.len() < 24, "{told:?}");
    }
}
