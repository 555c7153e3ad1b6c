//! APNs' HTTP/2 by somebody else: hyper-h2 counts our streams against the limit that it names and later raises, and
//! `PyJWT` reads our token.

use std::io::{BufReader, Write as _};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::peers::spawn;

const PUBLIC_KEY: &str = include_str!("../../../../src/simulator/push_key.pub.pem");
const PROMPTS: usize = 200;
const STREAMS: u64 = 20;

fn line(from: &mut impl std::io::BufRead) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn another_http2_sees_no_stream_too_many_and_another_library_reads_our_token() {
    let mut server = spawn("serve_apns.py");
    let mut stdin = server.stdin.take().expect("piped");
    let mut stdout = BufReader::new(server.stdout.take().expect("piped"));
    let public_key = PUBLIC_KEY.split_once("-----").map(|(_, rest)| format!("-----{rest}")).expect("a key");
    let told = json!({ "public_key": public_key, "team": APNS_TEAM_ID, "streams": STREAMS, "hold": 0.03 });
    writeln!(stdin, "{told}").expect("it reads");
    let port = line(&mut stdout)["port"].as_u64().expect("a port");
    let clock = Clock::system();
    let apns = Arc::new(Apns::new(&settings(&format!("http://127.0.0.1:{port}")), &clock).expect("usable"));
    let mut sending = JoinSet::new();
    for n in 0..PROMPTS {
        let apns = Arc::clone(&apns);
        sending.spawn(async move { outcome(apns.as_ref(), &message(&format!("device-{n}"))).await });
    }
    let outcomes: BTreeSet<_> = sending.join_all().await.into_iter().collect();
    assert_eq!(outcomes, BTreeSet::from(["answered 200: accepted".to_owned()]));
    drop(stdin);
    let seen = line(&mut stdout);
    assert!(server.wait().expect("it ends").success());
    assert_eq!((&seen["requests"], &seen["broken"]), (&json!(PROMPTS), &json!(0)), "{seen}");
    assert_eq!((&seen["most_before"], &seen["tokens"]), (&json!(1), &json!(1)), "{seen}");
    let most = seen["most_after"].as_u64().expect("a number");
    assert!((2..=STREAMS).contains(&most), "the raised limit is used, and not more: {most}");
    assert!((1..=4).contains(&seen["connections"].as_u64().expect("a number")), "{seen}");
    let first = &seen["first"];
    assert_eq!(first["header"], json!({ "alg": "ES256", "typ": "JWT", "kid": APNS_KEY_ID }));
    let iat = first["claims"]["iat"].as_i64().expect("a time");
    assert!((clock.now().as_millis() / 1_000 - iat).abs() < 60, "{iat}");
    let headers = &first["headers"];
    assert_eq!((&headers["apns-topic"], &headers["apns-push-type"]), (&json!(APNS_TOPIC), &json!("alert")));
    assert_eq!((&headers["apns-priority"], &headers[":method"]), (&json!("10"), &json!("POST")));
    assert_eq!(first["body"]["aps"]["interruption-level"], "time-sensitive");
    assert_eq!(first["body"]["mfa"]["challenge_id"], "c-1");
}
