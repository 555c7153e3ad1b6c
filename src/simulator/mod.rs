//! Simulated providers on loopback that speak the real wire protocols, with scripted faults: the twins of
//! the real ones in tests, in `demo` and in `simulate`.
//!
//! A provider is an entry such as `twilio/primary` or `webhook/gateway`: the kind (as a configuration says it)
//! and any name. Its requests, also its calls, go to [`Simulator::base_url`]. Each entry checks what the real
//! one checks (credentials, token or signature, required fields, bounds), then does what its [`Mode`] says; in
//! [`Mode::Normal`] the last digits of the number decide:
//!
//! | number ends in | what happens |
//! |---|---|
//! | `77ccccc` | refused with the Twilio code `ccccc`; others say what it stands for with them |
//! | `7721614` | a landline: text messages are refused, calls are taken |
//! | `77000cc` | refused with the status `cc` of Vonage's text messages |
//! | `7700ccc` | refused with the HTTP status `ccc` by Vonage's calls, which have no codes |
//! | `9900` | no answer, ever |
//! | `9901` | status 500 |
//! | `9902` | the connection is reset; the message was not taken |
//! | `9903` | the message is taken, and the connection is reset before the answer |
//! | `9904` | status 503 with `Retry-After: 1` |
//! | `9905` | status 429 with `Retry-After: 1` |
//! | `9906` | a success with an error inside: number unknown; a call is refused |
//! | `9907` | a success whose body is no JSON |
//! | `9908` | a redirect |
//! | `9909` | taken after 300 ms |
//! | `9910` | taken after 3 s |
//! | anything else | taken at once |
//!
//! Where the request says where, a message that was taken has receipts: `receipts` says which by which number.
//! A device's token that a push service gets decides likewise, or by a code at its end, as `device:UNREGISTERED` does.
//!
//! Everything received is kept, up to a bound, so that a test can check what was sent and how often.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::connection::{Connections, Cord};
use crate::challenge::Channel;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;

mod access;
mod apns;
mod connection;
mod fcm;
mod huawei;
mod receipts;
mod streams;
mod twilio;
mod vonage;
mod webhook;
mod webpush;
mod wns;

pub use access::{CLIENT_ID, CLIENT_SECRET};
pub use apns::{APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID, APNS_TOPIC};
pub use fcm::{PROJECT_ID, service_account};
pub use receipts::{Answers, ReceiptCount};
pub use streams::Ending;
pub use twilio::{ACCOUNT_SID, AUTH_TOKEN};
pub use vonage::{API_KEY, API_SECRET, APPLICATION_ID, SIGNATURE_SECRET, VONAGE_PRIVATE_KEY, VONAGE_PUBLIC_KEY};
pub use webhook::SIGNING_SECRET;
pub use webpush::{webpush_opened, webpush_subscription};

/// How a simulator starts.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many requests it keeps.
    pub keep: usize,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), keep: 100_000 }
    }
}

/// What a simulated provider does with a request that it has checked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the number says; else it takes the message.
    #[default]
    Normal,
    /// Never answers.
    Hang,
    /// Answers with this status and nothing else.
    Error(u16),
    /// Refuses with this code: a Twilio code, a word of the webhook's, a status of Vonage's.
    Refuse(String),
    /// Answers with a success that has this error inside.
    FailWithin(String),
    /// Answers 429 with `Retry-After: 1`.
    Throttle,
    /// Answers 503 with `Retry-After: 1`.
    Busy,
    /// Takes the message after this long.
    Slow(Duration),
    /// Resets the connection without taking the message.
    Reset,
    /// Takes the message and resets the connection.
    LoseAnswer,
    /// Takes the message and answers with what is no JSON.
    Garble,
    /// Answers with a redirect to nowhere.
    Redirect,
}

/// Twilio's code of a text message to what is no mobile phone.
const LANDLINE: &str = "21614";

impl Mode {
    /// What the last digits of a number ask for; see the head of this module.
    #[must_use]
    pub fn of_number(number: &str) -> Self {
        let last = |n: usize| number.len().checked_sub(n).and_then(|at| number.get(at..)).unwrap_or_default();
        if let Some(code) = last(7).strip_prefix("77") {
            return Self::Refuse(code.to_owned());
        }
        match last(4) {
            "9900" => Self::Hang,
            "9901" => Self::Error(500),
            "9902" => Self::Reset,
            "9903" => Self::LoseAnswer,
            "9904" => Self::Busy,
            "9905" => Self::Throttle,
            "9906" => Self::FailWithin("30005".to_owned()),
            "9907" => Self::Garble,
            "9908" => Self::Redirect,
            "9909" => Self::Slow(Duration::from_millis(300)),
            "9910" => Self::Slow(Duration::from_secs(3)),
            _ => Self::Normal,
        }
    }

    /// The same for a call, which can be made to a landline.
    fn of_called(number: &str) -> Self {
        match Self::of_number(number) {
            Self::Refuse(code) if code == LANDLINE => Self::Normal,
            mode => mode,
        }
    }

    /// Whether the message is on its way to the phone, whatever the answer says.
    const fn takes(&self) -> bool {
        matches!(self, Self::Normal | Self::Slow(_) | Self::LoseAnswer | Self::Garble)
    }
}

/// One request that a simulated provider could read.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// Which entry.
    pub provider: String,
    /// Whether it is a text message or a call.
    pub channel: Channel,
    /// To which number.
    pub to: Secret,
    /// From whom.
    pub from: Option<String>,
    /// What the person would read; of a call what is said, as the protocol writes it.
    pub text: Secret,
    /// The sender's reference, where the protocol has one.
    pub reference: Option<String>,
    /// How long the message was said to be worth delivering, or the phone to ring, in seconds.
    pub validity: Option<u64>,
    /// Whether it was taken: the person gets it.
    pub taken: bool,
}

/// A message as its protocol told it.
struct Told {
    to: String,
    from: Option<String>,
    text: String,
    reference: Option<String>,
    validity: Option<u64>,
    /// Where news of it is wanted.
    callback: Option<String>,
}

/// How the answers of one kind of provider look.
trait Wire: Sync {
    fn channel(&self) -> Channel;
    /// What a request says, if it is a right one; else what is done about a wrong one.
    fn read(&self, request: &Incoming) -> Result<Told, Mode>;
    /// What the address asks for.
    fn mode_of(&self, to: &str) -> Mode {
        Mode::of_number(to)
    }
    fn taken(&self, id: u64, to: &str) -> Response;
    fn refused(&self, code: &str) -> Response;
    fn failed_within(&self, id: u64, code: &str) -> Response;
    /// What writes its receipts, where the protocol has any.
    fn teller(&self) -> Option<receipts::Teller> {
        None
    }
}

/// A request as it came.
struct Incoming {
    /// What of the path is the protocol's own.
    account: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    now: Timestamp,
}

impl Incoming {
    /// Whether it signs in with this user and password.
    fn is_basic(&self, username: &str, password: &str) -> bool {
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")));
        let given = self.headers.get(AUTHORIZATION);
        given.is_some_and(|given| verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok())
    }

    /// Whether it says that it carries a form.
    fn is_form(&self) -> bool {
        self.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/x-www-form-urlencoded")
    }
}

/// The simulated providers, on one listener.
pub struct Simulator {
    shared: Arc<Shared>,
    addr: SocketAddr,
    server: JoinHandle<()>,
}

struct Shared {
    clock: Clock,
    keep: usize,
    stop: CancellationToken,
    post: receipts::Post,
    streams: streams::Streams,
    state: Mutex<Book>,
}

/// What is remembered.
#[derive(Default)]
struct Book {
    entries: BTreeMap<String, Entry>,
    received: VecDeque<Received>,
    total: u64,
    /// The access tokens that entries gave.
    access: BTreeMap<String, access::Access>,
}

#[derive(Default)]
struct Entry {
    mode: Mode,
    total: u64,
    /// The most that it takes in any second, and when it took the latest.
    limit: Option<usize>,
    recent: VecDeque<Instant>,
}

impl Entry {
    /// Whether one more is within the limit.
    fn admits(&mut self, now: Instant) -> bool {
        let Some(limit) = self.limit else { return true };
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        let admitted = self.recent.len() < limit;
        if admitted {
            self.recent.push_back(now);
        }
        admitted
    }
}

impl Simulator {
    /// Listens and answers until [`Simulator::shutdown`] or until it is dropped.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn start(settings: SimulatorSettings, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let post = receipts::Post::new(clock.clone(), stop.clone());
        let (streams, state) = (streams::Streams::default(), Mutex::default());
        let shared = Arc::new(Shared { clock, keep: settings.keep, stop, post, streams, state });
        let routes = routes().with_state(Arc::clone(&shared)).into_make_service_with_connect_info::<Cord>();
        let stopped = shared.stop.clone().cancelled_owned();
        let serving =
            axum::serve(Connections::new(listener, Arc::clone(&shared)), routes).with_graceful_shutdown(stopped);
        let server = tokio::spawn(async move {
            // It ends only by the shutdown.
            let _ = serving.await;
        });
        Ok(Self { shared, addr, server })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of an entry such as `twilio/primary`.
    #[must_use]
    pub fn base_url(&self, provider: &str) -> String {
        format!("http://{}/{provider}", self.addr)
    }

    /// What an entry does from now on.
    pub fn set_mode(&self, provider: &str, mode: Mode) {
        self.shared.book().entry(provider).mode = mode;
    }

    /// The most requests that an entry takes in any second; beyond them it answers 429.
    pub fn set_rate_limit(&self, provider: &str, per_second: Option<usize>) {
        let mut book = self.shared.book();
        let entry = book.entry(provider);
        entry.limit = per_second;
        entry.recent.clear();
    }

    /// The latest requests, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.book().received.iter().cloned().collect()
    }

    /// How many requests all entries could read, also those no longer kept.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        self.shared.book().total
    }

    /// How many of them came to one entry.
    #[must_use]
    pub fn received_by(&self, provider: &str) -> u64 {
        self.shared.book().entries.get(provider).map_or(0, |entry| entry.total)
    }

    /// Stops listening, lets go of every request that hangs, and waits until the last connection is closed.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if tokio::time::timeout(Duration::from_secs(1), &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Book {
    fn entry(&mut self, provider: &str) -> &mut Entry {
        self.entries.entry(provider.to_owned()).or_default()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks, notes and answers one request.
    async fn serve(&self, wire: &dyn Wire, provider: String, cord: Cord, request: Incoming) -> Response {
        let told = match wire.read(&request) {
            Ok(told) => told,
            Err(wrong) => return self.play(wire, wrong, 0, "", &cord).await,
        };
        let (id, mode) = self.note(wire, provider, &told, request.now);
        if let Some((teller, address)) = wire.teller().zip(told.callback.filter(|_| mode.takes())) {
            self.post.tell(teller, id, &told.to, address).await;
        }
        self.play(wire, mode, id, &told.to, &cord).await
    }

    /// Writes the request down: its number and what is done about it.
    fn note(&self, wire: &dyn Wire, provider: String, told: &Told, now: Timestamp) -> (u64, Mode) {
        let mut book = self.book();
        let entry = book.entry(&provider);
        entry.total += 1;
        let admitted = entry.admits(Clock::instant());
        let mode = match &entry.mode {
            _ if !admitted => Mode::Throttle,
            Mode::Normal => wire.mode_of(&told.to),
            other => other.clone(),
        };
        book.total += 1;
        if book.received.len() >= self.keep {
            book.received.pop_front();
        }
        book.received.push_back(Received {
            at: now,
            provider,
            channel: wire.channel(),
            to: Secret::new(told.to.as_str()),
            from: told.from.clone(),
            text: Secret::new(told.text.as_str()),
            reference: told.reference.clone(),
            validity: told.validity,
            taken: mode.takes(),
        });
        (book.total, mode)
    }

    async fn play(&self, wire: &dyn Wire, mode: Mode, id: u64, to: &str, cord: &Cord) -> Response {
        let retry = [("retry-after", "1")];
        match mode {
            Mode::Normal => wire.taken(id, to),
            Mode::Hang => {
                self.stop.cancelled().await;
                cord.cut()
            }
            Mode::Error(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY).into_response(),
            Mode::Refuse(code) => wire.refused(&code),
            Mode::FailWithin(code) => wire.failed_within(id, &code),
            Mode::Throttle => (StatusCode::TOO_MANY_REQUESTS, retry).into_response(),
            Mode::Busy => (StatusCode::SERVICE_UNAVAILABLE, retry).into_response(),
            Mode::Slow(delay) => tokio::select! {
                () = tokio::time::sleep(delay) => wire.taken(id, to),
                () = self.stop.cancelled() => cord.cut(),
            },
            Mode::Reset | Mode::LoseAnswer => cord.cut(),
            Mode::Garble => (StatusCode::CREATED, "<html>taken</html>").into_response(),
            Mode::Redirect => {
                (StatusCode::TEMPORARY_REDIRECT, [("location", "http://nowhere.invalid/")]).into_response()
            }
        }
    }
}

/// The routes of all kinds of providers.
fn routes() -> Router<Arc<Shared>> {
    let account = "/twilio/{entry}/2010-04-01/Accounts/{account}";
    Router::new()
        .route(&format!("{account}/Messages.json"), serving(&twilio::Messages, "twilio"))
        .route(&format!("{account}/Calls.json"), serving(&twilio::Calls, "twilio"))
        .route("/vonage/{entry}/sms/json", serving(&vonage::Messages, "vonage"))
        .route("/vonage/{entry}/v1/calls", serving(&vonage::Calls, "vonage"))
        .route("/webhook/{entry}", serving(&webhook::Webhook, "webhook"))
        .merge(fcm::routes())
        .merge(huawei::routes())
        .merge(webpush::routes())
        .merge(wns::routes())
}

/// What of a path is the entry's, and what the protocol's own.
#[derive(Deserialize)]
struct Place {
    entry: String,
    account: Option<String>,
}

fn serving(wire: &'static dyn Wire, kind: &'static str) -> MethodRouter<Arc<Shared>> {
    let serve = async move |State(shared): State<Arc<Shared>>,
                            ConnectInfo(cord): ConnectInfo<Cord>,
                            Path(place): Path<Place>,
                            headers: HeaderMap,
                            body: Bytes| {
        let request = Incoming { account: place.account, headers, body, now: shared.clock.now() };
        shared.serve(wire, format!("{kind}/{}", place.entry), cord, request).await
    };
    post(serve)
}

#[cfg(test)]
mod tests;
