//! The one way a session ends: the first fault that anybody notices is its last.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Shared by everything that belongs to one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    gone: CancellationToken,
    why: Arc<OnceLock<String>>,
}

impl Fault {
    /// Ends the session. Only the first reason counts.
    pub(super) fn raise(&self, why: impl Into<String>) {
        let _later = self.why.set(why.into());
        self.gone.cancel();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits for the end of the session.
    pub(super) async fn raised(&self) {
        self.gone.cancelled().await;
    }

    /// Why the session ended.
    pub(super) fn why(&self) -> &str {
        self.why.get().map_or("it was closed", String::as_str)
    }
}
