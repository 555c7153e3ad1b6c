//! Characters that the GSM-7 alphabet lacks, written with those that it has.
//!
//! One such character turns a text message into UCS-2 and often doubles what it costs. Two strengths:
//! [`look_alikes`] changes only what nobody reads (curly quotes, long dashes, spaces of other widths);
//! [`transliterated`] also takes accents from letters. ASCII is never changed, so a code and the lines for
//! autofill stay as they are. Pure; [`super::compose`] decides when they are used. A table of our own:
//! `deunicode` and `any_ascii` also spell out emoji and read Chinese in Pinyin, which helps nobody here.

use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use super::segments::is_gsm7;

/// The text with plain quotes, dashes and spaces for typographic ones.
pub(super) fn look_alikes(text: &str) -> String {
    let composed = ComposingNormalizer::new_nfc().normalize(text);
    rewritten(&composed, |c, plain| match look_alike(c) {
        Some(known) => plain.push_str(known),
        // Full-width forms of ASCII.
        None if matches!(c, '\u{ff01}'..='\u{ff5e}') => plain.extend(char::from_u32(u32::from(c) - 0xfee0)),
        None => plain.push(c),
    })
}

/// The same, and letters without the accents that GSM-7 lacks.
pub(super) fn transliterated(text: &str) -> String {
    let decomposing = DecomposingNormalizer::new_nfd();
    rewritten(&look_alikes(text), |c, plain| {
        if let Some(known) = letter(c) {
            return plain.push_str(known);
        }
        let decomposed = decomposing.normalize_iter(std::iter::once(c)).collect::<Vec<_>>();
        match decomposed.as_slice() {
            [base, marks @ ..] if is_gsm7(*base) && marks.iter().all(|mark| is_accent(*mark)) => plain.push(*base),
            [mark] if is_accent(*mark) => {}
            _ => plain.push(c),
        }
    })
}

/// Puts each character through `write` that GSM-7 lacks.
fn rewritten(text: &str, write: impl Fn(char, &mut String)) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_gsm7(c) { plain.push(c) } else { write(c, &mut plain) }
    }
    plain
}

const fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

const fn look_alike(c: char) -> Option<&'static str> {
    Some(match c {
        '‘' | '’' | '‚' | '‛' | '′' | '‹' | '›' | 'ʼ' | '`' | '´' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' | '−' | '•' => "-",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '…' => "...",
        '·' => ".",
        '⁄' => "/",
        '×' => "x",
        'ª' => "a",
        'º' => "o",
        '©' => "(C)",
        '®' => "(R)",
        '™' => "TM",
        '№' => "No",
        // Soft hyphen, joiners, variation selectors: they have no look of their own.
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => "",
        _ => return None,
    })
}

/// Letters that are no other letter with an accent.
const fn letter(c: char) -> Option<&'static str> {
    Some(match c {
        'Đ' | 'Ð' => "D",
        'đ' | 'ð' => "d",
        'Ħ' => "H",
        'ħ' => "h",
        'ı' => "i",
        'ĸ' => "k",
        'Ł' => "L",
        'ł' => "l",
        'Ŋ' => "N",
        'ŋ' => "n",
        'Œ' => "OE",
        'œ' => "oe",
        'ſ' => "s",
        'ẞ' => "SS",
        'Þ' => "Th",
        'þ' => "th",
        'Ŧ' => "T",
        'ŧ' => "t",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn look_alikes_change_what_nobody_reads() {
        for (text, plain) in [
            ("Zoë’s “Café” – n\u{a0}°1…", "Zoë's \"Café\" - n °1..."),
            ("e\u{301}te\u{301}", "été"),
            ("ＡＢＣ－１２３！", "ABC-123!"),
            ("Müller & Söhne €5 {x}", "Müller & Söhne €5 {x}"),
            ("您的代码", "您的代码"),
            ("soft\u{ad}ly", "softly"),
        ] {
            assert_eq!(look_alikes(text), plain);
        }
    }

    #[test]
    fn transliteration_takes_accents_that_the_alphabet_lacks_and_no_others() {
        for (text, plain) in [
            ("Zoë’s Crêperie", "Zoe's Creperie"),
            ("código contraseña", "codigo contraseña"),
            ("Łódź, İstanbul, ışık, œuvre, ça", "Lodz, Istanbul, isik, oeuvre, ca"),
            ("Việt Nam", "Viet Nam"),
            ("Größe é è à ñ Ç", "Größe é è à ñ Ç"),
            ("x\u{302}y", "xy"),
            ("Ёлка 中 😀", "Ёлка 中 😀"),
        ] {
            assert_eq!(transliterated(text), plain);
        }
    }

    proptest! {
        /// A code, a domain and a hash can't be changed: they are ASCII.
        #[test]
        fn ascii_stays_as_it_is(text in "[ -_a-z{-~\\n]{0,60}") {
            prop_assert_eq!(look_alikes(&text), text.as_str());
            prop_assert_eq!(transliterated(&text), text.as_str());
        }

        /// Doing it again changes nothing.
        #[test]
        fn plain_text_is_plain(text in "\\PC{0,40}") {
            let plain = transliterated(&text);
            prop_assert_eq!(transliterated(&plain), plain.as_str());
        }
    }
}
