//! What people see who run the program: commands, mistakes, exit codes.

use mfa_courier::simulator::Mode;
use serde_json::Value;

use super::{Courier, Stage, program, text};
use crate::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn send_follows_a_challenge_to_its_end() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("");
    let _courier = Courier::start(&config).await;
    stage.simulator.set_mode("twilio/first", Mode::Refuse("20003".into()));
    let config = config.to_str().unwrap();
    let sent = program(&["send", "--config", config, "--to", "+14155552671", "--json"]).await;
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let lines: Vec<Value> = text(&sent.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["retrying", "sent"]);
    assert_eq!(lines[1]["provider"], "gateway");
    let shown = program(&["send", "--config", config, "--to", "+1"]).await;
    assert!(
        text(&shown.stdout).contains("rejected (invalid_destination); look at `methods[0].to`"),
        "{}",
        text(&shown.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_would_be_done_and_sends_nothing() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config_with(
        "cost = { default = \"0.05\", US = \"0.0079\", currency = \"USD\" }",
        "cost = { default = \"0.02\", currency = \"EUR\" }\n[[routes]]\nchannel = \"sms\"\nto = [\"US\"]\nproviders = [\"gateway\", \"twilio\"]\n",
    );
    let config = config.to_str().unwrap();
    let explained =
        program(&["explain", "--config", config, "--to", "+14155552671", "--channel", "sms", "--json"]).await;
    assert!(explained.status.success(), "{}", text(&explained.stderr));
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    let hops: Vec<_> = explained["hops"].as_array().unwrap().iter().map(|hop| &hop["provider"]).collect();
    assert_eq!(hops, ["gateway", "twilio"]);
    assert_eq!(explained["hops"][1]["begins_within_ms"], 12_000);
    assert_eq!(explained["costs_at_most"], serde_json::json!({"EUR": "0.02", "USD": "0.0079"}));
    let shown = program(&["explain", "--config", config, "--to", "+447400123456", "--platform", "ios"]).await;
    let shown = text(&shown.stdout);
    assert!(shown.contains("sms by twilio: the channel has routes, and none of them matches"), "{shown}");
    assert!(shown.contains("push: no provider of this channel is configured"), "{shown}");
    let rejected = program(&["explain", "--config", config, "--to", "+447400123456", "--channel", "sms"]).await;
    assert!(text(&rejected.stdout).starts_with("rejected: no_route"), "{}", text(&rejected.stdout));
    assert_eq!(rejected.status.code(), Some(1));
    assert_eq!(stage.simulator.received_total(), 0);
    let no_platform = program(&["explain", "--config", config, "--to", "+14155552671", "--channel", "push"]).await;
    assert_eq!(no_platform.status.code(), Some(2), "{}", text(&no_platform.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_without_a_file_says_what_it_checked_and_what_is_missing() {
    let check = program(&["check"]).await;
    assert!(check.status.success(), "{}", text(&check.stderr));
    let said = text(&check.stdout);
    let head = "no file was given; the built-in defaults and the environment: good\n  no provider is configured:";
    assert!(said.starts_with(head), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    use std::process::{Command, Stdio};

    let mut command = Command::new(super::PROGRAM);
    let command = command.args(["schema", "config"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut printing = command.spawn().unwrap();
    // Long before the program is there to write.
    drop(printing.stdout.take());
    let ended = printing.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{:?}: {}", ended.status, text(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_with_a_ledger_in_memory_is_refused() {
    let stage = Stage::new(Node::shared()).await;
    let _first = Courier::start(&stage.config("")).await;
    let second = program(&["run", "--config", stage.config("").to_str().unwrap()]).await;
    assert_eq!(second.status.code(), Some(69), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("only one may run"), "{}", text(&second.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_ends_the_start_and_says_so() {
    let stage = Stage::new(Node::shared()).await;
    let config = stage.config("");
    let wrong = std::fs::read_to_string(&config).unwrap().replace("guest:guest@", "guest:wrong@");
    std::fs::write(&config, wrong).unwrap();
    let run = program(&["run", "--config", config.to_str().unwrap()]).await;
    assert_eq!(run.status.code(), Some(69));
    let said = text(&run.stderr);
    assert!(said.contains("refuses the credentials of broker.url") && !said.contains("wrong@"), "{said}");
    let check = program(&["check", "--live", "--config", config.to_str().unwrap()]).await;
    assert_eq!(check.status.code(), Some(69), "{}", text(&check.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_configuration_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("courier.toml");
    let mistakes = "[broker]\nprefech = 5\n[providers.a]\nkind = \"twillio\"\n[providers.b]\nkind = \"twilio\"\naccount_sid = \"AC1\"\n";
    std::fs::write(&file, mistakes).unwrap();
    let check = program(&["check", "--config", file.to_str().unwrap()]).await;
    let said = text(&check.stderr);
    assert_eq!(check.status.code(), Some(64), "{said}");
    assert!(said.contains("courier.toml:2:1: broker.prefech") && said.contains("prefetch"), "{said}");
    std::fs::write(&file, mistakes.replace("prefech", "prefetch")).unwrap();
    let said = text(&program(&["check", "--config", file.to_str().unwrap()]).await.stderr);
    assert!(said.contains("did you mean \"twilio\"?") && said.contains("providers.b.auth_token"), "{said}");
    std::fs::write(&file, "[providers.a]\nkind = \"webhook\"\nendpoints = { smss = \"https://a.example\" }\n").unwrap();
    let said = text(&program(&["check", "--config", file.to_str().unwrap()]).await.stderr);
    let expected = "providers.a.endpoints.smss: unknown key; did you mean `sms`?; allowed: push, sms, token, voice";
    assert!(said.contains("courier.toml:3:") && said.contains(expected), "{said}");
    let usage = program(&["send"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_every_text_and_warns_of_those_that_cost_more() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
    let texts = "language = \"fr\"\n[sms]\ndefault = \"{code} est votre code. Ne l’envoyez à personne, quoi qu'on vous dise.\"\n\
                 hello = [\"{code} {app}\", \"{code}\"]\n";
    write("fr.toml", texts);
    write(
        "courier.conf",
        &format!(
            "[messages]\noversize = \"keep\"\n[tenants.contoso]\nmessages_dir = {:?}\n\
             messages = {{ oversize = \"keep\", autofill = {{ domain = \"contoso.example\" }} }}\n",
            dir.path()
        ),
    );
    let config = dir.path().join("courier.conf");
    let check = async |more: &[&str]| program(&[&["check", "--config", config.to_str().unwrap()], more].concat()).await;
    let plain = check(&[]).await;
    assert!(plain.status.success(), "{}", text(&plain.stderr));
    let shown = text(&plain.stdout);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let row = |line: &&str| line.split_whitespace().collect::<Vec<_>>().starts_with(&["sms", "en", "sign_in", "GSM-7"]);
    assert_eq!(shown.lines().filter(row).count(), 2, "everybody's, and the tenant's with its line: {shown}");
    let warning = "warning: tenant contoso: the fr text message default takes 2 segments: 94 units of UCS-2, since \
                   GSM-7 lacks '’'";
    let warnings: Vec<_> = text(&plain.stderr).lines().map(str::to_owned).collect();
    assert_eq!(warnings, [warning]);
    assert!(
        text(&check(&["--texts"]).await.stdout).contains("\n    123456 Contoso Bank\n    @contoso.example #123456\n")
    );
    let told: Value = serde_json::from_slice(&check(&["--json"]).await.stdout).unwrap();
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    let all = told["texts"].as_array().unwrap();
    let hello: Vec<_> = all.iter().filter(|text| text["name"] == "hello").collect();
    assert_eq!(
        *hello[0],
        serde_json::json!({
            "tenant": "contoso", "channel": "sms", "language": "fr", "name": "hello", "wording": 1, "title": null,
            "text": "123456 Contoso Bank\n@contoso.example #123456", "characters": 44, "encoding": "GSM-7", "units": 44,
            "segments": 1,
        })
    );
    let prompt = all.iter().find(|text| text["channel"] == "push" && text["name"] == "default").unwrap();
    assert_eq!((&prompt["segments"], prompt["title"].is_string()), (&Value::Null, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing() {
    let demo = program(&["demo", "--seconds", "6", "--rate", "100"]).await;
    let shown = text(&demo.stdout);
    assert!(demo.status.success() && shown.contains("challenges: 600   lost: 0"), "{shown}{}", text(&demo.stderr));
    for told in ["twilio stops answering", "twilio's circuit opens: ", "twilio answers again", "final outcome"] {
        assert!(shown.contains(told), "{told}\n{shown}");
    }
    let silence = shown.lines().find(|line| line.starts_with("moved on by silence: ")).expect("a line about it");
    assert!(silence.contains("push to sms ") && silence.contains("sms to voice "), "{silence}");
    let plain = |line: &str| line.chars().count() <= 80 && !line.contains('\x1b');
    assert!(shown.lines().all(plain), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_programs_everything_on_a_real_broker_too() {
    let node = Node::shared();
    let broker = node.url(&node.vhost());
    let demo = program(&["demo", "--seconds", "3", "--rate", "100", "--json", "--amqp", &broker]).await;
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    let lines: Vec<Value> = text(&demo.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, before) = lines.split_last().unwrap();
    assert_eq!((&summary["published"], &summary["lost"]), (&Value::from(300), &Value::from(0)));
    let outages: Vec<_> = before.iter().filter(|line| line["event"] == "outage").map(|line| &line["begins"]).collect();
    assert_eq!(outages, [true, false]);
    assert!(before.iter().any(|line| line["second"].is_u64() && line["providers"].is_array()));
    let count = |list: &str, keep: &dyn Fn(&Value) -> bool, what: &str| {
        let counts = summary[list].as_array().unwrap().iter().filter(|item| keep(item));
        counts.map(|item| item[what].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(count("finals", &|_| true, "count"), 300, "each challenge has one final outcome: {summary}");
    for channel in ["push", "sms", "voice"] {
        let accepted =
            count("attempts", &|row| row["channel"] == channel && row["results"]["accepted"].is_u64(), "attempts");
        assert!(accepted > 0, "nobody was reached by {channel}: {summary}");
    }
    let unanswered = count("attempts", &|row| row["results"]["unknown"].is_u64(), "attempts");
    assert!(unanswered > 0, "the outage is felt: {summary}");
}
