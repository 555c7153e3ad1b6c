//! The ledger of any number of workers: Redis or Valkey, one server or one that replicas stand by for.
//!
//! One hash for each challenge, one for each of the fleet's [`lanes`], changed by scripts alone, which Redis runs whole; each goes with its time to live.
//! [`link`] keeps the connection, [`stored`] says what a record is as bytes. Guarantees: every wait is bounded;
//! content that was lost, or that an older copy took the place of, is noticed by the next thing asked of it, and
//! begins a new [`Ledger::epoch`], in which nothing of the older one is seen.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Client, ClientTlsConfig, ErrorKind, RedisError, Script, ServerErrorKind, TlsCertificates};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::life::Life;
use self::link::{Link, LinkError};
use self::scripts::Scripts;
use self::stored::Fields;
use super::outcomes::{About, Found, Published};
use super::{Appended, Entry, Expected, Ledger, LedgerError, Record, Written, says_something_new};
use crate::challenge::{ChallengeId, Handle};
use crate::clock::{Clock, Dice, Timestamp, Waiting};
use crate::delivery::Fact;
use crate::delivery::version::Version;
use crate::guard::quota::{LaneKey, LaneLimit};
use crate::seal::Seal;
use crate::secret::Secret;

mod lanes;
mod life;
mod link;
mod outcomes;
mod scripts;
mod stored;

/// How often an operation is tried that others come before.
const TURNS: u32 = 20;
/// How often the connection is tried while nothing else speaks for it.
const BEAT: Duration = Duration::from_secs(1);
/// The first and the longest wait before a connection is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Where the ledger is.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`. Holds the password.
    pub url: Secret,
    /// What all keys begin with: two fleets on one Redis have two.
    pub prefix: String,
    /// What seals the content of records.
    pub seal: Arc<Seal>,
    /// For `rediss://`.
    pub tls: Tls,
}

/// Files in PEM for a connection with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The courier's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn certificates(&self) -> Result<TlsCertificates, RedisStartError> {
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| RedisStartError(format!("{}: {error}", file.display())))
        };
        let identity = self.identity.as_ref();
        let client_tls = identity
            .map(|(cert, key)| Ok(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }))
            .transpose()?;
        Ok(TlsCertificates { client_tls, root_cert: self.ca_file.as_ref().map(read).transpose()? })
    }
}

impl RedisSettings {
    /// Whether this is the address of a Redis on the network.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        ["redis://", "rediss://"].iter().any(|scheme| text.starts_with(scheme)) && Client::open(text).is_ok()
    }
}

/// Redis can't be a ledger as it is; waiting does not help.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the ledger in Redis: {0}")]
pub struct RedisStartError(String);

/// A ledger in Redis.
pub struct RedisLedger {
    inner: Arc<Inner>,
    _keeper: AbortOnDropHandle<()>,
}

struct Inner {
    link: Link,
    prefix: String,
    seal: Arc<Seal>,
    scripts: Scripts,
    life: Mutex<Life>,
    heard: lanes::Heard,
    clock: Clock,
    dice: Mutex<Dice>,
}

impl RedisLedger {
    /// Connects, however long Redis takes to come, and keeps the connection.
    ///
    /// # Errors
    /// Where Redis is there and can't be a ledger.
    pub async fn connect(settings: &RedisSettings, clock: Clock, dice: Dice) -> Result<Self, RedisStartError> {
        let inner = Inner::new(settings, clock, dice)?;
        let (mut wait, mut waiting) = (FIRST_WAIT, Waiting::begin());
        loop {
            match inner.reconnect().await {
                Ok(()) => break,
                Err(LinkError::Refused(why)) => return Err(RedisStartError(why)),
                Err(LinkError::Unreachable(why)) => {
                    if let Some(waited_s) = waiting.due() {
                        tracing::warn!(why, waited_s, "the ledger can't be reached; trying on");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        let inner = Arc::new(inner);
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&inner))));
        Ok(Self { inner, _keeper: keeper })
    }

    /// Tries once whether Redis is there and can be a ledger; stores nothing but the ledger's life.
    ///
    /// # Errors
    /// Why not.
    pub async fn try_out(settings: &RedisSettings, clock: Clock, dice: Dice) -> Result<(), RedisStartError> {
        Inner::new(settings, clock, dice)?.reconnect().await.map_err(|error| RedisStartError(error.into_why()))
    }

    /// Why it can't be used now, whenever that changes; `None` while it can.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Option<String>> {
        self.inner.link.state()
    }
}

/// Watches the connection, and makes it again.
async fn keep(inner: Arc<Inner>) {
    loop {
        let _either = tokio::time::timeout(BEAT, inner.link.suspected()).await;
        let Err(why) = inner.beat().await else { continue };
        tracing::warn!(why, "the ledger is lost; connecting again");
        inner.link.down(why);
        let mut wait = FIRST_WAIT;
        while let Err(error) = inner.reconnect().await {
            inner.link.down(error.into_why());
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        tracing::info!("the ledger is there again");
    }
}

/// What a script is about.
#[derive(Clone, Copy)]
enum Subject<'s> {
    Record(&'s ChallengeId),
    Handle(Handle),
    /// One or two of them.
    Lanes(&'s [LaneLimit]),
    /// Several of other kinds.
    Named(&'s [Name]),
}

/// A key of another kind: which, and its name among them.
type Name = (&'static str, String);

impl Subject<'_> {
    /// Its key, and for a record where that goes when it can't be read. No id is taken for another kind: what stands
    /// before it is no epoch.
    fn keys(self, prefix: &str, epoch: &str) -> Vec<String> {
        match self {
            Self::Record(id) => vec![format!("{prefix}{epoch}:{id}"), format!("{prefix}unreadable:{epoch}:{id}")],
            Self::Handle(handle) => {
                vec![format!("{prefix}handle:{epoch}:{}", BASE64_URL_SAFE_NO_PAD.encode(handle.0))]
            }
            Self::Lanes(lanes) => lanes.iter().map(|lane| lane_key(prefix, epoch, &lane.key)).collect(),
            Self::Named(names) => names.iter().map(|(kind, name)| format!("{prefix}{kind}:{epoch}:{name}")).collect(),
        }
    }
}

/// No two lanes have one key, whatever is in the names of providers and senders.
fn lane_key(prefix: &str, epoch: &str, LaneKey { provider, channel, sender }: &LaneKey) -> String {
    let sender = sender.as_ref().map(|sender| format!(":{sender}")).unwrap_or_default();
    format!("{prefix}lane:{epoch}:{channel}:{}:{provider}{sender}", provider.len())
}

/// A script's answer: a word, the number of writes so far, a record's fields.
type Answer = (String, u64, Fields);

impl Inner {
    fn new(settings: &RedisSettings, clock: Clock, dice: Dice) -> Result<Self, RedisStartError> {
        // TLS without a provider panics; whoever set one before is right.
        let _set = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = if settings.url.expose().starts_with("rediss:") {
            Client::build_with_tls(settings.url.expose(), settings.tls.certificates()?)
        } else {
            Client::open(settings.url.expose())
        };
        let client = client.map_err(|error| RedisStartError(error.to_string()))?;
        Ok(Self {
            link: Link::new(client),
            prefix: settings.prefix.clone(),
            seal: Arc::clone(&settings.seal),
            scripts: Scripts::new(),
            life: Mutex::default(),
            heard: lanes::Heard::default(),
            clock,
            dice: Mutex::new(dice),
        })
    }

    async fn reconnect(&self) -> Result<(), LinkError> {
        let connection = self.link.open().await?;
        self.take_part(connection.clone()).await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
        self.link.up(connection);
        Ok(())
    }

    async fn beat(&self) -> Result<(), String> {
        let connection = self.link.connection()?;
        self.take_part(connection).await.map_err(|error| error.to_string())
    }

    /// Takes part in the life of the store, or begins a new one where this one's content is gone.
    async fn take_part(&self, mut connection: ::redis::aio::MultiplexedConnection) -> Result<(), RedisError> {
        let known = self.life();
        let chance = self.dice.lock().unwrap_or_else(PoisonError::into_inner).number();
        let fresh = known.following(self.clock.now(), chance);
        let mut asking = self.scripts.begin.key(self.life_key());
        let asking = asking.arg(known.epoch_text()).arg(known.writes).arg(fresh);
        let (epoch, writes): (String, u64) = asking.invoke_async(&mut connection).await?;
        let found = Life::read(&epoch, writes)
            .ok_or_else(|| RedisError::from((ErrorKind::Parse, "the life of the ledger can't be read", epoch)))?;
        if known.is_known() && found.epoch != known.epoch {
            tracing::error!("the ledger was emptied, or an older copy took its place: what it knew is lost");
        }
        self.life.lock().unwrap_or_else(PoisonError::into_inner).see(found);
        Ok(())
    }

    fn life(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life_key(&self) -> String {
        format!("{}life", self.prefix)
    }

    /// Runs a script on something, in whichever life the ledger turns out to be.
    async fn ask(
        &self,
        script: &Script,
        subject: Subject<'_>,
        arguments: &[&[u8]],
    ) -> Result<(String, Fields), LedgerError> {
        for _ in 0..TURNS {
            let mut connection = self.link.connection().map_err(LedgerError)?;
            let life = self.life();
            let epoch = life.epoch_text();
            let mut asking = script.key(self.life_key());
            for key in subject.keys(&self.prefix, &epoch) {
                asking.key(key);
            }
            asking.arg(epoch).arg(life.writes);
            for argument in arguments {
                asking.arg(argument);
            }
            let answer: Result<Answer, RedisError> = asking.invoke_async(&mut connection).await;
            let (word, writes, fields) = answer.map_err(|error| self.failed(&error))?;
            if word != "life" {
                self.life.lock().unwrap_or_else(PoisonError::into_inner).see(Life { writes, ..life });
                return Ok((word, fields));
            }
            self.take_part(connection).await.map_err(|error| self.failed(&error))?;
        }
        Err(LedgerError("its life changes too fast".to_owned()))
    }

    /// What can't be answered on this connection may be on the next.
    fn failed(&self, error: &RedisError) -> LedgerError {
        let lasting = error.is_io_error() || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly));
        if lasting {
            self.link.suspect();
        }
        LedgerError(error.to_string())
    }

    /// The record of these fields. What can't be read counts as lost: it is moved out of the way, and kept.
    async fn record(&self, id: &ChallengeId, fields: &Fields) -> Result<Option<Record>, LedgerError> {
        let Ok(record) = stored::record(id, fields, &self.seal) else {
            tracing::error!(challenge.id = %id, "a record can't be read; it is set aside, and counts as lost");
            let state = fields.get("v").map(Vec::as_slice).unwrap_or_default();
            self.ask(&self.scripts.set_aside, Subject::Record(id), &[state, stored::facts_count(fields)]).await?;
            return Ok(None);
        };
        Ok(record)
    }

    /// How long from now, in milliseconds and as text; at least one.
    fn keep_for(&self, until: Timestamp) -> Vec<u8> {
        until.since(self.clock.now()).as_millis().max(1).to_string().into_bytes()
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn read(&self, id: &ChallengeId) -> Result<Option<Record>, LedgerError> {
        let (_, fields) = self.inner.ask(&self.inner.scripts.read, Subject::Record(id), &[]).await?;
        self.inner.record(id, &fields).await
    }

    async fn write(&self, id: &ChallengeId, expected: Expected, entry: Entry) -> Result<Written, LedgerError> {
        let body = stored::body(id, &entry, &self.inner.seal)
            .ok_or_else(|| LedgerError("nothing that can be stored".to_owned()))?;
        let (held, facts) = (stored::state(expected.version), expected.facts.to_string());
        let (next, keep_for) = (stored::state(Some(entry.version)), self.inner.keep_for(entry.keep_until));
        let arguments = [held.as_bytes(), facts.as_bytes(), next.as_bytes(), &body, &keep_for];
        let (word, fields) = self.inner.ask(&self.inner.scripts.write, Subject::Record(id), &arguments).await?;
        if word == "done" {
            return Ok(Written::Done);
        }
        Ok(Written::Lost(self.inner.record(id, &fields).await?))
    }

    async fn append(&self, id: &ChallengeId, fact: Fact, keep_until: Timestamp) -> Result<Appended, LedgerError> {
        let keep_for = self.inner.keep_for(keep_until);
        let mut record = self.read(id).await?;
        for _ in 0..TURNS {
            let known = record.as_ref().map(|record| Arc::clone(&record.facts)).unwrap_or_default();
            if let Some(record) = record.filter(|_| !says_something_new(&known, &fact)) {
                return Ok(Appended { record, is_new: false });
            }
            let text = stored::fact(id, known.len() + 1, &fact, &self.inner.seal);
            let text = text.ok_or_else(|| LedgerError("a fact that can't be stored".to_owned()))?;
            let facts = known.len().to_string();
            let (word, fields) = self
                .inner
                .ask(&self.inner.scripts.append, Subject::Record(id), &[facts.as_bytes(), &text, &keep_for])
                .await?;
            record = self.inner.record(id, &fields).await?;
            if let Some(record) = record.take_if(|_| word == "done") {
                return Ok(Appended { record, is_new: true });
            }
        }
        Err(LedgerError("too many facts of one challenge at once".to_owned()))
    }

    async fn mark_published(&self, id: &ChallengeId, version: Version) -> Result<(), LedgerError> {
        let state = stored::state(Some(version));
        self.inner.ask(&self.inner.scripts.mark, Subject::Record(id), &[state.as_bytes()]).await.map(drop)
    }

    async fn remember(&self, handle: Handle, id: &ChallengeId, keep_until: Timestamp) -> Result<(), LedgerError> {
        let keep_for = self.inner.keep_for(keep_until);
        let arguments = [id.as_str().as_bytes(), &keep_for];
        self.inner.ask(&self.inner.scripts.remember, Subject::Handle(handle), &arguments).await.map(drop)
    }

    async fn find(&self, handle: Handle) -> Result<Option<ChallengeId>, LedgerError> {
        let (_, fields) = self.inner.ask(&self.inner.scripts.find, Subject::Handle(handle), &[]).await?;
        let id = fields.get("id").and_then(|id| std::str::from_utf8(id).ok());
        Ok(id.and_then(ChallengeId::parse))
    }

    async fn record_outcomes(&self, published: &[Published], keep_until: Timestamp) -> Result<(), LedgerError> {
        self.inner.record_outcomes(published, keep_until).await
    }

    async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError> {
        self.inner.outcomes(about, most).await
    }

    fn epoch(&self) -> u64 {
        self.inner.life().epoch
    }
}
