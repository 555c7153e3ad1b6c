//! A provider that answers at once: raw HTTP/1.1 with keep-alive, so that its own work stays small.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A provider on loopback; it can be made to hang.
#[derive(Clone)]
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    hangs: AtomicBool,
    requests: AtomicU64,
    asked: Notify,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&provider.state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        provider
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on it answers nobody, or everybody.
    pub(crate) fn set_hanging(&self, hangs: bool) {
        self.state.hangs.store(hangs, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Waits for the next request.
    pub(crate) async fn asked(&self) {
        self.state.asked.notified().await;
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"id\":\"abcdefg\"}";
    let (mut read, mut held) = ([0; 4_096], Vec::new());
    loop {
        while let Some(length) = whole_request(&held) {
            held.drain(..length);
            state.requests.fetch_add(1, Ordering::Relaxed);
            state.asked.notify_one();
            if state.hangs.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        match stream.read(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(n) => held.extend_from_slice(&read[..n]),
        }
    }
}

/// The length of the first request, once it is there to its end.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap().to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    (bytes.len() >= head + body).then_some(head + body)
}
