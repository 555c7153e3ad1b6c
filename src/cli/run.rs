//! `mfa-courier run`: the worker.

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::boot;
use crate::clock::Clock;
use crate::config::Settings;

pub(super) async fn run(settings: &Settings) -> Result<(), Failure> {
    super::log(&settings.log, settings.log_format)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if settings.providers.is_empty() {
        tracing::warn!("no provider is configured: every challenge will be rejected with no_route");
    }
    if !settings.ledger.seal.is_on() {
        tracing::warn!(
            "what is parked, quarantined or stored in Redis holds codes in clear: set ledger.encryption_key"
        );
    }
    let stop = CancellationToken::new();
    boot::stop_on_signals(stop.clone())?;
    Ok(boot::run(settings, Clock::system(), stop).await?)
}
