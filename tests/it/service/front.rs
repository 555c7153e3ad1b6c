//! One address before all workers, as a load balancer gives them: providers call it back, whoever sent.
//!
//! Connections go to the workers in turn; one that nobody takes at its own goes to the next.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The balancer.
pub(super) struct Front {
    url: String,
    backs: Arc<Mutex<Vec<u16>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let backs = Arc::<Mutex<Vec<u16>>>::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&backs)));
        Self { url, backs, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Lets the worker of this configuration be called back here, and stand behind.
    pub(super) fn stands_before(&self, config: &Path) {
        call_back_at(config, &self.url);
        self.backs.lock().unwrap_or_else(PoisonError::into_inner).push(http_port(config));
    }
}

async fn serve(listener: TcpListener, backs: Arc<Mutex<Vec<u16>>>) {
    let mut turn = 0_usize;
    while let Ok((mut outside, _)) = listener.accept().await {
        let mut order = backs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        turn = turn.wrapping_add(1);
        let first = turn % order.len().max(1);
        order.rotate_left(first);
        tokio::spawn(async move {
            for port in order {
                if let Ok(mut inside) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    let _ended = copy_bidirectional(&mut outside, &mut inside).await;
                    return;
                }
            }
        });
    }
}

/// What signs the addresses of these tests.
pub(super) const CALLBACK_KEY: &str = "a key for the addresses of tests";

/// Lets the worker of a configuration be called back at this address.
pub(super) fn call_back_at(config: &Path, public: &str) {
    let text = std::fs::read_to_string(config).expect("there");
    let keys = format!("[http]\npublic_url = \"{public}\"\ncallback_key = \"{CALLBACK_KEY}\"");
    std::fs::write(config, text.replacen("[http]", &keys, 1)).expect("written");
}

/// Where the worker of a configuration listens for what calls it back.
pub(super) fn http_port(config: &Path) -> u16 {
    let text = std::fs::read_to_string(config).expect("there");
    let listen = text.lines().find_map(|line| line.strip_prefix("listen = \"127.0.0.1:")).expect("the first is http's");
    listen.trim_end_matches('"').parse().expect("a port")
}
