//! A support case end to end: what became of a session's challenge, asked of a worker that had nothing to do with it;
//! and outcomes followed live by `tail`, until Ctrl-C, through a lost connection, whatever is in them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Courier, Heard, PROGRAM, Stage, program, text};
use crate::node::{Client, Node, eventually, persistent};
use crate::redis::store::Store;

const TOKEN: &str = "a token for support";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_looked_up_at_another_worker_than_the_one_that_had_it() {
    let (stage, store) = (Stage::new(Node::shared()).await, Store::start("").await);
    let ledger = super::several::ledger(&store);
    let config = || {
        let config = stage.config(&ledger);
        let text = std::fs::read_to_string(&config).expect("readable");
        std::fs::write(&config, text.replacen("[admin]", &format!("[admin]\ntoken = \"{TOKEN}\""), 1)).expect("there");
        config
    };
    let mut first = Courier::start(&config()).await;
    let client = stage.listener().await;
    let to = "+14155552671";
    let challenge = json!({
        "id": "case-0", "code": "481516", "ttl": 30, "session_id": "s-77", "user_id": to,
        "methods": [{ "channel": "sms", "to": to }],
    });
    client.publish_challenge(&challenge.to_string()).await;
    let published = Heard::collect(&client, 1, Duration::from_secs(25)).await.one_each("case-", 1).remove(0);
    // The one that had it is gone: what it said last is recorded before it ends.
    assert!(first.terminate().await.success());
    let second = Courier::start(&config()).await;
    let admin = format!("http://127.0.0.1:{}/api/v1/outcomes", second.admin);
    let ask = async |query: &str, token: &str| {
        let asked = reqwest::Client::new().get(format!("{admin}?{query}")).bearer_auth(token).send().await;
        let answer = asked.expect("answered");
        let status = answer.status().as_u16();
        let told = answer.text().await.expect("text");
        (status, serde_json::from_str::<Value>(&told).expect("JSON"))
    };
    for query in ["session_id=s-77", "challenge_id=case-0", "user_id=%2B14155552671", "limit=1"] {
        let (status, told) = ask(query, TOKEN).await;
        assert_eq!((status, &told["outcomes"][0]), (200, &published), "{query}: {told}");
        assert!(told["outcomes"][0]["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()));
        assert_eq!(told["outcomes"][0]["destination"], "+1********71");
        assert!(!told.to_string().contains("481516"), "{told}");
    }
    assert_eq!(ask("session_id=s-77", "another").await.0, 401);
    store.ask::<()>("SAVE").await;
    let at_rest = store.at_rest();
    for secret in [to, "4155552671", "481516", "s-77"] {
        assert!(!at_rest.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is at rest");
    }
}

/// A running `tail`.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(config: &str, arguments: &[&str], columns: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["tail", "--config", config])
            .args(arguments)
            .env("COLUMNS", columns)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = timeout(Duration::from_secs(20), self.lines.next_line()).await.expect("a line in time");
        line.expect("readable").expect("not the end")
    }

    /// Presses Ctrl-C; gives the exit code.
    async fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
        timeout(Duration::from_secs(10), self.child.wait()).await.expect("it ends").expect("waited for").code()
    }
}

/// An outcome as somebody publishes it who may publish anything.
fn outcome(challenge: &str, status: &str, provider: &str, session: &str) -> Value {
    json!({
        "id": format!("{challenge}:final"), "version": 1, "challenge_id": challenge, "session_id": session,
        "user_id": null, "tenant": "default", "purpose": "sign_in", "status": status, "final": true, "reason": null,
        "advice": null, "channel": "sms", "method_id": null, "provider": provider, "destination": "+1********71",
        "country": "US", "sent_at": null, "receipt_by": null, "expires_at": null,
        "occurred_at": "2026-11-24T01:02:03.000Z", "confirmed_by": null, "attempts": [], "unused": [], "notes": [],
    })
}

async fn say(client: &Client, outcome: &Value) {
    let key = format!("outcome.{}.sms.final", outcome["status"].as_str().expect("a word"));
    client.publish("mfa.outcomes", &key, persistent(), outcome.to_string().as_bytes()).await;
}

/// Says it again and again until somebody who listens has it: there is nothing else that tells when they begin to.
async fn said_until_heard(client: &Client, outcome: &Value, tail: &mut Tail) -> String {
    eventually("it is heard", async || {
        say(client, outcome).await;
        timeout(Duration::from_millis(200), tail.lines.next_line()).await.ok()?.expect("readable")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_rows_that_fit_and_do_nothing_to_the_terminal() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("");
    let _courier = Courier::start(&config).await;
    let client = stage.client().await;
    for columns in [80, 160] {
        let mut tail = Tail::start(config.to_str().expect("UTF-8"), &[], &columns.to_string());
        let hostile = "\u{1b}[2J\r\n\u{9b}0m\u{202e}\u{7}".repeat(30);
        let mut shown = vec![said_until_heard(&client, &outcome("first", "sent", "twilio", &hostile), &mut tail).await];
        assert!(shown[0].starts_with("TIME"), "{shown:?}");
        say(&client, &outcome("last", "failed", &hostile, &hostile)).await;
        while !shown.last().is_some_and(|line| line.contains(" failed ")) {
            shown.push(tail.line().await);
        }
        for line in &shown {
            assert!(line.len() <= columns && line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
        }
        assert_eq!(tail.interrupt().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_filters_and_tells_programs_everything() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("");
    let _courier = Courier::start(&config).await;
    let client = stage.client().await;
    let wanted = outcome("wanted", "failed", "gateway", "s-77\u{202e}");
    for filter in [
        ["--status", "failed,expired"],
        ["--provider", "gateway"],
        ["--session", "s-77\u{202e}"],
        ["--channel", "sms"],
        ["--tenant", "default"],
    ] {
        let arguments = [&filter[..], &["--json"]].concat();
        let mut tail = Tail::start(config.to_str().expect("UTF-8"), &arguments, "80");
        let first = said_until_heard(&client, &wanted, &mut tail).await;
        assert!(first.is_ascii(), "{first}");
        assert_eq!(serde_json::from_str::<Value>(&first).expect("JSON"), wanted);
        let other = match filter[0] {
            "--tenant" | "--channel" => None,
            _ => Some(outcome("other", "sent", "twilio", "s-78")),
        };
        if let Some(other) = other {
            say(&client, &other).await;
        }
        say(&client, &outcome("last", "failed", "gateway", "s-77\u{202e}")).await;
        loop {
            let line = tail.line().await;
            assert!(!line.contains("\"other\""), "{filter:?}: {line}");
            if line.contains("\"last\"") {
                break;
            }
        }
        assert_eq!(tail.interrupt().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_goes_on_when_the_broker_comes_back() {
    let node = Node::rough().await;
    let stage = Stage::new(&node).await;
    let config = stage.config("");
    let _courier = Courier::start(&config).await;
    let client = stage.client().await;
    let mut tail = Tail::start(config.to_str().expect("UTF-8"), &["--json"], "80");
    let wanted = outcome("before", "sent", "twilio", "s");
    said_until_heard(&client, &wanted, &mut tail).await;
    // All connections but new ones are cut.
    node.ctl(&["close_all_connections", "a test"]);
    let client = stage.client().await;
    let after = outcome("after", "sent", "twilio", "s");
    eventually("it is heard again", async || {
        let line = said_until_heard(&client, &after, &mut tail).await;
        line.contains("\"after\"").then_some(())
    })
    .await;
    assert_eq!(tail.interrupt().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_says_what_to_do_where_it_cannot_begin() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("");
    let path = config.to_str().expect("UTF-8");
    let no_exchange = program(&["tail", "--config", path]).await;
    assert_eq!(no_exchange.status.code(), Some(69), "{}", text(&no_exchange.stderr));
    assert!(text(&no_exchange.stderr).contains("start a worker on it once"), "{}", text(&no_exchange.stderr));
    let nowhere = std::fs::read_to_string(&config).expect("readable").replace(&stage.url, "amqp://127.0.0.1:1/%2f");
    std::fs::write(&config, nowhere).expect("writable");
    let unreachable = program(&["tail", "--config", path]).await;
    assert_eq!(unreachable.status.code(), Some(69), "{}", text(&unreachable.stderr));
    assert!(text(&unreachable.stderr).contains("check that RabbitMQ runs"), "{}", text(&unreachable.stderr));
}
