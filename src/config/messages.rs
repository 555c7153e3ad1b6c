//! How text messages are made: `[messages]`, and the same again for one tenant.

use std::path::PathBuf;

use super::kinds::Kind;
use super::read::{Item, Section};
use crate::delivery::compose::{Autofill, Oversize, Style};

/// What one tenant has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantMessages {
    /// Where its texts are.
    pub dir: Option<PathBuf>,
    /// Its way with text messages of several segments.
    pub oversize: Option<Oversize>,
    /// Its lines for autofill, all of them: none is taken from `[messages]`.
    pub autofill: Option<Autofill>,
}

impl TenantMessages {
    /// How this tenant's text messages are made, where those of everybody are made like `general`.
    #[must_use]
    pub fn style(&self, general: &Style) -> Style {
        Style {
            oversize: self.oversize.unwrap_or(general.oversize),
            autofill: self.autofill.as_ref().unwrap_or(&general.autofill).clone(),
        }
    }
}

pub(super) fn messages(mut section: Section<'_>) -> Option<Style> {
    let (oversize, autofill) = keys(&mut section);
    section.finish();
    Some(Style { oversize: oversize?, autofill: autofill.unwrap_or_default() })
}

/// Takes a tenant's keys out of its section.
pub(super) fn of_tenant(section: &mut Section<'_>) -> TenantMessages {
    let dir = section.take("messages_dir").and_then(|item| item.existing(Kind::Directory));
    let Some(mut own) = section.take("messages").and_then(Item::section) else {
        return TenantMessages { dir, ..TenantMessages::default() };
    };
    let (oversize, autofill) = keys(&mut own);
    own.finish();
    TenantMessages { dir, oversize, autofill }
}

fn keys(section: &mut Section<'_>) -> (Option<Oversize>, Option<Autofill>) {
    let oversize = section.take("oversize").and_then(|item| {
        item.word(&[
            ("keep", Oversize::Keep),
            ("look_alikes", Oversize::LookAlikes),
            ("transliterate", Oversize::Transliterate),
            ("shorten", Oversize::Shorten),
        ])
    });
    let autofill = section.take("autofill").and_then(Item::section).map(|mut section| {
        let domain = section.take("domain").and_then(domain);
        let android_hash = section.take("android_hash").and_then(android_hash);
        section.finish();
        Autofill { domain, android_hash }
    });
    (oversize, autofill)
}

/// The host of a website, as browsers compare it.
fn domain(item: Item<'_>) -> Option<String> {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = |host: &str| host.len() <= 253 && host.contains('.') && host.split('.').all(label);
    item.parsed(
        "the host of a website in lower case, such as \"example.com\", without scheme, port or path; other \
         alphabets as xn--…",
        |host| is_host(host).then(|| host.to_owned()),
    )
}

/// The first 11 characters of a hash in Base64.
fn android_hash(item: Item<'_>) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    item.parsed("the app's 11-character hash for the SMS Retriever API, such as \"FA+9qCX9VSu\"", |hash| {
        (hash.len() == 11 && hash.bytes().all(allowed)).then(|| hash.to_owned())
    })
}
