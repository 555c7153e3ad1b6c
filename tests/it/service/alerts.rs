//! What watches the courier from outside, as Prometheus itself judges it: the alert rules and what raises them, the
//! dashboard's questions, a real scrape; and that each of them asks for figures that there are.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Courier, Heard, Stage, challenge};
use crate::node::Node;

const RULES: &str = "config/prometheus/alerts.yml";
const DASHBOARD: &str = "config/grafana/mfa-courier.json";
const RUNBOOK: &str = "docs/runbook.md";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Debian's Prometheus brings it: `make deps`.
fn promtool(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = command.spawn().expect("promtool runs");
    tool.stdin.take().expect("piped").write_all(input).expect("taken");
    tool.wait_with_output().expect("it ends")
}

#[track_caller]
fn assert_accepted(output: &Output) {
    let told = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}\n{}", told[0], told[1]);
}

/// Words that begin with `prefix`.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.filter(|part| part.starts_with(prefix) && part.len() > prefix.len()).map(str::to_owned).collect()
}

/// The question of each panel.
fn questions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("a question").to_owned()).collect()
}

#[test]
fn alerts_are_raised_by_what_they_are_about_and_by_nothing_else() {
    assert_accepted(&promtool(&["check", "rules", at(RULES).to_str().expect("UTF-8")], b""));
    let tests = at("tests/alerts/alerts_test.yml");
    assert_accepted(&promtool(&["test", "rules", tests.to_str().expect("UTF-8")], b""));
}

#[test]
fn whoever_is_woken_finds_what_to_do() {
    let rules = read(RULES);
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let runbook = read(RUNBOOK);
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let (names, sections): (Vec<_>, Vec<_>) = (names.collect(), sections.collect());
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(names, sections, "the runbook has a section for each alert, in the same order");
}

#[test]
fn the_questions_of_the_dashboard_are_asked_right() {
    let questions = questions();
    assert!(questions.len() > 10, "{questions:?}");
    // A rule for each: what checks rules checks how they are asked.
    let rules: Vec<_> = questions
        .iter()
        .map(|question| json!({"record": "a:question", "expr": question.replace("$__rate_interval", "1m")}))
        .enumerate()
        .map(|(n, rule)| json!({"name": format!("question {n}"), "rules": [rule]}))
        .collect();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(json!({ "groups": rules }).to_string().as_bytes()).expect("writable");
    assert_accepted(&promtool(&["check", "rules", file.path().to_str().expect("UTF-8")], b""));
}

#[test]
fn whatever_is_asked_for_is_exported() {
    let exported = words(&read("src/telemetry/metrics.rs"), "courier_");
    let asked = [read(RULES), questions().join(" "), read(RUNBOOK), read("README.md"), read("docs/api.md")].join(" ");
    let asked = words(&asked, "courier_");
    let whole = |name: &str| {
        let part = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part));
        part.unwrap_or(name).to_owned()
    };
    let missing: Vec<_> = asked.iter().filter(|name| !exported.contains(&whole(name)) && *name != "courier_").collect();
    assert!(missing.is_empty(), "nobody exports {missing:?}");
    assert!(asked.len() > 15, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_as_prometheus_wants_it_and_alerts_find_their_series_before_anything_happens() {
    let stage = Stage::new(Node::shared()).await;
    let courier = Courier::start(&stage.config("")).await;
    let (_, figures) = courier.get("/metrics").await.expect("figures");
    for series in [
        "courier_provider_state{provider=\"gateway\",country=\"none\"} 0",
        "courier_ledger_errors_total 0",
        "courier_second_copies_total 0",
        "courier_build_info{",
    ] {
        assert!(figures.contains(series), "{series} is not in\n{figures}");
    }
    let client = stage.listener().await;
    client.publish_challenge(&challenge("scraped-0", 60).to_string()).await;
    Heard::collect(&client, 1, Duration::from_secs(20)).await.one_each("scraped-", 1);
    let (_, figures) = courier.get("/metrics").await.expect("figures");
    assert!(figures.contains("courier_attempts_total{"), "{figures}");
    assert_accepted(&promtool(&["check", "metrics"], figures.as_bytes()));
}
