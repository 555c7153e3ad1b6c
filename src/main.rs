//! The program: arguments in, an exit code out. Everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    mfa_courier::cli::main()
}
