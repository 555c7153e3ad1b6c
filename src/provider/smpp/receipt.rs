//! Receipts as SMSCs write them into a `deliver_sm`: by optional parameters, by a text of keys, or by both.
//!
//! The parameters count more; the text is read key by key, since no two servers write it alike. What names no message,
//! or says nothing of it, is no receipt: a person's own message, which nobody asked for.

use super::wire::Delivered;
use crate::delivery::outcome::ReceiptStatus;

/// How a text names the message, beside how its `submit_sm_resp` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// Alike.
    #[default]
    Same,
    /// In decimal what was said in hexadecimal.
    Decimal,
    /// In hexadecimal what was said in decimal.
    Hex,
}

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message, as [`canonical`] writes its id.
    pub message_id: String,
    /// What became of it.
    pub status: ReceiptStatus,
    /// The server's own code, where it has one that says something.
    pub code: Option<String>,
}

/// One way to write an id: servers differ in leading zeros and in the case of hexadecimal digits.
#[must_use]
pub fn canonical(id: &str) -> String {
    let id = id.trim().to_ascii_uppercase();
    let bare = id.trim_start_matches('0');
    if bare.is_empty() { id } else { bare.to_owned() }
}

/// What `delivered` says of a message; `None` where it is no receipt.
#[must_use]
pub fn read(delivered: &Delivered, ids: Ids) -> Option<Receipt> {
    // 0x04 is a receipt, 0x20 a word on the way; some servers set neither.
    let is_marked = delivered.class & 0x24 != 0;
    let text = text_of(delivered);
    let said = word_after(&text, "stat:").and_then(status_of_word);
    let status = delivered.state.and_then(status_of_state).or(said)?;
    let by_text = || word_after(&text, "id:").map(|id| converted(id, ids));
    let message_id = delivered.message_id.as_deref().map(canonical).or_else(by_text)?;
    if !is_marked && delivered.message_id.is_none() && said.is_none() {
        return None;
    }
    let code = word_after(&text, "err:").map(str::to_owned);
    let code = code.or_else(|| delivered.network_error.map(|code| code.to_string()));
    let code = code.filter(|code| code.len() <= 8 && code.bytes().all(|b| b.is_ascii_alphanumeric()));
    Some(Receipt { message_id, status, code: code.filter(|code| code.bytes().any(|b| b != b'0')) })
}

fn text_of(delivered: &Delivered) -> String {
    if delivered.coding == 8 {
        let units = delivered.text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        return char::decode_utf16(units).map(|c| c.unwrap_or('?')).collect();
    }
    delivered.text.iter().map(|octet| if octet.is_ascii() { char::from(*octet) } else { '?' }).collect()
}

/// What stands behind `key`, which begins a word.
fn word_after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let starts = |at: &usize| *at == 0 || text.as_bytes().get(at - 1).is_some_and(|b| !b.is_ascii_alphanumeric());
    let is_key = |at: &usize| text.get(*at..at + key.len()).is_some_and(|found| found.eq_ignore_ascii_case(key));
    let at = (0..text.len()).filter(is_key).find(starts)?;
    let word = text.get(at + key.len()..)?.split([' ', '\0', '\r', '\n']).next()?;
    (1..=64).contains(&word.len()).then_some(word)
}

fn converted(id: &str, ids: Ids) -> String {
    let by_radix = match ids {
        Ids::Same => None,
        Ids::Decimal => id.parse::<u128>().ok().map(|number| format!("{number:X}")),
        Ids::Hex => u128::from_str_radix(id, 16).ok().map(|number| number.to_string()),
    };
    by_radix.unwrap_or_else(|| canonical(id))
}

const fn status_of_state(state: u8) -> Option<ReceiptStatus> {
    Some(match state {
        1 | 6 => ReceiptStatus::Sent,
        2 => ReceiptStatus::Delivered,
        3 => ReceiptStatus::Expired,
        4 | 8 => ReceiptStatus::Rejected,
        5 => ReceiptStatus::Undelivered,
        7 => ReceiptStatus::Unknown,
        _ => return None,
    })
}

fn status_of_word(word: &str) -> Option<ReceiptStatus> {
    const WORDS: [&str; 8] = ["ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"];
    let state = WORDS.iter().position(|known| word.eq_ignore_ascii_case(known))?;
    status_of_state(u8::try_from(state + 1).ok()?)
}
