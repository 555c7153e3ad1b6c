//! What commands print for people and programs: `out!` and `outln!`, in place of the standard macros.
//!
//! A reader that goes away early, as `head` does, ends the program and is no fault; the standard macros panic then.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::process::exit;

/// As `print!`.
macro_rules! out {
    ($($what:tt)*) => { $crate::cli::out::write(format_args!($($what)*)) };
}

/// As `println!`.
macro_rules! outln {
    () => { $crate::cli::out::write(format_args!("\n")) };
    ($($what:tt)*) => { $crate::cli::out::write(format_args!("{}\n", format_args!($($what)*))) };
}

/// Writes to stdout. Where nothing can be written any more, there is nothing left to do: it ends the program.
pub(super) fn write(what: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    match stdout.write_fmt(what).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            eprintln!("mfa-courier: nothing can be written to stdout: {error}");
            exit(1);
        }
    }
}
