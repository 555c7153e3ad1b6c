//! Sealing: what is parked, stored or quarantined holds codes and numbers, and is read by whoever runs the broker
//! and Redis.
//!
//! AES-256-GCM-SIV with a nonce by chance: a nonce that came twice would only show that two texts are equal. What is
//! sealed is bound to its place (which record, which message), so that none can be put in another's place.
//! While keys rotate, two of them open and one seals.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The first byte of what is sealed; no text begins with it.
const MARK: u8 = 1;
/// How many bytes tell one key from another.
const NAME_LEN: usize = 4;
const KEY_LEN: usize = 32;
/// How many bytes of a keyed hash stand for a text: two texts never share them by chance.
const BLIND_LEN: usize = 16;

/// It can't be opened: sealed with another key, for another place, or damaged.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("it can't be opened with these keys")]
pub struct OpenError;

/// What seals and opens; equal where the keys are. Without a key it leaves everything as it is.
#[derive(Default)]
pub struct Seal {
    /// The first one seals.
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_LEN],
    aead: RandomizedNonceKey,
    /// Hashes what is looked up by and must not be read.
    blind: hmac::Key,
}

impl PartialEq for Seal {
    fn eq(&self, other: &Self) -> bool {
        self.keys.iter().map(|key| key.name).eq(other.keys.iter().map(|key| key.name))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seal({} keys)", self.keys.len())
    }
}

impl Key {
    fn read(text: &Secret) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.expose().trim()).ok()?);
        let aead = (bytes.len() == KEY_LEN).then(|| RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok())??;
        let derived = |purpose: &[u8]| {
            let mut digest = digest::Context::new(&digest::SHA256);
            digest.update(purpose);
            digest.update(&bytes);
            digest.finish()
        };
        let name = derived(b"mfa-courier key name ").as_ref().first_chunk().copied()?;
        let blind = hmac::Key::new(hmac::HMAC_SHA256, derived(b"mfa-courier blind names ").as_ref());
        Some(Self { name, aead, blind })
    }
}

impl Seal {
    /// Seals with the first key, opens with each.
    #[must_use]
    pub fn with_keys<'s>(keys: impl IntoIterator<Item = &'s Secret>) -> Option<Self> {
        keys.into_iter().map(Key::read).collect::<Option<_>>().map(|keys| Self { keys })
    }

    /// Whether this text is a key: 32 bytes in base64.
    #[must_use]
    pub fn is_key(text: &Secret) -> bool {
        Key::read(text).is_some()
    }

    /// Whether it seals anything.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Seals, or leaves as it is without a key; `None` where the library fails, which it does for lack of memory alone.
    #[must_use]
    pub fn close(&self, place: &str, mut content: Vec<u8>) -> Option<Vec<u8>> {
        let Some(Key { name, aead, .. }) = self.keys.first() else { return Some(content) };
        let nonce = aead.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut content).ok()?;
        let nonce: &[u8; NONCE_LEN] = nonce.as_ref();
        Some([[MARK].as_slice(), name, nonce, &content].concat())
    }

    /// What stands for a text where something is found by it: keyed hashes, so that nobody without the key can tell the
    /// text, or try texts. The first one is to be written; there is one for each key, since what was written before the
    /// keys changed is still looked for. Without a key it is a plain hash.
    #[must_use]
    pub fn blind(&self, place: &str, text: &str) -> Vec<[u8; BLIND_LEN]> {
        let whole = [place.as_bytes(), b"\0", text.as_bytes()].concat();
        let short = |hash: &[u8]| hash.first_chunk().copied();
        if self.keys.is_empty() {
            return short(digest::digest(&digest::SHA256, &whole).as_ref()).into_iter().collect();
        }
        self.keys.iter().filter_map(|key| short(hmac::sign(&key.blind, &whole).as_ref())).collect()
    }

    /// Opens what was sealed; what was not comes as it is, so that sealing can be turned on.
    pub fn open(&self, place: &str, content: &[u8]) -> Result<Vec<u8>, OpenError> {
        let Some(sealed) = content.strip_prefix(&[MARK]) else { return Ok(content.to_vec()) };
        let (name, rest) = sealed.split_first_chunk::<NAME_LEN>().ok_or(OpenError)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        for Key { aead, .. } in self.keys.iter().filter(|key| key.name == *name) {
            let mut content = rest.to_vec();
            let aad = Aad::from(place.as_bytes());
            if let Ok(opened) = aead.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut content) {
                let length = opened.len();
                content.truncate(length);
                return Ok(content);
            }
        }
        Err(OpenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Secret {
        Secret::new(BASE64_STANDARD.encode([byte; KEY_LEN]))
    }

    fn seal(keys: &[u8]) -> Seal {
        let keys: Vec<_> = keys.iter().copied().map(key).collect();
        Seal::with_keys(&keys).expect("keys")
    }

    fn sealed(seal: &Seal) -> Vec<u8> {
        seal.close("here", b"481516".to_vec()).expect("sealed")
    }

    #[test]
    fn what_is_sealed_shows_nothing_and_opens_again() {
        let seal = seal(&[1]);
        let (one, other) = (sealed(&seal), sealed(&seal));
        assert!(!one.windows(6).any(|window| window == b"481516"));
        assert_ne!(one, other, "two times the same are not seen to be so");
        assert_eq!(seal.open("here", &one).as_deref(), Ok(b"481516".as_slice()));
    }

    #[test]
    fn it_opens_only_whole_with_its_key_and_in_its_place() {
        let one = sealed(&seal(&[1]));
        assert_eq!(seal(&[1]).open("there", &one), Err(OpenError));
        assert_eq!(seal(&[2]).open("here", &one), Err(OpenError));
        assert_eq!(Seal::default().open("here", &one), Err(OpenError));
        for at in 1..one.len() {
            let mut damaged = one.clone();
            damaged[at] ^= 1;
            assert_eq!(seal(&[1]).open("here", &damaged), Err(OpenError), "byte {at}");
            assert_eq!(seal(&[1]).open("here", &one[..at]), Err(OpenError), "{at} bytes");
        }
    }

    #[test]
    fn while_keys_rotate_both_open_and_the_first_one_seals() {
        let (old, both, new) = (seal(&[1]), seal(&[2, 1]), seal(&[2]));
        assert!(both.open("here", &sealed(&old)).is_ok());
        assert!(new.open("here", &sealed(&both)).is_ok());
        assert!(old.open("here", &sealed(&both)).is_err());
    }

    #[test]
    fn without_a_key_all_stays_as_it_is_and_is_read_after_sealing_was_turned_on() {
        let plain = sealed(&Seal::default());
        assert_eq!(plain, b"481516");
        assert_eq!(seal(&[1]).open("here", &plain), Ok(plain.clone()));
    }

    #[test]
    fn names_are_blind_and_found_while_keys_rotate() {
        let (old, both, new) = (seal(&[1]), seal(&[2, 1]), seal(&[2]));
        let [of_old] = old.blind("user", "u-1")[..] else { panic!("one key, one name") };
        let [first, second] = both.blind("user", "u-1")[..] else { panic!("two keys, two names") };
        assert_eq!((second, vec![first]), (of_old, new.blind("user", "u-1")));
        assert_ne!(old.blind("session", "u-1"), old.blind("user", "u-1"));
        let plain = Seal::default().blind("user", "u-1");
        assert_eq!(plain.len(), 1);
        assert!(![of_old, first].contains(&plain[0]), "without the key it can't be made");
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        assert!(Seal::is_key(&key(1)));
        for wrong in ["", "hunter2", &BASE64_STANDARD.encode([1; 31]), &BASE64_STANDARD.encode([1; 33])] {
            assert!(!Seal::is_key(&Secret::new(wrong)), "{wrong}");
        }
    }
}
