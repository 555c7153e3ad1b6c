//! How many segments a text message takes: what it costs, and what the attempt reports.
//!
//! Networks carry 140 octets at a time: 160 characters of the GSM-7 alphabet (3GPP TS 23.038, section 6.2.1),
//! or 70 units of UCS-2 where a single character is outside it. A longer text is split, and each part loses
//! 6 octets to a header (3GPP TS 23.040, section 9.2.3.24.1). Pure. Used by [`super::compose`], which tries to
//! stay within one segment.

/// How the characters of a text message are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 7 bits a character, two septets for those of the extension table.
    Gsm7,
    /// 16 bits a character, two units for those beyond the basic plane.
    Ucs2,
}

impl Encoding {
    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }

    /// How many units a text may have that is not split.
    const fn alone(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// How many units a part of a longer text holds.
    const fn part(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }
}

/// What a text message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How it is written.
    pub encoding: Encoding,
    /// Septets, or UTF-16 code units.
    pub units: usize,
    /// How many segments: at least one.
    pub segments: u32,
}

/// What `text` takes as a text message.
#[must_use]
pub fn measure(text: &str) -> Size {
    let septets = || text.chars().map(septets);
    if let Some(units) = septets().sum() {
        let segments = split(Encoding::Gsm7, units, septets().flatten());
        return Size { encoding: Encoding::Gsm7, units, segments };
    }
    let units = text.encode_utf16().count();
    let segments = split(Encoding::Ucs2, units, text.chars().map(char::len_utf16));
    Size { encoding: Encoding::Ucs2, units, segments }
}

/// Whether the GSM-7 alphabet has `c`.
#[must_use]
pub const fn is_gsm7(c: char) -> bool {
    septets(c).is_some()
}

/// Fills one part after the other; a character of two units never begins in one and ends in the next.
fn split(encoding: Encoding, units: usize, widths: impl Iterator<Item = usize>) -> u32 {
    if units <= encoding.alone() {
        return 1;
    }
    let (mut parts, mut used) = (1, 0);
    for width in widths {
        if used + width > encoding.part() {
            (parts, used) = (parts + 1, 0);
        }
        used += width;
    }
    parts
}

/// How many septets `c` takes; `None` where the alphabet has it not.
const fn septets(c: char) -> Option<usize> {
    match c {
        // The default alphabet: most of ASCII, some of Latin-1, those capitals of Greek that Latin lacks.
        '\n'
        | '\r'
        | ' '..='Z'
        | '_'
        | 'a'..='z'
        | '¡'
        | '£'
        | '¤'
        | '¥'
        | '§'
        | '¿'
        | 'Ä'
        | 'Å'
        | 'Æ'
        | 'Ç'
        | 'É'
        | 'Ñ'
        | 'Ö'
        | 'Ø'
        | 'Ü'
        | 'ß'
        | 'à'
        | 'ä'
        | 'å'
        | 'æ'
        | 'è'
        | 'é'
        | 'ì'
        | 'ñ'
        | 'ò'
        | 'ö'
        | 'ø'
        | 'ù'
        | 'ü'
        | 'Γ'
        | 'Δ'
        | 'Θ'
        | 'Λ'
        | 'Ξ'
        | 'Π'
        | 'Σ'
        | 'Φ'
        | 'Ψ'
        | 'Ω' => Some(1),
        // The extension table: an escape goes before each.
        '\u{c}' | '[' | '\\' | ']' | '^' | '{' | '|' | '}' | '~' | '€' => Some(2),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The default alphabet in the order of its codes, 0x00 to 0x7F without the escape at 0x1B.
    const ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                            ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    /// The extension table, by code.
    const EXTENSION: [(u8, char); 10] = [
        (0x0a, '\u{c}'),
        (0x14, '^'),
        (0x28, '{'),
        (0x29, '}'),
        (0x2f, '\\'),
        (0x3c, '['),
        (0x3d, '~'),
        (0x3e, ']'),
        (0x40, '|'),
        (0x65, '€'),
    ];
    const ESCAPE: u8 = 0x1b;

    /// The text as the network carries it: a code for each septet, by the table of the standard.
    fn coded(text: &str) -> Option<Vec<u8>> {
        let mut codes = Vec::new();
        for c in text.chars() {
            if let Some((code, _)) = EXTENSION.iter().find(|(_, extended)| *extended == c) {
                codes.extend([ESCAPE, *code]);
            } else {
                let position = u8::try_from(ALPHABET.chars().position(|basic| basic == c)?).expect("128 codes");
                codes.push(if position < ESCAPE { position } else { position + 1 });
            }
        }
        Some(codes)
    }

    /// The least number of parts of at most `most` units, none of which begins with the second half of a character.
    fn fewest_parts(halves: &[bool], most: usize) -> u32 {
        // From the end: what the rest takes when a part begins at each place.
        let mut rest = vec![0_u32; halves.len() + 1];
        for start in (0..halves.len()).rev() {
            let ends = (start + 1..=halves.len().min(start + most)).filter(|end| halves.get(*end) != Some(&true));
            rest[start] = ends.map(|end| rest[end].saturating_add(1)).min().unwrap_or(u32::MAX);
        }
        rest[0]
    }

    /// An independent reading of the standards, from the octets of the network: encoding, units, segments.
    pub(in crate::delivery) fn oracle(text: &str) -> Size {
        let (encoding, halves, alone, part) = if let Some(codes) = coded(text) {
            let second = |at: usize| at > 0 && codes[at - 1] == ESCAPE;
            (Encoding::Gsm7, (0..codes.len()).map(second).collect::<Vec<_>>(), 160, 153)
        } else {
            let low = |unit: u16| (0xdc00..0xe000).contains(&unit);
            (Encoding::Ucs2, text.encode_utf16().map(low).collect::<Vec<_>>(), 70, 67)
        };
        let segments = if halves.len() <= alone { 1 } else { fewest_parts(&halves, part) };
        Size { encoding, units: halves.len(), segments }
    }

    #[test]
    fn the_alphabet_is_that_of_the_standard() {
        assert_eq!(ALPHABET.chars().count(), 127);
        for c in '\0'..=char::MAX {
            let expected = if ALPHABET.contains(c) {
                Some(1)
            } else {
                EXTENSION.iter().any(|(_, extended)| *extended == c).then_some(2)
            };
            assert_eq!(septets(c), expected, "{c:?}");
        }
        for missing in "`çáíóúâêîôûëïãõ’“”–…\u{a0}\tЯ中😀".chars() {
            assert!(!is_gsm7(missing), "{missing}");
        }
    }

    #[test]
    fn texts_are_split_where_the_network_splits_them() {
        for (text, encoding, units, segments) in [
            (String::new(), Encoding::Gsm7, 0, 1),
            ("a".repeat(160), Encoding::Gsm7, 160, 1),
            ("a".repeat(161), Encoding::Gsm7, 161, 2),
            ("@".repeat(306), Encoding::Gsm7, 306, 2),
            ("@".repeat(307), Encoding::Gsm7, 307, 3),
            ("€".repeat(80), Encoding::Gsm7, 160, 1),
            ("€".repeat(81), Encoding::Gsm7, 162, 2),
            // Each part ends a septet early: 76 pairs are 152.
            ("€".repeat(152), Encoding::Gsm7, 304, 2),
            ("€".repeat(153), Encoding::Gsm7, 306, 3),
            ("a".repeat(152) + "€" + &"a".repeat(7), Encoding::Gsm7, 161, 2),
            ("я".repeat(70), Encoding::Ucs2, 70, 1),
            ("я".repeat(71), Encoding::Ucs2, 71, 2),
            ("я".repeat(135), Encoding::Ucs2, 135, 3),
            ("😀".repeat(35), Encoding::Ucs2, 70, 1),
            ("😀".repeat(36), Encoding::Ucs2, 72, 2),
            // 33 pairs are 66 of 67 units.
            ("😀".repeat(67), Encoding::Ucs2, 134, 3),
            ("a".repeat(70) + "’", Encoding::Ucs2, 71, 2),
        ] {
            assert_eq!(measure(&text), Size { encoding, units, segments }, "{text}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            8 => proptest::sample::select(ALPHABET.chars().collect::<Vec<_>>()),
            2 => proptest::sample::select(EXTENSION.map(|(_, c)| c).to_vec()),
        ];
        let any = prop_oneof![4 => proptest::sample::select(vec!['a', '€', 'я', '’', '😀']), 1 => any::<char>()];
        let text = |character: BoxedStrategy<char>| {
            proptest::collection::vec(character, 0..500).prop_map(|characters| characters.into_iter().collect())
        };
        prop_oneof![text(character.boxed()), text(any.boxed())]
    }

    proptest! {
        #[test]
        fn every_text_takes_what_the_oracle_says(text in text()) {
            prop_assert_eq!(measure(&text), oracle(&text));
        }
    }
}
