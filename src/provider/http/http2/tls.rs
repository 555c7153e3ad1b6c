//! TLS for connections that speak HTTP/2 alone: the same trust as everywhere, and no other protocol.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

/// The one protocol that is offered.
pub(super) const H2: &[u8] = b"h2";

/// What greets a server that the system trusts, or one of these certificates (PEM); `None` where they are none.
pub(super) fn connector(extra_roots: Option<&str>) -> Option<TlsConnector> {
    let roots: Result<Vec<_>, _> =
        extra_roots.map_or_else(|| Ok(Vec::new()), |pem| CertificateDer::pem_slice_iter(pem.as_bytes()).collect());
    let roots = roots.ok().filter(|roots| extra_roots.is_none() || !roots.is_empty())?;
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&crypto)).ok()?;
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .ok()?
        // Not less trust than by default, but the same verifier that every other provider has.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![H2.to_vec()];
    Some(TlsConnector::from(Arc::new(config)))
}
