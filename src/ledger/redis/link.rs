//! The connection to Redis, kept: watched while it holds, made again when it is gone.
//!
//! Guarantee: nobody waits for a connection. Whoever finds none is told why at once, and tries again later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// The longest that making a connection may take, all questions included.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest that one answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum LinkError {
    /// It may come by itself: nobody answers, or not now.
    Unreachable(String),
    /// It will not: a wrong password, a Redis that forgets what it was given.
    Refused(String),
}

impl LinkError {
    pub(super) fn into_why(self) -> String {
        match self {
            Self::Unreachable(why) | Self::Refused(why) => why,
        }
    }
}

/// The connection, and who has to know how it is.
pub(super) struct Link {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Why there is none.
    state: watch::Sender<Option<String>>,
    suspect: Notify,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        let state = watch::Sender::new(Some("connecting".to_owned()));
        Self { client, connection: Mutex::default(), state, suspect: Notify::new() }
    }

    /// The connection, or why there is none.
    pub(super) fn connection(&self) -> Result<MultiplexedConnection, String> {
        self.held().clone().ok_or_else(|| self.state.borrow().clone().unwrap_or_default())
    }

    /// An answer makes the connection doubtful: it is tried at once.
    pub(super) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Waits until somebody doubts the connection.
    pub(super) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Makes a connection to a Redis that keeps what it is given; others see it once it is [`Link::up`].
    pub(super) async fn open(&self) -> Result<MultiplexedConnection, LinkError> {
        let opening = async {
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
            let opened = self.client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = opened.map_err(|error| sort(&error))?;
            keeps_everything(&mut connection).await?;
            Ok(connection)
        };
        let late = |_| LinkError::Unreachable(format!("no answer within {CONNECT:?}"));
        timeout(CONNECT, opening).await.map_err(late)?
    }

    pub(super) fn up(&self, connection: MultiplexedConnection) {
        *self.held() = Some(connection);
        self.state.send_replace(None);
    }

    pub(super) fn down(&self, why: String) {
        self.state.send_replace(Some(why));
        *self.held() = None;
    }

    /// Why there is no connection, whenever that changes; `None` while there is one.
    pub(super) fn state(&self) -> watch::Receiver<Option<String>> {
        self.state.subscribe()
    }

    fn held(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record that Redis drops when it is short of memory would let a challenge be spoken for twice.
async fn keeps_everything(connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
    let asked = redis::cmd("INFO").arg("memory").query_async::<String>(connection).await;
    let memory = asked.map_err(|error| sort(&error))?;
    let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
    match policy {
        Some("noeviction") => Ok(()),
        Some(policy) => Err(LinkError::Refused(format!(
            "its maxmemory-policy is {policy}, so it may forget who speaks for a challenge; \
             set it to noeviction, in a Redis that is not shared with a cache"
        ))),
        None => Err(LinkError::Refused(
            "INFO memory does not say its maxmemory-policy, which has to be noeviction".to_owned(),
        )),
    }
}

/// Whether waiting can help. What Redis says holds no password.
fn sort(error: &RedisError) -> LinkError {
    let why = error.to_string();
    let refused = matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        || why.contains("DB index is out of range")
        || why.contains("invalid peer certificate");
    if refused { LinkError::Refused(why) } else { LinkError::Unreachable(why) }
}
