//! Telephone numbers: the one module that knows the numbering plans.
//!
//! Numbers are secrets (see [`crate::secret`]): `Debug` shows only what [`PhoneNumber::masked`] shows.
//! The library behind is lenient (vanity letters, extensions, foreign digits); the grammar is checked
//! here first, so that what is dialled is exactly what was asked for.

use std::fmt;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType, Region};
use serde::{Deserialize, Serialize};

/// An ISO 3166-1 alpha-2 country code, or `001` for numbers that belong to no country.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 3]);

impl Country {
    /// Reads `US`, or `001`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Some(Self([*a, *b, 0])),
            b"001" => Some(Self(*b"001")),
            _ => None,
        }
    }

    /// Whether numbers can belong to it, so that a slip such as `UK` is found.
    #[must_use]
    pub fn is_known(self) -> bool {
        let has_plan = |region| PHONE_NUMBER_UTIL.get_country_code_for_region(region).is_some();
        self == Self(*b"001") || self.as_str().parse().is_ok_and(has_plan)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = if self.0[2] == 0 { 2 } else { 3 };
        std::str::from_utf8(&self.0[..length]).unwrap_or("??")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl schemars::JsonSchema for Country {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Country".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([A-Z]{2}|001)$" })
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a country code such as US")))
    }
}

/// What a number is for, as far as its numbering plan tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// A person's phone, mobile or fixed, or one of unknown kind.
    Ordinary,
    /// Free for the caller; can't receive text messages.
    TollFree,
    /// Costs extra: premium, shared cost, satellite, universal access, pager, voice mail.
    Costly,
    /// Reserved for fiction and tests (`+1 … 555 01xx`).
    Fiction,
}

/// A number in E.164 form, checked.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhoneNumber {
    e164: Box<str>,
    country: Country,
    calling_code_digits: u8,
}

/// Why a text is not a number that can be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum PhoneError {
    /// Not `+` and 1 to 15 ASCII digits (or 1 to 15 digits where a default region is set).
    #[error("is not an E.164 number: a plus and up to 15 digits")]
    Grammar,
    /// No country dials like this, or it is too short or too long for its country.
    #[error("is not a possible number in any country")]
    Impossible,
}

impl PhoneNumber {
    /// Reads an E.164 number; digits alone are read as a number of `default_region` where one is given.
    ///
    /// # Errors
    /// [`PhoneError`] says what is wrong, without the number.
    pub fn parse(text: &str, default_region: Option<Country>) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PhoneError::Grammar);
        }
        let region = match (text.starts_with('+'), default_region) {
            (true, _) => None,
            (false, Some(country)) => Some(country.as_str().parse::<Region>().map_err(|_| PhoneError::Grammar)?),
            (false, None) => return Err(PhoneError::Grammar),
        };
        let parsed = PHONE_NUMBER_UTIL.parse(text, region).map_err(|_| PhoneError::Impossible)?;
        if !PHONE_NUMBER_UTIL.is_possible_number(&parsed) {
            return Err(PhoneError::Impossible);
        }
        let e164 = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned();
        if region.is_none() && e164 != text {
            return Err(PhoneError::Grammar);
        }
        let calling_code = parsed.country_code;
        let region = PHONE_NUMBER_UTIL
            .get_region_for_number(&parsed)
            .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(calling_code));
        let country = region.and_then(|r| Country::parse(r.as_region_str().as_str())).unwrap_or(Country(*b"001"));
        let calling_code_digits = u8::try_from(calling_code.to_string().len()).unwrap_or(1);
        Ok(Self { e164: e164.into(), country, calling_code_digits })
    }

    /// The full number. Only for the provider that dials it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.e164
    }

    /// The country it belongs to.
    #[must_use]
    pub const fn country(&self) -> Country {
        self.country
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> NumberKind {
        const COSTLY_CODES: [&str; 6] = ["+881", "+882", "+883", "+979", "+808", "+878"];
        if COSTLY_CODES.iter().any(|code| self.e164.starts_with(code)) {
            return NumberKind::Costly;
        }
        if self.is_fiction() {
            return NumberKind::Fiction;
        }
        let Ok(parsed) = PHONE_NUMBER_UTIL.parse(&self.e164, None) else { return NumberKind::Ordinary };
        match PHONE_NUMBER_UTIL.get_number_type(&parsed) {
            PhoneNumberType::TollFree => NumberKind::TollFree,
            PhoneNumberType::PremiumRate
            | PhoneNumberType::SharedCost
            | PhoneNumberType::Pager
            | PhoneNumberType::UAN
            | PhoneNumberType::VoiceMail => NumberKind::Costly,
            PhoneNumberType::FixedLine
            | PhoneNumberType::Mobile
            | PhoneNumberType::FixedLineOrMobile
            | PhoneNumberType::VoIP
            | PhoneNumberType::PersonalNumber
            | PhoneNumberType::Unknown => NumberKind::Ordinary,
        }
    }

    fn is_fiction(&self) -> bool {
        self.e164.len() == 12 && self.e164.starts_with("+1") && self.e164.get(5..10) == Some("55501")
    }

    /// The calling code, a `*` for each hidden digit, the last two digits.
    #[must_use]
    pub fn masked(&self) -> String {
        let shown = 1 + usize::from(self.calling_code_digits);
        let hidden = self.e164.len().saturating_sub(shown + 2);
        let tail = &self.e164[self.e164.len().saturating_sub(2)..];
        format!("{}{}{}", &self.e164[..shown.min(self.e164.len())], "*".repeat(hidden), tail)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text, None).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn only_countries_with_a_numbering_plan_are_known() {
        let known = |code| Country::parse(code).is_some_and(Country::is_known);
        for code in ["US", "GB", "CN", "XK", "001"] {
            assert!(known(code), "{code}");
        }
        for code in ["UK", "XX", "us", "ZZ", "", "USA"] {
            assert!(!known(code), "{code}");
        }
    }

    /// Hostile inputs 46 to 51, 58 and 60.
    #[test]
    fn only_plain_e164_is_taken() {
        for bad in [
            "+1",
            "+",
            "",
            "911",
            "112",
            "999",
            "+1234567890123456",
            "+१४१५५५५०१२३",
            "+14155550१23",
            "\u{ff0b}14155550123",
            "+1-415-FLOWERS",
            "+1 415 555 0123",
            "+14155550123;ext=9",
            "+14155550123,,9#",
            "tel:+14155550123",
            "tel:+14155550123;phone-context=example.com",
            "+1415555\u{200b}0123",
            "+1415555\u{a0}0123",
            "a@example.com",
            "https://example.com",
            "+0123456789",
            "004412345678",
        ] {
            assert!(PhoneNumber::parse(bad, None).is_err(), "{bad}");
        }
        assert!(PhoneNumber::parse(&"+1".repeat(10_000), None).is_err());
    }

    /// Hostile input 56.
    #[test]
    fn shared_calling_codes_find_their_country() {
        for (text, country) in [
            ("+38344123456", "XK"),
            ("+77011234567", "KZ"),
            ("+79161234567", "RU"),
            ("+447797712345", "JE"),
            ("+4779123456", "SJ"),
            ("+18764123456", "JM"),
            ("+14155552671", "US"),
            ("+14165552671", "CA"),
        ] {
            assert_eq!(number(text).country().as_str(), country, "{text}");
        }
    }

    /// Hostile inputs 53, 55 and 57.
    #[test]
    fn costly_numbers_are_known() {
        for text in ["+19002345678", "+881612345678", "+882161234567", "+979123456789", "+80812345678"] {
            assert_eq!(number(text).kind(), NumberKind::Costly, "{text}");
        }
        assert_eq!(number("+80012345678").kind(), NumberKind::TollFree);
        assert_eq!(number("+14155550123").kind(), NumberKind::Fiction);
        assert_eq!(number("+8613812345678").kind(), NumberKind::Ordinary);
    }

    /// Hostile input 52.
    #[test]
    fn national_numbers_need_a_default_region() {
        let region = Country::parse("US");
        assert_eq!(
            PhoneNumber::parse("4155552671", region).map(|n| n.expose().to_owned()),
            Ok("+14155552671".to_owned())
        );
        assert_eq!(PhoneNumber::parse("4155552671", None), Err(PhoneError::Grammar));
    }

    #[test]
    fn masks_keep_the_calling_code_and_two_digits() {
        assert_eq!(number("+14155552671").masked(), "+1********71");
        assert_eq!(number("+8613812345678").masked(), "+86*********78");
        assert!(!format!("{:?}", number("+8613812345678")).contains("138"));
    }
}
