//! Hostile input 107: a TLS failure of any kind means that nothing was sent.

use std::sync::Arc;

use mfa_courier::delivery::verdict::AttemptResult;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::server::{Then, answer, finish, hold, peer, read_request};
use super::{TAKEN, ask, settings, twilio_with};

/// An authority, and servers with certificates of it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server whose certificate is for `name` and valid in the given years.
    pub(crate) fn server(&self, name: &str, years: (i32, i32), protocols: &[&[u8]]) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS 8");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a pair");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Sends one message to a server with this certificate, trusting `roots`.
async fn to_server(acceptor: TlsAcceptor, roots: Option<String>) -> (AttemptResult, String) {
    let script = move |stream: TcpStream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_request(&mut stream).await;
            let _ = stream.write_all(&answer("201 Created", "", TAKEN)).await;
            hold().await;
        }
    };
    let (address, _) = peer(script).await;
    let mut given = settings(&format!("https://{address}"));
    given.extra_roots = roots;
    let (verdict, progress) = ask(&twilio_with(given)).await;
    (verdict.result, progress)
}

#[tokio::test]
async fn n107_only_a_good_certificate_is_spoken_to() {
    let authority = Authority::new();
    let trusted = || Some(authority.pem.clone());
    let good = ("127.0.0.1", (2020, 2050));
    let sent = to_server(authority.server(good.0, good.1, &[]), trusted()).await;
    assert_eq!(sent, (AttemptResult::Accepted, "answered 201".to_owned()), "the control");

    for (what, name, years, roots) in [
        ("expired", good.0, (2020, 2021), trusted()),
        ("not yet valid", good.0, (2049, 2050), trusted()),
        ("wrong name", "example.com", good.1, trusted()),
        ("unknown authority", good.0, good.1, None),
        ("another authority", good.0, good.1, Some(Authority::new().pem)),
    ] {
        let got = to_server(authority.server(name, years, &[]), roots).await;
        assert_eq!(got, (AttemptResult::Transient, "not sent".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn n107_handshakes_that_stall_or_are_none() {
    // TLS 1.0 only: a ServerHello of version 3.1, as such a server answers.
    let old = [&[0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1][..], &[7; 32], &[0, 0x00, 0x2f, 0]].concat();
    let alert = vec![0x15, 3, 1, 0, 2, 2, 70];
    for (what, bytes, then) in [
        ("stalls", Vec::new(), Then::Hold),
        ("closes", Vec::new(), Then::Close),
        ("resets", Vec::new(), Then::Reset),
        ("speaks HTTP", answer("201 Created", "", TAKEN), Then::Hold),
        ("speaks TLS 1.0", old, Then::Hold),
        ("protocol version alert", alert, Then::Close),
    ] {
        let bytes = Arc::new(bytes);
        let script = move |mut stream: TcpStream, _| {
            let bytes = Arc::clone(&bytes);
            async move {
                let _ = stream.write_all(&bytes).await;
                finish(stream, then).await;
            }
        };
        let (address, _) = peer(script).await;
        let (verdict, progress) = ask(&twilio_with(settings(&format!("https://{address}")))).await;
        assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Transient, "not sent"), "{what}");
    }
}

#[tokio::test]
async fn plain_http_is_refused_where_https_was_asked_for() {
    let (address, _) = peer(|stream, _| finish(stream, Then::Close)).await;
    let (verdict, progress) = ask(&twilio_with(settings(&format!("https://{address}")))).await;
    assert_eq!((verdict.result, progress.as_str()), (AttemptResult::Transient, "not sent"));
}
