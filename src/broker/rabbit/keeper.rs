//! Keeps a session alive: waits for its end, builds the next, and says how things are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::refusal::{OpenError, StartError};
use super::session::{Ends, Plan, Session};
use super::wire::Wire;
use crate::broker::LinkState;
use crate::clock::{Clock, Dice, Waiting};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Half of the two seconds within which a broker that is back has to be used again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A session that lasted this long was a good one: the next is tried at once.
const GOOD: Duration = Duration::from_secs(10);

/// Pauses that double and are drawn from their upper half.
pub(super) struct Pauses {
    next: Duration,
    dice: Dice,
}

impl Pauses {
    pub(super) fn new(dice: Dice) -> Self {
        Self { next: FIRST_PAUSE, dice }
    }

    fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    fn draw(&mut self) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        half + self.dice.up_to(half)
    }
}

/// Opens the first session: waits for a broker that can't be reached, and ends for what can't pass.
pub(super) async fn first(plan: &Plan, stop: &CancellationToken, pauses: &mut Pauses) -> Result<Session, StartError> {
    let mut waiting = Waiting::begin();
    loop {
        match Session::open(plan, stop).await {
            Ok(session) => return Ok(session),
            Err(OpenError::Final(error)) => return Err(error),
            Err(OpenError::Later(why)) => {
                if let Some(waited_s) = waiting.due() {
                    tracing::warn!(broker = %plan.address, why, waited_s, "the broker can't be used yet; trying on");
                }
                tokio::time::sleep(pauses.draw()).await;
            }
        }
    }
}

/// Lives as long as the link.
pub(super) struct Keeper {
    pub(super) plan: Arc<Plan>,
    pub(super) ends: Ends,
    pub(super) wire: watch::Sender<Option<Arc<Wire>>>,
    pub(super) close: CancellationToken,
    pub(super) pauses: Pauses,
}

impl Keeper {
    /// Keeps sessions until the link is closed, or another worker has the lock.
    pub(super) async fn run(mut self, mut session: Session) {
        loop {
            let since = self.begin(&mut session);
            tokio::select! {
                () = session.fault.raised() => {}
                () = self.close.cancelled() => {
                    self.interrupt();
                    session.close().await;
                    tracing::info!(broker = %self.plan.address, "the connection to the broker is closed");
                    return;
                }
            }
            self.interrupt();
            tracing::warn!(broker = %self.plan.address, why = session.fault.why(), "the session with the broker ended");
            if Clock::instant().duration_since(since) >= GOOD {
                self.pauses.reset();
            }
            session.close().await;
            match self.reopen().await {
                Some(next) => session = next,
                None => return,
            }
            metrics::counter!("courier_broker_reconnects_total").increment(1);
        }
    }

    fn begin(&mut self, session: &mut Session) -> Instant {
        session.start(&self.plan, &self.ends);
        self.wire.send_replace(Some(Arc::clone(&session.wire)));
        self.ends.state.send_replace(LinkState::Ready);
        tracing::info!(broker = %self.plan.address, "connected to the broker");
        Clock::instant()
    }

    fn interrupt(&self) {
        self.ends.state.send_replace(LinkState::Connecting);
        self.wire.send_replace(None);
    }

    /// The next session, however long it takes; none once closed or when the lock is another's.
    async fn reopen(&mut self) -> Option<Session> {
        let mut waiting = Waiting::begin();
        loop {
            let pause = self.pauses.draw();
            tokio::select! {
                () = self.close.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            let opened = tokio::select! {
                () = self.close.cancelled() => return None,
                opened = Session::open(&self.plan, &self.ends.stop) => opened,
            };
            match opened {
                Ok(session) => return Some(session),
                Err(error) if error.is_lock_held() => {
                    tracing::error!(%error, "the lock was lost to another worker; this one stops");
                    self.ends.state.send_replace(LinkState::Failed(error.to_string()));
                    return None;
                }
                Err(error) => {
                    let Some(waited_s) = waiting.due() else { continue };
                    let broker = &self.plan.address;
                    match error {
                        OpenError::Final(error) => {
                            tracing::error!(%broker, %error, waited_s, "the broker refuses the courier; trying on");
                        }
                        OpenError::Later(why) => {
                            tracing::warn!(%broker, why, waited_s, "the broker can't be used; trying on");
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_fifty_milliseconds_to_a_second() {
        let mut pauses = Pauses::new(Dice::seeded(7));
        let drawn: Vec<_> = (0..8).map(|_| pauses.draw()).collect();
        assert!(drawn[0] <= FIRST_PAUSE && drawn[0] >= FIRST_PAUSE / 2);
        assert!(drawn[7] <= LONGEST_PAUSE && drawn[7] >= LONGEST_PAUSE / 2);
        assert!(drawn.windows(2).take(4).all(|pair| pair[0] <= pair[1]));
        pauses.reset();
        assert!(pauses.draw() <= FIRST_PAUSE);
    }
}
