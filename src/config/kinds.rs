//! The types of values that are this product's own: secrets, countries, channels, addresses, URLs.
//!
//! Extends [`super::read::Item`]; a secret's value never reaches an error or the dump.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::document::{MAX_VALUE_BYTES, Value, unusable};
use super::origin::ConfigError;
use super::read::{Item, Section};
use crate::challenge::Channel;
use crate::phone::Country;
use crate::secret::Secret;

/// What stands for a secret in the dump.
pub(super) const REDACTED: &str = "[redacted]";
/// How a secret may be written.
pub(super) const SECRET_FORMS: &str = "a string, { env = \"NAME\" } or { file = \"path\" }";
/// A secret that guards something should not be shorter.
const WEAK_BELOW: usize = 16;

/// The channels by their words.
const CHANNELS: [(&str, Channel); 3] = [("sms", Channel::Sms), ("voice", Channel::Voice), ("push", Channel::Push)];

impl Item<'_> {
    /// A secret: a text, or where to find it.
    pub(super) fn secret(self) -> Option<Secret> {
        self.note(REDACTED);
        if self.is_table() {
            return self.secret_reference();
        }
        match self.as_text() {
            Some("") => self.refuse_as("an empty secret", SECRET_FORMS),
            Some(text) => Some(Secret::new(text)),
            None => self.refuse_as(format!("found {}", self.node.kind()), SECRET_FORMS),
        }
    }

    /// A secret of our own, which somebody may have chosen too short.
    pub(super) fn own_secret(self) -> Option<Secret> {
        let (cx, origin) = (self.cx, self.origin());
        let secret = self.secret()?;
        if secret.expose().len() < WEAK_BELOW {
            cx.warn(origin, format!("shorter than {WEAK_BELOW} characters: it can be guessed"));
        }
        Some(secret)
    }

    /// Whether it has the form of a secret: a text, or a table that says where to find one.
    pub(super) fn may_be_secret(&self) -> bool {
        match &self.node.value {
            Value::Table(table) => table.0.iter().any(|entry| matches!(entry.key.as_str(), "env" | "file")),
            _ => self.as_text().is_some(),
        }
    }

    /// Whether it is a table of texts, or of such tables, and no secret.
    pub(super) fn holds_texts(&self) -> bool {
        fn are_texts(value: &Value) -> bool {
            match value {
                Value::Text(_) => true,
                Value::Table(table) => !table.0.is_empty() && table.0.iter().all(|entry| are_texts(&entry.node.value)),
                _ => false,
            }
        }
        self.is_table() && !self.may_be_secret() && are_texts(&self.node.value)
    }

    fn secret_reference(self) -> Option<Secret> {
        let (cx, origin, path) = (self.cx, self.origin(), self.path.clone());
        let mut section = self.section()?;
        let (env, file) = (section.take("env"), section.take("file"));
        section.finish();
        let secret = match (env, file) {
            (Some(name), None) => name.secret_from_env(),
            (None, Some(file)) => file.secret_from_file(),
            _ => {
                cx.error(ConfigError::new(origin, "a table that is not one of env and file", SECRET_FORMS));
                None
            }
        };
        cx.note(&path, REDACTED.into());
        secret
    }

    fn secret_from_env(self) -> Option<Secret> {
        const ALLOWED: &str = "the name of an environment variable that holds the secret";
        let Some(name) = self.as_text() else { return self.refuse(ALLOWED) };
        let Some(value) = self.cx.env.get(name) else {
            return self.refuse_as(format!("the environment variable {name} is not set"), ALLOWED);
        };
        if value.is_empty() {
            return self.refuse_as(format!("the environment variable {name} is empty"), ALLOWED);
        }
        if let Some(why) = unusable(value) {
            return self.refuse_as(format!("the environment variable {name} has {why}"), "at most 64 KiB of text");
        }
        Some(Secret::new(value))
    }

    fn secret_from_file(self) -> Option<Secret> {
        const ALLOWED: &str = "the path of a file that holds the secret";
        let Some(path) = self.as_text() else { return self.refuse(ALLOWED) };
        match read_secret(Path::new(path)) {
            Ok((secret, open_to_others)) => {
                if open_to_others {
                    let text = format!("{path} can be read by every user of this machine: chmod o-rwx");
                    self.cx.warn(self.origin(), text);
                }
                Some(secret)
            }
            Err(why) => self.refuse_as(format!("the secret file {path} {why}"), ALLOWED),
        }
    }

    /// A country that numbers can belong to.
    pub(super) fn country(self) -> Option<Country> {
        self.parsed("the ISO code of a country, such as \"US\"", known_country)
    }

    pub(super) fn channel(self) -> Option<Channel> {
        self.word(&CHANNELS)
    }

    /// An address to listen on.
    pub(super) fn address(self) -> Option<SocketAddr> {
        self.parsed("an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"", |text| text.parse().ok())
    }

    /// A path that leads to something.
    pub(super) fn existing(self, what: Kind) -> Option<PathBuf> {
        let allowed = match what {
            Kind::File => "the path of a file that can be read",
            Kind::Directory => "the path of a directory",
        };
        let Some(text) = self.as_text().filter(|text| !text.is_empty()) else { return self.refuse(allowed) };
        let path = PathBuf::from(text);
        let why = match (File::open(&path).and_then(|file| file.metadata()), what) {
            (Err(error), _) => format!(" can't be read: {}", reason(&error)),
            (Ok(found), Kind::File) if found.is_dir() => " is a directory".to_owned(),
            (Ok(found), Kind::Directory) if !found.is_dir() => " is not a directory".to_owned(),
            (Ok(_), _) => String::new(),
        };
        if !why.is_empty() {
            return self.refuse_as(format!("{text}{why}"), allowed);
        }
        self.note(text);
        Some(path)
    }

    /// An HTTP address that others are reached at. It may not hold credentials, which would be shown.
    pub(super) fn http_url(self) -> Option<url::Url> {
        const ALLOWED: &str = "an address such as \"https://api.example.com\", without user, query or fragment";
        let Some(text) = self.as_text() else { return self.refuse(ALLOWED) };
        let parsed = text.parse::<url::Url>();
        if text.contains('@') {
            return self.refuse_as("found an address with a user", ALLOWED);
        }
        let plain = |url: &url::Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let Some(url) = parsed.ok().filter(plain) else { return self.refuse(ALLOWED) };
        self.note(text);
        Some(url)
    }

    /// A name of the operator's choice, which also stands in paths and metrics.
    pub(super) fn name(self) -> Option<String> {
        self.parsed(NAME_FORM, |text| is_name(text).then(|| text.to_owned()))
    }
}

/// What a path should lead to.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    File,
    Directory,
}

/// What [`is_name`] accepts.
pub(super) const NAME_FORM: &str = "1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`";

/// Whether `text` can name a provider, a tenant, a purpose.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Splits a table of values by country, one of which may be `default`.
pub(super) fn by_country<T>(
    mut section: Section<'_>,
    read: impl Fn(Item<'_>) -> Option<T>,
) -> (Option<T>, Vec<(Country, T)>) {
    let default = section.take("default").and_then(&read);
    let mut values = Vec::new();
    for (key, item) in section.rest() {
        // A variable's name has lost its capitals on the way here.
        let code = if item.key_place.is_environment() { key.to_ascii_uppercase() } else { key };
        match known_country(&code) {
            Some(country) => values.extend(read(item).map(|value| (country, value))),
            None => section.cx.error(ConfigError::new(
                item.key_origin(),
                "unknown key",
                "`default` and ISO codes of countries, such as US",
            )),
        }
    }
    (default, values)
}

fn known_country(code: &str) -> Option<Country> {
    Country::parse(code).filter(|country| country.is_known())
}

/// Reads a secret file; says too whether every user may read it.
fn read_secret(path: &Path) -> Result<(Secret, bool), String> {
    let failed = |error: std::io::Error| format!("can't be read: {}", reason(&error));
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_VALUE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    if let Some(why) = unusable(&text) {
        return Err(format!("has {why}"));
    }
    let cut = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if cut.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok((Secret::new(cut), open_to_others(&metadata)))
}

#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
const fn open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

/// An error of the operating system in words that do not depend on its numbers.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_one_text_without_its_last_newline() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let long = vec![b'a'; MAX_VALUE_BYTES + 1];
        for (content, secret) in [
            (&b"a\n"[..], Ok("a")),
            (b"a\r\n", Ok("a")),
            (b"a\n\n", Ok("a\n")),
            (b"a", Ok("a")),
            (b"\n", Err("is empty")),
            (b"", Err("is empty")),
            (b"a\0b", Err("has a value with a NUL byte")),
            (b"\xff", Err("is not UTF-8")),
            (&long, Err("has a value of more than 64 KiB")),
        ] {
            std::fs::write(&path, content).expect("writable");
            let read = read_secret(&path).map(|(secret, _)| secret.expose().to_owned());
            assert_eq!(read, secret.map(str::to_owned).map_err(str::to_owned), "{content:.10?}");
        }
        assert_eq!(read_secret(dir.path()), Err("is a directory".to_owned()));
    }
}
