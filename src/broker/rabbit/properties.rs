//! AMQP properties in both directions. Pure.
//!
//! What comes in was chosen by whoever may publish, and is kept only where it has a meaning, within bounds. What goes
//! out can't make the broker close the channel: nothing that it validates or interprets is passed through.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::broker::{Death, DeathWhy, Names, Properties, Source};
use crate::clock::Timestamp;

/// How many further headers are kept.
const MOST_HEADERS: usize = 64;
/// The longest name of a header, and the longest text in one.
const LONGEST_KEY: usize = 128;
const LONGEST_TEXT: usize = 1024;
/// RabbitMQ refuses a longer expiration.
const LONGEST_EXPIRATION: u64 = u32::MAX as u64;
const LATEST: u64 = 253_402_300_799;
const PERSISTENT: u8 = 2;

const TRACEPARENT: &str = "traceparent";
/// Carries `user_id`: the broker closes a channel that publishes in another user's name.
const USER_ID: &str = "courier-user-id";
const DEATHS: &str = "x-death";

type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// Reads the properties of a delivery, and why it died if it comes from the dead queue.
pub(super) fn inbound(from: &BasicProperties, source: Source, names: &Names) -> (Properties, Option<Death>) {
    let mut properties = Properties {
        content_type: text(from.content_type().as_ref()),
        content_encoding: text(from.content_encoding().as_ref()),
        message_id: text(from.message_id().as_ref()),
        correlation_id: text(from.correlation_id().as_ref()),
        reply_to: text(from.reply_to().as_ref()),
        timestamp: from.timestamp().and_then(moment),
        user_id: text(from.user_id().as_ref()),
        kind: text(from.kind().as_ref()),
        app_id: text(from.app_id().as_ref()),
        traceparent: None,
        headers: Vec::new(),
    };
    let Some(table) = from.headers() else { return (properties, None) };
    for (name, value) in table {
        read_header(&mut properties, name.as_str(), value, source);
    }
    (properties, (source == Source::Dead).then(|| death(table, names)).flatten())
}

fn read_header(properties: &mut Properties, name: &str, value: &AMQPValue, source: Source) {
    if is_brokers(name) || name.is_empty() || name.len() > LONGEST_KEY {
        return;
    }
    let Some(value) = word(value) else { return };
    match name {
        TRACEPARENT => properties.traceparent = Some(value),
        // Only the courier publishes follow-ups; elsewhere the broker itself vouches for the user.
        USER_ID if source == Source::Followups => properties.user_id = Some(value),
        USER_ID => {}
        _ if properties.headers.len() < MOST_HEADERS => properties.headers.push((name.to_owned(), value)),
        _ => {}
    }
}

/// Writes the properties of a publication.
pub(super) fn outbound(from: &Properties, expiration: Option<Duration>) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in from.headers.iter().take(MOST_HEADERS) {
        write_header(&mut headers, name, value);
    }
    if let Some(traceparent) = &from.traceparent {
        write_header(&mut headers, TRACEPARENT, traceparent);
    }
    if let Some(user_id) = &from.user_id {
        write_header(&mut headers, USER_ID, user_id);
    }
    let mut to = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
    let texts: [(&Option<String>, With); 6] = [
        (&from.content_type, BasicProperties::with_content_type),
        (&from.content_encoding, BasicProperties::with_content_encoding),
        (&from.message_id, BasicProperties::with_message_id),
        (&from.correlation_id, BasicProperties::with_correlation_id),
        (&from.kind, BasicProperties::with_type),
        (&from.app_id, BasicProperties::with_app_id),
    ];
    for (text, with) in texts {
        if let Some(text) = text.as_deref().and_then(short) {
            to = with(to, text);
        }
    }
    if let Some(reply_to) = from.reply_to.as_deref().filter(|name| !is_bare_direct_reply(name)).and_then(short) {
        to = to.with_reply_to(reply_to);
    }
    if let Some(seconds) = from.timestamp.and_then(|moment| u64::try_from(moment.as_millis() / 1_000).ok()) {
        to = to.with_timestamp(seconds);
    }
    if let Some(expiration) = expiration {
        to = to.with_expiration(milliseconds(expiration));
    }
    to
}

/// The message id that [`outbound`] writes, which is what a return would show.
pub(super) fn message_id(from: &Properties) -> Option<&str> {
    from.message_id.as_deref().filter(|id| short(id).is_some())
}

fn write_header(table: &mut FieldTable, name: &str, value: &str) {
    let fits = !name.is_empty() && name.len() <= LONGEST_KEY && value.len() <= LONGEST_TEXT;
    if let Some(name) = short(name).filter(|name| fits && !is_brokers(name.as_str())) {
        table.insert(name, AMQPValue::LongString(value.into()));
    }
}

/// Headers that the broker writes or obeys: as the publisher's they would lie, re-published they would misroute
/// (`CC`), break dead lettering (`x-death` counts as a cycle on 3.x) or close the channel.
fn is_brokers(name: &str) -> bool {
    const PREFIXES: [&str; 7] =
        ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "x-opt-", "x-delay"];
    matches!(name, "CC" | "BCC") || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// RabbitMQ closes a channel that publishes this without consuming from it.
fn is_bare_direct_reply(queue: &str) -> bool {
    queue == "amq.rabbitmq.reply-to"
}

fn text(from: Option<&ShortString>) -> Option<String> {
    from.map(ShortString::as_str).filter(|text| !text.is_empty() && !text.contains('\0')).map(str::to_owned)
}

fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

/// Whole seconds since the epoch; anything after the year 9999 is no time.
fn moment(seconds: u64) -> Option<Timestamp> {
    let millis = seconds.min(LATEST).checked_mul(1_000)?;
    (seconds <= LATEST).then(|| i64::try_from(millis).ok()).flatten().map(Timestamp::from_millis)
}

fn milliseconds(duration: Duration) -> ShortString {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(LONGEST_EXPIRATION);
    ShortString::try_new(millis.to_string()).unwrap_or_default()
}

/// A header's value, where it is a short word.
fn word(value: &AMQPValue) -> Option<String> {
    let text = match value {
        AMQPValue::LongString(text) => utf8(text)?.to_owned(),
        AMQPValue::ShortString(text) => text.as_str().to_owned(),
        AMQPValue::Boolean(yes) => yes.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        _ => return None,
    };
    (text.len() <= LONGEST_TEXT).then_some(text)
}

fn utf8(text: &LongString) -> Option<&str> {
    std::str::from_utf8(text.as_bytes()).ok()
}

/// The newest entry that the broker wrote when it took the message out of one of the courier's queues.
fn death(headers: &FieldTable, names: &Names) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get(DEATHS)? else { return None };
    let AMQPValue::FieldTable(newest) = deaths.as_slice().first()? else { return None };
    let field = |name: &str| newest.inner().get(name).and_then(word);
    let queue = field("queue")?;
    let from = Source::ALL.into_iter().find(|source| names.queue(*source) == queue)?;
    let why = match field("reason")?.as_str() {
        "expired" => DeathWhy::Expired,
        "delivery_limit" => DeathWhy::DeliveryLimit,
        other => DeathWhy::Other(other.chars().filter(char::is_ascii_graphic).take(32).collect()),
    };
    Some(Death { why, from: Some(from) })
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    fn table(fields: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in fields {
            table.insert(name.into(), value);
        }
        table
    }

    fn died(queue: &str, reason: &str) -> BasicProperties {
        let entry = table([("queue", long(queue)), ("reason", long(reason))]);
        let deaths = AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(entry)]));
        BasicProperties::default().with_headers(table([("x-death", deaths)]))
    }

    fn read(from: &BasicProperties, source: Source) -> (Properties, Option<Death>) {
        inbound(from, source, &Names::default())
    }

    #[test]
    fn what_goes_out_comes_back() {
        let properties = Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("identity".into()),
            message_id: Some("m".into()),
            correlation_id: Some("c".into()),
            reply_to: Some("answers".into()),
            timestamp: Some(Timestamp::from_millis(1_790_000_000_000)),
            user_id: Some("contoso".into()),
            kind: Some("mfa.outcome.v1".into()),
            app_id: Some("mfa-courier".into()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            headers: vec![("why".into(), "not_json".into())],
        };
        let wire = outbound(&properties, Some(Duration::from_mins(1)));
        assert_eq!((wire.delivery_mode(), wire.user_id()), (&Some(PERSISTENT), &None));
        assert_eq!(wire.expiration().as_ref().map(ShortString::as_str), Some("60000"));
        assert_eq!(read(&wire, Source::Followups), (properties.clone(), None));
        assert_eq!(read(&wire, Source::Challenges).0.user_id, None, "upstream may not choose its user by a header");
    }

    #[test]
    fn a_death_counts_only_on_the_dead_queue_and_of_an_own_queue() {
        let names = Names::default();
        let death = |properties: &BasicProperties, source| read(properties, source).1;
        assert_eq!(
            death(&died(&names.challenges, "expired"), Source::Dead),
            Some(Death { why: DeathWhy::Expired, from: Some(Source::Challenges) })
        );
        assert_eq!(
            death(&died(&names.signals, "delivery_limit"), Source::Dead),
            Some(Death { why: DeathWhy::DeliveryLimit, from: Some(Source::Signals) })
        );
        assert_eq!(
            death(&died(&names.signals, "rejected"), Source::Dead),
            Some(Death { why: DeathWhy::Other("rejected".into()), from: Some(Source::Signals) })
        );
        assert_eq!(death(&died("elsewhere", "expired"), Source::Dead), None);
        assert_eq!(death(&died(&names.challenges, "expired"), Source::Challenges), None);
        let odd = BasicProperties::default().with_headers(table([("x-death", long("expired"))]));
        assert_eq!(death(&odd, Source::Dead), None);
    }

    #[test]
    fn what_the_broker_obeys_or_writes_is_not_passed_through() {
        let hostile = ["CC", "BCC", "x-death", "x-first-death-reason", "x-delivery-count", "x-opt-a", "x-delay"];
        let headers = hostile.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        let properties =
            Properties { headers, reply_to: Some("amq.rabbitmq.reply-to".into()), ..Properties::default() };
        let wire = outbound(&properties, None);
        assert_eq!((wire.headers().as_ref().map(|table| table.inner().len()), wire.reply_to()), (Some(0), &None));
        let back = BasicProperties::default().with_headers(table(hostile.map(|name| (name, long("1")))));
        assert_eq!(read(&back, Source::Challenges).0.headers, []);
    }

    #[test]
    fn headers_are_bounded_in_number_and_size() {
        let mut headers = FieldTable::default();
        for n in 0..10_000 {
            headers.insert(format!("h{n}").into(), AMQPValue::LongLongInt(n));
        }
        headers.insert("long".into(), long(&"x".repeat(LONGEST_TEXT + 1)));
        headers.insert("void".into(), AMQPValue::Void);
        headers.insert("bytes".into(), AMQPValue::LongString(vec![0xFF].into()));
        let (read, _) = read(&BasicProperties::default().with_headers(headers), Source::Challenges);
        assert_eq!(read.headers.len(), MOST_HEADERS);
        let long = "x".repeat(300);
        let sent = Properties {
            message_id: Some(long.clone()),
            headers: vec![(long.clone(), "v".into()), ("k".into(), "v".repeat(2_000))],
            ..Properties::default()
        };
        assert_eq!(message_id(&sent), None);
        let wire = outbound(&sent, Some(Duration::MAX));
        assert_eq!((wire.message_id(), wire.headers().as_ref().map(|table| table.inner().len())), (&None, Some(0)));
        assert_eq!(wire.expiration().as_ref().map(ShortString::as_str), Some("4294967295"));
    }

    #[test]
    fn impossible_times_are_no_times() {
        let at =
            |seconds: u64| read(&BasicProperties::default().with_timestamp(seconds), Source::Challenges).0.timestamp;
        assert_eq!(at(0), Some(Timestamp::EPOCH));
        assert_eq!(at(LATEST), Some(Timestamp::from_millis(253_402_300_799_000)));
        assert_eq!((at(1_790_000_000_000), at(i64::MAX as u64), at(u64::MAX)), (None, None, None));
    }

    #[test]
    fn scrubbed_and_empty_texts_are_absent() {
        let odd = BasicProperties::default().with_reply_to("\0\0\0".into()).with_message_id("".into());
        assert_eq!(read(&odd, Source::Challenges).0, Properties::default());
    }
}
