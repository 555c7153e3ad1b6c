//! `mfa-courier completions` and `mfa-courier man`: what a shell and a manual know of the commands.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell.
    shell: Shell,
}

/// Prints what completes the arguments of this program.
pub(super) fn completions(args: &Completions) {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out!("{}", String::from_utf8_lossy(&script));
}

/// Prints one manual page with all commands, as `man -l -` takes it.
pub(super) fn manual() -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let whole = clap_mangen::Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    writeln!(page, ".SH COMMANDS")?;
    describe(&command, &mut page)?;
    writeln!(page, ".SH \"EXIT STATUS\"")?;
    for (code, meaning) in EXIT_CODES {
        writeln!(page, ".TP\n{code}\n{meaning}")?;
    }
    writeln!(page, ".SH ENVIRONMENT\n.TP\nCOURIER__…\n{OVERRIDES}\n.TP\nRUST_LOG\n{RUST_LOG}")?;
    whole.render_version_section(&mut page)?;
    out!("{}", String::from_utf8_lossy(&page));
    Ok(())
}

const EXIT_CODES: [(u8, &str); 5] = [
    (0, "Done."),
    (1, "Failed."),
    (2, "Wrong usage."),
    (64, "Bad configuration."),
    (69, "A service is not reachable or refuses."),
];
const OVERRIDES: &str =
    "Each setting: COURIER__BROKER__URL is broker.url, with two underscores between levels. It wins over the file.";
const RUST_LOG: &str = "What is logged, instead of the setting log.";

/// Each command below `command`, with its own below it.
fn describe(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let man = clap_mangen::Man::new(one.clone());
        writeln!(page, ".SS \"{}\"", one.get_bin_name().unwrap_or(one.get_name()).replace('-', "\\-"))?;
        if let Some(about) = one.get_long_about().or(one.get_about()) {
            writeln!(page, "{}", about.to_string().replace('-', "\\-"))?;
        }
        let mut options = Vec::new();
        man.render_options_section(&mut options)?;
        // Below a heading of its own already.
        let options = String::from_utf8_lossy(&options);
        let body = options.lines().filter(|line| !line.starts_with(".SH ")).collect::<Vec<_>>().join("\n");
        writeln!(page, "{body}")?;
        describe(one, page)?;
    }
    Ok(())
}
