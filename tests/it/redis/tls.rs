//! The ledger in a Redis behind TLS: whom it believes, and that a stranger is not waited for.

use std::time::Duration;

use mfa_courier::clock::{Clock, Dice};
use mfa_courier::ledger::redis::{RedisLedger, RedisSettings, RedisStartError, Tls};
use mfa_courier::ledger::suite;
use mfa_courier::secret::Secret;

use super::store::Store;
use crate::broker::tls::Authority;

#[tokio::test]
async fn a_private_authority_and_a_certificate_of_our_own_are_used_and_a_stranger_ends_the_start() {
    let (store, authority) = (Store::start("").await, Authority::new());
    let url = Secret::new(format!("rediss://localhost:{}/0", authority.guards(store.port()).await));
    let connect = async |tls| -> Result<RedisLedger, RedisStartError> {
        let settings = RedisSettings { url: url.clone(), tls, ..store.settings() };
        let connecting = RedisLedger::connect(&settings, Clock::system(), Dice::system());
        tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("it does not wait for ever")
    };
    let identity = || Some((authority.file("client.pem"), authority.file("client.key")));

    let stranger = connect(Tls { ca_file: None, identity: identity() }).await.err().expect("refused").to_string();
    assert!(stranger.contains("invalid peer certificate"), "{stranger}");
    let missing = connect(Tls { ca_file: Some("/nowhere/ca.pem".into()), identity: None }).await.err();
    assert!(missing.is_some_and(|why| why.to_string().contains("/nowhere/ca.pem")));

    let ledger =
        connect(Tls { ca_file: Some(authority.file("ca.pem")), identity: identity() }).await.expect("a ledger");
    suite::write_working(&ledger, "working", Clock::system().now() + Duration::from_hours(1)).await;
    assert!(suite::read(&ledger, "working").await.is_some());
}
