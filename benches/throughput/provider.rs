//! A provider that answers at once: raw HTTP/1.1 with keep-alive, so that its own work stays small. By wish it tells a
//! receipt of each message as soon as it has answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// How many receipts are under way at once.
const CONNECTIONS: usize = 64;

/// A provider on loopback; it can be made to hang.
#[derive(Clone)]
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
}

/// What tells receipts: over a bounded number of connections, as providers do.
#[derive(Clone)]
struct Teller {
    client: reqwest::Client,
    connections: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// What tells receipts.
    teller: Option<Teller>,
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
        let teller = Teller { client, connections: Arc::new(Semaphore::new(CONNECTIONS)) };
        Self::with(State { teller: Some(teller), ..State::default() }).await
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
            if let Some(teller) = &state.teller {
                tokio::spawn(teller.clone().tell(request));
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

impl Teller {
    /// Tells that the message of `request` arrived.
    async fn tell(self, request: Vec<u8>) {
        let body = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let Asked { callback_url } = serde_json::from_slice(&request[body..]).unwrap();
        let _turn = self.connections.acquire().await.unwrap();
        let receipt = self.client.post(callback_url).header("content-type", "application/json");
        match receipt.body("{\"status\":\"delivered\"}").send().await {
            Ok(answer) if answer.status().is_success() => {}
            answer => eprintln!("a receipt was not taken: {answer:?}"),
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
