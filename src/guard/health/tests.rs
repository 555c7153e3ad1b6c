//! Circuits in time: when they open, whom they let try, when they close.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

struct Fixture {
    health: Health,
    dice: Dice,
    name: Arc<str>,
}

fn fixture() -> Fixture {
    Fixture { health: Health::new(HealthPolicy::default()), dice: Dice::seeded(1), name: "p".into() }
}

impl Fixture {
    fn record(&mut self, good: bool, now: Timestamp) -> Option<CircuitState> {
        self.health.record(&self.name, None, good, now, now, &mut self.dice).first().map(|change| change.to)
    }

    fn admission(&self, now: Timestamp) -> Admission {
        self.health.admission(&self.name, None, now)
    }
}

#[test]
fn too_few_answers_say_nothing() {
    let mut f = fixture();
    assert!((0..9).all(|_| f.record(false, at(0)).is_none()));
    assert_eq!(f.record(false, at(0)), Some(CircuitState::Open));
}

#[test]
fn old_failures_do_not_vote() {
    let mut f = fixture();
    assert!((0..9).all(|_| f.record(false, at(0)).is_none()));
    assert_eq!(f.record(false, at(40)), None);
}

#[test]
fn a_minority_of_failures_is_borne() {
    let mut f = fixture();
    assert!((0..100).all(|i| f.record(i % 3 != 0, at(0)).is_none()));
}

#[test]
fn an_outage_need_not_outweigh_what_went_well_before() {
    let mut f = fixture();
    assert!((0..10_000).all(|_| f.record(true, at(0)).is_none()));
    assert!((0..19).all(|_| f.record(false, at(1)).is_none()));
    assert_eq!(f.record(true, at(1)), None, "one that went well begins the count anew");
    assert!((0..19).all(|_| f.record(false, at(2)).is_none()));
    assert_eq!(f.record(false, at(2)), Some(CircuitState::Open));
}

#[test]
fn probes_are_few_and_close_it_or_open_it_for_longer() {
    let mut f = fixture();
    let name = Arc::clone(&f.name);
    let _ = f.health.trip(&name, None, "credentials", at(0), &mut f.dice);
    let Admission::OpenUntil(first) = f.admission(at(0)) else { panic!("open") };
    assert!(first >= at(10) && first <= at(11));
    for _ in 0..3 {
        assert_eq!(f.health.begin(&name, None, at(12)), Admission::Pass);
    }
    assert!(matches!(f.health.begin(&name, None, at(12)), Admission::OpenUntil(_)), "three probes are out");
    assert_eq!(f.record(false, at(13)), Some(CircuitState::Open));
    let Admission::OpenUntil(second) = f.admission(at(13)) else { panic!("open") };
    assert!(second >= at(33), "open for twice as long");
    for _ in 0..2 {
        assert_eq!(f.record(true, at(40)), None);
    }
    assert_eq!(f.record(true, at(40)), Some(CircuitState::Closed));
    assert_eq!(f.admission(at(40)), Admission::Pass);
}

#[test]
fn lost_probes_stop_counting() {
    let mut f = fixture();
    let name = Arc::clone(&f.name);
    let _ = f.health.trip(&name, None, "credentials", at(0), &mut f.dice);
    for _ in 0..3 {
        assert_eq!(f.health.begin(&name, None, at(12)), Admission::Pass);
    }
    assert_eq!(f.health.begin(&name, None, at(43)), Admission::Pass);
}

#[test]
fn a_country_can_be_shut_alone() {
    let mut f = fixture();
    let (name, china) = (Arc::clone(&f.name), Country::parse("CN"));
    let change = f.health.trip(&name, china, "21408", at(0), &mut f.dice);
    assert_eq!(change.map(|c| c.country), Some(china));
    assert!(matches!(f.health.admission(&name, china, at(1)), Admission::OpenUntil(_)));
    assert_eq!(f.health.admission(&name, Country::parse("US"), at(1)), Admission::Pass);
}

#[test]
fn an_answer_from_before_it_opened_says_nothing_about_now() {
    let mut f = fixture();
    let name = Arc::clone(&f.name);
    let _ = f.health.trip(&name, None, "credentials", at(5), &mut f.dice);
    assert_eq!(f.health.begin(&name, None, at(20)), Admission::Pass);
    let late = |f: &mut Fixture, good| f.health.record(&name, None, good, at(4), at(21), &mut f.dice);
    assert_eq!(late(&mut f, false), [], "it does not open again");
    assert!((0..5).all(|_| late(&mut f, true).is_empty()), "nor close");
    for _ in 0..2 {
        assert_eq!(f.health.begin(&name, None, at(21)), Admission::Pass);
    }
    assert!(matches!(f.admission(at(21)), Admission::OpenUntil(_)), "nor make room for another probe");
}

#[test]
fn a_probe_that_was_not_written_makes_room_for_another() {
    let mut f = fixture();
    let name = Arc::clone(&f.name);
    let _ = f.health.trip(&name, None, "credentials", at(0), &mut f.dice);
    for _ in 0..10 {
        assert_eq!(f.health.begin(&name, None, at(12)), Admission::Pass);
        f.health.release(&name, None, at(12));
    }
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    struct Wish {
        gap: u64,
        latency: u64,
        good: bool,
    }

    fn policies() -> impl Strategy<Value = HealthPolicy> {
        (1_000u64..60_000, 0u32..20, 0.05f64..1.0, 100u64..20_000, 0u64..120_000, 0u32..5).prop_map(
            |(window, min_sample, failure_ratio, open, more, probes)| HealthPolicy {
                window: Duration::from_millis(window),
                min_sample,
                failure_ratio,
                open: Duration::from_millis(open),
                max_open: Duration::from_millis(open + more),
                probes,
            },
        )
    }

    fn wishes() -> impl Strategy<Value = Vec<Wish>> {
        let wish = (prop_oneof![0u64..50, 0u64..15_000], 1u64..10_000, any::<bool>());
        prop::collection::vec(wish.prop_map(|(gap, latency, good)| Wish { gap, latency, good }), 1..150)
    }

    /// A provider, what is on its way to it, and what was answered since its circuit last closed.
    struct World {
        f: Fixture,
        policy: HealthPolicy,
        now: Timestamp,
        /// Begun, answered, well, and whether it is a probe.
        under_way: Vec<(Timestamp, Timestamp, bool, bool)>,
        answers: Vec<Timestamp>,
    }

    impl World {
        fn new(policy: HealthPolicy) -> Self {
            let f = Fixture { health: Health::new(policy), ..fixture() };
            Self { f, policy, now: at(1_000), under_way: Vec::new(), answers: Vec::new() }
        }

        fn state(&self) -> CircuitState {
            self.f.health.states(self.now).next().map_or(CircuitState::Closed, |(_, _, state)| state)
        }

        fn wait(&mut self, by: Duration) -> Result<(), TestCaseError> {
            let until = self.now + by;
            while let Some(next) = (0..self.under_way.len()).min_by_key(|i| self.under_way[*i].1) {
                let (begun, answered, good, _) = self.under_way[next];
                if answered > until {
                    break;
                }
                self.under_way.swap_remove(next);
                self.now = answered;
                self.answered(begun, good)?;
            }
            self.now = until;
            Ok(())
        }

        fn answered(&mut self, begun: Timestamp, good: bool) -> Result<(), TestCaseError> {
            let before = self.state();
            if before == CircuitState::Closed {
                self.answers.push(self.now);
            }
            let name = Arc::clone(&self.f.name);
            let changes = self.f.health.record(&name, None, good, begun, self.now, &mut self.f.dice);
            for change in changes {
                self.under_way.iter_mut().for_each(|request| request.3 = false);
                if before == CircuitState::Closed {
                    let recent = self.answers.iter().filter(|at| self.now.since(**at) <= self.policy.window).count();
                    prop_assert!(recent >= self.policy.min_sample as usize, "opened after {recent} answers");
                    prop_assert_eq!(change.to, CircuitState::Open);
                }
                self.answers.clear();
            }
            Ok(())
        }

        fn send(&mut self, latency: Duration, good: bool) -> Result<(), TestCaseError> {
            let name = Arc::clone(&self.f.name);
            let probe = self.state() == CircuitState::HalfOpen;
            match self.f.health.begin(&name, None, self.now) {
                Admission::Pass => self.under_way.push((self.now, self.now + latency, good, probe)),
                Admission::OpenUntil(until) => {
                    let longest = self.policy.max_open.mul_f64(1.1).max(PROBE_PATIENCE);
                    prop_assert!(until > self.now && until.since(self.now) <= longest);
                }
            }
            let probes = self.under_way.iter().filter(|request| request.3).count();
            prop_assert!(probes <= self.policy.probes.max(1) as usize, "{probes} probes at once");
            Ok(())
        }

        /// From now on the provider is well: how long until its circuit is closed?
        fn recover(&mut self) -> Result<(), TestCaseError> {
            let begun = self.now;
            while self.state() != CircuitState::Closed {
                self.send(Duration::from_millis(1), true)?;
                self.wait(Duration::from_millis(100))?;
                let bound = self.policy.max_open.mul_f64(1.1) * 2 + Duration::from_mins(1);
                prop_assert!(self.now.since(begun) <= bound, "a provider that is well is used again");
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn circuits_open_on_evidence_probe_with_care_and_close_again(policy in policies(), wishes in wishes()) {
            let mut world = World::new(policy);
            for wish in wishes {
                world.wait(Duration::from_millis(wish.gap))?;
                world.send(Duration::from_millis(wish.latency), wish.good)?;
            }
            world.recover()?;
        }
    }
}
