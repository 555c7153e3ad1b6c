//! The program: arguments in, an exit code out. Everything else is the library's.

use std::process::ExitCode;

/// Many small things are made and dropped for each challenge, on several threads: glibc's allocator took a fifth of
/// the time (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mfa_courier::cli::main()
}
