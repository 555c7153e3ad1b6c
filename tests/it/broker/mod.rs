//! The link to RabbitMQ, against RabbitMQ.

mod faults;
mod flow;
mod hostile;
mod start;
pub(crate) mod tls;

use std::time::Duration;

use lapin::BasicProperties;
use mfa_courier::broker::rabbit::{RabbitSettings, connect};
use mfa_courier::broker::{Delivered, Link, LinkState, Properties, Publication, Route};
use mfa_courier::secret::Secret;
use tokio::time::timeout;

use crate::node::{Client, Node, PATIENCE};

const CHALLENGES: &str = "mfa.courier.challenges";
const DEAD: &str = "mfa.courier.dead";
const FOLLOWUPS: &str = "mfa.courier.followups";
const QUARANTINE: &str = "mfa.courier.quarantine";
const SIGNALS: &str = "mfa.courier.signals";

/// A link and a client on a virtual host of their own.
struct Rig {
    link: Link,
    client: Client,
    settings: RabbitSettings,
}

impl Rig {
    /// On the node that all share.
    async fn new() -> Self {
        Self::with(settings(Node::shared())).await
    }

    async fn with(settings: RabbitSettings) -> Self {
        let link = linked(&settings).await;
        Self { link, client: Client::connect(settings.url.expose()).await, settings }
    }

    /// The next delivery.
    async fn next(&mut self) -> Delivered {
        timeout(PATIENCE, self.link.inbox.next()).await.expect("a delivery in time").expect("an open inbox")
    }

    /// That nothing is handed over for as long as a healthy broker takes many times over.
    async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.link.inbox.next()).await.is_err()
    }

    /// Its virtual host.
    fn vhost(&self) -> &str {
        self.settings.url.expose().rsplit('/').next().expect("a path")
    }

    /// Waits for a state of the link.
    async fn becomes(&self, what: &str, wanted: impl FnMut(&LinkState) -> bool) -> LinkState {
        let mut state = self.link.state.clone();
        let waiting = timeout(PATIENCE, state.wait_for(wanted));
        waiting.await.unwrap_or_else(|_| panic!("waited in vain to be {what}")).expect("a live link").clone()
    }

    /// Upstream publishes a challenge with these properties.
    async fn challenge(&self, properties: BasicProperties, body: &[u8]) {
        self.client.publish("mfa.challenges", "challenge.requested", properties, body).await;
    }
}

/// Settings for a new virtual host.
fn settings(node: &Node) -> RabbitSettings {
    RabbitSettings { url: Secret::new(node.url(&node.vhost())), ..RabbitSettings::default() }
}

async fn linked(settings: &RabbitSettings) -> Link {
    timeout(PATIENCE, connect(settings.clone())).await.expect("connected in time").expect("a start")
}

fn publication(route: Route, body: &'static [u8]) -> Publication {
    Publication { route, properties: Properties::default(), body: body.into(), expiration: None }
}
