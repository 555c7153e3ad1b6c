//! The reference of settings as people read it, made from the commented defaults.

use std::fmt::Write as _;

use mfa_courier::config::reference::{Section, Setting, sections};

const HEAD: &str = "# Configuration

Every setting, its default and what it does. This page is made from [config/courier.toml](../config/courier.toml), which is
built into the program (`make docs`); its schema for editors is [schemas/config.json](schemas/config.json).

A file given with `--config` (or `COURIER_CONFIG`) needs only the keys that differ. The environment is laid over it:
`COURIER__BROKER__URL` is `broker.url`, two underscores between levels, names included, arrays and tables as TOML.
`mfa-courier check` says every mistake with its line; `check --effective` prints what holds in the end. Durations are whole
numbers with a unit: `\"250ms\"`, `\"5s\"`, `\"2m\"`, `\"24h\"`. A secret is a string, `{ env = \"NAME\" }` or
`{ file = \"path\" }`.
";

/// The page.
pub(super) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in sections() {
        describe(&mut page, &section);
    }
    page
}

fn describe(page: &mut String, section: &Section) {
    let name = section.name();
    let title = match (name.as_str(), section.repeats) {
        ("", _) => "At the top".to_owned(),
        (name, true) => format!("`[[{name}]]`"),
        (name, false) => format!("`[{name}]`"),
    };
    let _ = write!(page, "\n## {title}\n");
    if !section.about.is_empty() {
        let _ = write!(page, "\n{}\n", escaped(&section.about));
    }
    page.push('\n');
    for setting in &section.settings {
        describe_setting(page, setting);
    }
}

fn describe_setting(page: &mut String, Setting { key, value, is_default, about }: &Setting) {
    let word = if *is_default { "default" } else { "for example" };
    let text = if about.is_empty() { String::new() } else { format!("  \n  {}", escaped(about)) };
    let _ = writeln!(page, "- **`{key}`** · {word} `{value}`{text}");
}

/// What Markdown would take for its own.
fn escaped(text: &str) -> String {
    text.replace('<', "\\<").replace('*', "\\*")
}
