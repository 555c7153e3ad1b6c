//! `mfa-courier tail`: follows outcomes live, as a table or one a line as JSON, until Ctrl-C.
//!
//! [`table`] lays out what a person sees. Guarantees: nothing that upstream or a provider wrote does anything to the
//! terminal; what can't be begun ends it, and a broker that is lost later is connected to again, however long that takes; a
//! reader that stops reading or goes away holds nothing up.

use std::io::Write as _;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::table::{Table, ascii_json};
use super::Failure;
use crate::broker::rabbit::{Heard, OutcomeListener, RabbitSettings, UpstreamError};
use crate::broker::wire::form;
use crate::config::Settings;
use crate::delivery::outcome::{Outcome, Status};

mod table;

/// The first and the longest wait before a lost broker is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How many lines wait for a terminal that is slow; then the broker keeps them.
const LINES_AHEAD: usize = 256;
/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only these; several with a comma between them.
    #[arg(long, value_delimiter = ',', value_parser = Status::ALL.map(Status::as_str))]
    status: Vec<String>,
    /// Only on these channels; `none` is before one was chosen.
    #[arg(long, value_delimiter = ',', value_parser = ["sms", "voice", "push", "none"])]
    channel: Vec<String>,
    /// Only those that this provider had an attempt in.
    #[arg(long)]
    provider: Option<String>,
    /// Only this session's.
    #[arg(long, value_name = "SESSION_ID")]
    session: Option<String>,
    /// One outcome a line, as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What the broker is asked for; it filters by status and channel itself.
    fn bindings(&self) -> Vec<String> {
        let any = ["*".to_owned()];
        let of = |words: &[String]| if words.is_empty() { any.to_vec() } else { words.to_vec() };
        let (statuses, channels) = (of(&self.status), of(&self.channel));
        let key = |status: &String, channel: &String| format!("outcome.{status}.{channel}.*");
        statuses.iter().flat_map(|status| channels.iter().map(move |channel| key(status, channel))).collect()
    }

    fn wants(&self, outcome: &Outcome) -> bool {
        let by = |name: &String| {
            outcome.provider.as_ref() == Some(name) || outcome.attempts.iter().any(|one| one.provider == *name)
        };
        self.tenant.as_ref().is_none_or(|tenant| outcome.tenant == *tenant)
            && self.session.as_ref().is_none_or(|session| outcome.session_id.as_ref() == Some(session))
            && self.provider.as_ref().is_none_or(by)
    }
}

pub(super) async fn tail(args: &Args, settings: &Settings) -> Result<(), Failure> {
    super::log("warn", settings.log_format)?;
    let stop = CancellationToken::new();
    crate::boot::stop_on_signals(stop.clone())?;
    let (lines, waiting) = mpsc::channel(LINES_AHEAD);
    // Apart from the runtime: a terminal that is held can't be waited for and stopped at once.
    let printing = tokio::task::spawn_blocking(move || print(waiting));
    let rabbit = crate::boot::rabbit_settings(settings);
    let table = (!args.json).then(Table::default);
    let mut following = Following { args, lines, table };
    let ended = following.follow(&rabbit, &stop).await;
    drop(following);
    let _late = tokio::time::timeout(PATIENCE, printing).await;
    ended
}

/// Writes lines until there are no more, or nobody reads them.
fn print(mut lines: mpsc::Receiver<String>) {
    let mut stdout = std::io::stdout().lock();
    while let Some(line) = lines.blocking_recv() {
        if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            return;
        }
    }
}

/// Why following ends.
enum End {
    /// It was asked to, or nobody reads any more.
    Asked,
    /// The connection is gone.
    Lost,
}

struct Following<'a> {
    args: &'a Args,
    lines: mpsc::Sender<String>,
    table: Option<Table>,
}

impl Following<'_> {
    async fn follow(&mut self, rabbit: &RabbitSettings, stop: &CancellationToken) -> Result<(), Failure> {
        let bindings = self.args.bindings();
        let connect = || OutcomeListener::connect(rabbit, &bindings);
        let Some(connected) = stop.run_until_cancelled(connect()).await else { return Ok(()) };
        let mut listener = connected.map_err(|error| unreachable_broker(&error))?;
        loop {
            let end = self.hear(&mut listener, stop).await;
            listener.close().await;
            if matches!(end, End::Asked) {
                return Ok(());
            }
            eprintln!("mfa-courier: the connection to the broker is gone; connecting again");
            let Some(again) = stop.run_until_cancelled(reconnect(&connect)).await else { return Ok(()) };
            listener = again;
            eprintln!("mfa-courier: connected again; what was published meanwhile is not shown");
        }
    }

    async fn hear(&mut self, listener: &mut OutcomeListener, stop: &CancellationToken) -> End {
        loop {
            let heard = match stop.run_until_cancelled(listener.next()).await {
                Some(Some(heard)) => heard,
                Some(None) => return End::Lost,
                None => return End::Asked,
            };
            let Some(line) = self.line(&heard) else { continue };
            if !matches!(stop.run_until_cancelled(self.lines.send(line)).await, Some(Ok(()))) {
                return End::Asked;
            }
        }
    }

    /// What is shown of it, if anything.
    fn line(&mut self, heard: &Heard) -> Option<String> {
        let content_type = heard.content_type.as_deref();
        let Some(outcome) = form::outcome(content_type, &heard.body) else {
            eprintln!("mfa-courier: an outcome came that this version can't read");
            return None;
        };
        if !self.args.wants(&outcome) {
            return None;
        }
        match &mut self.table {
            Some(table) => Some(table.row(&outcome, table::width())),
            None => Some(ascii_json(&form::contract_body(content_type, &heard.body)?)),
        }
    }
}

/// Connects again, however long that takes.
async fn reconnect<F>(connect: &impl Fn() -> F) -> OutcomeListener
where
    F: Future<Output = Result<OutcomeListener, UpstreamError>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        match connect().await {
            Ok(listener) => return listener,
            // What was there when it began comes again, the outcomes exchange included.
            Err(error @ UpstreamError::Start(_)) => tracing::warn!(%error, "the broker refuses; trying again"),
            Err(error) => tracing::debug!(%error, "the broker can't be reached; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Why it did not begin, and what to do.
fn unreachable_broker(error: &UpstreamError) -> Failure {
    use crate::broker::rabbit::StartError;
    Failure::Service(match error {
        UpstreamError::Start(StartError::Missing { name, .. }) => format!(
            "the broker has no exchange '{name}': start a worker on it once, or name the right one in \
             broker.names.outcomes_exchange"
        ),
        UpstreamError::Start(error) => error.to_string(),
        error => format!("{error}; check that RabbitMQ runs and that broker.url is its address"),
    })
}
