//! What is written for people and programs holds: generated documents are current, schemas take what is really said and
//! nothing else, and names that the documentation uses exist.

mod generated;
mod reference;
pub(crate) mod schemas;

use std::path::Path;

/// A file of the repository.
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{name}: {why}"))
}
