//! One connection: dialled through the screen, every request bounded, cut when dropped.
//!
//! [`session`](super::session) holds two. Guarantees: nothing here waits longer than [`PATIENCE`]; dropping a
//! [`Line`] ends lapin's thread for it, also when the broker hangs or blocks it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{Stream, StreamExt as _};
use lapin::tcp::{AMQPUriTcpExt as _, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio_util::sync::DropGuard;

use super::refusal::{OpenError, opening};
use super::returns::Returns;
use super::screen::{Cord, Screen};

/// How long any request to the broker may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Where to connect and as whom.
pub(super) struct Address {
    pub(super) uri: AMQPUri,
    pub(super) tls: OwnedTLSConfig,
    pub(super) name: String,
}

impl fmt::Display for Address {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        write!(f, "{scheme}://{}:{}/{}", authority.host, authority.port, vhost.replace('/', "%2f"))
    }
}

/// A connection and the cord that ends it.
pub(super) struct Line {
    connection: Connection,
    pub(super) returns: Arc<Returns>,
    cord: Cord,
    _cut_when_dropped: DropGuard,
}

impl Line {
    /// Connects. `purpose` is shown in the broker's list of connections.
    pub(super) async fn dial(address: &Address, purpose: &str) -> Result<Self, OpenError> {
        let (returns, cord) = (Arc::new(Returns::default()), Cord::new());
        let guard = cord.clone().drop_guard();
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {purpose}", address.name).into())
            .with_client_property("product".into(), env!("CARGO_PKG_NAME").into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let screened = Screened { tokio: Tokio::current(), returns: Arc::clone(&returns), cord: cord.clone() };
        let runtime = Runtime::new(RuntimeParts::new(screened.tokio.clone(), screened.clone()));
        let tls = address.tls.clone();
        let connect =
            async move |uri: AMQPUri, _: Runtime<_>| Ok(AsyncTcpStream::Plain(screened.dial(&uri, &tls).await?));
        let connecting = Connection::connector(address.uri.clone(), runtime, connect, properties);
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, returns, cord, _cut_when_dropped: guard }),
            Ok(Err(error)) => Err(opening(&error, &address.uri.vhost)),
            Err(_) => Err(OpenError::Later("the broker takes the connection but does not answer".into())),
        }
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, lapin::Error> {
        bounded(self.connection.create_channel()).await
    }

    /// What happens on the connection.
    pub(super) fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        self.connection.events_listener().boxed()
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Says goodbye, so that the broker frees what the connection holds at once, and ends. Bounded, whatever state the
    /// broker is in; whoever still waits for something on the line gets an error.
    pub(super) async fn hang_up(&self) {
        let _unheard = tokio::time::timeout(FAREWELL, self.connection.close(200, "OK".into())).await;
        self.cord.cancel();
    }
}

/// Bounds a request by [`PATIENCE`].
pub(super) async fn bounded<T>(request: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, lapin::Error> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the broker does not answer").into()),
    }
}

/// tokio's reactor, with a [`Screen`] around each of its sockets.
#[derive(Clone, Debug)]
struct Screened {
    tokio: Tokio,
    returns: Arc<Returns>,
    cord: Cord,
}

impl Screened {
    fn screen(&self, socket: Socket) -> Screen<Socket> {
        Screen::new(socket, Arc::clone(&self.returns), self.cord.clone())
    }

    /// TCP, and TLS where the scheme says so. Bounded, since lapin's thread runs this and can't be told to stop.
    async fn dial(&self, uri: &AMQPUri, tls: &OwnedTLSConfig) -> io::Result<Screen<Socket>> {
        let runtime = Runtime::new(self.tokio.clone());
        let dialling = uri.connect_with_config_async(tls.as_ref(), &runtime);
        tokio::select! {
            () = self.cord.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
            dialled = tokio::time::timeout(PATIENCE, dialling) => Ok(self.screen(dialled??)),
        }
    }
}

impl Reactor for Screened {
    type TcpStream = Screen<Socket>;
    type Sleep = tokio::time::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = std::time::Instant> + Send + 'static {
        self.tokio.interval(period)
    }

    fn tcp_connect_addr(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let (this, connecting) = (self.clone(), self.tokio.tcp_connect_addr(to));
        async move { Ok(this.screen(AsyncTcpStream::Plain(connecting.await?))) }
    }
}
