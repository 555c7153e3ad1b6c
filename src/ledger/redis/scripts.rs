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
}

impl Scripts {
    pub(super) fn new() -> Self {
        let of_record = |script: &str| Script::new(&format!("{}{script}", include_str!("life.lua")));
        Self {
            begin: Script::new(include_str!("begin.lua")),
            read: of_record(include_str!("read.lua")),
            write: of_record(include_str!("write.lua")),
            append: of_record(include_str!("append.lua")),
            mark: of_record(include_str!("mark.lua")),
            set_aside: of_record(include_str!("set_aside.lua")),
        }
    }
}
