//! Encryption of a push message for one browser (RFC 8291), as one record of `aes128gcm` (RFC 8188).
//!
//! The service that carries it reads nothing: it is sealed for the subscription's key, with a key of ours that is made
//! for this one message, and a salt by chance.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, ParsedPublicKeyFormat, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;

/// How long an uncompressed point on P-256 is.
const POINT_LEN: usize = 65;
/// How long the subscription's secret is.
const AUTH_LEN: usize = 16;
const SALT_LEN: usize = 16;
const KEY_LEN: usize = 16;
const IKM_LEN: usize = 32;
/// What stands after the last record's text.
const LAST: u8 = 2;
/// The size that records are said to have: as long as a body may be.
const RECORD_SIZE: u32 = 4_096;
/// What stands before the record: salt, size, length of the key, key.
const HEAD_LEN: usize = SALT_LEN + 4 + 1 + POINT_LEN;
/// The most bytes that a message may have before it is sealed.
pub(super) const MAX_BYTES: usize = RECORD_SIZE as usize - HEAD_LEN - 1 - 16;

/// What a browser's subscription seals with.
pub(super) struct Keys {
    p256dh: [u8; POINT_LEN],
    auth: [u8; AUTH_LEN],
}

impl Keys {
    /// `None` where the key is no point on the curve, uncompressed, or the secret is no 16 bytes.
    pub(super) fn new(p256dh: Vec<u8>, auth: Vec<u8>) -> Option<Self> {
        let (p256dh, auth) = (p256dh.try_into().ok()?, auth.try_into().ok()?);
        let parsed: ParsedPublicKey = UnparsedPublicKey::new(&ECDH_P256, &p256dh).try_into().ok()?;
        (parsed.format() == ParsedPublicKeyFormat::Uncompressed).then_some(Self { p256dh, auth })
    }
}

/// The sealed message: the body of the request. `None` where the system has no chance to give.
pub(super) fn seal(text: &[u8], keys: &Keys) -> Option<Vec<u8>> {
    let mut salt = [0; SALT_LEN];
    rand::fill(&mut salt).ok()?;
    seal_with(text, keys, &PrivateKey::generate(&ECDH_P256).ok()?, &salt)
}

fn seal_with(text: &[u8], keys: &Keys, own: &PrivateKey, salt: &[u8; SALT_LEN]) -> Option<Vec<u8>> {
    let own_public = own.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &keys.p256dh);
    let info = [b"WebPush: info\0", &keys.p256dh[..], own_public.as_ref()].concat();
    let ikm: [u8; IKM_LEN] = agree(own, theirs, (), |shared| {
        let prk = Salt::new(HKDF_SHA256, &keys.auth).extract(shared);
        expand(&prk, &info).ok_or(())
    })
    .ok()?;
    let prk = Salt::new(HKDF_SHA256, salt).extract(&ikm);
    let key: [u8; KEY_LEN] = expand(&prk, b"Content-Encoding: aes128gcm\0")?;
    let nonce: [u8; NONCE_LEN] = expand(&prk, b"Content-Encoding: nonce\0")?;
    let mut record = [text, &[LAST]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    // The key is used once, for this one record.
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
    let key_len = u8::try_from(POINT_LEN).ok()?;
    Some([salt, &RECORD_SIZE.to_be_bytes()[..], &[key_len], own_public.as_ref(), &record].concat())
}

/// So many bytes as the array has.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    prk.expand(&[info], Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url").try_into().expect("as long as that")
    }

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_rfcs_example_is_sealed_as_there() {
        let keys = Keys {
            p256dh: bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let own: [u8; 32] = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let own = PrivateKey::from_private_key(&ECDH_P256, &own).expect("a key");
        let sealed =
            seal_with(b"When I grow up, I want to be a watermelon", &keys, &own, &bytes("DGv6ra1nlYgDCS1FRnbzlw"));
        let expected = concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz",
            "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(sealed.expect("sealed")), expected);
    }

    #[test]
    fn no_two_are_alike_and_none_is_longer_than_allowed() {
        let own = PrivateKey::generate(&ECDH_P256).expect("a key");
        let p256dh = own.compute_public_key().expect("a point").as_ref().try_into().expect("65 bytes");
        let keys = Keys { p256dh, auth: [7; AUTH_LEN] };
        let longest = vec![b'x'; MAX_BYTES];
        let sealed = seal(&longest, &keys).expect("sealed");
        assert_eq!((sealed.len(), MAX_BYTES), (4_096, 3_993));
        assert_ne!(sealed, seal(&longest, &keys).expect("sealed"));
    }

    #[test]
    fn what_is_no_point_on_the_curve_is_no_key() {
        let point = PrivateKey::generate(&ECDH_P256).expect("a key").compute_public_key().expect("a point");
        let point = point.as_ref();
        assert!(Keys::new(point.to_vec(), vec![7; AUTH_LEN]).is_some());
        assert!(Keys::new(point.to_vec(), vec![7; AUTH_LEN + 1]).is_none());
        let compressed = [&[2 + point[64] % 2], &point[1..33]].concat();
        let mut off = point.to_vec();
        off[64] ^= 1;
        for bad in [vec![0; POINT_LEN], vec![4; POINT_LEN], Vec::new(), point[1..].to_vec(), compressed, off] {
            assert!(Keys::new(bad, vec![7; AUTH_LEN]).is_none());
        }
    }
}
