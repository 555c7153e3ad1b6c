//! How the tree is built, held to what it says of itself: layers without circles, a core without effects,
//! each library in its one place, nothing too long to read.
//!
//! Every rule is a function from sources to what breaks it, so that each is shown below to be able to fail.

use std::collections::BTreeSet;
use std::path::Path;

use self::source::{Named, Role, Source};

mod rules;
mod source;

/// What decides, and so takes plain data and `now`, and does nothing.
const CORE: [&str; 6] =
    ["src/challenge.rs", "src/delivery/", "src/guard/", "src/phone.rs", "src/secret.rs", "src/worker/look.rs"];

/// Libraries, and the only places that name them: what has to change when the library does.
const PLACES: [(&str, &[&str]); 14] = [
    ("backoff", &["src/delivery/backoff.rs"]),
    ("governor", &["src/guard/quota.rs"]),
    // What comes of a request is told by its errors; push services simulate both sides of it.
    ("h2", &["src/provider/http/", "src/simulator/streams.rs"]),
    // Broken, and so only where a vendor leaves no choice; simulated providers sign as that vendor does.
    ("hmac", &["src/provider/http/receipt/md5.rs"]),
    ("hyper_util", &["src/http/"]),
    ("jsonwebtoken", &["src/provider/http/jwt.rs", "src/provider/definition/tests/values.rs", "src/simulator/"]),
    ("lapin", &["src/broker/rabbit/"]),
    ("md5", &["src/provider/http/receipt/md5.rs"]),
    ("redis", &["src/ledger/redis/"]),
    // A definition checks names of headers with the type of the client that will send them, and providers in code make
    // theirs of it; simulated providers call back.
    (
        "reqwest",
        &[
            "src/provider/apns/",
            "src/provider/http/",
            "src/provider/webpush/",
            "src/provider/wns/mod.rs",
            "src/provider/definition/auth.rs",
            "src/provider/definition/load.rs",
            "src/provider/definition/request.rs",
            "src/provider/definition/tests/pieces.rs",
            "src/simulator/receipts.rs",
        ],
    ),
    ("rlibphonenumber", &["src/phone.rs"]),
    ("rustls_platform_verifier", &["src/provider/http/http2/tls.rs"]),
    ("tokio_rustls", &["src/provider/http/http2/"]),
    ("rusmpp", &["src/provider/smpp/wire.rs"]),
];

/// What has an effect, or an answer that differs from call to call.
const EFFECTS: [&str; 18] = [
    "async_trait",
    "axum",
    "futures_util",
    "lapin",
    "log",
    "metrics",
    "redis",
    "reqwest",
    "tokio",
    "tokio_util",
    "tracing",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "rand",
];
/// The same as names alone: keywords, macros, and what reads a clock.
const EFFECT_WORDS: [&str; 9] =
    ["async", "await", "dbg!", "eprint!", "eprintln!", "print!", "println!", "thread_local!", "elapsed"];

const MOST_LINES_OF_A_FILE: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// Every Rust file below a folder of the repository.
fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut files);
    files.sort();
    files.iter().map(|(file, text)| Source::read(file, text)).collect()
}

/// The same of the product and its tests.
fn everywhere() -> Vec<Source> {
    ["src", "tests"].into_iter().flat_map(sources).collect()
}

fn collect(root: &Path, folder: &str, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = format!("{folder}/{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            collect(root, &name, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push((name, std::fs::read_to_string(&path).expect("readable")));
        }
    }
}

/// Those that are part of the product: neither declared under `#[cfg(test)]` nor below one that is.
fn shipped(sources: &[Source]) -> Vec<&Source> {
    let tests: BTreeSet<Vec<String>> = sources
        .iter()
        .flat_map(|source| source.declared.iter().map(move |declared| (source, declared)))
        .filter(|(_, (_, for_tests))| *for_tests)
        .map(|(source, (name, _))| [source.module.as_slice(), std::slice::from_ref(name)].concat())
        .collect();
    let is_test = |source: &Source| (1..=source.module.len()).any(|n| tests.contains(&source.module[..n]));
    sources.iter().filter(|source| !is_test(source)).collect()
}

fn is_in(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| if place.ends_with('/') { source.file.starts_with(place) } else { source.file == *place })
}

fn at(source: &Source, path: &Named) -> String {
    format!("{}:{}: {}", source.file, path.line, path.segments.join("::"))
}

/// No module names one that `lib.rs` declares after it.
fn layers(sources: &[Source]) -> Vec<String> {
    let root = sources.iter().find(|source| source.file == "src/lib.rs").expect("the library");
    let rank = |name: &str| root.declared.iter().position(|(module, _)| module == name);
    let mut broken = Vec::new();
    for source in shipped(sources) {
        let Some(own) = source.module.first() else { continue };
        for path in &source.paths {
            let Some(target) = source.leads_to(path) else { continue };
            match (rank(own), rank(target)) {
                (Some(own), Some(target)) if target <= own => {}
                (Some(_), Some(_)) => broken.push(format!("{}, which is a higher layer", at(source, path))),
                (None, _) => broken.push(format!("{}: lib.rs declares no module `{own}`", source.file)),
                (_, None) => broken.push(format!("{}, which is no module of lib.rs", at(source, path))),
            }
        }
    }
    broken
}

/// The core has no effects, and reads neither clock nor chance.
fn purity(sources: &[Source]) -> Vec<String> {
    let core = shipped(sources).into_iter().filter(|source| is_in(source, &CORE));
    let broken = |source: &Source| {
        let effects = source.paths.iter().filter(|path| has_effect(source, path));
        effects.map(|path| at(source, path)).collect::<Vec<_>>()
    };
    core.flat_map(broken).collect()
}

fn has_effect(source: &Source, path: &Named) -> bool {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).skip_while(|part| part.is_empty()).collect();
    let of_library = |effect: &str| match effect.split_once("::") {
        Some((first, second)) => segments.starts_with(&[first, second]),
        None => source.means_crate(path, effect),
    };
    let is_clock = segments.starts_with(&["crate", "clock", "Clock"]);
    let last = segments.last().copied().unwrap_or_default();
    let reads_now = last == "now" && (segments.len() > 1 || path.role == Role::Member);
    let takes_all_of_std = matches!(segments.as_slice(), ["std", "*"] | ["std"]) && path.role != Role::Other;
    EFFECTS.iter().any(|effect| of_library(effect))
        || EFFECT_WORDS.contains(&last)
        || is_clock
        || reads_now
        || takes_all_of_std
}

/// A library is named only in its place.
fn places(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        for (library, places) in PLACES.iter().filter(|(_, places)| !is_in(source, places)) {
            let strays = source.paths.iter().filter(|path| source.means_crate(path, library));
            broken.extend(strays.map(|path| format!("{}, which belongs into {}", at(source, path), places.join(", "))));
        }
    }
    broken
}

/// Everything can be read in one go.
fn sizes(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        if source.lines > MOST_LINES_OF_A_FILE {
            broken.push(format!("{}: {} lines", source.file, source.lines));
        }
        for function in source.functions.iter().filter(|function| function.lines > MOST_LINES_OF_A_FUNCTION) {
            broken.push(format!("{}:{}: {} has {} lines", source.file, function.line, function.name, function.lines));
        }
    }
    broken
}

/// Every file begins with what it is for.
fn heads(sources: &[Source]) -> Vec<String> {
    sources.iter().filter(|source| !source.has_head).map(|source| format!("{}: no //! head", source.file)).collect()
}

#[track_caller]
fn assert_unbroken(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn modules_name_only_lower_layers() {
    assert_unbroken("modules name only what stands before them in lib.rs", &layers(&sources("src")));
}

#[test]
fn the_core_has_no_effects() {
    let sources = sources("src");
    for place in CORE {
        assert!(sources.iter().any(|source| is_in(source, &[place])), "{place} is gone: mend CORE");
    }
    assert_unbroken("the core takes plain data and `now`, and does nothing", &purity(&sources));
}

#[test]
fn each_library_has_its_place() {
    let sources = sources("src");
    assert_unbroken("a library is named only in its place", &places(&sources));
    for (library, places) in PLACES {
        for place in places {
            let named = |source: &Source| source.paths.iter().any(|path| source.means_crate(path, library));
            let used = sources.iter().any(|source| is_in(source, &[place]) && named(source));
            assert!(used, "{place} does not name {library} any more: mend PLACES");
        }
    }
}

#[test]
fn nothing_is_too_long_to_read() {
    assert_unbroken("at most 500 lines a file and 60 a function", &sizes(&everywhere()));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_unbroken("every file begins with //!", &heads(&everywhere()));
}
