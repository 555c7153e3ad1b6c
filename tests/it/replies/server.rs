//! Peers on loopback that say exactly the bytes a test gives them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a peer does once it has said its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Closes in order.
    Close,
    /// Says nothing more and stays.
    Hold,
    /// Resets the connection.
    Reset,
}

/// A peer that runs `script` on each connection; counts them.
pub(crate) async fn peer<F, S>(script: S) -> (SocketAddr, Arc<AtomicUsize>)
where
    S: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(script(stream, n));
        }
    });
    (address, count)
}

/// A peer that reads one request, says `bytes` and then does as told.
pub(crate) async fn canned(bytes: Vec<u8>, then: Then) -> SocketAddr {
    let bytes = Arc::new(bytes);
    let script = move |mut stream: TcpStream, _| {
        let bytes = Arc::clone(&bytes);
        async move {
            read_request(&mut stream).await;
            // The other side may have had enough of it already.
            let _ = stream.write_all(&bytes).await;
            finish(stream, then).await;
        }
    };
    peer(script).await.0
}

pub(crate) async fn finish(mut stream: TcpStream, then: Then) {
    match then {
        Then::Close => drop(stream.shutdown().await),
        Then::Hold => hold().await,
        Then::Reset => stream.set_zero_linger().expect("a TCP option"),
    }
}

/// Longer than any deadline of these tests.
pub(crate) async fn hold() {
    tokio::time::sleep(Duration::from_mins(1)).await;
}

/// Reads one request with its body; its text.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}
