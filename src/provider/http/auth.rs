//! The authentication schemes that a definition names, each a small piece of code with its published vectors.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::fill_from_settings;
use super::signing::{Signer, Unsigned};
use super::token::TokenMaker;
use crate::delivery::message::Template;
use crate::provider::definition::auth::{Auth, Signing};
use crate::provider::definition::receipt::{Scheme, sig_method};
use crate::provider::definition::request::{Unfit, header_value};
use crate::provider::definition::variables::SETTINGS;
use crate::provider::http::receipt::Proof;
use crate::provider::http::receipt::vendors::VendorProof;
use crate::secret::Secret;

/// How a provider's requests prove who sends them, its settings filled in.
pub(super) enum Credentials {
    None,
    /// The same header on every request.
    Header(HeaderName, HeaderValue),
    StandardWebhooks(Vec<WebhookKey>),
    Jwt(Box<TokenMaker>),
    Signed(Box<Signer>),
}

/// Settings that a scheme can't use.
pub(super) struct Unusable {
    /// Their names.
    pub(super) settings: String,
    pub(super) allowed: &'static str,
}

impl Credentials {
    pub(super) fn new(auth: &Auth, settings: &BTreeMap<String, Secret>) -> Result<Self, Unusable> {
        let fill = |template| fill_from_settings(template, settings);
        let header = |name, value: Option<String>, from: &[&Template]| match value {
            None => Ok(Self::None),
            Some(text) => match header_value(&text) {
                Some(value) => Ok(Self::Header(name, value)),
                None => Err(unusable(from, "printable ASCII")),
            },
        };
        match auth {
            Auth::None => Ok(Self::None),
            Auth::Basic { username, password } => {
                let pair = fill(username).zip(fill(password));
                if pair.as_ref().is_some_and(|(username, _)| username.contains(':')) {
                    return Err(unusable(&[username], "a text without a colon"));
                }
                let joined = pair.map(|(username, password)| BASE64_STANDARD.encode(format!("{username}:{password}")));
                header(AUTHORIZATION, joined.map(|text| format!("Basic {text}")), &[username, password])
            }
            Auth::Bearer { token } => {
                header(AUTHORIZATION, fill(token).map(|token| format!("Bearer {token}")), &[token])
            }
            Auth::Header { name, value } => header(name.clone(), fill(value), &[value]),
            Auth::StandardWebhooks { secret } => {
                let Some(keys) = webhook_keys(secret, settings)? else { return Ok(Self::None) };
                Ok(Self::StandardWebhooks(keys))
            }
            Auth::Jwt { key, claims, lifetime } => {
                let Some(pem) = fill(key) else { return Ok(Self::None) };
                let claims = claims.iter().filter_map(|(name, value)| Some((name.clone(), fill(value)?))).collect();
                let maker = TokenMaker::new(&pem, claims, Duration::from_secs(*lifetime));
                let unusable = || unusable(&[key], "an RSA private key of 2048 to 8192 bits, in PEM");
                maker.map(Box::new).map(Self::Jwt).ok_or_else(unusable)
            }
            Auth::Signed(signing) => signer(signing, settings),
        }
    }

    /// Adds what proves the sender of this request.
    pub(super) fn apply(&self, headers: &mut HeaderMap, request: &Unsigned<'_>) -> Result<(), Unfit> {
        let Unsigned { id, now, body, .. } = *request;
        match self {
            Self::None => {}
            Self::Signed(signer) => signer.sign(headers, request)?,
            Self::Header(name, value) => drop(headers.insert(name.clone(), value.clone())),
            Self::Jwt(maker) => {
                let token = maker.bearer(now).ok_or_else(|| Unfit::Header(AUTHORIZATION.to_string()))?;
                headers.insert(AUTHORIZATION, token);
            }
            Self::StandardWebhooks(keys) => {
                let seconds = now.as_millis().div_euclid(1_000);
                let signatures: Vec<_> = keys.iter().map(|key| key.sign(id, seconds, body)).collect();
                let fields = [
                    (WEBHOOK_ID, id),
                    (WEBHOOK_TIMESTAMP, &seconds.to_string()),
                    (WEBHOOK_SIGNATURE, &signatures.join(" ")),
                ];
                for (name, text) in fields {
                    let value = HeaderValue::from_str(text).map_err(|_| Unfit::Header(name.to_string()))?;
                    headers.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

fn signer(signing: &Signing, settings: &BTreeMap<String, Secret>) -> Result<Credentials, Unusable> {
    let fill = |template: &Option<Template>| template.as_ref().and_then(|one| fill_from_settings(one, settings));
    let secret = fill_from_settings(&signing.secret, settings).unwrap_or_default();
    let signer = Signer {
        scheme: signing.scheme,
        key_id: fill(&signing.key_id).unwrap_or_default(),
        secret: Secret::new(secret),
        region: fill(&signing.region).unwrap_or_default(),
        service: signing.service.clone().unwrap_or_default(),
    };
    if !signer.is_usable() {
        return Err(unusable(&[&signing.secret], "an access key: base64"));
    }
    Ok(Credentials::Signed(Box::new(signer)))
}

/// How receipts prove who sends them, the settings filled in. Without a secret their address has to do.
pub(super) fn proof(scheme: &Scheme, settings: &BTreeMap<String, Secret>) -> Result<Proof, Unusable> {
    let fill = |template| fill_from_settings(template, settings);
    let secret_of = |template| fill(template).map(Secret::new);
    Ok(match scheme {
        Scheme::None => Proof::Address,
        Scheme::Twilio { secret } => fill(secret).map_or(Proof::Address, |token| Proof::twilio(&token)),
        Scheme::VonageSms { secret, method } => {
            let known = fill(method).and_then(|word| sig_method(&word));
            let method = known.ok_or_else(|| unusable(&[method], "sha256, sha512, sha1, md5_hmac, md5_hash"))?;
            secret_of(secret).map_or(Proof::Address, |secret| Proof::VonageSms(secret, method))
        }
        Scheme::VonageJwt { secret } => secret_of(secret).map_or(Proof::Address, Proof::VonageJwt),
        Scheme::StandardWebhooks { secret } => {
            webhook_keys(secret, settings)?.map_or(Proof::Address, Proof::StandardWebhooks)
        }
        Scheme::Vendor(scheme, parts) => match parts.iter().map(fill).collect::<Option<Vec<_>>>() {
            Some(filled) => {
                let names: Vec<_> = parts.iter().collect();
                Proof::Vendor(VendorProof::new(*scheme, &filled).map_err(|allowed| unusable(&names, allowed))?)
            }
            None => Proof::Address,
        },
    })
}

/// The keys of a Standard Webhooks secret; `None` where it is not set.
fn webhook_keys(secret: &Template, settings: &BTreeMap<String, Secret>) -> Result<Option<Vec<WebhookKey>>, Unusable> {
    let Some(secrets) = fill_from_settings(secret, settings) else { return Ok(None) };
    let keys: Option<Vec<_>> = secrets.split_whitespace().map(WebhookKey::parse).collect();
    keys.filter(|keys| !keys.is_empty()).map(Some).ok_or_else(|| {
        unusable(&[secret], "`whsec_` and the base64 of 24 to 64 bytes; two, parted by a space, to rotate")
    })
}

fn unusable(templates: &[&Template], allowed: &'static str) -> Unusable {
    let names = templates.iter().flat_map(|template| template.names());
    let names: Vec<_> = names.map(|name| name.strip_prefix(SETTINGS).unwrap_or(name)).collect();
    Unusable { settings: names.join(", "), allowed }
}

/// The id that a Standard Webhooks receiver drops repeats by.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When it was signed, in seconds since the Unix epoch.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One signature for each key, parted by spaces.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A key of the [Standard Webhooks](https://www.standardwebhooks.com) specification.
pub struct WebhookKey(hmac::Key);

impl WebhookKey {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The signature over id, time and body, as it stands in the header.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }

    /// Whether one of the header's signatures is this key's. Compares in constant time.
    #[must_use]
    pub fn verify(&self, id: &str, seconds: i64, body: &[u8], header: &str) -> bool {
        let signed = [format!("{id}.{seconds}.").as_bytes(), body].concat();
        let signatures = header.split(' ').filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok());
        signatures.into_iter().any(|signature| hmac::verify(&self.0, &signed, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn apply(credentials: &Credentials, headers: &mut HeaderMap, now: Timestamp) {
        let url = url::Url::parse("https://example.com/").expect("an address");
        let request = Unsigned { method: "POST", url: &url, body: BODY, id: ID, now };
        credentials.apply(headers, &request).expect("fits");
    }

    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// The vector of the specification's reference libraries.
    #[test]
    fn standard_webhooks_signs_as_published() {
        let key = WebhookKey::parse(SECRET).expect("valid");
        assert_eq!(key.sign(ID, 1_614_265_330, BODY), SIGNATURE);
        assert!(key.verify(ID, 1_614_265_330, BODY, &format!("v1,AAAA v2,x {SIGNATURE}")));
        assert!(!key.verify(ID, 1_614_265_331, BODY, SIGNATURE));
        assert!(!key.verify(ID, 1_614_265_330, b"{}", SIGNATURE));
        assert!(!key.verify(ID, 1_614_265_330, BODY, ""));
    }

    #[test]
    fn short_and_foreign_keys_are_refused() {
        for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!"] {
            assert!(WebhookKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn two_keys_sign_while_they_rotate() {
        let secrets = format!("{SECRET} whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let settings = BTreeMap::from([("signing_secret".to_owned(), Secret::new(secrets))]);
        let secret = Template::parse("{settings.signing_secret}").expect("valid");
        let credentials = Credentials::new(&Auth::StandardWebhooks { secret }, &settings).ok().expect("usable");
        let mut headers = HeaderMap::new();
        apply(&credentials, &mut headers, Timestamp::from_millis(1_614_265_330_999));
        let signatures = headers[WEBHOOK_SIGNATURE].to_str().expect("text");
        assert!(signatures.starts_with(SIGNATURE) && signatures.split(' ').count() == 2, "{signatures}");
        assert_eq!(headers[WEBHOOK_TIMESTAMP], "1614265330");
    }

    /// RFC 7617, section 2.
    #[test]
    fn basic_joins_user_and_password() {
        let settings = BTreeMap::from([
            ("user".to_owned(), Secret::new("Aladdin")),
            ("password".to_owned(), Secret::new("open sesame")),
        ]);
        let template = |text| Template::parse(text).expect("valid");
        let auth = Auth::Basic { username: template("{settings.user}"), password: template("{settings.password}") };
        let mut headers = HeaderMap::new();
        let credentials = Credentials::new(&auth, &settings).ok().expect("usable");
        apply(&credentials, &mut headers, Timestamp::EPOCH);
        assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(headers[AUTHORIZATION].is_sensitive());
    }
}
