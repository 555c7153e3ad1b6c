//! The rules of [`super`] on small sources: each can fail, and none is fooled by comments, strings or tests.

use super::source::Source;
use super::{heads, layers, places, purity, sizes};

/// A tree of these layers, lowest first, and one more file.
fn tree(file: &str, text: &str) -> Vec<Source> {
    let lib = "//! Map.\npub mod clock;\npub mod guard;\npub mod delivery;\npub mod worker;";
    vec![Source::read("src/lib.rs", lib), Source::read(file, text)]
}

fn broken_layers(file: &str, text: &str) -> Vec<String> {
    layers(&tree(file, text))
}

fn impurities(text: &str) -> Vec<String> {
    purity(&tree("src/delivery/follow.rs", text))
}

#[test]
fn a_higher_layer_is_found_however_it_is_named() {
    for text in [
        "use crate::worker::Flow;",
        "use crate::{clock::Dice, worker::{self, Flow}};",
        "use crate::clock; pub use crate::worker as other;",
        "fn f() { crate::worker::run() }",
        "fn f() -> Vec<crate::worker::Flow> { Vec::new() }",
        "fn f() { println!(\"{}\", crate::worker::NAME) }",
        "macro_rules! m { () => { $crate::worker::run() } }",
        "use super::super::worker;",
        "mod inner { use super::super::super::worker::Flow; }",
        "impl crate::worker::Step for X {}",
        "#[derive(Debug)] struct X { pub(crate) flow: Box<crate::worker::Flow> }",
    ] {
        assert!(!broken_layers("src/guard/quota.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn taking_everything_hides_what_is_taken_and_is_refused() {
    for text in [
        "use crate::*;",
        "use crate as all;",
        "use super::super::*;",
        "use crate::{self as all};",
        "extern crate self as all; use crate::clock;",
    ] {
        assert!(!broken_layers("src/guard/quota.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn what_is_allowed_or_only_looks_like_a_path_passes() {
    for text in [
        "use crate::clock::Dice; use super::health; use crate::guard::health::Health;",
        "// crate::worker\n/* use crate::worker; */ /// [`crate::worker`]\nfn f() {}",
        "//! crate::worker is above",
        "const A: &str = \"crate::worker\"; const B: &str = r#\"use crate::worker; \"# ;",
        "const C: char = '\"'; fn f<'a>(a: &'a str) -> &'a str { a }",
        "#[cfg(test)] mod tests { use crate::worker::Flow; }",
        "#[cfg(test)] use crate::worker::{A, B}; use crate::clock::Dice;",
        "struct S { #[cfg(test)] flow: crate::worker::Flow, clock: crate::clock::Clock }",
        "pub(crate) fn f() {} pub(in crate::guard) fn g() {} struct T(pub(super) u8);",
        "fn worker() { let worker = 1; other::worker(); x.worker() }",
    ] {
        assert_eq!(broken_layers("src/guard/quota.rs", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_item_for_tests_hides_only_itself() {
    let text = "#[cfg(test)] use crate::worker::{A, B}; use crate::worker::C;";
    assert_eq!(broken_layers("src/guard/quota.rs", text).len(), 1);
    let text = "struct S { #[cfg(test)] a: u8, flow: crate::worker::Flow }";
    assert_eq!(broken_layers("src/guard/quota.rs", text).len(), 1);
    let text = "#[cfg(test)] mod tests; fn f() { crate::worker::run() }";
    assert_eq!(broken_layers("src/guard/quota.rs", text).len(), 1);
}

#[test]
fn files_for_tests_are_no_part_of_the_product() {
    let mut sources = tree("src/guard/mod.rs", "#[cfg(test)]\nmod tests;");
    sources.push(Source::read("src/guard/tests.rs", "use crate::worker::Flow;"));
    sources.push(Source::read("src/guard/tests/more.rs", "use crate::worker::Flow;"));
    assert_eq!(layers(&sources), Vec::<String>::new());
}

#[test]
fn an_undeclared_module_is_told() {
    assert_eq!(broken_layers("src/stray.rs", "use crate::clock::Dice;").len(), 1);
    assert_eq!(broken_layers("src/guard/quota.rs", "use crate::stray::X;").len(), 1);
}

#[test]
fn effects_in_the_core_are_found() {
    for text in [
        "async fn f() {}",
        "fn f() { let _ = async { 1 }; }",
        "fn f() { g().await }",
        "use tokio::time::Instant;",
        "fn f() { tracing::info!(\"x\") }",
        "use ::metrics::counter;",
        "use std::{collections::BTreeMap, fs::File};",
        "use std::net::IpAddr;",
        "use std::*;",
        "fn f() { std::time::Instant::now() }",
        "fn f() { Timestamp::now() }",
        "fn f() { self.clock.now() }",
        "fn f() { begin.elapsed() }",
        "use crate::clock::{Clock, Dice};",
        "fn f() { rand::random::<u8>() }",
        "fn f() { println!(\"x\") }",
    ] {
        assert_eq!(impurities(text).len(), 1, "{text}");
    }
}

#[test]
fn what_the_core_may_do_passes() {
    for text in [
        "use std::collections::BTreeMap; use std::time::Duration; use std::{fmt, sync::Arc};",
        "use crate::clock::{Dice, Timestamp}; fn f(now: Timestamp) { g(now) }",
        "use super::metrics; fn f() { metrics::of(1) }",
        "// tokio::spawn, .await\nconst S: &str = \"tokio::spawn\"; fn f() { x.log() }",
        "#[cfg(test)] mod tests { #[tokio::test] async fn f() { g().await } }",
        "fn f() { (0..now).len(); }",
    ] {
        assert_eq!(impurities(text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(purity(&tree("src/worker/flow.rs", "async fn f() {}")), Vec::<String>::new(), "not of the core");
}

#[test]
fn a_library_out_of_its_place_is_found() {
    for text in [
        "use lapin::Channel;",
        "fn f(error: lapin::Error) {}",
        "use ::backoff::ExponentialBackoffBuilder;",
        "use lapin;",
        "use backoff::backoff;",
        "use lapin as amqp;",
        "use super::backoff; fn f() { ::backoff::x() }",
    ] {
        assert_eq!(places(&tree("src/worker/flow.rs", text)).len(), 1, "{text}");
    }
    for text in [
        "use crate::delivery::backoff; fn f() { backoff::after(1) }",
        "pub mod backoff; fn f() { backoff::after(1) }",
        "fn f(governor: u8) { governor.check(); self.lapin.x() }",
        "// lapin::Channel\nconst S: &str = \"lapin::Channel\";",
    ] {
        assert_eq!(places(&tree("src/worker/flow.rs", text)), Vec::<String>::new(), "{text}");
    }
    assert_eq!(places(&tree("src/broker/rabbit/line.rs", "use lapin::Channel;")), Vec::<String>::new());
}

#[test]
fn what_is_too_long_is_found() {
    let function = |lines: usize| format!("fn f(\n) {{\n{}}}", "\n".repeat(lines - 3));
    let nested = format!("impl X {{ #[cfg(test)] const {} }}", function(61));
    assert_eq!(sizes(&tree("src/x.rs", &function(60))), Vec::<String>::new());
    assert_eq!(sizes(&tree("src/x.rs", &function(61))), ["src/x.rs:1: f has 61 lines"]);
    assert_eq!(sizes(&tree("src/x.rs", &nested)), ["src/x.rs:1: f has 61 lines"]);
    assert_eq!(sizes(&tree("src/x.rs", &"\n".repeat(500))), Vec::<String>::new());
    assert_eq!(sizes(&tree("src/x.rs", &"\n".repeat(501))), ["src/x.rs: 501 lines"]);
}

#[test]
fn a_file_without_a_head_is_found() {
    assert_eq!(heads(&tree("src/x.rs", "//! What it is.\nfn f() {}")), Vec::<String>::new());
    assert_eq!(heads(&tree("src/x.rs", "// What it is.\nfn f() {}")), ["src/x.rs: no //! head"]);
}
