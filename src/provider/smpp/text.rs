//! Texts as SMPP carries them: GSM-7 with a code in each octet, or UTF-16, in parts where one does not hold them.
//!
//! Which of the two, and where a text is split, agrees with [`crate::delivery::segments`], which counted what it costs.

use crate::delivery::segments::{Encoding, measure};

/// The default alphabet in the order of its codes; the place of the escape holds a NUL.
const ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\0ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                        ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENSION: [(char, u8); 10] = [
    ('\u{c}', 0x0a),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2f),
    ('[', 0x3c),
    ('~', 0x3d),
    (']', 0x3e),
    ('|', 0x40),
    ('€', 0x65),
];
const ESCAPE: u8 = 0x1b;
/// The most parts that a message may have: the header counts them in an octet.
const MOST_PARTS: usize = 255;

/// What one `submit_sm` carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `data_coding`: 0 is the default alphabet, 8 UTF-16.
    pub coding: u8,
    /// Whether the octets begin with a header that says which part of which message it is.
    pub has_header: bool,
    /// `short_message`.
    pub octets: Vec<u8>,
}

/// The parts of `text`; those of one message share `reference`. `None` where there would be more than 255.
#[must_use]
pub fn parts(text: &str, reference: u8) -> Option<Vec<Part>> {
    let (coding, most) = match measure(text).encoding {
        Encoding::Gsm7 => (0, [160, 153]),
        // Octets, of 70 and of 67 units.
        Encoding::Ucs2 => (8, [140, 134]),
    };
    let characters: Vec<Vec<u8>> = text.chars().map(|c| octets(c, coding)).collect();
    let alone = characters.concat();
    if alone.len() <= most[0] {
        return Some(vec![Part { coding, has_header: false, octets: alone }]);
    }
    let mut bodies = vec![Vec::new()];
    for character in characters {
        // No character begins in one part and ends in the next.
        if bodies.last().is_some_and(|body: &Vec<u8>| body.len() + character.len() > most[1]) {
            bodies.push(Vec::new());
        }
        bodies.last_mut()?.extend(character);
    }
    let total = u8::try_from(bodies.len()).ok().filter(|_| bodies.len() <= MOST_PARTS)?;
    let part = |(nth, body): (u8, Vec<u8>)| {
        let header = vec![5, 0, 3, reference, total, nth];
        Part { coding, has_header: true, octets: [header, body].concat() }
    };
    Some((1..=total).zip(bodies).map(part).collect())
}

fn octets(c: char, coding: u8) -> Vec<u8> {
    if coding == 8 {
        return c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()).collect();
    }
    if let Some((_, code)) = EXTENSION.iter().find(|(extended, _)| *extended == c) {
        return vec![ESCAPE, *code];
    }
    let place = ALPHABET.chars().position(|basic| basic == c).and_then(|place| u8::try_from(place).ok());
    // `measure` said that it is there.
    vec![place.unwrap_or(b'?')]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::delivery::segments::is_gsm7;

    fn text(part: &Part) -> Vec<u8> {
        part.octets[if part.has_header { 6 } else { 0 }..].to_vec()
    }

    #[test]
    fn the_published_vectors() {
        assert_eq!(parts("@", 0).expect("fits")[0].octets, [0]);
        assert_eq!(parts("^", 0).expect("fits")[0].octets, [0x1b, 0x14]);
        let cyrillic = &parts("Ая", 0).expect("fits")[0];
        assert_eq!((cyrillic.coding, cyrillic.octets.as_slice()), (8, [4, 0x10, 4, 0x4f].as_slice()));
        let two = parts(&"@".repeat(306), 0x42).expect("fits");
        let heads: Vec<_> = two.iter().map(|part| part.octets[..6].to_vec()).collect();
        assert_eq!(heads, [[5, 0, 3, 0x42, 2, 1], [5, 0, 3, 0x42, 2, 2]]);
        let lengths =
            |text: &str| parts(text, 1).expect("fits").iter().map(|part| part.octets.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&("a".repeat(152) + "€" + &"a".repeat(7))), [6 + 152, 6 + 9]);
        assert_eq!(lengths(&"😀".repeat(36)), [6 + 132, 6 + 12], "a pair does not fit in the 67th unit");
        assert_eq!(parts(&"a".repeat(153 * 255 + 1), 1), None);
    }

    /// What counts as GSM-7 has a code, and no other character has the same.
    #[test]
    fn every_character_that_is_counted_has_its_own_code() {
        let basic: Vec<char> = (char::MIN..=char::MAX).filter(|c| is_gsm7(*c)).collect();
        let codes: BTreeSet<Vec<u8>> = basic.iter().map(|c| octets(*c, 0)).collect();
        assert_eq!((basic.len(), codes.len()), (137, 137));
    }

    proptest! {
        #[test]
        fn what_is_split_is_whole_again_and_as_many_parts_as_were_counted(said in "[a-z€\\[я😀@]{0,400}", reference: u8) {
            let split = parts(&said, reference).expect("fits");
            let whole: Vec<u8> = split.iter().flat_map(text).collect();
            let coding = split[0].coding;
            prop_assert_eq!(whole, said.chars().flat_map(|c| octets(c, coding)).collect::<Vec<_>>());
            prop_assert_eq!(split.len(), usize::try_from(measure(&said).segments).expect("few"));
            prop_assert!(split.iter().all(|part| part.octets.len() <= 160));
        }
    }
}
