//! A real Redis, or Valkey, for the tests: Debian's package, in a temporary folder, on loopback and a free port.
//!
//! It starts in a moment, so each test that kills, freezes or empties one has its own. It goes away with the process,
//! however that ends (`guard.sh`).

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mfa_courier::clock::{Clock, Dice};
use mfa_courier::ledger::redis::{RedisLedger, RedisSettings, Tls};
use mfa_courier::secret::Secret;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue};
use tokio::time::sleep;

use crate::node::{Guarded, eventually, free_ports};

/// Which program it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Redis,
    Valkey,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    fn program(self) -> PathBuf {
        match self {
            Self::Redis => "redis-server".into(),
            // Where `.ci/valkey` puts it.
            Self::Valkey => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/valkey/usr/bin/valkey-server"),
        }
    }
}

/// A Redis server.
pub(crate) struct Store {
    dir: PathBuf,
    port: u16,
    server: Guarded,
}

impl Store {
    /// One that loses nothing when it is killed; `conf` follows what it is made of.
    pub(crate) async fn start(conf: &str) -> Self {
        Self::start_one(Kind::Redis, conf).await
    }

    /// The same, of either kind.
    pub(crate) async fn start_one(kind: Kind, conf: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("redis-").tempdir().expect("a temporary folder").keep();
        let [port] = free_ports();
        let whole = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly yes\nmaxmemory-policy noeviction\ndir {}\n{conf}\n",
            dir.display()
        );
        std::fs::write(dir.join("redis.conf"), whole).expect("writable");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/redis/guard.sh");
        let server = Guarded::by(Command::new("sh").arg(script).arg(&dir).arg(kind.program()), dir.join("pid"));
        let store = Self { dir, port, server };
        store.restart();
        eventually("Redis listens", async || store.is_listening().then_some(())).await;
        store
    }

    /// The address of its database 0.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// How the courier is told of it.
    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings {
            url: Secret::new(self.url()),
            prefix: "test:".to_owned(),
            seal: Arc::default(),
            tls: Tls::default(),
        }
    }

    /// A ledger in it.
    pub(crate) async fn ledger(&self) -> RedisLedger {
        RedisLedger::connect(&self.settings(), Clock::system(), Dice::system()).await.expect("a ledger")
    }

    /// A plain client.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).expect("an address");
        eventually("Redis takes connections", async || client.get_multiplexed_async_connection().await.ok()).await
    }

    /// Asks it something, in the words of its command line.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut asking = Cmd::new();
        for word in command.split(' ') {
            asking.arg(word);
        }
        asking.query_async(&mut self.client().await).await.expect("an answer")
    }

    /// Kills it without a farewell.
    pub(crate) async fn kill9(&self) {
        assert!(self.server.signal("KILL"));
        eventually("Redis is gone", async || (!self.is_listening()).then_some(())).await;
    }

    /// Stops it in its tracks; its sockets stay open.
    pub(crate) fn freeze(&self) {
        assert!(self.server.signal("STOP"));
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        assert!(self.server.signal("CONT"));
    }

    /// Starts it again after [`Store::kill9`], without waiting for it.
    pub(crate) fn restart(&self) {
        self.server.start();
    }

    /// Takes away what it has on disk.
    pub(crate) fn forget(&self) {
        for path in ["appendonlydir", "dump.rdb"].map(|name| self.dir.join(name)) {
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            assert!(gone.is_ok() || !path.exists(), "{}: {gone:?}", path.display());
        }
    }

    /// All that it has on disk.
    pub(crate) fn at_rest(&self) -> Vec<u8> {
        let log = std::fs::read_dir(self.dir.join("appendonlydir")).expect("a folder");
        let files = log.map(|file| file.expect("readable").path()).chain([self.dir.join("dump.rdb")]);
        files.flat_map(|file| std::fs::read(file).expect("readable")).collect()
    }

    /// Waits until a ledger in it can be used again.
    pub(crate) async fn recovers(&self, ledger: &RedisLedger) {
        eventually("the ledger can be used", async || ledger.state().borrow().is_none().then_some(())).await;
    }

    fn is_listening(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }
}

/// A moment longer than the beat of a ledger.
pub(crate) async fn a_beat() {
    sleep(Duration::from_millis(1_500)).await;
}
