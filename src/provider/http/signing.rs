//! How the clouds want requests signed: AWS, Alibaba Cloud, Tencent Cloud, and Azure Communication Services.
//!
//! All four are HMAC-SHA256 over a text that is made of the request, and differ in how that text is written. AWS keeps
//! a crate for its own (`aws-sigv4`), which brings its runtime's types with it; what is needed of it here, a request with
//! a body and without a query, is the dozen lines of [`Signer::aws`], held to AWS' published vectors. No request that is
//! signed here is built again by what sends it: the headers and the address go out as they stand.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};
use url::Url;

use super::receipt::hex;
use crate::clock::Timestamp;
use crate::provider::definition::auth::SigningScheme;
use crate::provider::definition::request::{Unfit, header_value};
use crate::secret::Secret;

/// What signs, its settings filled in.
pub struct Signer {
    /// Whose scheme.
    pub scheme: SigningScheme,
    /// Which key.
    pub key_id: String,
    /// The key itself; Azure's is base64.
    pub secret: Secret,
    /// AWS' name of the region.
    pub region: String,
    /// The vendor's name of the service.
    pub service: String,
}

/// What is signed.
#[derive(Clone, Copy)]
pub struct Unsigned<'r> {
    /// `POST`.
    pub method: &'r str,
    /// The whole address.
    pub url: &'r Url,
    /// The body.
    pub body: &'r [u8],
    /// What no other request has.
    pub id: &'r str,
    /// When.
    pub now: Timestamp,
}

impl Unsigned<'_> {
    fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The request as three of the clouds write it: method, path, query, these headers, and the hash of the body.
    fn canonical(&self, headers: &[(&str, &str)]) -> (String, String) {
        let lines: String = headers.iter().flat_map(|(name, value)| [*name, ":", value.trim(), "\n"]).collect();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut query: Vec<_> = self.url.query().unwrap_or_default().split('&').collect();
        query.sort_unstable();
        let (method, path, query, hash) = (self.method, self.url.path(), query.join("&"), sha256(self.body));
        (format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}"), names)
    }
}

impl Signer {
    /// Whether its key can sign.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.scheme != SigningScheme::AzureHmac || BASE64_STANDARD.decode(self.secret.expose()).is_ok()
    }

    /// Adds what proves the sender of this request to its headers.
    pub fn sign(&self, headers: &mut HeaderMap, request: &Unsigned<'_>) -> Result<(), Unfit> {
        let added = match self.scheme {
            SigningScheme::AwsSigv4 => self.aws(headers, request),
            SigningScheme::Acs3 => self.alibaba(headers, request),
            SigningScheme::Tc3 => self.tencent(headers, request),
            SigningScheme::AzureHmac => self.azure(request),
        };
        for (name, text) in added {
            let value = header_value(&text).ok_or_else(|| Unfit::Header(name.to_string()))?;
            headers.insert(name, value);
        }
        Ok(())
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn aws(&self, headers: &HeaderMap, request: &Unsigned<'_>) -> Vec<(HeaderName, String)> {
        let (time, host) = (request.now.basic(), request.host());
        let date = &time[..8];
        let mut signed = vec![("host", host.as_str()), ("x-amz-date", time.as_str())];
        signed.extend(own(headers, |name| name == CONTENT_TYPE || name.as_str().starts_with("x-amz-")));
        signed.sort_unstable();
        let (canonical, names) = request.canonical(&signed);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let chain = [date, &self.region, &self.service, "aws4_request"];
        let signature = hex(&derived(&format!("AWS4{}", self.secret.expose()), &chain, &text));
        let id = &self.key_id;
        let credential =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        vec![(HeaderName::from_static("x-amz-date"), time.clone()), (AUTHORIZATION, credential)]
    }

    /// <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>
    fn alibaba(&self, headers: &HeaderMap, request: &Unsigned<'_>) -> Vec<(HeaderName, String)> {
        let (time, host, hash) = (request.now.seconds(), request.host(), sha256(request.body));
        let added =
            [("x-acs-content-sha256", hash), ("x-acs-date", time), ("x-acs-signature-nonce", request.id.to_owned())];
        let mut signed: Vec<_> = added.iter().map(|(name, value)| (*name, value.as_str())).collect();
        signed.push(("host", host.as_str()));
        signed.extend(own(headers, |name| name == CONTENT_TYPE || name.as_str().starts_with("x-acs-")));
        signed.sort_unstable();
        let (canonical, names) = request.canonical(&signed);
        let text = format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.as_bytes()));
        let signature = hex(&keyed(self.secret.expose().as_bytes(), &text));
        let id = &self.key_id;
        let credential = format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={names},Signature={signature}");
        let added = added.map(|(name, value)| (HeaderName::from_static(name), value));
        added.into_iter().chain([(AUTHORIZATION, credential)]).collect()
    }

    /// <https://www.tencentcloud.com/document/api/382/33416>
    fn tencent(&self, headers: &HeaderMap, request: &Unsigned<'_>) -> Vec<(HeaderName, String)> {
        let (seconds, host) = (request.now.as_millis().div_euclid(1_000).to_string(), request.host());
        let day = request.now.seconds();
        let date = day.split('T').next().unwrap_or_default();
        let mut signed = vec![("host", host.as_str())];
        signed.extend(own(headers, |name| name == CONTENT_TYPE));
        signed.sort_unstable();
        let (canonical, names) = request.canonical(&signed);
        let scope = format!("{date}/{}/tc3_request", self.service);
        let text = format!("TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let chain = [date, &self.service, "tc3_request"];
        let signature = hex(&derived(&format!("TC3{}", self.secret.expose()), &chain, &text));
        let id = &self.key_id;
        let credential =
            format!("TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        vec![(HeaderName::from_static("x-tc-timestamp"), seconds), (AUTHORIZATION, credential)]
    }

    /// <https://learn.microsoft.com/azure/azure-app-configuration/rest-api-authentication-hmac>, as Communication
    /// Services' own libraries write it.
    fn azure(&self, request: &Unsigned<'_>) -> Vec<(HeaderName, String)> {
        let hash = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, request.body));
        let (date, host) = (request.now.rfc1123(), request.host());
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let text = format!("{}\n{}{query}\n{date};{host};{hash}", request.method, request.url.path());
        let key = BASE64_STANDARD.decode(self.secret.expose()).unwrap_or_default();
        let signature = BASE64_STANDARD.encode(keyed(&key, &text));
        let names = "x-ms-date;host;x-ms-content-sha256";
        let credential = format!("HMAC-SHA256 SignedHeaders={names}&Signature={signature}");
        vec![
            (HeaderName::from_static("x-ms-date"), date),
            (HeaderName::from_static("x-ms-content-sha256"), hash),
            (AUTHORIZATION, credential),
        ]
    }
}

/// Those of the headers that are signed, as texts.
fn own(headers: &HeaderMap, is_signed: impl Fn(&HeaderName) -> bool) -> Vec<(&str, &str)> {
    headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// A signature by a key that is derived link by link.
fn derived(secret: &str, chain: &[&str], text: &str) -> Vec<u8> {
    let key = chain.iter().fold(secret.as_bytes().to_vec(), |key, link| keyed(&key, link));
    keyed(&key, text)
}

#[cfg(test)]
mod tests;
