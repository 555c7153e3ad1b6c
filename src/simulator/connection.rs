//! Connections that a handler can cut: an HTTP server of its own accord always answers. Those that speak HTTP/2 are
//! told by their first bytes, and served by [`super::streams`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Shared, streams};

/// What a handler cuts its connection by.
#[derive(Clone, Debug, Default)]
pub(super) struct Cord(Arc<AtomicBool>);

impl Cord {
    /// Resets the connection as soon as the server would write this response, which nobody sees.
    pub(super) fn cut(&self) -> Response {
        self.0.store(true, Ordering::Release);
        StatusCode::NO_CONTENT.into_response()
    }

    /// Whether it was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What begins a connection that speaks HTTP/2, and no other that comes here.
const PREFACE: &[u8] = b"PR";

/// A listener whose connections have cords; those that speak HTTP/2 go elsewhere.
pub(super) struct Connections {
    listener: TcpListener,
    shared: Arc<Shared>,
    /// Those that stay here.
    staying: UnboundedReceiver<TcpStream>,
    stay: UnboundedSender<TcpStream>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, shared: Arc<Shared>) -> Self {
        let (stay, staying) = unbounded_channel();
        Self { listener, shared, staying, stay }
    }

    /// Waits for the first bytes, and sends the connection where it belongs.
    fn sort(&self, stream: TcpStream) {
        let (shared, stay) = (Arc::clone(&self.shared), self.stay.clone());
        tokio::spawn(async move {
            let mut first = [0; PREFACE.len()];
            let peeked = tokio::select! {
                peeked = stream.peek(&mut first) => peeked,
                () = shared.stop.cancelled() => return,
            };
            if peeked.is_ok_and(|count| count > 0) && first == PREFACE {
                streams::serve(stream, shared).await;
            } else {
                // Nobody listens any more where this fails.
                let _ = stay.send(stream);
            }
        });
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = Cord;

    async fn accept(&mut self) -> (Connection, Cord) {
        let stream = loop {
            tokio::select! {
                // The listener's own accept sleeps over errors such as too many open files.
                (stream, _) = Listener::accept(&mut self.listener) => self.sort(stream),
                Some(stream) = self.staying.recv() => break stream,
            }
        };
        let cord = Cord::default();
        (Connection { stream, cord: cord.clone() }, cord)
    }

    fn local_addr(&self) -> io::Result<Cord> {
        Ok(Cord::default())
    }
}

impl Connected<IncomingStream<'_, Connections>> for Cord {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.remote_addr().clone()
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    cord: Cord,
}

impl Connection {
    /// The stream, unless it was cut.
    fn whole(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        let this = self.get_mut();
        if this.cord.0.load(Ordering::Acquire) {
            // Without lingering, closing is a reset.
            this.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut this.stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_read(context, to)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.whole()?.poll_write(context, from)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_shutdown(context)
    }
}
