//! SMPP 3.4: text messages over a session of our own to an SMSC, which tells receipts by the same line.
//!
//! [`wire`] holds the PDUs, [`text`] the alphabets and parts, [`reply`] what a status means, [`receipt`] what a receipt
//! says, `session` the line. A message in parts goes one part after the other: where the first is refused, nothing was
//! taken; where a later one is, the message is in doubt. The last part asks for the receipt and names the message.
//!
//! A receipt finds its challenge by the id that the server gave its message ([`callback::of_message`]): the worker
//! remembers it in the ledger as soon as it is known, so any worker's session may hear the receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::session::{Ear, Keeper, Line, Submission};
use self::settings::{Smsc, Validity};
use self::wire::{Frame, Submit};
use super::http::{ProviderSettings, SettingError};
use super::{Message, Provider, Reply, callback};
use crate::broker::wire::receipt::Told;
use crate::broker::{Outbox, Route};
use crate::challenge::{Address, Handle};
use crate::clock::{Clock, Timestamp};
use crate::delivery::verdict::{AttemptResult, Verdict};
use crate::telemetry::metrics;

pub mod receipt;
pub mod reply;
mod session;
pub mod settings;
pub mod text;
pub mod wire;

/// One account at an SMSC.
pub struct Smpp {
    name: String,
    smsc: Arc<Smsc>,
    clock: Clock,
    queue: mpsc::Sender<Submission>,
    queued: Mutex<mpsc::Receiver<Submission>>,
    window: Arc<Semaphore>,
    line: watch::Sender<Line>,
}

impl Smpp {
    /// Reads what the operator says. Connects to nothing: [`Provider::serve`] does.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(given: &ProviderSettings, clock: &Clock) -> Result<Self, Vec<SettingError>> {
        let smsc = Smsc::read(given)?;
        // Who is in the queue has a place in the window, so it never fills.
        let (queue, queued) = mpsc::channel(smsc.window);
        Ok(Self {
            name: given.name.clone(),
            window: Arc::new(Semaphore::new(smsc.window)),
            smsc: Arc::new(smsc),
            clock: clock.clone(),
            queue,
            queued: Mutex::new(queued),
            line: watch::Sender::new(Line::Connecting),
        })
    }

    fn keeper(&self, ear: Ear, stop: CancellationToken) -> Keeper {
        Keeper { smsc: Arc::clone(&self.smsc), name: self.name.clone(), line: self.line.clone(), ear, stop }
    }

    async fn send_parts(&self, message: &Message, deadline: Instant) -> Result<Reply, Reply> {
        let pdus = self.pdus(message, self.clock.now())?;
        let mut last = None;
        for pdu in pdus {
            let is_first = last.is_none();
            let doubt = |why: &str| Reply::InDoubt { why: format!("a part of it was taken, then: {why}") };
            let answer = match self.submit(pdu, deadline).await {
                Err(Reply::NotSent { why }) if !is_first => return Err(doubt(&why)),
                answer => answer?,
            };
            if Frame::read(&answer).is_none_or(|answer| answer.status != 0) {
                return Ok(if is_first { answered(answer) } else { doubt("a part was refused") });
            }
            last = Some(answer);
        }
        last.map(answered).ok_or_else(|| Reply::Unfit { why: "a message of no parts".to_owned() })
    }

    /// The `submit_sm` of each part of `message`, written at `now`, but for their sequence numbers.
    ///
    /// # Errors
    /// [`Reply::Unfit`] where there can be none.
    pub fn pdus(&self, message: &Message, now: Timestamp) -> Result<Vec<bytes::Bytes>, Reply> {
        let unfit = |why: &str| Reply::Unfit { why: why.to_owned() };
        let Address::Sms { to } = &message.address else { return Err(unfit("only text messages go by SMPP")) };
        let number = to.expose();
        let reference = message.reference.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let parts = text::parts(message.text.expose(), reference).ok_or_else(|| unfit("a text of too many parts"))?;
        let validity = validity(self.smsc.validity, message.validity, now);
        let last = parts.len() - 1;
        let made = parts.iter().enumerate().map(|(nth, part)| {
            let of = Submit {
                source: source(message.sender.as_deref().unwrap_or_default()),
                to: number.trim_start_matches('+'),
                service_type: &self.smsc.service_type,
                validity: &validity,
                wants_receipt: self.smsc.receipts && nth == last,
                part,
            };
            wire::submit(&of, 0).ok_or_else(|| unfit("a field does not fit"))
        });
        made.collect()
    }

    async fn submit(&self, pdu: bytes::Bytes, deadline: Instant) -> Result<bytes::Bytes, Reply> {
        let not_sent = |why: &str| Reply::NotSent { why: why.to_owned() };
        let mut line = self.line.subscribe();
        let is_known = |line: &Line| !matches!(line, Line::Connecting);
        match timeout_at(deadline, line.wait_for(is_known)).await.map_err(|_| not_sent("no line yet"))?.as_deref() {
            Ok(Line::Bound) => {}
            Ok(Line::Refused(body)) => {
                return Err(Reply::Refused { status: 0, retry_after: None, body: body.clone() });
            }
            Ok(Line::Down(why)) => return Err(not_sent(why)),
            Ok(Line::Connecting) | Err(_) => return Err(not_sent("no line")),
        }
        let place = timeout_at(deadline, Arc::clone(&self.window).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(|| not_sent("the window was full"))?;
        let (answer, answered) = oneshot::channel();
        let written = Arc::new(AtomicBool::new(false));
        let submission = Submission { pdu, deadline, written: Arc::clone(&written), answer, place };
        if self.queue.send(submission).await.is_err() {
            return Err(not_sent("stopped"));
        }
        let why = match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => "the line broke",
            Err(_) => "no answer in time",
        };
        let in_doubt = written.load(Ordering::Acquire);
        Err(if in_doubt { Reply::InDoubt { why: why.to_owned() } } else { not_sent(why) })
    }

    fn ear(&self, outbox: Arc<dyn Outbox>) -> Ear {
        let (name, clock, ids) = (self.name.clone(), self.clock.clone(), self.smsc.ids);
        Arc::new(move |frame: Frame| {
            let (outbox, name, at) = (Arc::clone(&outbox), name.clone(), clock.now());
            Box::pin(async move {
                let Some(delivered) = frame.delivered() else {
                    metrics::receipt(&name, "refused");
                    return session::unreadable();
                };
                let Some(said) = receipt::read(&delivered, ids) else {
                    metrics::receipt(&name, "nothing");
                    return session::taken(true);
                };
                let handle = callback::of_message(&name, &said.message_id);
                let told = Told { handle, attempt: None, status: said.status, code: said.code, at };
                let published = outbox.publish(&told.publication(Route::Signals)).await.is_ok();
                metrics::receipt(&name, if published { said.status.as_str() } else { "unpublished" });
                session::taken(published)
            })
        })
    }
}

#[async_trait]
impl Provider for Smpp {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message, deadline: Instant) -> Reply {
        self.send_parts(message, deadline).await.unwrap_or_else(|failure| failure)
    }

    fn classify(&self, _: &Message, reply: &Reply) -> Verdict {
        reply::judge(reply, &self.smsc.errors)
    }

    fn handle_of(&self, verdict: &Verdict) -> Option<Handle> {
        let heard = self.smsc.receipts && verdict.result == AttemptResult::Accepted;
        let id = verdict.message_id.as_deref().filter(|_| heard)?;
        Some(callback::of_message(&self.name, &receipt::canonical(id)))
    }

    async fn try_out(&self, deadline: Instant) -> Option<Result<(), String>> {
        let keeper = self.keeper(Arc::new(|_| Box::pin(async { session::taken(false) })), CancellationToken::new());
        let tried = timeout_at(deadline, keeper.try_out()).await;
        let refused = |line| match line {
            Line::Down(why) => why,
            Line::Refused(answer) => {
                let status = Frame::read(&answer).map_or(0, |answer| answer.status);
                format!("the server refuses the bind with status 0x{status:X}")
            }
            Line::Connecting | Line::Bound => "no line".to_owned(),
        };
        Some(tried.map_or_else(|_| Err("no answer in time".to_owned()), |tried| tried.map_err(refused)))
    }

    async fn serve(&self, outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        // One line at a time.
        let mut queued = self.queued.lock().await;
        self.keeper(self.ear(outbox), stop).keep(&mut queued).await;
    }
}

const fn answered(body: bytes::Bytes) -> Reply {
    Reply::Answered { status: 0, retry_after: None, body }
}

/// Type of number, numbering plan and address of a sender: a number, a short code, or a name.
fn source(sender: &str) -> (u8, u8, &str) {
    let digits = sender.strip_prefix('+').unwrap_or(sender);
    match (digits.is_empty(), digits.bytes().all(|b| b.is_ascii_digit())) {
        (true, _) => (0, 0, ""),
        (false, false) => (5, 0, sender),
        (false, true) if digits.len() <= 6 => (3, 1, digits),
        (false, true) => (1, 1, digits),
    }
}

/// `validity_period`, rounded up to a second.
fn validity(how: Validity, left: Duration, now: Timestamp) -> String {
    let seconds = left.as_millis().div_ceil(1_000).clamp(1, 86_399);
    match how {
        Validity::None => String::new(),
        Validity::Relative => {
            format!("000000{:02}{:02}{:02}000R", seconds / 3_600, seconds / 60 % 60, seconds % 60)
        }
        Validity::Absolute => {
            let until = (now + left).basic();
            let digits: String = until.bytes().filter(u8::is_ascii_digit).skip(2).map(char::from).collect();
            format!("{digits}000+")
        }
    }
}
