//! What operators see of a running worker: logs here, figures in [`metrics`].
//!
//! Logs go to stderr and never stop the worker: when nobody reads them any more they are lost, and
//! challenges keep going. Secrets are kept out by their types, not by filters.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

pub mod metrics;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, else for programs.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    /// The words of `log_format`.
    pub const WORDS: [(&'static str, Self); 3] = [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What was asked for means nothing.
    #[error("{0:?} is not what to log: levels, or levels by module such as \"info,lapin=warn\"")]
    Filter(String),
    /// Logging was set up before.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Whether `text` says what to log. A lone word must be a level: any other would silence everything.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let sensible = |directive: &str| {
        directive.contains(['=', '[']) || LEVELS.iter().any(|level| directive.eq_ignore_ascii_case(level))
    };
    text.split(',').all(sensible) && EnvFilter::try_new(text).is_ok()
}

/// Starts logging for the whole process. `rust_log`, the variable `RUST_LOG`, goes before `log`.
///
/// # Errors
/// When `rust_log` or `log` means nothing, or when called twice.
pub fn start_logging(log: &str, rust_log: Option<&str>, format: LogFormat) -> Result<(), LogError> {
    let chosen = rust_log.filter(|text| !text.is_empty()).unwrap_or(log);
    let on_terminal = io::stderr().is_terminal();
    let subscriber = subscriber(chosen, format, on_terminal, || Tireless(io::stderr()))?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)
}

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    on_terminal: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|_| LogError::Filter(filter.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    let text = match format {
        LogFormat::Auto => on_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    Ok(if text {
        Box::new(builder.compact().with_ansi(on_terminal).finish())
    } else {
        Box::new(builder.json().flatten_event(true).with_span_list(false).finish())
    })
}

/// A writer that never fails: what can't be written is dropped.
struct Tireless<W>(W);

impl<W: Write> Write for Tireless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let shared = Shared::default();
        let writer = shared.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).expect("a filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(provider = "twilio", "accepted");
            tracing::debug!("not shown");
        });
        String::from_utf8(shared.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }

    #[test]
    fn programs_get_json_and_people_get_lines() {
        let json: serde_json::Value = serde_json::from_str(&logged("info", LogFormat::Auto)).expect("one object");
        assert_eq!((json["message"].as_str(), json["provider"].as_str()), (Some("accepted"), Some("twilio")));
        assert_eq!(json["level"], "INFO");
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("INFO") && text.ends_with("accepted provider=\"twilio\"\n"), "{text}");
        assert_eq!(logged("off", LogFormat::Text), "");
    }

    /// Hostile input 114.
    #[test]
    fn a_closed_pipe_stops_nothing() {
        let subscriber = subscriber("info", LogFormat::Json, false, || Tireless(Closed)).expect("a filter");
        tracing::subscriber::with_default(subscriber, || tracing::info!("into the void"));
        assert_eq!(Tireless(Closed).write(b"abc").expect("never fails"), 3);
    }

    #[test]
    fn a_slip_is_not_a_filter() {
        for good in ["info", "INFO", "off", "info,lapin=warn", "mfa_courier=debug"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "inof", "verbose", "info,", "lapin=loud", "info;warn", "warn, hyper=off"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
