//! A provider that answers at once: raw HTTP/1.1 with keep-alive, so that its own work stays small. By wish it tells a
//! receipt of each message as soon as it has answered.

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
    /// What tells receipts.
    client: Option<reqwest::Client>,
    hangs: AtomicBool,
    requests: AtomicU64,
    asked: Notify,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        Self::with(State::default()).await
    }

    /// One that says of every message at once that it arrived.
    pub(crate) async fn telling() -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self::with(State { client: Some(client), ..State::default() }).await
    }

    async fn with(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self { address: listener.local_addr().unwrap(), state: Arc::new(state) };
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
            let request: Vec<u8> = held.drain(..length).collect();
            state.requests.fetch_add(1, Ordering::Relaxed);
            state.asked.notify_one();
            if state.hangs.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            if let Some(client) = &state.client {
                tokio::spawn(tell(client.clone(), request));
            }
        }
        match stream.read(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(n) => held.extend_from_slice(&read[..n]),
        }
    }
}

#[derive(serde::Deserialize)]
struct Asked {
    callback_url: String,
}

/// Tells that the message of `request` arrived.
async fn tell(client: reqwest::Client, request: Vec<u8>) {
    let body = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let Asked { callback_url } = serde_json::from_slice(&request[body..]).unwrap();
    let receipt =
        client.post(callback_url).header("content-type", "application/json").body("{\"status\":\"delivered\"}");
    // The worker may be ending: what is not told then is told by nobody, as in the world.
    let _told = receipt.send().await;
}

/// The length of the first request, once it is there to its end.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap().to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    (bytes.len() >= head + body).then_some(head + body)
}
