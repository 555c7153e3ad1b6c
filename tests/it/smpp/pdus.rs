//! PDUs against published octets, every status of the table, and octets that nobody should send.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use mfa_courier::challenge::{Address, ChallengeId};
use mfa_courier::clock::{Clock, Timestamp};
use mfa_courier::delivery::outcome::ReceiptStatus;
use mfa_courier::delivery::verdict::AttemptResult;
use mfa_courier::phone::PhoneNumber;
use mfa_courier::provider::http::ProviderSettings;
use mfa_courier::provider::smpp::receipt::{Ids, Receipt, canonical, read};
use mfa_courier::provider::smpp::wire::Frame;
use mfa_courier::provider::smpp::{Smpp, reply};
use mfa_courier::provider::{Message, Reply};
use mfa_courier::secret::Secret;
use proptest::prelude::*;

const SUBMIT: &str = "0000004b00000004000000000000000000050041434d4500010133333631323334353637380000000000303030303030303030353030303030520001000000\
                      0b436f646520313233343536";
const RECEIPT: &str = "000000a5000000050000000000000007000101333336313233343536373800050041434d45000400000000000000006669643a3030303034\
                       3336393439207375623a30303120646c7672643a303031207375626d697420646174653a3236313132343132303020646f6e652064617465\
                       3a3236313132343132303120737461743a44454c49565244206572723a30303020746578743a001e00063641414435000427000102";

fn octets(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

fn message(text: &str) -> Message {
    Message {
        reference: "r-1".into(),
        challenge: ChallengeId::parse("c-1").expect("valid"),
        address: Address::Sms { to: PhoneNumber::parse("+33612345678", None).expect("valid") },
        sender: Some("ACME".into()),
        title: None,
        text: Secret::new(text),
        code: Some(Secret::new("123456")),
        language: "en".into(),
        purpose: "sign_in".into(),
        tenant: "default".into(),
        validity: Duration::from_mins(5),
        callback_url: None,
    }
}

fn smpp() -> Smpp {
    let mut given = ProviderSettings::new("smsc");
    given.receipts = true;
    given.settings = [("host", "127.0.0.1:2775"), ("system_id", "otpuser"), ("password", "secret01")]
        .map(|(key, value)| (key.to_owned(), Secret::new(value)))
        .into();
    Smpp::new(&given, &Clock::system()).expect("usable")
}

#[test]
fn a_message_is_written_as_published() {
    let made = smpp().pdus(&message("Code 123456"), Timestamp::EPOCH).expect("fits");
    assert_eq!(made, [octets(SUBMIT)]);
}

#[test]
fn parts_have_headers_and_the_last_asks_for_the_receipt() {
    let made = smpp().pdus(&message(&"a".repeat(161)), Timestamp::EPOCH).expect("fits");
    let flags = made.iter().map(|pdu| (pdu[38], pdu[59])).collect::<Vec<_>>();
    assert_eq!((made.len(), flags), (2, vec![(0x40, 0), (0x40, 1)]));
}

#[test]
fn a_receipt_is_read_by_its_parameters_by_its_text_and_without_what_is_broken() {
    let frame = Frame::read(&octets(RECEIPT)).expect("whole");
    let expected = Receipt { message_id: "6AAD5".to_owned(), status: ReceiptStatus::Delivered, code: None };
    assert_eq!(read(&frame.delivered().expect("readable"), Ids::Same).as_ref(), Some(&expected));
    // A parameter that says it is longer than the PDU: the text is left.
    let mut broken = octets(RECEIPT);
    let at = broken.len() - 15;
    broken[at + 2] = 0x7f;
    let frame = Frame::read(&broken).expect("whole");
    assert_eq!(read(&frame.delivered().expect("readable"), Ids::Decimal).as_ref(), Some(&expected));
    assert_eq!(canonical("0006aad5"), "6AAD5");
}

#[test]
fn every_status_means_what_the_table_says() {
    let judge = |status: u32, own: &BTreeMap<u32, AttemptResult>| {
        for body in [&b""[..], b"\0"] {
            let answer = super::smsc::pdu(0x8000_0004, status, 3, body);
            let reply = Reply::Answered { status: 0, retry_after: None, body: answer.into() };
            let verdict = reply::judge(&reply, own);
            let is_throttled = verdict.result == AttemptResult::Throttled;
            assert_eq!(verdict.retry_after, is_throttled.then_some(Duration::from_secs(1)), "0x{status:X}");
            if body.is_empty() {
                continue;
            }
            return verdict;
        }
        unreachable!("two bodies")
    };
    let none = BTreeMap::new();
    for (status, result) in reply::STATUSES {
        assert_eq!(judge(status, &none).result, result, "0x{status:X}");
    }
    assert_eq!(judge(0, &none).result, AttemptResult::Accepted);
    assert_eq!(judge(0x411, &none).result, AttemptResult::Transient);
    assert_eq!(judge(0x411, &BTreeMap::from([(0x411, AttemptResult::Content)])).result, AttemptResult::Content);
}

proptest! {
    #[test]
    fn whatever_octets_come_are_read_or_refused(came in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut buffer = BytesMut::from(came.as_slice());
        if let Ok(Some(frame)) = Frame::take(&mut buffer) {
            prop_assert!(frame.bytes.len() + buffer.len() == came.len());
        }
        let body = super::smsc::pdu(0x05, 0, 1, &came);
        let frame = Frame::read(&body).expect("whole");
        if let Some(delivered) = frame.delivered() {
            let _ = read(&delivered, Ids::Hex);
        }
        let _ = Frame::read(&super::smsc::pdu(0x8000_0004, 0, 1, &came)).expect("whole").message_id();
    }

    #[test]
    fn a_receipt_with_any_octet_wrong_never_ends_in_a_panic(at in 16_usize..165, octet: u8) {
        let mut wrong = octets(RECEIPT);
        wrong[at] = octet;
        let frame = Frame::read(&wrong).expect("its length is right");
        let _ = frame.delivered().and_then(|delivered| read(&delivered, Ids::Same));
    }
}
