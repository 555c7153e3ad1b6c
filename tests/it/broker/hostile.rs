//! What a hostile publisher can put beside and into a body. Numbers are those of the list of bad inputs.

use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable};
use mfa_courier::broker::{LinkState, Properties, Publication, Route, Source};
use mfa_courier::clock::Timestamp;

use super::{CHALLENGES, DEAD, Rig, publication};
use crate::node::{persistent, table};

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Publishes raw bytes as shortstr properties and keys: lapin itself refuses to.
mod raw {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    pub(super) fn short(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).expect("short")][..], text].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).expect("long").to_be_bytes()[..], bytes].concat()
    }

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xCE]].concat()
    }

    fn method(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat()
    }

    /// Reads frames until one of this class and method.
    async fn until(socket: &mut TcpStream, class: u16, method: u16) {
        loop {
            let mut head = [0; 7];
            socket.read_exact(&mut head).await.expect("a frame");
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let mut payload = vec![0; size + 1];
            socket.read_exact(&mut payload).await.expect("a payload");
            if payload.starts_with(&[class.to_be_bytes(), method.to_be_bytes()].concat()) {
                return;
            }
        }
    }

    /// Publishes one message with these flags and properties, and waits for its confirm.
    pub(super) async fn publish(port: u16, vhost: &str, key: &[u8], flags: u16, properties: &[u8]) {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a broker");
        socket.write_all(b"AMQP\x00\x00\x09\x01").await.expect("sent");
        until(&mut socket, 10, 10).await;
        let start = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")].concat();
        socket.write_all(&frame(1, 0, &method(10, 11, &start))).await.expect("sent");
        until(&mut socket, 10, 30).await;
        let tune = method(10, 31, &[0, 9, 0, 2, 0, 0, 0, 0]);
        let open = method(10, 40, &[short(vhost.as_bytes()), vec![0, 0]].concat());
        socket.write_all(&[frame(1, 0, &tune), frame(1, 0, &open)].concat()).await.expect("sent");
        until(&mut socket, 10, 41).await;
        let publish = [vec![0, 0], short(b"mfa.challenges"), short(key), vec![0]].concat();
        let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &flags.to_be_bytes(), properties].concat();
        let frames = [
            frame(1, 1, &method(20, 10, &[0])),
            frame(1, 1, &method(85, 10, &[0])),
            frame(1, 1, &method(60, 40, &publish)),
            frame(2, 1, &header),
            frame(3, 1, b"{}"),
        ];
        socket.write_all(&frames.concat()).await.expect("sent");
        until(&mut socket, 60, 80).await;
    }
}

impl Rig {
    async fn raw(&self, key: &[u8], flags: u16, properties: &[u8]) {
        let url = url::Url::parse(self.settings.url.expose()).expect("valid");
        raw::publish(url.port().expect("explicit"), url.path().trim_start_matches('/'), key, flags, properties).await;
    }

    /// That the session that began is still the one that reads.
    async fn survives(&mut self) {
        self.client.publish_challenge("after").await;
        let after = self.next().await;
        assert_eq!((&*after.body, after.redelivered), (&b"after"[..], false), "the session went on");
        after.envelope.ack();
        assert_eq!(*self.link.state.borrow(), LinkState::Ready);
    }
}

#[tokio::test]
async fn texts_that_are_not_utf8_neither_kill_the_session_nor_come_through() {
    // 10: correlation_id, reply_to, message_id; 16: the routing key.
    let mut rig = Rig::new().await;
    let flags = 1 << 10 | 1 << 9 | 1 << 7;
    let properties = [raw::short(b"corr\xff"), raw::short(b"\xc0\xaf"), raw::short(b"fine")].concat();
    rig.raw(b"challenge.requested.\xff\xfe", flags, &properties).await;
    let delivered = rig.next().await;
    assert_eq!(delivered.properties, Properties { message_id: Some("fine".into()), ..Properties::default() });
    assert_eq!((&*delivered.routing_key, &*delivered.body), ("challenge.requested.??", &b"{}"[..]));
    delivered.envelope.ack();
    rig.survives().await;
}

#[tokio::test]
async fn tables_of_any_depth_are_survived() {
    // 11: deep enough to overflow the stack of a parser that recurses.
    let mut rig = Rig::new().await;
    for levels in [100, 15_000] {
        let mut bytes = Vec::new();
        for level in 0..levels {
            bytes.extend_from_slice(&[1, b'k', b'F']);
            bytes.extend(u32::try_from((levels - level - 1) * 7).expect("small").to_be_bytes());
        }
        let table = [&u32::try_from(bytes.len()).expect("small").to_be_bytes()[..], &bytes].concat();
        rig.raw(b"challenge.requested", 1 << 13, &table).await;
        let delivered = rig.next().await;
        assert_eq!(delivered.properties, Properties::default(), "{levels}");
        delivered.envelope.ack();
    }
    rig.survives().await;
}

#[tokio::test]
async fn headers_of_every_type_and_number_are_bounded() {
    // 11, 12, 13.
    let mut rig = Rig::new().await;
    let nested = FieldArray::from(vec![AMQPValue::FieldTable(table([("a", AMQPValue::Void)]))]);
    let odd = table([
        ("array", AMQPValue::FieldArray(nested)),
        ("bytes", AMQPValue::ByteArray(ByteArray::from(&b"\xff"[..]))),
        ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 })),
        ("double", AMQPValue::Double(f64::MIN_POSITIVE)),
        ("void", AMQPValue::Void),
        ("not utf-8", AMQPValue::LongString(vec![0xFF].into())),
        ("x-delivery-count", AMQPValue::LongLongInt(i64::MIN)),
        ("x-death", text("forged")),
        ("x-first-death-reason", text("expired")),
        ("courier-user-id", text("admin")),
        ("word", text("kept")),
    ]);
    rig.challenge(persistent().with_headers(odd), b"{}").await;
    let delivered = rig.next().await;
    assert_eq!(delivered.properties.headers, [("word".to_owned(), "kept".to_owned())]);
    assert_eq!((delivered.death, delivered.properties.user_id), (None, None));
    delivered.envelope.ack();

    let mut many = FieldTable::default();
    for n in 0..8_000 {
        many.insert(format!("h{n}").into(), AMQPValue::LongInt(n));
    }
    rig.challenge(persistent().with_headers(many), b"{}").await;
    let delivered = rig.next().await;
    assert!(delivered.properties.headers.len() <= 64);
    delivered.envelope.ack();
    rig.survives().await;
}

#[tokio::test]
async fn odd_properties_are_taken_for_what_they_are() {
    // 5, 6, 8, 9.
    let mut rig = Rig::new().await;
    for (seconds, read) in [(0, Some(Timestamp::EPOCH)), (i64::MAX as u64, None), (1_790_000_000_000, None)] {
        rig.challenge(persistent().with_timestamp(seconds), b"{}").await;
        let delivered = rig.next().await;
        assert_eq!(delivered.properties.timestamp, read, "{seconds}");
        delivered.envelope.ack();
    }
    let long = "m".repeat(255);
    let odd = persistent().with_delivery_mode(1).with_priority(255).with_message_id(long.as_str().into());
    rig.challenge(odd, b"{}").await;
    let delivered = rig.next().await;
    assert_eq!(delivered.properties.message_id, Some(long));
    delivered.envelope.ack();
    rig.survives().await;
}

#[tokio::test]
async fn an_expiration_that_is_no_number_is_the_publishers_own_fault() {
    // 7: the broker closes the publisher's channel; "0" is dead at once where nobody takes it.
    let mut rig = Rig::new().await;
    for bad in ["-1", "abc"] {
        let channel = rig.client.connection.create_channel().await.expect("a channel");
        let properties = persistent().with_expiration(bad.into());
        let key = "challenge.requested";
        let sent = channel.basic_publish(
            "mfa.challenges".into(),
            key.into(),
            BasicPublishOptions::default(),
            b"{}",
            properties,
        );
        sent.await.expect("sent");
        assert!(channel.confirm_select(ConfirmSelectOptions::default()).await.is_err(), "{bad} is refused");
    }
    rig.challenge(persistent().with_expiration("0".into()), b"now").await;
    let delivered = rig.next().await;
    assert!(matches!(delivered.source, Source::Challenges | Source::Dead));
    delivered.envelope.ack();
    rig.survives().await;
}

#[tokio::test]
async fn a_forged_death_on_the_dead_queue_is_only_believed_of_own_queues() {
    // 13.
    let mut rig = Rig::new().await;
    let entry = table([("queue", text("elsewhere")), ("reason", text("expired"))]);
    let deaths = AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(entry)]));
    let forged = persistent().with_headers(table([("x-death", deaths)]));
    rig.client.publish("", DEAD, forged, b"{}").await;
    let delivered = rig.next().await;
    assert_eq!((delivered.source, delivered.death), (Source::Dead, None));
    delivered.envelope.ack();
}

#[tokio::test]
async fn republished_messages_carry_nothing_that_the_broker_obeys() {
    // 13: and none of it closes the channel.
    let mut rig = Rig::new().await;
    let hostile = ["CC", "BCC", "x-death", "x-first-death-queue", "x-delay"];
    let properties = Properties {
        user_id: Some("somebody-else".into()),
        reply_to: Some("amq.rabbitmq.reply-to".into()),
        headers: hostile.map(|name| (name.to_owned(), CHALLENGES.to_owned())).to_vec(),
        ..Properties::default()
    };
    let parked = Publication { route: Route::Followups, properties, body: "{}".into(), expiration: None };
    rig.link.outbox.publish(&parked).await.expect("stored");
    let back = rig.next().await;
    assert_eq!(back.source, Source::Followups);
    assert_eq!(
        back.properties,
        Properties { user_id: Some("somebody-else".into()), ..Properties::default() },
        "the user travels in a header of its own"
    );
    back.envelope.ack();
    assert!(rig.is_quiet().await, "and nothing was copied elsewhere");
    rig.survives().await;
}

#[tokio::test]
async fn bodies_of_any_size_come_whole() {
    // 1, 2, 18: many frames, and none.
    let mut rig = Rig::new().await;
    let big: Vec<u8> = (0..4 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    for body in [&big[..], b"", &big[..=64 * 1024]] {
        rig.challenge(persistent(), body).await;
        let delivered = rig.next().await;
        assert!(delivered.body == body, "{} bytes", body.len());
        delivered.envelope.ack();
    }
    let parked = Publication { body: big.clone().into(), ..publication(Route::Followups, b"") };
    rig.link.outbox.publish(&parked).await.expect("stored");
    assert!(rig.next().await.body == big);
}

#[tokio::test]
async fn keys_of_any_length_are_read() {
    // 16.
    let mut rig = Rig::new().await;
    let key = format!("challenge.requested.{}", "x".repeat(235));
    rig.client.publish("mfa.challenges", &key, persistent(), b"{}").await;
    assert_eq!(rig.next().await.routing_key, key);
    let too_long = publication(Route::Outcome("o".repeat(256)), b"{}");
    assert!(rig.link.outbox.publish(&too_long).await.is_err());
    let fits = publication(Route::Outcome("o".repeat(255)), b"{}");
    assert!(join_all([rig.link.outbox.publish(&fits)]).await[0].is_ok());
}
