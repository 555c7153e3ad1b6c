//! The two signatures with MD5 that an account at Vonage may have; [`super`] compares them.
//!
//! MD5 is broken where an attacker chooses both of two texts. What it has to withstand here is a stranger without the
//! secret, who besides would have to know an address that nobody can guess.

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};

/// MD5 of `signed` and then the secret.
pub(super) fn md5_hash(secret: &[u8], signed: &[u8]) -> [u8; 16] {
    Md5::new().chain_update(signed).chain_update(secret).finalize().into()
}

/// HMAC with MD5.
pub(super) fn md5_hmac(secret: &[u8], signed: &[u8]) -> [u8; 16] {
    // A secret of any length will do: the error of this type is for other kinds of keys.
    let keyed = Hmac::<Md5>::new_from_slice(secret);
    keyed.map(|mac| mac.chain_update(signed).finalize().into_bytes().into()).unwrap_or_default()
}
