//! Signing JSON Web Tokens (RFC 7519): what proves us to providers that know our public key; and reading those that
//! prove a provider to us.
//!
//! For [`super::auth`] and for providers in code. A key that was read can sign: reading tries it.
//! The claims, times among them, are the caller's.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::secret::Secret;

/// A private RSA key that can sign.
#[derive(Clone)]
pub struct RsaKey(EncodingKey);

/// Claims or a key that make no token. Says nothing of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token could be signed")]
pub struct Unsigned;

impl RsaKey {
    /// Reads a private RSA key in PEM, PKCS#8 or PKCS#1; `None` where it is none, or can't sign.
    #[must_use]
    pub fn parse(pem: &str) -> Option<Self> {
        let key = Self(EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?);
        // The library looks into the key only when it signs.
        key.sign_rs256(None, &()).ok()?;
        Some(key)
    }

    /// The compact form of a token with these claims, signed with RSASSA-PKCS1-v1_5 and SHA-256 (RFC 7518,
    /// section 3.3). `key_id` tells the receiver which of its keys to check with.
    ///
    /// # Errors
    /// Where the claims can't be written as JSON.
    pub fn sign_rs256(&self, key_id: Option<&str>, claims: &impl Serialize) -> Result<Secret, Unsigned> {
        let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.0).map(Secret::new).map_err(|_| Unsigned)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A private key on the curve P-256 that can sign.
#[derive(Clone)]
pub struct EcKey {
    key: EncodingKey,
    public: Vec<u8>,
}

impl EcKey {
    /// Reads a private key in PEM, PKCS#8; `None` where it is none, is on another curve, or can't sign.
    #[must_use]
    pub fn parse(pem: &str) -> Option<Self> {
        Self::usable(EncodingKey::from_ec_pem(pem.as_bytes()).ok()?)
    }

    /// Reads the 32 bytes of the private number alone, as keys for Web Push are mostly written.
    #[must_use]
    pub fn from_number(number: &[u8]) -> Option<Self> {
        (number.len() == 32).then(|| Self::usable(EncodingKey::from_ec_der(&[PKCS8_OF_P256, number].concat())))?
    }

    fn usable(key: EncodingKey) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_bytes()).ok()?;
        let key = Self { key, public: pair.public_key().as_ref().to_vec() };
        key.sign_es256(None, &()).ok()?;
        Some(key)
    }

    /// The public key, as an uncompressed point.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The compact form of a token with these claims, signed with ECDSA on P-256 and SHA-256 (RFC 7518, section 3.4).
    ///
    /// # Errors
    /// Where the claims can't be written as JSON.
    pub fn sign_es256(&self, key_id: Option<&str>, claims: &impl Serialize) -> Result<Secret, Unsigned> {
        let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).map(Secret::new).map_err(|_| Unsigned)
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What stands before the number in a PKCS#8 key on P-256 that holds nothing else (RFC 5915, RFC 5958).
const PKCS8_OF_P256: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
];

/// What a token of somebody else claims, where it is signed with this secret by HS256. When it was made and until when
/// it holds is for the caller to judge.
pub(in crate::provider) fn claims<C: DeserializeOwned>(token: &str, secret: &Secret) -> Option<C> {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    let key = DecodingKey::from_secret(secret.expose().as_bytes());
    decode(token, &key, &rules).ok().map(|token| token.claims)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = include_str!("../../simulator/signing_key.pem");

    /// `openssl dgst -sha256 -sign` over the same two parts: the scheme has no randomness.
    const SIGNED: &str = concat!(
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6ImtleS0xIn0.eyJpYXQiOjEsImlzcyI6ImEifQ.skJO1qDLwXP6a",
        "gOj0R3icyZcywMyJcjkhb8Rs_OBU5FcqDACxee-GNkFMD_7h1KJyQDo0ALxUgAfM0fKQqq0b0GH5wnRZGVxNLZRpklnzu7iT",
        "t_KhSBnOrJGu8NrRfS78260W5H5F5jDIkJmlDO0wre32EE88YYKegwz74Syt5px74_Nsj4Do6UPH1zhZtXrfIL1ByBGS_b-Z",
        "DcVRSazsOH9eu4nEWTjsu8fL2TK77TuYddZ1KIp4JMQmwnYJAMKPY4o9xV8ozcrVVpNUglvql97hX7jIGyIGvxnUDWS523hu",
        "XdxmktkZj-27VzDLdqviCEQ3ti2rdz7zBdecOvxog",
    );

    #[test]
    fn a_token_is_signed_as_openssl_signs_it() {
        let token = RsaKey::parse(KEY).expect("a key").sign_rs256(Some("key-1"), &json!({ "iat": 1, "iss": "a" }));
        assert_eq!(token.expect("signed").expose(), SIGNED);
    }

    #[test]
    fn what_can_not_sign_is_no_key() {
        let body: String = KEY.lines().filter(|line| !line.contains("KEY-----")).collect();
        let public = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let wrapped = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &body[body.len() - 64..]);
        let curve = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for bad in ["", "key", &KEY[..KEY.len() / 2], &public, &wrapped, &curve] {
            assert!(RsaKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_on_the_curve_signs_and_tells_its_public_half() {
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let key = EcKey::parse(&pem).expect("P-256");
        assert_eq!((key.public().len(), key.public()[0]), (65, 4));
        let token = key.sign_es256(Some("k"), &json!({ "iss": "team" })).expect("signed");
        let (signed, signature) = token.expose().rsplit_once('.').expect("three parts");
        let signature = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature).expect("base64");
        let public =
            aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, key.public());
        public.verify(signed.as_bytes(), &signature).expect("its own");
        assert!(public.verify(&signed.as_bytes()[1..], &signature).is_err());
        let others = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
        for bad in ["", KEY, &others] {
            assert!(EcKey::parse(bad).is_none(), "{bad}");
        }
        assert!(EcKey::from_number(&[0; 32]).is_none() && EcKey::from_number(&[1; 31]).is_none());
        assert!(EcKey::from_number(&[1; 32]).is_some());
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", RsaKey::parse(KEY)), "Some([redacted])");
        assert_eq!(format!("{:?}", EcKey::from_number(&[1; 32])), "Some([redacted])");
    }
}
