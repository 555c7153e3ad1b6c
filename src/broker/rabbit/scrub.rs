//! Cleans AMQP methods and content headers in place, without changing a length. Pure.
//!
//! Called by the [`Screen`](super::screen) with what the broker sent; publishers choose these bytes, the broker only
//! checks their framing. Where even that does not hold, the bytes stay as they are and lapin refuses them.

use super::returns::Returned;

/// Tables deeper than this become opaque: lapin's parser recurses, and a deep one would overflow its stack.
const DEEPEST: usize = 16;

const BASIC: u16 = 60;
const RETURN: u16 = 50;
const DELIVER: u16 = 60;
const GET_OK: u16 = 71;

/// The properties of a content header in wire order, by what they are.
const PROPERTIES: [Property; 14] = {
    use Property::{MessageId, Octet, Short, Table, Time};
    [Short, Short, Table, Octet, Octet, Short, Short, Short, MessageId, Time, Short, Short, Short, Short]
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Property {
    Short,
    MessageId,
    Table,
    Octet,
    Time,
}

/// What a content header says that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) body_size: u64,
    pub(super) message_id: Option<String>,
}

/// Cleans the keys of a delivery, and tells a returned message from other methods.
pub(super) fn method(payload: &mut [u8]) -> Option<Returned> {
    let mut at = Cursor(payload);
    if at.number::<2>()? != u64::from(BASIC) {
        return None;
    }
    match u16::try_from(at.number::<2>()?).ok()? {
        DELIVER => {
            at.text(b'?')?;
            at.skip(9)?;
            at.text(b'?')?;
            at.text(b'?')?;
            None
        }
        GET_OK => {
            at.skip(9)?;
            at.text(b'?')?;
            at.text(b'?')?;
            None
        }
        RETURN => {
            at.skip(2)?;
            at.text(b'?')?;
            let (exchange, routing_key) = (at.text(b'?')?, at.text(b'?')?);
            Some(Returned { exchange, routing_key, message_id: None })
        }
        _ => None,
    }
}

/// Cleans the properties of a message.
pub(super) fn content_header(payload: &mut [u8]) -> Content {
    let mut content = Content::default();
    let _malformed = properties(payload, &mut content);
    content
}

fn properties(payload: &mut [u8], content: &mut Content) -> Option<()> {
    let mut at = Cursor(payload);
    at.skip(4)?;
    content.body_size = at.number::<8>()?;
    let flags = at.number::<2>()?;
    for (index, property) in PROPERTIES.iter().enumerate() {
        if flags & (1 << (15 - index)) == 0 {
            continue;
        }
        match property {
            Property::Short => drop(at.property()?),
            Property::MessageId => content.message_id = Some(at.property()?),
            Property::Table => at.table()?,
            Property::Octet => at.skip(1)?,
            Property::Time => at.skip(8)?,
        }
    }
    Some(())
}

/// What is left of a payload.
struct Cursor<'a>(&'a mut [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let (taken, left) = std::mem::take(&mut self.0).split_at_mut_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn number<const N: usize>(&mut self) -> Option<u64> {
        Some(self.take(N)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn long(&mut self) -> Option<&'a mut [u8]> {
        let length = usize::try_from(self.number::<4>()?).ok()?;
        self.take(length)
    }

    /// A short string whose bytes outside UTF-8 become `stand_in`.
    fn text(&mut self, stand_in: u8) -> Option<String> {
        let length = usize::try_from(self.number::<1>()?).ok()?;
        let bytes = self.take(length)?;
        while let Err(broken) = std::str::from_utf8(bytes) {
            let from = broken.valid_up_to();
            let until = broken.error_len().map_or(bytes.len(), |length| from + length);
            bytes.get_mut(from..until)?.fill(stand_in);
        }
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    /// A short string that becomes all NULs if it is not UTF-8: half of an id is worse than none.
    fn property(&mut self) -> Option<String> {
        let length = usize::try_from(self.number::<1>()?).ok()?;
        let bytes = self.take(length)?;
        if std::str::from_utf8(bytes).is_err() {
            bytes.fill(0);
        }
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn table(&mut self) -> Option<()> {
        let bytes = self.long()?;
        if fields(&mut Cursor(bytes), true, 0).is_none() {
            make_opaque(bytes);
        }
        Some(())
    }
}

/// Cleans the fields of a table (with keys) or an array (without).
fn fields(at: &mut Cursor<'_>, keys: bool, depth: usize) -> Option<()> {
    while !at.0.is_empty() {
        if keys {
            at.text(b'?')?;
        }
        let kind = at.take(1)?;
        match kind[0] {
            b't' | b'b' | b'B' => at.skip(1)?,
            b's' | b'u' | b'U' => at.skip(2)?,
            b'I' | b'i' | b'f' => at.skip(4)?,
            b'D' => at.skip(5)?,
            b'l' | b'L' | b'd' | b'T' => at.skip(8)?,
            b'S' | b'x' => drop(at.long()?),
            b'V' => {}
            nested @ (b'F' | b'A') => {
                let inner = at.long()?;
                // A byte array has the same shape: a length and so many bytes.
                if depth == DEEPEST || fields(&mut Cursor(inner), nested == b'F', depth + 1).is_none() {
                    kind[0] = b'x';
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// Makes a table that can't be read one with a single field without a name, if it is long enough for that.
fn make_opaque(table: &mut [u8]) {
    const HEAD: usize = 6;
    let Some(length) = table.len().checked_sub(HEAD).and_then(|length| u32::try_from(length).ok()) else { return };
    table[0] = 0;
    table[1] = b'x';
    table[2..HEAD].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        payload.extend(flags.to_be_bytes());
        payload.extend(properties);
        payload
    }

    fn nested(levels: usize) -> Vec<u8> {
        (0..levels).fold(Vec::new(), |inner, _| {
            let mut table = vec![1, b'k', b'F'];
            table.extend(u32::try_from(inner.len()).expect("small").to_be_bytes());
            table.extend(inner);
            table
        })
    }

    fn depth_of(mut table: &[u8]) -> usize {
        let mut depth = 0;
        while table.len() >= 7 && table[2] == b'F' {
            table = &table[7..];
            depth += 1;
        }
        depth
    }

    #[test]
    fn every_property_is_found_in_its_place() {
        let text = |text: &[u8]| [&[u8::try_from(text.len()).expect("short")][..], text].concat();
        let properties = [
            text(b"application/json"),
            text(b"gz\xffip"),
            vec![0, 0, 0, 0],
            vec![2],
            vec![9],
            text(b"corr\xffelation"),
            text(b"reply"),
            text(b"60000"),
            text(b"id"),
            vec![0xFF; 8],
            text(b"type"),
            text(b"user"),
            text(b"app"),
            text(b"\xc0\xaf"),
        ];
        let mut payload = header(0xFFFC, &properties.concat());
        let length = payload.len();
        assert_eq!(content_header(&mut payload), Content { body_size: 7, message_id: Some("id".into()) });
        assert_eq!(payload.len(), length);
        let shown = String::from_utf8_lossy(&payload);
        assert!(shown.contains("application/json") && shown.contains("reply") && shown.contains("user"));
        assert!(!shown.contains("corr") && !shown.contains("ip"));
    }

    #[test]
    fn deep_tables_are_cut_and_shallow_ones_kept() {
        let table = nested(200);
        let mut bytes = u32::try_from(table.len()).expect("small").to_be_bytes().to_vec();
        bytes.extend(&table);
        let mut payload = header(1 << 13, &bytes);
        content_header(&mut payload);
        assert_eq!(depth_of(&payload[18..]), DEEPEST);
        assert_eq!(payload[18 + 7 * DEEPEST + 2], b'x');

        let shallow = nested(DEEPEST);
        let mut bytes = u32::try_from(shallow.len()).expect("small").to_be_bytes().to_vec();
        bytes.extend(&shallow);
        let mut payload = header(1 << 13, &bytes);
        content_header(&mut payload);
        assert_eq!(&payload[18..], shallow);
    }

    #[test]
    fn a_table_of_unknown_types_becomes_one_opaque_field() {
        let mut payload = header(1 << 13, b"\0\0\0\x09\x01kZsecret");
        content_header(&mut payload);
        assert_eq!(&payload[18..], b"\0x\0\0\0\x03ret");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_length_changes(mut payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = payload.len();
            method(&mut payload);
            content_header(&mut payload);
            prop_assert_eq!(payload.len(), length);
        }

        #[test]
        fn properties_of_any_bytes_come_out_as_utf8(id in proptest::collection::vec(any::<u8>(), 0..255)) {
            let mut property = vec![u8::try_from(id.len()).expect("short")];
            property.extend(&id);
            let mut payload = header(1 << 7, &property);
            content_header(&mut payload);
            prop_assert!(std::str::from_utf8(&payload[15..]).is_ok());
        }
    }
}
