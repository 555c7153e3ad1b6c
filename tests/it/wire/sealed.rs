//! Sealing: nobody reads codes or numbers in what is parked or quarantined, and the envelope stays plain.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mfa_courier::broker::wire::challenge::Read;
use mfa_courier::broker::wire::parked::{self, Job, Returned, Work};
use mfa_courier::broker::wire::{self, QUARANTINE_PLACE, SEALED_CONTENT};
use mfa_courier::broker::{Properties, Publication, Route};
use mfa_courier::clock::Timestamp;
use mfa_courier::seal::Seal;
use mfa_courier::secret::Secret;
use serde_json::{Value, json};

use super::{challenge, seconds, setup};
use crate::world::{BEGIN, reader};

pub(crate) fn seal(keys: &[u8]) -> Arc<Seal> {
    let keys: Vec<_> = keys.iter().map(|key| Secret::new(BASE64_STANDARD.encode([*key; 32]))).collect();
    Arc::new(Seal::with_keys(&keys).expect("keys"))
}

fn work() -> Work {
    let now = Timestamp::parse_rfc3339(BEGIN).expect("a time");
    let read = reader(&setup().policy).challenge(&Properties::default(), &challenge(&json!({})), now);
    let Read::Good(challenge) = read else { panic!("a good challenge") };
    Work::Fresh(Arc::from(challenge))
}

fn parked_with(seal: &Seal) -> Publication {
    let job = Job { work: work(), seen: None, dead: None, due: Timestamp::EPOCH };
    parked::job(&job, 7, Route::Followups, seal)
}

fn holds_a_secret(body: &[u8]) -> bool {
    let (Work::Fresh(challenge), text) = (work(), String::from_utf8_lossy(body)) else { panic!("fresh") };
    let code = challenge.code.as_ref().expect("a code").expose().to_owned();
    text.contains(&code) || text.contains("4155552671")
}

#[test]
fn what_is_parked_opens_with_its_key_and_under_its_envelope_alone() {
    assert!(holds_a_secret(&parked_with(&Seal::default()).body), "without a key it is in clear");
    let sealed = parked_with(&seal(&[1])).body;
    assert!(!holds_a_secret(&sealed), "{}", String::from_utf8_lossy(&sealed));
    for keys in [[1].as_slice(), &[2, 1]] {
        let Returned::Job(job) = parked::read(&sealed, &seal(keys)) else { panic!("it opens with {keys:?}") };
        let (Work::Fresh(is), Work::Fresh(was)) = (&job.work, work()) else { panic!("fresh") };
        assert_eq!(*is, was);
    }
    let mut other: Value = serde_json::from_slice(&sealed).expect("JSON");
    other["id"] = json!("d");
    let cut = &sealed[..sealed.len() - 9];
    for (what, body, keys) in [
        ("another key", sealed.to_vec(), [2].as_slice()),
        ("no key", sealed.to_vec(), &[]),
        ("another envelope", other.to_string().into_bytes(), &[1]),
        ("cut off", cut.to_vec(), &[1]),
    ] {
        let Returned::Unopenable(envelope) = parked::read(&body, &seal(keys)) else { panic!("{what}") };
        assert_eq!(envelope.tenant, "default", "{what}: the envelope is plain");
    }
}

#[test]
fn what_was_parked_before_there_was_a_key_is_still_read() {
    assert!(matches!(parked::read(&parked_with(&Seal::default()).body, &seal(&[1])), Returned::Job(_)));
}

#[test]
fn what_is_quarantined_is_sealed_whole() {
    let body = challenge(&json!({}));
    let properties = Properties { content_type: Some("text/plain".into()), ..Properties::default() };
    let put = |seal: &Seal| {
        let (properties, body) = (properties.clone(), body.clone().into());
        wire::quarantined("challenges", "unreadable", properties, body, Timestamp::EPOCH, seconds(1), seal)
    };
    assert_eq!(put(&Seal::default()).body, body);
    let sealed = put(&seal(&[1]));
    assert!(!holds_a_secret(&sealed.body));
    assert_eq!(sealed.properties.content_type.as_deref(), Some(SEALED_CONTENT));
    let was = ("x-courier-content-type".to_owned(), "text/plain".to_owned());
    assert!(sealed.properties.headers.contains(&was), "{:?}", sealed.properties.headers);
    assert_eq!(seal(&[1]).open(QUARANTINE_PLACE, &sealed.body), Ok(body));
}
