//! How a request proves who sends it, as a definition says it: the schemes by name, and templates over the settings.
//!
//! [`crate::provider::http::auth`] and [`crate::provider::http::signing`] have the code behind the names.

use reqwest::header::HeaderName;
use serde::Deserialize;

use crate::delivery::message::Template;

/// How a request proves who sends it. The templates know only settings.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Not at all, or in a header or a leaf of its own.
    None,
    /// `Authorization: Basic`.
    Basic {
        /// Before the colon.
        username: Template,
        /// After it.
        password: Template,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: Template,
    },
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Template,
    },
    /// A signature by the Standard Webhooks specification.
    StandardWebhooks {
        /// `whsec_` and base64; two of them, parted by a space, while they rotate.
        secret: Template,
    },
    /// `Authorization: Bearer` with a JSON web token of our own making, signed with RS256.
    Jwt {
        /// An RSA private key in PEM.
        key: Template,
        /// What it claims beside `iat`, `exp` and `jti`.
        claims: Vec<(String, Template)>,
        /// How long one token is used, in seconds.
        lifetime: u64,
    },
    /// A signature over the whole request, by one of the clouds' schemes.
    Signed(Signing),
}

/// The clouds' schemes: each signs the method, the address, some headers and the body with HMAC-SHA256, and each in its
/// own words. [`crate::provider::http::signing`] has the code.
#[derive(Clone, Debug)]
pub struct Signing {
    /// Whose.
    pub scheme: SigningScheme,
    /// Which key signs; Azure's keys have no name.
    pub key_id: Option<Template>,
    /// The key.
    pub secret: Template,
    /// Where, as AWS counts its regions.
    pub region: Option<Template>,
    /// Of which service, as AWS and Tencent name theirs.
    pub service: Option<String>,
}

/// Whose signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningScheme {
    /// AWS Signature Version 4.
    AwsSigv4,
    /// Alibaba Cloud's signature version 3, `ACS3-HMAC-SHA256`.
    Acs3,
    /// Tencent Cloud's, `TC3-HMAC-SHA256`.
    Tc3,
    /// Azure Communication Services', with an access key.
    AzureHmac,
}

impl SigningScheme {
    /// Whether it takes the name of a key, a region, and a service.
    #[must_use]
    pub const fn takes(self) -> [bool; 3] {
        match self {
            Self::AwsSigv4 => [true, true, true],
            Self::Acs3 => [true, false, false],
            Self::Tc3 => [true, false, true],
            Self::AzureHmac => [false, false, false],
        }
    }
}
