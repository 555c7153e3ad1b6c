//! Which language stands in for which: CLDR's inheritance, as ICU4X carries it.
//!
//! Cutting subtags off from the end, as RFC 4647 has it, would give people in Taiwan (`zh-TW`) simplified
//! Chinese: `zh` is `zh-Hans`. CLDR knows the script that a region implies and stops before another one; it
//! also knows that `es-MX` is nearer to `es-419` than to `es`. Pure; used by [`super::message`].

use icu_locale_core::LanguageIdentifier;
use icu_locale_fallback::{LocaleFallbackConfig, LocaleFallbackerBorrowed};

const FALLBACKER: LocaleFallbackerBorrowed<'static> = LocaleFallbackerBorrowed::new();

/// A language tag in its canonical form, and in that by which texts are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// BCP 47, subtags in their usual case: `zh-Hans`.
    pub tag: String,
    /// What two tags share that mean the same: `zh`.
    pub(super) key: String,
}

impl Language {
    /// Reads a tag of language, script, region and variants.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let id: LanguageIdentifier = tag.parse().ok().filter(|id: &LanguageIdentifier| !id.language.is_unknown())?;
        let key = chain_of(&id).into_iter().next()?;
        Some(Self { tag: id.to_string(), key })
    }

    /// Whether both name the same language, such as `zh` and `zh-Hans`.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// The keys of the languages that serve somebody who asks for `locale`, nearest first; empty where it is no tag.
pub(super) fn chain(locale: &str) -> Vec<String> {
    // What follows a singleton (`-u-`, `-x-`) says nothing about the language.
    let plain = locale.split('-').take_while(|subtag| subtag.len() > 1).collect::<Vec<_>>().join("-");
    plain.parse().map(|id| chain_of(&id)).unwrap_or_default()
}

fn chain_of(id: &LanguageIdentifier) -> Vec<String> {
    let mut steps = FALLBACKER.for_config(LocaleFallbackConfig::default()).fallback_for(id.clone().into());
    let mut chain = Vec::new();
    while !steps.get().is_unknown() {
        chain.push(steps.get().to_string());
        steps.step();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_fall_back_to_what_their_readers_read() {
        for (locale, expected) in [
            ("en", &["en"][..]),
            ("de-AT", &["de-AT", "de"]),
            ("DE-at", &["de-AT", "de"]),
            ("de-DE-u-co-phonebk", &["de-DE", "de"]),
            ("es-MX", &["es-MX", "es-419", "es"]),
            ("zh", &["zh"]),
            ("zh-Hans", &["zh"]),
            ("zh-CN", &["zh-CN", "zh"]),
            ("zh-SG", &["zh-SG", "zh"]),
            ("zh-Hans-SG", &["zh-SG", "zh"]),
            ("zh-Hant", &["zh-Hant"]),
            ("sr-Latn-RS", &["sr-Latn-RS", "sr-Latn"]),
            ("zz_ZZ", &[]),
            ("x-private", &[]),
            ("", &[]),
        ] {
            assert_eq!(chain(locale), expected, "{locale}");
        }
        for traditional in ["zh-TW", "zh-HK", "zh-MO", "zh-Hant-TW", "zh-Hant-HK"] {
            let chain = chain(traditional);
            assert!(chain.contains(&"zh-Hant".to_owned()) && !chain.contains(&"zh".to_owned()), "{chain:?}");
        }
    }

    #[test]
    fn tags_that_mean_the_same_are_found_by_the_same_key() {
        let language = |tag| Language::parse(tag).expect(tag);
        assert_eq!(language("ZH-hans").tag, "zh-Hans");
        assert!(language("zh-Hans").is_same(&language("zh")));
        assert!(!language("zh-Hant").is_same(&language("zh")));
        assert!(!language("de-CH").is_same(&language("de")));
        for bad in ["", "und", "german", "de_DE", "x"] {
            assert_eq!(Language::parse(bad), None, "{bad}");
        }
    }
}
