//! The [`Outbox`] of RabbitMQ: turns publications into letters for the [`Wire`] of the session of the moment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::types::ShortString;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::properties;
use super::wire::{Letter, Wire, unavailable};
use crate::broker::{LinkState, Names, Outbox, Publication, PublishError, Route};

/// How long a publication waits for a session.
const SESSION_WITHIN: Duration = Duration::from_secs(5);

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
    async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let is_reply = matches!(publication.route, Route::Reply(_));
        let letter = self.letter(publication)?;
        let wire = self.wire().await?;
        if !is_reply {
            return wire.publish(letter).await;
        }
        let outcome = wire.reply(letter).await;
        if matches!(outcome, Err(PublishError::Unroutable)) {
            metrics::counter!("courier_replies_unroutable_total").increment(1);
        }
        outcome
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

    fn letter(&self, publication: Publication) -> Result<Letter, PublishError> {
        let Publication { route, properties, body, expiration } = publication;
        let (exchange, routing_key) = self.destination(route)?;
        let short = |text: String| ShortString::try_new(text).map_err(|_| PublishError::Unroutable);
        Ok(Letter {
            exchange: short(exchange)?,
            routing_key: short(routing_key)?,
            message_id: properties::message_id(&properties).map(str::to_owned),
            properties: properties::outbound(&properties, expiration),
            body,
        })
    }

    fn destination(&self, route: Route) -> Result<(String, String), PublishError> {
        let names = &self.names;
        let queue = |name: String| (String::new(), name);
        Ok(match route {
            Route::Outcome(key) => (names.outcomes_exchange.clone(), key),
            Route::Challenge(key) => (names.challenges_exchange.clone(), key),
            Route::Delay(level) => queue(names.delay_queue(level)),
            Route::Followups => queue(names.followups.clone()),
            Route::Signals => queue(names.signals.clone()),
            Route::Quarantine => queue(names.quarantine.clone()),
            Route::Reply(own) if names.is_own(&own) => return Err(PublishError::Refused),
            Route::Reply(theirs) => queue(theirs),
        })
    }
}
