//! The scripts that Redis runs whole: each is a file beside this one, which says what it is given.

use redis::Script;

/// All of them.
pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) read: Script,
    pub(super) write: Script,
    pub(super) append: Script,
    pub(super) mark: Script,
    pub(super) set_aside: Script,
    pub(super) remember: Script,
    pub(super) find: Script,
    pub(super) slot: Script,
    pub(super) pause: Script,
    pub(super) record_outcomes: Script,
    pub(super) spoken_of: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let within_life = |script: &str| Script::new(&format!("{}{script}", include_str!("life.lua")));
        Self {
            begin: Script::new(include_str!("begin.lua")),
            read: within_life(include_str!("read.lua")),
            write: within_life(include_str!("write.lua")),
            append: within_life(include_str!("append.lua")),
            mark: within_life(include_str!("mark.lua")),
            set_aside: within_life(include_str!("set_aside.lua")),
            remember: within_life(include_str!("remember.lua")),
            find: within_life(include_str!("find.lua")),
            slot: within_life(include_str!("slot.lua")),
            pause: within_life(include_str!("pause.lua")),
            record_outcomes: within_life(include_str!("record_outcomes.lua")),
            spoken_of: within_life(include_str!("spoken_of.lua")),
        }
    }
}
