//! APNs by TLS: HTTP/2 is agreed on, and only a good certificate is spoken to.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::replies::progress;
use crate::replies::server::peer;
use crate::replies::tls::Authority;

/// A server that takes every prompt.
async fn server(acceptor: TlsAcceptor) -> SocketAddr {
    let script = move |stream: TcpStream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let answer = http::Response::builder().status(200).body(()).expect("valid");
                let _: Result<h2::SendStream<Bytes>, _> = respond.send_response(answer, true);
            }
        }
    };
    peer(script).await.0
}

#[tokio::test]
async fn only_a_good_certificate_and_http2_are_spoken_to() {
    let authority = Authority::new();
    let own = || Some(authority.pem.clone());
    let good = ("127.0.0.1", (2020, 2050));
    let h2: &[&[u8]] = &[b"h2"];
    for (what, name, years, protocols, roots, expected) in [
        ("the control", good.0, good.1, h2, own(), "answered 200"),
        ("expired", good.0, (2020, 2021), h2, own(), "not sent"),
        ("wrong name", "example.com", good.1, h2, own(), "not sent"),
        ("unknown authority", good.0, good.1, h2, None, "not sent"),
        ("HTTP/1.1 alone", good.0, good.1, &[b"http/1.1"], own(), "not sent"),
        ("no protocol agreed on", good.0, good.1, &[], own(), "not sent"),
    ] {
        let address = server(authority.server(name, years, protocols)).await;
        let mut given = settings(&format!("https://{address}"));
        given.extra_roots = roots;
        let apns = Apns::new(&given, &Clock::system()).expect("usable");
        let reply = apns.send(&message("device"), Clock::instant() + DEADLINE).await;
        assert_eq!(progress(&reply), expected, "{what}");
    }
}

#[tokio::test]
async fn certificates_that_are_none_are_told() {
    let mut given = settings("https://api.push.apple.com");
    given.extra_roots = Some("no certificate".to_owned());
    let wrong = Apns::new(&given, &Clock::system()).err().expect("refused");
    assert_eq!(wrong[0].path, "providers.apns.ca_file");
}
