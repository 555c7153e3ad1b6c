//! The [`Outbox`] of RabbitMQ: addresses publications for the [`Wire`] of the session of the moment.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::wire::{Address, Wire, unavailable};
use crate::broker::{LinkState, Names, Outbox, Publication, PublishError, Route};

/// How long a publication waits for a session.
const SESSION_WITHIN: Duration = Duration::from_secs(5);
/// What a short string of AMQP holds, in bytes.
const LONGEST_KEY: usize = 255;

/// Publishes over whichever session there is.
pub(super) struct RabbitOutbox {
    pub(super) names: Names,
    pub(super) state: watch::Receiver<LinkState>,
    pub(super) wire: watch::Receiver<Option<Arc<Wire>>>,
    pub(super) close: CancellationToken,
    pub(super) keeper: TaskTracker,
    pub(super) _alive: Arc<DropGuard>,
}

#[async_trait]
impl Outbox for RabbitOutbox {
    async fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        let address = self.address(&publication.route)?;
        let wire = self.wire().await?;
        if !matches!(publication.route, Route::Reply(_)) {
            return wire.publish(address, publication).await;
        }
        wire.reply(address, publication).await
    }

    async fn close(&self) {
        self.close.cancel();
        self.keeper.wait().await;
    }
}

impl RabbitOutbox {
    /// The session's wire, once it takes publications.
    async fn wire(&self) -> Result<Arc<Wire>, PublishError> {
        let mut state = self.state.clone();
        let open = state.wait_for(|state| matches!(state, LinkState::Ready | LinkState::Failed(_)));
        let why = match tokio::time::timeout(SESSION_WITHIN, open).await {
            Ok(Ok(state)) => match &*state {
                LinkState::Failed(why) => why.clone(),
                _ => "the session just ended".to_owned(),
            },
            Ok(Err(_)) => "the connection was closed".to_owned(),
            Err(_) => match &*self.state.borrow() {
                LinkState::Blocked(why) => format!("the broker takes no publications: {why}"),
                _ => "there is no connection".to_owned(),
            },
        };
        self.wire.borrow().clone().filter(|_| *self.state.borrow() == LinkState::Ready).ok_or_else(|| unavailable(&why))
    }

    fn address<'p>(&'p self, route: &'p Route) -> Result<Address<'p>, PublishError> {
        let names = &self.names;
        let queue = |name: Cow<'p, str>| Address { exchange: "", routing_key: name };
        let address = match route {
            Route::Outcome(key) => Address { exchange: &names.outcomes_exchange, routing_key: key.into() },
            Route::Challenge(key) => Address { exchange: &names.challenges_exchange, routing_key: key.into() },
            Route::Delay(level) => queue(names.delay_queue(*level).into()),
            Route::Followups => queue((&names.followups).into()),
            Route::Signals => queue((&names.signals).into()),
            Route::Quarantine => queue((&names.quarantine).into()),
            Route::Reply(own) if names.is_own(own) => return Err(PublishError::Refused),
            Route::Reply(theirs) => queue(theirs.into()),
        };
        // No queue can have such a name: it is not even tried.
        if address.routing_key.len() > LONGEST_KEY { Err(PublishError::Unroutable) } else { Ok(address) }
    }
}
