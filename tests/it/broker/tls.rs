//! The broker behind TLS: a proxy with a certificate of our own authority in front of the node, or of a Redis.

use std::path::Path;
use std::sync::Arc;

use mfa_courier::broker::rabbit::{RabbitSettings, StartError, Tls, connect};
use mfa_courier::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Rig;
use crate::node::Node;

/// An authority, as files, with a certificate for the broker and one for the courier.
pub(crate) struct Authority {
    files: tempfile::TempDir,
    server: ServerConfig,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| std::fs::write(files.path().join(name), text).expect("writable");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("signed");
        write("ca.pem", root.pem());
        let issuer = Issuer::new(params, key);
        let issue = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            (params.signed_by(&key, &issuer).expect("signed"), key)
        };
        let (client, client_key) = issue("courier");
        write("client.pem", client.pem());
        write("client.key", client_key.serialize_pem());

        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (leaf, leaf_key) = issue("localhost");
        let leaf_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![leaf.der().clone()], leaf_key)
            .expect("a certificate");
        Self { files, server }
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.files.path()).join(name)
    }

    /// Listens in front of `port`, and asks for certificates.
    pub(crate) async fn guards(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let guarded = listener.local_addr().expect("bound").port();
        let acceptor = TlsAcceptor::from(Arc::new(self.server.clone()));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inside = TcpStream::connect(("127.0.0.1", port)).await?;
                    let mut outside = acceptor.accept(socket).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        guarded
    }
}

#[tokio::test]
async fn a_private_authority_and_a_certificate_of_our_own_are_used() {
    let (node, authority) = (Node::shared(), Authority::new());
    let vhost = node.vhost();
    let url = format!("amqps://guest:guest@localhost:{}/{vhost}", authority.guards(node.port()).await);
    let trusting = Tls { ca_file: Some(authority.file("ca.pem")), ..Tls::default() };
    let complete = Tls {
        client_cert_file: Some(authority.file("client.pem")),
        client_key_file: Some(authority.file("client.key")),
        ..trusting.clone()
    };
    let settings = |tls| RabbitSettings { url: Secret::new(&*url), tls, ..RabbitSettings::default() };

    let stranger = connect(settings(Tls::default())).await.err().expect("refused");
    assert!(matches!(&stranger, StartError::Tls(why) if why.contains("UnknownIssuer")), "{stranger}");

    let mut rig = Rig {
        link: super::linked(&settings(complete)).await,
        client: crate::node::Client::connect(&node.url(&vhost)).await,
        settings: settings(Tls::default()),
    };
    rig.client.publish_challenge("{}").await;
    rig.next().await.envelope.ack();
}
