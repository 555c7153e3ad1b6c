//! The examples in `docs/examples`: each publisher and each consumer, on a real RabbitMQ with a worker.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Courier, Stage, text};
use crate::node::{Node, PATIENCE};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One language's two programs, as commands without their arguments.
struct Language {
    name: &'static str,
    publisher: Command,
    consumer: Command,
}

fn python() -> Language {
    let program = |file: &str| {
        let mut command = Command::new(root().join("target/peers/bin/python"));
        command.arg(root().join("docs/examples/python").join(file));
        command
    };
    Language { name: "python", publisher: program("publisher.py"), consumer: program("consumer.py") }
}

fn node() -> Language {
    let program = |file: &str| {
        let mut command = Command::new("node");
        command.arg(root().join("docs/examples/node").join(file));
        command.env("NODE_PATH", root().join("target/peers/node/node_modules"));
        command
    };
    Language { name: "node", publisher: program("publisher.js"), consumer: program("consumer.js") }
}

/// Built here, as `cargo test --test it` alone does not.
async fn rust() -> Language {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--examples"]).current_dir(root());
    let built = cargo.output().await.expect("cargo runs");
    assert!(built.status.success(), "{}", text(&built.stderr));
    let folder: PathBuf = Path::new(super::PROGRAM).with_file_name("examples");
    let program = |name: &str| Command::new(folder.join(name));
    Language { name: "rust", publisher: program("publisher"), consumer: program("consumer") }
}

/// A consumer whose queue is there.
async fn listen(stage: &Stage, language: &mut Language) -> (Child, Lines<BufReader<ChildStdout>>) {
    let queue = format!("example.{}", language.name);
    let command = language.consumer.args([&stage.url, &queue]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the consumer starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    stage.client().await.depth_becomes(&queue, 0).await;
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_publish_and_hear_in_each_language() {
    let stage = Stage::new(Node::shared()).await;
    let _courier = Courier::start(&stage.config("")).await;
    let mut languages = [python(), node(), rust().await];
    let mut consumers = Vec::new();
    for language in &mut languages {
        consumers.push(listen(&stage, language).await);
    }
    for language in &mut languages {
        let publishing = language.publisher.args([&stage.url, "+14155552671"]).kill_on_drop(true).output();
        let published = timeout(PATIENCE, publishing).await.expect("it ends in time").expect("it runs");
        assert!(published.status.success(), "{}: {}", language.name, text(&published.stderr));
        let id = text(&published.stdout).trim().to_owned();
        // Every consumer has a queue of its own, and hears of it.
        for (_, lines) in &mut consumers {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("heard in time").expect("readable");
            let line = line.expect("the consumer goes on");
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words[..2], [id.as_str(), "sent"], "{}: {line}", language.name);
        }
    }
    for (child, _) in &mut consumers {
        assert!(child.try_wait().expect("known").is_none(), "a consumer ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_hears_that_no_queue_takes_its_challenge() {
    let stage = Stage::new(Node::shared()).await;
    let client = stage.client().await;
    let topic = lapin::ExchangeKind::Topic;
    let (options, none) = (lapin::options::ExchangeDeclareOptions::default(), lapin::types::FieldTable::default());
    client.channel.exchange_declare("mfa.challenges".into(), topic, options, none).await.expect("declared");
    for mut language in [python(), node(), rust().await] {
        let publishing = language.publisher.args([&stage.url, "+14155552671"]).kill_on_drop(true).output();
        let published = timeout(PATIENCE, publishing).await.expect("it ends in time").expect("it runs");
        assert!(!published.status.success(), "{}: {}", language.name, text(&published.stdout));
    }
}
