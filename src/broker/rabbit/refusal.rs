//! What the broker says no to, in words that tell an operator what to change. Pure.
//!
//! Used by everything that opens a session. Guarantees: an [`OpenError::Final`] can't pass by itself; whatever is not
//! known to be final is tried again.

use lapin::ErrorKind;
use lapin::protocol::AMQPError;

/// Why the start ends: each needs somebody to change something.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum StartError {
    /// The address can't be used.
    #[error("broker.url: {0}")]
    BadUrl(String),
    /// A certificate or key can't be used, or the broker's is not trusted.
    #[error("TLS to the broker: {0}")]
    Tls(String),
    /// Wrong user, password or mechanism.
    #[error("the broker refuses the credentials of broker.url: {0}")]
    Credentials(String),
    /// There is no such virtual host.
    #[error("the broker has no virtual host '{vhost}'; the path of broker.url names it, and '/' is written %2f")]
    VhostMissing {
        /// The virtual host.
        vhost: String,
    },
    /// The user may not use the virtual host.
    #[error("the broker does not let this user use the virtual host '{vhost}'")]
    VhostRefused {
        /// The virtual host.
        vhost: String,
    },
    /// The user lacks a permission.
    #[error("the broker does not allow it: {0}")]
    Forbidden(String),
    /// A queue or exchange exists, but with other settings.
    #[error(
        "'{queue}' exists with another '{argument}': wanted {wanted}, found {found}; \
         delete it, choose another name in broker.names, or set broker.declare = false"
    )]
    Clash {
        /// The queue or exchange.
        queue: String,
        /// Which of its settings.
        argument: String,
        /// What the courier declares.
        wanted: String,
        /// What the broker has.
        found: String,
    },
    /// A queue or exchange is missing, and the courier may not declare it.
    #[error("there is no {kind} '{name}', and broker.declare = false")]
    Missing {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Another worker holds the lock of `ledger.url = "memory:"`.
    #[error(
        "another worker holds the lock queue '{queue}': with ledger.url = \"memory:\" only one may run; \
         stop it, or use a shared ledger"
    )]
    LockHeld {
        /// The lock queue.
        queue: String,
    },
}

/// Why a session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Trying again changes nothing.
    Final(StartError),
    /// Worth trying again.
    Later(String),
}

impl From<StartError> for OpenError {
    fn from(error: StartError) -> Self {
        Self::Final(error)
    }
}

impl From<lapin::Error> for OpenError {
    fn from(error: lapin::Error) -> Self {
        Self::Later(error.to_string())
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Final(error) => error.fmt(f),
            Self::Later(why) => f.write_str(why),
        }
    }
}

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The broker's own words, where it said something.
fn said(error: &lapin::Error) -> Option<(u16, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(code_and_text(said)),
        _ => None,
    }
}

fn code_and_text(error: &AMQPError) -> (u16, &str) {
    (error.get_id(), error.get_message().as_str())
}

/// Judges an error while connecting.
pub(super) fn opening(error: &lapin::Error, vhost: &str) -> OpenError {
    if let Some(why) = tls_fault(error) {
        return StartError::Tls(why).into();
    }
    match said(error) {
        Some((code, text)) => refused_opening(code, text, vhost),
        None => OpenError::Later(error.to_string()),
    }
}

fn refused_opening(code: u16, text: &str, vhost: &str) -> OpenError {
    let vhost = vhost.to_owned();
    match code {
        ACCESS_REFUSED => StartError::Credentials(text.to_owned()).into(),
        // A virtual host that is still starting is refused in the same words, with a remark at the end.
        NOT_ALLOWED if text.contains("is down") || text.contains("limit") => OpenError::Later(text.to_owned()),
        NOT_ALLOWED if text.contains("not found") => StartError::VhostMissing { vhost }.into(),
        NOT_ALLOWED => StartError::VhostRefused { vhost }.into(),
        _ => OpenError::Later(text.to_owned()),
    }
}

/// What rustls found wrong: certificates, alerts, or no TLS there at all.
fn tls_fault(error: &lapin::Error) -> Option<String> {
    let ErrorKind::IOError(io) = error.kind() else { return None };
    let mut cause = io.get_ref().map(|cause| cause as &(dyn std::error::Error + 'static));
    while let Some(here) = cause {
        if let Some(fault) = here.downcast_ref::<rustls::Error>() {
            return Some(fault.to_string());
        }
        cause = here
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map_or(here.source(), |inner| Some(inner as &(dyn std::error::Error + 'static)));
    }
    None
}

/// Judges an error while declaring or checking `name`, a `kind` of thing.
pub(super) fn declaring(error: &lapin::Error, kind: &'static str, name: &str) -> OpenError {
    match said(error) {
        Some((code, text)) => refused_declaring(code, text, kind, name),
        None => OpenError::Later(format!("{kind} '{name}': {error}")),
    }
}

fn refused_declaring(code: u16, text: &str, kind: &'static str, name: &str) -> OpenError {
    match code {
        // Text of a queue that has lost its leader, not its declaration: "... is down or inaccessible".
        NOT_FOUND if text.contains("down") => OpenError::Later(text.to_owned()),
        NOT_FOUND => StartError::Missing { kind, name: name.to_owned() }.into(),
        PRECONDITION_FAILED => clash(text, name).into(),
        ACCESS_REFUSED => StartError::Forbidden(text.to_owned()).into(),
        RESOURCE_LOCKED => StartError::Clash {
            queue: name.to_owned(),
            argument: "exclusive".into(),
            wanted: "false".into(),
            found: "true".into(),
        }
        .into(),
        _ => OpenError::Later(format!("{kind} '{name}': {text}")),
    }
}

/// Whether the broker said that another connection has an exclusive queue.
pub(super) fn is_locked(error: &lapin::Error) -> bool {
    said(error).is_some_and(|(code, _)| code == RESOURCE_LOCKED)
}

/// Reads the broker's complaint about another declaration.
fn clash(text: &str, name: &str) -> StartError {
    let found = |from: &str, until: &str| {
        let (_, rest) = text.split_once(from)?;
        let end = if until.is_empty() { rest.len() } else { rest.find(until)? };
        Some(rest[..end].trim().trim_start_matches("the value ").to_owned())
    };
    let argument = found("inequivalent arg '", "'");
    let wanted = found("received ", " but current is");
    let current = found("but current is ", "");
    match (argument, wanted, current) {
        (Some(argument), Some(wanted), Some(found)) => {
            StartError::Clash { queue: name.to_owned(), argument, wanted: plain(&wanted), found: plain(&found) }
        }
        _ => StartError::Clash {
            queue: name.to_owned(),
            argument: "declaration".into(),
            wanted: "the courier's".into(),
            found: text.to_owned(),
        },
    }
}

/// `'classic' of type 'longstr'` is `'classic'` to people.
fn plain(value: &str) -> String {
    value.split(" of type ").next().unwrap_or(value).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clashing(text: &str) -> (String, String, String) {
        let StartError::Clash { argument, wanted, found, .. } = clash(text, "q") else { unreachable!() };
        (argument, wanted, found)
    }

    #[test]
    fn clashes_are_read_from_the_brokers_words() {
        let arg = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            clashing(
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost 'v': received the value \
                 'quorum' of type 'longstr' but current is the value 'classic' of type 'longstr'"
            ),
            arg("x-queue-type", "'quorum'", "'classic'")
        );
        assert_eq!(
            clashing(
                "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the \
                 value '100' of type 'signedint' but current is none"
            ),
            arg("x-delivery-limit", "'100'", "none")
        );
        assert_eq!(
            clashing(
                "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'q' in vhost '/': received 'true' but \
                 current is 'false'"
            ),
            arg("durable", "'true'", "'false'")
        );
        assert_eq!(clashing("PRECONDITION_FAILED - something new").2, "PRECONDITION_FAILED - something new");
    }

    #[test]
    fn a_start_ends_only_for_what_cannot_pass() {
        let opening = |code, text| refused_opening(code, text, "v");
        assert!(matches!(
            opening(403, "ACCESS_REFUSED - Login was refused"),
            OpenError::Final(StartError::Credentials(_))
        ));
        assert_eq!(
            opening(530, "NOT_ALLOWED - vhost v not found"),
            OpenError::Final(StartError::VhostMissing { vhost: "v".into() })
        );
        assert_eq!(
            opening(530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'"),
            OpenError::Final(StartError::VhostRefused { vhost: "v".into() })
        );
        assert!(matches!(
            opening(530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u': vhost 'v' is down"),
            OpenError::Later(_)
        ));
        assert!(matches!(opening(320, "CONNECTION_FORCED - broker forced shutdown"), OpenError::Later(_)));
        assert!(matches!(refused_declaring(541, "INTERNAL_ERROR", "queue", "q"), OpenError::Later(_)));
        assert!(matches!(
            refused_declaring(404, "NOT_FOUND - home node 'a' of durable queue 'q' is down", "queue", "q"),
            OpenError::Later(_)
        ));
    }
}
