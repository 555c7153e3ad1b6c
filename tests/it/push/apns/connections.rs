//! Connections to APNs: how many, how full, and what becomes of requests when they end.

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::node::eventually;

#[tokio::test]
async fn a_burst_on_cold_connections_is_taken_whole_and_none_of_it_refused() {
    let stage = Stage::new().await;
    assert_eq!(stage.flood(300).await, BTreeMap::from([("accepted", 300)]));
    assert_eq!(stage.simulator.streams_refused(), 0, "one stream until the first answer");
    assert_eq!(stage.simulator.received_by(ENTRY), 300, "each was written once");
}

#[tokio::test]
async fn no_more_streams_than_the_server_allows_on_few_connections() {
    for limit in [1, 3, 10] {
        let stage = Stage::new().await;
        stage.simulator.set_stream_limit(limit);
        stage.simulator.set_mode(ENTRY, Mode::Slow(Duration::from_millis(20)));
        assert_eq!(stage.flood(80).await, BTreeMap::from([("accepted", 80)]), "{limit}");
        let limit = usize::try_from(limit).expect("small");
        assert!(stage.simulator.most_streams() <= limit, "{}", stage.simulator.most_streams());
        assert!((2..=4).contains(&stage.simulator.connections_made()), "{}", stage.simulator.connections_made());
    }
}

#[tokio::test]
async fn what_finds_no_place_in_time_was_not_sent() {
    let stage = Stage::new().await;
    stage.simulator.set_stream_limit(1);
    stage.simulator.set_mode(ENTRY, Mode::Hang);
    let mut results = stage.flood(20).await;
    let in_doubt = results.remove("unknown").unwrap_or(0);
    assert!((1..=4).contains(&in_doubt), "{in_doubt}: as many as there are connections");
    assert_eq!(results, BTreeMap::from([("transient", 20 - in_doubt)]));
    assert_eq!(stage.simulator.received_by(ENTRY), in_doubt as u64);
}

#[tokio::test]
async fn a_server_that_goes_away_finishes_what_it_took_and_the_rest_goes_elsewhere() {
    let stage = Stage::new().await;
    assert_eq!(stage.outcome("device").await, "answered 200: accepted");
    stage.simulator.set_mode(ENTRY, Mode::Slow(Duration::from_millis(300)));
    let apns = Arc::clone(&stage.apns);
    let in_flight = tokio::spawn(async move { outcome(apns.as_ref(), &message("in-flight")).await });
    eventually("it is there", async || (stage.simulator.received_by(ENTRY) == 2).then_some(())).await;
    stage.simulator.end_connections(Ending::GoAway);
    let mut sent = 2;
    eventually("another connection is made", async || {
        assert_eq!(stage.outcome("device").await, "answered 200: accepted");
        sent += 1;
        (stage.simulator.connections_made() >= 2).then_some(())
    })
    .await;
    assert_eq!(in_flight.await.expect("ends"), "answered 200: accepted");
    assert_eq!(stage.simulator.received_by(ENTRY), sent, "nothing was sent twice");
}

#[tokio::test]
async fn a_connection_that_was_cut_is_not_used_again() {
    let stage = Stage::new().await;
    assert_eq!(stage.outcome("device").await, "answered 200: accepted");
    stage.simulator.set_mode(ENTRY, Mode::Hang);
    let apns = Arc::clone(&stage.apns);
    let in_flight = tokio::spawn(async move { outcome(apns.as_ref(), &message("in-flight")).await });
    eventually("it is there", async || (stage.simulator.received_by(ENTRY) == 2).then_some(())).await;
    stage.simulator.end_connections(Ending::Cut);
    assert_eq!(in_flight.await.expect("ends"), "in doubt: unknown", "it may have been taken");
    stage.simulator.set_mode(ENTRY, Mode::Normal);
    assert_eq!(stage.flood(20).await, BTreeMap::from([("accepted", 20)]));
}

/// A path that is dead says nothing at all: the first request on it is in doubt, and the connection is asked at once
/// whether it lives.
#[tokio::test]
async fn a_connection_that_died_is_found_out_and_left() {
    let stage = Stage::new().await;
    assert_eq!(stage.outcome("device").await, "answered 200: accepted");
    stage.simulator.end_connections(Ending::Freeze);
    assert_eq!(stage.outcome("device").await, "in doubt: unknown");
    assert_eq!(stage.simulator.connections_made(), 1);
    push::pass(Duration::from_secs(6)).await;
    eventually("another connection carries it", async || {
        (stage.outcome("device").await == "answered 200: accepted").then_some(())
    })
    .await;
    assert_eq!(stage.simulator.connections_made(), 2);
}

#[tokio::test]
async fn a_connection_that_is_refused_for_itself_is_left_for_another() {
    for reason in ["UnrelatedKeyIdInToken", "TooManyProviderTokenUpdates", "IdleTimeout", "Shutdown"] {
        let stage = Stage::new().await;
        assert_eq!(stage.outcome("device").await, "answered 200: accepted");
        stage.outcome(&format!("d:{reason}")).await;
        assert_eq!(stage.simulator.received_by(ENTRY), 3, "{reason}: once more, and no more");
        assert_eq!(stage.simulator.connections_made(), 2, "{reason}");
        assert_eq!(stage.outcome("device").await, "answered 200: accepted");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent_and_nobody_waits_for_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let apns = Arc::new(Apns::new(&settings(&format!("http://{address}")), &Clock::system()).expect("usable"));
    let mut sending = JoinSet::new();
    for _ in 0..50 {
        let apns = Arc::clone(&apns);
        sending.spawn(async move {
            let begun = Clock::instant();
            (outcome(apns.as_ref(), &message("device")).await, begun.elapsed() < DEADLINE / 2)
        });
    }
    for told in sending.join_all().await {
        assert_eq!(told, ("not sent: transient".to_owned(), true));
    }
}

/// A peer that takes the connection, and then says nothing, or what is no HTTP/2.
#[tokio::test]
async fn a_peer_that_does_not_greet_gets_nothing() {
    use crate::replies::server::{Then, canned, finish, peer};
    let (silent, _) = peer(|stream, _| finish(stream, Then::Hold)).await;
    let closing = canned(Vec::new(), Then::Close).await;
    let other = canned(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), Then::Hold).await;
    for address in [silent, closing, other] {
        let apns = Apns::new(&settings(&format!("http://{address}")), &Clock::system()).expect("usable");
        assert_eq!(outcome(&apns, &message("device")).await, "not sent: transient");
    }
}
