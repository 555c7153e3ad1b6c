//! One line to an SMSC: bound, kept alive, bound anew when it breaks.
//!
//! One task owns the socket. Who sends puts a PDU into its queue, holding a place in the window until the answer comes
//! or the line breaks. Guarantees: nothing is written after its deadline; what was written and has no answer when the
//! line breaks is in doubt, what was not is not; a receipt is answered with success only when the broker has it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::settings::Smsc;
use super::wire::{self, ANSWER, Bind, Frame};
use crate::clock::{Clock, Dice};

/// How long a server may take to answer a bind, a question whether it is there, an unbind.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a PDU may take to be written.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long what is in the window is waited for when the line is given up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many receipts may be on their way to the broker; beyond them nothing is read.
const MOST_RECEIPTS: usize = 256;
/// Asks for a receipt again.
const NOT_NOW: u32 = 0x64;
/// A receipt that can't be read, now or later.
const UNREADABLE: u32 = 0x65;
const UNKNOWN_COMMAND: u32 = 0x03;

/// How the line is.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Nothing was tried yet.
    Connecting,
    /// Messages can go.
    Bound,
    /// There is none, and why.
    Down(String),
    /// The server refused it, with this answer.
    Refused(Bytes),
}

/// A message on its way to the socket.
pub(super) struct Submission {
    /// A `submit_sm`, whose sequence number is the line's to give.
    pub(super) pdu: Bytes,
    pub(super) deadline: Instant,
    /// Set before the first octet is written.
    pub(super) written: Arc<AtomicBool>,
    pub(super) answer: oneshot::Sender<Bytes>,
    pub(super) place: OwnedSemaphorePermit,
}

/// What takes a `deliver_sm`; gives the status to answer with.
pub(super) type Ear = Arc<dyn Fn(Frame) -> BoxFuture<'static, u32> + Send + Sync>;

/// What a line is kept with.
pub(super) struct Keeper {
    pub(super) smsc: Arc<Smsc>,
    pub(super) name: String,
    pub(super) line: watch::Sender<Line>,
    pub(super) ear: Ear,
    pub(super) stop: CancellationToken,
}

/// What ended a line.
enum End {
    Stopped,
    Broken(String),
}

impl Keeper {
    /// Keeps a line until told to stop.
    pub(super) async fn keep(&self, queue: &mut mpsc::Receiver<Submission>) {
        let (mut dice, mut wait) = (Dice::system(), FIRST_WAIT);
        while !self.stop.is_cancelled() {
            let connected = self.stop.run_until_cancelled(self.connect()).await;
            let state = match connected {
                None => return,
                Some(Ok(mut talk)) => {
                    self.line.send_replace(Line::Bound);
                    tracing::info!(provider = self.name, "bound to the SMSC");
                    wait = FIRST_WAIT;
                    match talk.run(self, queue).await {
                        End::Stopped => {
                            self.line.send_replace(Line::Down("stopped".to_owned()));
                            return;
                        }
                        End::Broken(why) => Line::Down(why),
                    }
                }
                Some(Err(state)) => state,
            };
            let why = if let Line::Down(why) = &state { why.as_str() } else { "the server refuses the bind" };
            tracing::warn!(provider = self.name, why, "no line to the SMSC; trying again");
            self.line.send_replace(state);
            let jittered = wait / 2 + dice.up_to(wait / 2);
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(jittered)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn connect(&self) -> Result<Talk, Line> {
        let down = |why: String| Line::Down(format!("no connection: {why}"));
        let connected = timeout(self.smsc.connect_timeout, TcpStream::connect(&self.smsc.host)).await;
        let stream = connected.map_err(|_| down("too slow".to_owned()))?.map_err(|why| down(why.kind().to_string()))?;
        stream.set_nodelay(true).map_err(|why| down(why.kind().to_string()))?;
        let (reader, writer) = stream.into_split();
        let mut talk = Talk { reader, writer, came: BytesMut::new(), sequence: 0, open: BTreeMap::new() };
        let smsc = &self.smsc;
        let bind =
            Bind { system_id: &smsc.system_id, password: smsc.password.expose(), system_type: &smsc.system_type };
        let sequence = talk.next_sequence();
        talk.write(&wire::bind(bind, sequence)).await.map_err(&down)?;
        let answer = timeout(PATIENCE, talk.next()).await.map_err(|_| down("no answer to the bind".to_owned()))?;
        match answer.map_err(down)? {
            Frame { id: wire::BIND_TRANSCEIVER_RESP, status: 0, .. } => Ok(talk),
            Frame { id: wire::BIND_TRANSCEIVER_RESP | wire::GENERIC_NACK, bytes, .. } => Err(Line::Refused(bytes)),
            _ => Err(Line::Down("another answer than one to the bind".to_owned())),
        }
    }

    /// Binds once and lets go again: whether the server takes the credentials.
    pub(super) async fn try_out(&self) -> Result<(), Line> {
        let mut talk = self.connect().await?;
        talk.unbind().await;
        Ok(())
    }
}

/// A message that waits for its answer.
struct Open {
    answer: oneshot::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// A bound line.
struct Talk {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    came: BytesMut,
    sequence: u32,
    open: BTreeMap<u32, Open>,
}

impl Talk {
    async fn run(&mut self, keeper: &Keeper, queue: &mut mpsc::Receiver<Submission>) -> End {
        let mut telling = FuturesUnordered::new();
        let still = keeper.smsc.enquire_after;
        let (mut heard, mut asked) = (Clock::instant(), false);
        let mut giving_up: Option<Instant> = None;
        loop {
            if giving_up.is_some_and(|by| Clock::instant() >= by || (self.open.is_empty() && telling.is_empty())) {
                self.unbind().await;
                return End::Stopped;
            }
            let due = giving_up.unwrap_or(heard + still + if asked { PATIENCE } else { Duration::ZERO });
            let done = tokio::select! {
                frame = next(&mut self.reader, &mut self.came), if telling.len() < MOST_RECEIPTS => match frame {
                    Ok(frame) => {
                        (heard, asked) = (Clock::instant(), false);
                        self.heard(frame, keeper, &mut telling).await
                    }
                    Err(why) => Err(why),
                },
                Some(submission) = queue.recv(), if giving_up.is_none() => self.submit(submission).await,
                Some((sequence, status)) = telling.next() => {
                    self.write(&wire::deliver_sm_resp(status, sequence)).await
                }
                () = tokio::time::sleep_until(due) => {
                    if giving_up.is_none() && asked {
                        Err("the server does not answer".to_owned())
                    } else {
                        asked = true;
                        let sequence = self.next_sequence();
                        self.write(&wire::bare(wire::ENQUIRE_LINK, 0, sequence)).await
                    }
                }
                () = keeper.stop.cancelled(), if giving_up.is_none() => {
                    giving_up = Some(Clock::instant() + DRAIN_PATIENCE);
                    Ok(())
                }
            };
            if let Err(why) = done {
                return if giving_up.is_some() { End::Stopped } else { End::Broken(why) };
            }
        }
    }

    async fn submit(&mut self, submission: Submission) -> Result<(), String> {
        let Submission { pdu, deadline, written, answer, place } = submission;
        // Set first: who gives up at the deadline and finds it unset knows that nothing will be written.
        written.store(true, Ordering::Release);
        if Clock::instant() >= deadline || answer.is_closed() {
            written.store(false, Ordering::Release);
            return Ok(());
        }
        let sequence = self.next_sequence();
        let mut pdu = BytesMut::from(pdu.as_ref());
        if let Some(field) = pdu.get_mut(12..16) {
            field.copy_from_slice(&sequence.to_be_bytes());
        }
        self.open.insert(sequence, Open { answer, _place: place });
        self.write(&pdu).await
    }

    async fn heard(&mut self, frame: Frame, keeper: &Keeper, telling: &mut Telling) -> Result<(), String> {
        match frame.id {
            wire::SUBMIT_SM_RESP | wire::GENERIC_NACK => {
                if let Some(open) = self.open.remove(&frame.sequence) {
                    // Nobody waits any more where the deadline has passed.
                    let _ = open.answer.send(frame.bytes);
                }
                Ok(())
            }
            wire::DELIVER_SM => {
                let (sequence, taken) = (frame.sequence, (keeper.ear)(frame));
                telling.push(Box::pin(async move { (sequence, taken.await) }));
                Ok(())
            }
            wire::ENQUIRE_LINK => self.write(&wire::bare(wire::ENQUIRE_LINK | ANSWER, 0, frame.sequence)).await,
            wire::UNBIND => {
                self.write(&wire::bare(wire::UNBIND | ANSWER, 0, frame.sequence)).await?;
                Err("the server unbinds".to_owned())
            }
            id if id & ANSWER != 0 => Ok(()),
            _ => self.write(&wire::bare(wire::GENERIC_NACK, UNKNOWN_COMMAND, frame.sequence)).await,
        }
    }

    async fn unbind(&mut self) {
        let sequence = self.next_sequence();
        if self.write(&wire::bare(wire::UNBIND, 0, sequence)).await.is_err() {
            return;
        }
        let by = Clock::instant() + Duration::from_secs(1);
        while let Ok(Ok(frame)) = timeout_at(by, self.next()).await {
            if frame.id == wire::UNBIND | ANSWER {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Frame, String> {
        next(&mut self.reader, &mut self.came).await
    }

    async fn write(&mut self, pdu: &[u8]) -> Result<(), String> {
        let failed = |why: io::Error| format!("the connection failed: {}", why.kind());
        timeout(WRITE_PATIENCE, self.writer.write_all(pdu))
            .await
            .map_err(|_| "the server takes nothing".to_owned())?
            .map_err(failed)
    }

    /// From 1 to 0x7FFFFFFF, and round; none that is still open.
    fn next_sequence(&mut self) -> u32 {
        loop {
            self.sequence = self.sequence % 0x7fff_ffff + 1;
            if !self.open.contains_key(&self.sequence) {
                return self.sequence;
            }
        }
    }
}

type Telling = FuturesUnordered<BoxFuture<'static, (u32, u32)>>;

/// The next PDU. May be dropped between two polls: what came is kept.
async fn next(reader: &mut OwnedReadHalf, came: &mut BytesMut) -> Result<Frame, String> {
    loop {
        if let Some(frame) = Frame::take(came).map_err(|why| why.to_string())? {
            return Ok(frame);
        }
        match reader.read_buf(came).await {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(_) => {}
            Err(why) => return Err(format!("the connection failed: {}", why.kind())),
        }
    }
}

/// The status to answer a receipt with that the broker has, or has not.
pub(super) const fn taken(published: bool) -> u32 {
    if published { 0 } else { NOT_NOW }
}

/// The status to answer what can't be read with.
pub(super) const fn unreadable() -> u32 {
    UNREADABLE
}
