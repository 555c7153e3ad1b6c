//! The commands, one file each: thin calls. Results on stdout, logs on stderr.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 64 bad configuration, 69 a service is not reachable or
//! refuses.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::boot::RunError;
use crate::broker::rabbit::UpstreamError;
use crate::config::{ConfigError, Settings, process_environment};
use crate::telemetry::{LogFormat, start_logging};

#[macro_use]
mod out;

mod check;
mod demo;
mod explain;
mod run;
mod schema;
mod send;
mod shell;
mod simulate;
mod tail;
mod upstream;

/// Carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
#[derive(Debug, Parser)]
#[command(name = "mfa-courier", version, about, max_term_width = 100)]
struct Cli {
    /// The configuration file; without one the built-in defaults and the environment hold.
    #[arg(long, short, global = true, env = "COURIER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The worker: consumes, delivers, publishes, listens. SIGTERM drains it.
    Run,
    /// The whole product in one process with nothing installed: simulated providers, a load, an outage.
    Demo(demo::Args),
    /// Validates the configuration, every provider definition and every text.
    Check(check::Args),
    /// Which hops a challenge would have, why not others, and what that takes at most; nothing is sent.
    Explain(explain::Args),
    /// Publishes a test challenge and follows its outcomes to the final one.
    Send(send::Args),
    /// Follows outcomes live, until Ctrl-C.
    Tail(tail::Args),
    /// The simulated providers alone, for staging.
    Simulate(simulate::Args),
    /// Prints JSON Schemas of messages and of the configuration, and the AsyncAPI document.
    Schema(schema::Args),
    /// Prints what completes the arguments of this program in a shell.
    Completions(shell::Completions),
    /// Prints the manual page.
    Man,
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The configuration is wrong.
    Config(Vec<ConfigError>),
    /// A service is not reachable or refuses.
    Service(String),
    /// It did not do what was asked.
    Failed(String),
    /// What was asked makes no sense together.
    Usage(String),
    /// Why was told already; only the exit code is left.
    Told(u8),
}

impl Failure {
    fn report(self) -> ExitCode {
        match self {
            Self::Config(errors) => {
                let many = errors.len();
                for error in errors {
                    eprintln!("{error}");
                }
                eprintln!("{many} {} in the configuration", if many == 1 { "mistake" } else { "mistakes" });
                ExitCode::from(64)
            }
            Self::Service(why) => {
                eprintln!("mfa-courier: {why}");
                ExitCode::from(69)
            }
            Self::Failed(why) => {
                eprintln!("mfa-courier: {why}");
                ExitCode::from(1)
            }
            Self::Usage(why) => {
                eprintln!("mfa-courier: {why}");
                ExitCode::from(2)
            }
            Self::Told(code) => ExitCode::from(code),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Config(errors) => Self::Config(errors),
            RunError::Broker(_) | RunError::Ledger(_) | RunError::Link(_) | RunError::Bind(_) => {
                Self::Service(error.to_string())
            }
            RunError::Metrics(_) | RunError::CutOff(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Service(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only the first call of a process can set the provider, and this is the first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return Failure::Failed(format!("no runtime: {why}")).report(),
    };
    // On one of the runtime's own threads: what is spawned from any other wakes one each time.
    let done = runtime.block_on(async { tokio::spawn(cli.run()).await });
    // Whatever still runs was told to stop and had its time.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(why) => Failure::Failed(format!("a fault of its own: {why}")).report(),
    }
}

impl Cli {
    async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Run => run::run(&settings(self.config.as_deref())?).await,
            Command::Check(args) => check::check(&args, self.config.as_deref()).await,
            Command::Explain(args) => explain::run(&args, &settings(self.config.as_deref())?),
            Command::Send(args) => send::send(&args, &settings(self.config.as_deref())?).await,
            Command::Tail(args) => tail::tail(&args, &settings(self.config.as_deref())?).await,
            Command::Demo(args) => demo::demo(args).await,
            Command::Simulate(args) => simulate::simulate(args).await,
            Command::Schema(args) => {
                schema::schema(&args);
                Ok(())
            }
            Command::Completions(args) => {
                shell::completions(&args);
                Ok(())
            }
            Command::Man => shell::manual(),
        }
    }
}

fn settings(file: Option<&Path>) -> Result<Settings, Failure> {
    Settings::load(file, process_environment()).map_err(Failure::Config)
}

/// Logs as the configuration says, or `RUST_LOG`.
fn log(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let rust_log = std::env::var("RUST_LOG").ok();
    start_logging(filter, rust_log.as_deref(), format).map_err(|why| Failure::Failed(why.to_string()))
}
