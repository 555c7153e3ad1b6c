//! Every figure that the worker exports, its name, its meaning and the one function that changes it.
//!
//! Labels come from vocabularies and from the configuration, so their number is bounded: no phone
//! number, id or user is ever one. A tenant that is not configured is for the caller to call [`OTHER`].

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio_util::sync::CancellationToken;

use crate::challenge::Channel;
use crate::delivery::outcome::{Reason, Status};
use crate::delivery::verdict::AttemptResult;
use crate::guard::health::CircuitState;
use crate::phone::Country;

/// The label of a tenant that is not configured.
pub const OTHER: &str = "other";
/// The label where there is nothing to name: no channel chosen, no country, no reason.
pub const NONE: &str = "none";

/// Challenges that arrived, by `channel` of the first method, `tenant`, `result`.
pub const CHALLENGES: &str = "courier_challenges_total";
/// Outcomes published, by `status`, `channel`, `reason`.
pub const OUTCOMES: &str = "courier_outcomes_total";
/// Requests to providers, by `provider`, `channel`, `country`, `result`.
pub const ATTEMPTS: &str = "courier_attempts_total";
/// How long requests took, by `provider`, `channel`.
pub const ATTEMPT_DURATION: &str = "courier_attempt_duration_seconds";
/// From issue to the final outcome, by `channel`, `status`.
pub const CHALLENGE_DURATION: &str = "courier_challenge_duration_seconds";
/// Moves to another hop, by `from`, `to` (providers), `why`.
pub const FALLBACKS: &str = "courier_fallbacks_total";
/// Requests that said they were receipts, by `provider`, `status`: what they said, or `refused` (a bad token or
/// signature), `nothing` (that matters), `unpublished` (answered 503).
pub const RECEIPTS: &str = "courier_receipts_total";
/// Requests for what a call says, by `provider`, `result`: served, refused.
pub const CALL_FLOWS: &str = "courier_call_flows_total";
/// From the request to its receipts, by `provider`.
pub const RECEIPT_DELAY: &str = "courier_receipt_delay_seconds";
/// Verified challenges, by `provider`, `channel`, `country`.
pub const CONVERSIONS: &str = "courier_conversions_total";
/// Circuits, by `provider`, `country`: 0 closed, 1 half-open, 2 open.
pub const PROVIDER_STATE: &str = "courier_provider_state";
/// Hops that had to wait or were passed over, by `provider`, `scope` of the limit.
pub const RATE_LIMITED: &str = "courier_rate_limited_total";
/// Requests open now, by `provider`.
pub const IN_FLIGHT: &str = "courier_in_flight";
/// Messages in queues of the broker, by `queue`.
pub const QUEUE_DEPTH: &str = "courier_queue_depth";
/// Messages put into quarantine, by `why`.
pub const QUARANTINED: &str = "courier_quarantined_total";
/// Copies that `reply_to` asked for and no queue took.
pub const UNROUTABLE_REPLIES: &str = "courier_unroutable_replies_total";
/// Repeats recognised, by `what`.
pub const DUPLICATES: &str = "courier_duplicates_total";
/// Operations that the ledger failed.
pub const LEDGER_ERRORS: &str = "courier_ledger_errors_total";
/// Outcomes that were published and can't be looked up: the ledger was away, or too slow for them.
pub const UNRECORDED_OUTCOMES: &str = "courier_unrecorded_outcomes_total";
/// Sessions with the broker that had to be made again.
pub const BROKER_RECONNECTS: &str = "courier_broker_reconnects_total";
/// Always 1, by `version`.
pub const BUILD_INFO: &str = "courier_build_info";
/// How long after `expires_at` final outcomes were confirmed; 0 for those in time.
pub const FINAL_LATENESS: &str = "courier_final_lateness_seconds";
/// The age of the oldest challenge in this worker's hands.
pub const OLDEST_CHALLENGE_AGE: &str = "courier_oldest_challenge_age_seconds";
/// Messages that a person may have got twice.
pub const SECOND_COPIES: &str = "courier_second_copies_total";
/// Steps given up because another worker was further.
pub const STALE_STEPS: &str = "courier_stale_steps_total";
/// This worker's clock against the broker's timestamps.
pub const CLOCK_SKEW: &str = "courier_clock_skew_seconds";

/// Counters without labels: shown as 0 from the start, so that an alert on them can be trusted.
const BARE_COUNTERS: [&str; 5] = [LEDGER_ERRORS, UNRECORDED_OUTCOMES, BROKER_RECONNECTS, SECOND_COPIES, STALE_STEPS];

/// One request: a provider answers within tens of milliseconds or runs into its timeout of seconds.
const ATTEMPT_BUCKETS: [f64; 12] = [0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 15.0];
/// A whole challenge: from a push answered at once to a deadline of 15 minutes.
const CHALLENGE_BUCKETS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
/// Lateness: 0 is the rule, 2 s the promise.
const LATENESS_BUCKETS: [f64; 9] = [0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];

/// How often histograms are drained; otherwise they grow until somebody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Why figures can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder could not be built.
    #[error("metrics can't be set up: {0}")]
    Recorder(#[from] metrics_exporter_prometheus::BuildError),
    /// Another recorder is in place.
    #[error("metrics are already set up")]
    AlreadySet,
}

/// What renders the figures. Cloning shares them.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts counting for the whole process.
    ///
    /// # Errors
    /// When called twice.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|_| MetricsError::AlreadySet)?;
        describe();
        Ok(Self(handle))
    }

    /// Figures of nobody, for tests.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self(recorder().expect("valid buckets").handle())
    }

    /// The figures in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the recorder's memory bounded until told to stop.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.run_upkeep();
        }
    }
}

fn recorder() -> Result<PrometheusRecorder, metrics_exporter_prometheus::BuildError> {
    let exactly = |name: &str| Matcher::Full(name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(exactly(ATTEMPT_DURATION), &ATTEMPT_BUCKETS)?
        .set_buckets_for_metric(exactly(CHALLENGE_DURATION), &CHALLENGE_BUCKETS)?
        .set_buckets_for_metric(exactly(RECEIPT_DELAY), &CHALLENGE_BUCKETS)?
        .set_buckets_for_metric(exactly(FINAL_LATENESS), &LATENESS_BUCKETS)?
        .build_recorder();
    Ok(recorder)
}

/// Tells the recorder in use what each figure means, and shows those without labels as 0.
fn describe() {
    describe_counter!(CHALLENGES, "Challenges that arrived");
    describe_counter!(OUTCOMES, "Outcomes published and confirmed");
    describe_counter!(ATTEMPTS, "Requests to providers");
    describe_histogram!(ATTEMPT_DURATION, Unit::Seconds, "How long requests to providers took");
    describe_histogram!(CHALLENGE_DURATION, Unit::Seconds, "From a challenge's issue to its final outcome");
    describe_counter!(FALLBACKS, "Moves to another hop");
    describe_counter!(RECEIPTS, "Requests that said they were receipts");
    describe_counter!(CALL_FLOWS, "Requests for what a call says");
    describe_histogram!(RECEIPT_DELAY, Unit::Seconds, "From a request to what its provider later said of it");
    describe_counter!(CONVERSIONS, "Challenges verified after a delivery");
    describe_gauge!(PROVIDER_STATE, "Circuit: 0 closed, 1 half-open, 2 open");
    describe_counter!(RATE_LIMITED, "Hops that a limit held back");
    describe_gauge!(IN_FLIGHT, "Requests open now");
    describe_gauge!(QUEUE_DEPTH, "Messages in a queue of the broker");
    describe_counter!(QUARANTINED, "Messages put into quarantine");
    describe_counter!(DUPLICATES, "Repeats recognised");
    describe_counter!(LEDGER_ERRORS, "Operations that the ledger failed");
    describe_counter!(UNRECORDED_OUTCOMES, "Outcomes published that can't be looked up");
    describe_counter!(BROKER_RECONNECTS, "Sessions with the broker that had to be made again");
    describe_gauge!(BUILD_INFO, "Always 1; the version is a label");
    describe_histogram!(FINAL_LATENESS, Unit::Seconds, "How long after expires_at final outcomes came; 0 in time");
    describe_gauge!(OLDEST_CHALLENGE_AGE, Unit::Seconds, "Age of the oldest challenge in hand");
    describe_counter!(SECOND_COPIES, "Messages that a person may have got twice");
    describe_counter!(STALE_STEPS, "Steps given up because another worker was further");
    describe_gauge!(CLOCK_SKEW, Unit::Seconds, "This worker's clock against the broker's timestamps");
    for name in BARE_COUNTERS {
        counter!(name).increment(0);
    }
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn channel_label(channel: Option<Channel>) -> &'static str {
    channel.map_or(NONE, Channel::as_str)
}

fn country_label(country: Option<Country>) -> String {
    country.map_or_else(|| NONE.to_owned(), |country| country.to_string())
}

/// A challenge arrived; `tenant` is one of the configured, or [`OTHER`].
pub fn challenge(channel: Option<Channel>, tenant: &str, result: &'static str) {
    counter!(CHALLENGES, "channel" => channel_label(channel), "tenant" => tenant.to_owned(), "result" => result)
        .increment(1);
}

/// An outcome was published and confirmed.
pub fn outcome(status: Status, channel: Option<Channel>, reason: Option<Reason>) {
    let reason = reason.map_or(NONE, Reason::as_str);
    counter!(OUTCOMES, "status" => status.as_str(), "channel" => channel_label(channel), "reason" => reason)
        .increment(1);
}

/// A request to a provider came to an end.
pub fn attempt(provider: &Arc<str>, channel: Channel, country: Option<Country>, result: AttemptResult, took: Duration) {
    counter!(
        ATTEMPTS,
        "provider" => Arc::clone(provider),
        "channel" => channel.as_str(),
        "country" => country_label(country),
        "result" => result.as_str(),
    )
    .increment(1);
    histogram!(ATTEMPT_DURATION, "provider" => Arc::clone(provider), "channel" => channel.as_str()).record(took);
}

/// A challenge got its final outcome: how long after its issue, and how long after its deadline.
pub fn concluded(channel: Option<Channel>, status: Status, since_issue: Duration, lateness: Duration) {
    histogram!(CHALLENGE_DURATION, "channel" => channel_label(channel), "status" => status.as_str())
        .record(since_issue);
    histogram!(FINAL_LATENESS).record(lateness);
}

/// A challenge went on from one provider to another.
pub fn fallback(from: &Arc<str>, to: &Arc<str>, why: &'static str) {
    counter!(FALLBACKS, "from" => Arc::clone(from), "to" => Arc::clone(to), "why" => why).increment(1);
}

/// Something came that says it is a receipt of `provider`, one of the configured, or [`OTHER`].
pub fn receipt(provider: &str, status: &'static str) {
    counter!(RECEIPTS, "provider" => provider.to_owned(), "status" => status).increment(1);
}

/// Something came that wants to know what a call of `provider` says, one of the configured, or [`OTHER`].
pub fn call_flow(provider: &str, result: &'static str) {
    counter!(CALL_FLOWS, "provider" => provider.to_owned(), "result" => result).increment(1);
}

/// A receipt said something new, this long after the request that it is about.
pub fn receipt_delay(provider: &str, delay: Duration) {
    histogram!(RECEIPT_DELAY, "provider" => provider.to_owned()).record(delay);
}

/// The person entered the code that `provider` delivered.
pub fn conversion(provider: &Arc<str>, channel: Channel, country: Option<Country>) {
    counter!(
        CONVERSIONS,
        "provider" => Arc::clone(provider),
        "channel" => channel.as_str(),
        "country" => country_label(country),
    )
    .increment(1);
}

/// A provider is configured, with receipts or without: what alerts ask of it is there before anything happens.
pub fn configured(provider: &Arc<str>, receipts: bool) {
    provider_state(provider, None, CircuitState::Closed);
    if receipts {
        counter!(RECEIPTS, "provider" => Arc::clone(provider), "status" => "delivered").increment(0);
    }
}

/// A circuit changed; without a country: the whole provider.
pub fn provider_state(provider: &Arc<str>, country: Option<Country>, state: CircuitState) {
    let value = match state {
        CircuitState::Closed => 0.0,
        CircuitState::HalfOpen => 1.0,
        CircuitState::Open => 2.0,
    };
    gauge!(PROVIDER_STATE, "provider" => Arc::clone(provider), "country" => country_label(country)).set(value);
}

/// A limit held a hop back.
pub fn rate_limited(provider: &Arc<str>, scope: &'static str) {
    counter!(RATE_LIMITED, "provider" => Arc::clone(provider), "scope" => scope).increment(1);
}

/// How many requests of a provider are open.
pub fn in_flight(provider: &Arc<str>, open: u32) {
    gauge!(IN_FLIGHT, "provider" => Arc::clone(provider)).set(open);
}

/// How many messages a queue of the broker holds.
pub fn queue_depth(queue: &'static str, messages: u32) {
    gauge!(QUEUE_DEPTH, "queue" => queue).set(messages);
}

/// A message went to quarantine.
pub fn quarantined(why: &'static str) {
    counter!(QUARANTINED, "why" => why).increment(1);
}

/// The queue that a challenge named in `reply_to` takes nothing.
pub fn unroutable_reply() {
    counter!(UNROUTABLE_REPLIES).increment(1);
}

/// A repeat was recognised.
pub fn duplicate(what: &'static str) {
    counter!(DUPLICATES, "what" => what).increment(1);
}

/// The ledger failed an operation.
pub fn ledger_error() {
    counter!(LEDGER_ERRORS).increment(1);
}

/// Outcomes were published that can't be looked up.
pub fn unrecorded_outcomes(many: usize) {
    counter!(UNRECORDED_OUTCOMES).increment(u64::try_from(many).unwrap_or(u64::MAX));
}

/// The session with the broker had to be made again.
pub fn broker_reconnect() {
    counter!(BROKER_RECONNECTS).increment(1);
}

/// The age of the oldest challenge in this worker's hands; zero when there is none.
pub fn oldest_challenge_age(age: Duration) {
    gauge!(OLDEST_CHALLENGE_AGE).set(age);
}

/// A person may have got a message twice.
pub fn second_copy() {
    counter!(SECOND_COPIES).increment(1);
}

/// A step was given up because another worker was further.
pub fn stale_step() {
    counter!(STALE_STEPS).increment(1);
}

/// This worker's clock against the broker's; positive when it is ahead.
pub fn clock_skew(seconds: f64) {
    gauge!(CLOCK_SKEW).set(seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(emit: impl FnOnce()) -> String {
        let recorder = recorder().expect("valid buckets");
        ::metrics::with_local_recorder(&recorder, emit);
        recorder.handle().render()
    }

    #[test]
    fn figures_without_labels_are_there_from_the_start() {
        let text = rendered(describe);
        for name in BARE_COUNTERS {
            assert!(text.contains(&format!("\n{name} 0\n")), "{name} in {text}");
        }
        assert!(text.contains(&format!("{BUILD_INFO}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "{text}");
    }

    #[test]
    fn every_figure_has_its_name_and_labels() {
        let (one, two): (Arc<str>, Arc<str>) = ("twilio".into(), "aliyun".into());
        let us = Country::parse("US");
        let text = rendered(|| {
            challenge(Some(Channel::Sms), OTHER, "accepted");
            outcome(Status::Sent, None, None);
            attempt(&one, Channel::Sms, us, AttemptResult::Accepted, Duration::from_millis(80));
            concluded(Some(Channel::Sms), Status::Sent, Duration::from_secs(3), Duration::ZERO);
            fallback(&one, &two, "silence");
            conversion(&one, Channel::Sms, us);
            provider_state(&one, None, CircuitState::Open);
            rate_limited(&one, "sender");
            in_flight(&one, 7);
            queue_depth("challenges", 12);
            quarantined("not_json");
            duplicate("challenge");
            ledger_error();
            broker_reconnect();
            oldest_challenge_age(Duration::from_millis(1_500));
            second_copy();
            stale_step();
            clock_skew(-0.25);
        });
        for line in [
            "courier_challenges_total{channel=\"sms\",tenant=\"other\",result=\"accepted\"} 1",
            "courier_outcomes_total{status=\"sent\",channel=\"none\",reason=\"none\"} 1",
            "courier_attempts_total{provider=\"twilio\",channel=\"sms\",country=\"US\",result=\"accepted\"} 1",
            "courier_attempt_duration_seconds_bucket{provider=\"twilio\",channel=\"sms\",le=\"0.1\"} 1",
            "courier_challenge_duration_seconds_bucket{channel=\"sms\",status=\"sent\",le=\"2\"} 0",
            "courier_final_lateness_seconds_bucket{le=\"0\"} 1",
            "courier_fallbacks_total{from=\"twilio\",to=\"aliyun\",why=\"silence\"} 1",
            "courier_conversions_total{provider=\"twilio\",channel=\"sms\",country=\"US\"} 1",
            "courier_provider_state{provider=\"twilio\",country=\"none\"} 2",
            "courier_rate_limited_total{provider=\"twilio\",scope=\"sender\"} 1",
            "courier_in_flight{provider=\"twilio\"} 7",
            "courier_queue_depth{queue=\"challenges\"} 12",
            "courier_quarantined_total{why=\"not_json\"} 1",
            "courier_duplicates_total{what=\"challenge\"} 1",
            "courier_ledger_errors_total 1",
            "courier_broker_reconnects_total 1",
            "courier_oldest_challenge_age_seconds 1.5",
            "courier_second_copies_total 1",
            "courier_stale_steps_total 1",
            "courier_clock_skew_seconds -0.25",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_ends_when_told() {
        let metrics = Metrics::detached();
        let stop = CancellationToken::new();
        let task = tokio::spawn(metrics.upkeep(stop.clone()));
        tokio::time::sleep(UPKEEP_EVERY * 3).await;
        assert!(!task.is_finished());
        stop.cancel();
        task.await.expect("no panic");
    }
}
