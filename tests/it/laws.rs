//! Laws of the core: what holds whatever the policy, the challenge, and what the world does.
//!
//! A run that fails prints its seed (`cc …`) and its smallest form. `PROPTEST_CASES` asks for more of them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, TestRunner};

mod checks;
mod given;
mod worker;

const CASES: u32 = 10_000;

/// Every run ends with one final outcome by the contract's tables, within its deadline and a bounded number of
/// steps; what it is made of is checked step by step in [`worker`].
#[test]
fn whatever_happens_there_is_one_right_final_outcome() {
    let mut config = Config { source_file: Some(file!()), ..Config::default() };
    config.cases = config.cases.max(CASES);
    let seen = RefCell::new(BTreeSet::new());
    let law = TestRunner::new(config).run(&given::worlds(), |world| {
        let kinds = worker::run(&world)?;
        seen.borrow_mut().extend(kinds);
        Ok(())
    });
    if let Err(why) = law {
        panic!("{why}");
    }
    // A law that meets only the easy cases says little.
    let seen = seen.into_inner();
    let missing: Vec<_> = worker::KINDS.iter().filter(|kind| !seen.contains(**kind)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}
