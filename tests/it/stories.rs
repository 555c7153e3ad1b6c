//! The stories of `tests/scenarios`: what the courier does about one challenge, on virtual time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mfa_courier::delivery::outcome::{Reason, ReceiptStatus, Status, UnusedWhy};
use mfa_courier::delivery::verdict::AttemptResult;

use crate::contract::{TABLE, objection_to_final};

mod format;
mod play;

use format::File;
use play::{Told, play, spelt};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder of stories can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    files
}

/// Plays every story: what was told, and what went otherwise.
fn play_all() -> (Vec<Told>, Vec<String>) {
    let (mut told, mut objections) = (Vec::new(), Vec::new());
    for path in files() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let file: File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(why) => {
                objections.push(format!("{name}: {why}"));
                continue;
            }
        };
        for story in &file.story {
            match play(&file, story) {
                Ok(one) => told.push(one),
                Err(why) => objections.push(format!("{name}: \"{}\": {why}", story.tells)),
            }
        }
    }
    (told, objections)
}

#[test]
fn every_story_goes_as_it_is_told() {
    let (told, mut objections) = play_all();
    for one in &told {
        objections.extend(objection_to_final(&one.end, one.has_push));
    }
    assert!(objections.is_empty(), "{} stories went otherwise:\n\n{}", objections.len(), objections.join("\n\n"));
    assert!(told.len() >= 60, "{} stories", told.len());
}

#[test]
fn every_word_of_the_contract_is_in_a_story() {
    let (told, _) = play_all();
    let outcomes = || told.iter().flat_map(|one| one.interims.iter().chain(&one.late).chain([&one.end]));
    let attempts = || told.iter().flat_map(|one| &one.end.attempts);
    let mut heard: BTreeSet<String> = outcomes().map(|outcome| format!("status {}", spelt(outcome.status))).collect();
    heard.extend(attempts().map(|attempt| format!("result {}", spelt(attempt.result))));
    heard.extend(attempts().filter_map(|a| a.receipt.as_ref()).map(|r| format!("receipt {}", spelt(r.status))));
    heard.extend(outcomes().flat_map(|o| &o.unused).map(|unused| format!("unused {}", spelt(unused.why))));
    for one in &told {
        let Some(reason) = one.end.reason else { continue };
        let advice = one.end.advice.map(spelt).unwrap_or_default();
        heard.insert(format!("{} for {}, {advice}", spelt(one.end.status), spelt(reason)));
    }
    let missing: Vec<String> = vocabulary().into_iter().filter(|word| !heard.contains(word)).collect();
    assert!(missing.is_empty(), "no story has\n{}", missing.join("\n"));
}

fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = Status::ALL.iter().map(|word| format!("status {}", spelt(word))).collect();
    words.extend(AttemptResult::ALL.iter().map(|word| format!("result {}", spelt(word))));
    words.extend(ReceiptStatus::ALL.iter().map(|word| format!("receipt {}", spelt(word))));
    words.extend(UnusedWhy::ALL.iter().map(|word| format!("unused {}", spelt(word))));
    assert!(Reason::ALL.iter().all(|reason| TABLE.iter().any(|row| row.reason == *reason)));
    for row in &TABLE {
        for status in row.statuses {
            let with_and_without_the_app = BTreeSet::from([row.advice(false), row.advice(true)].map(|advice| {
                let advice = advice.map(spelt).unwrap_or_default();
                format!("{} for {}, {advice}", spelt(status), spelt(row.reason))
            }));
            words.extend(with_and_without_the_app);
        }
    }
    words
}
