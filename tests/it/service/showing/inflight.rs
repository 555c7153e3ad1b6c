//! What a killed worker had in flight, read from the ledger: attempts that it began, and whose answers nobody recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::Value;

use crate::redis::store::Store;

/// Longer than the living need for an attempt that they began, shorter than it takes until the dead are taken over.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// The challenges whose attempt was under way.
pub(super) struct InFlight(BTreeSet<usize>);

impl InFlight {
    /// To be asked for at the moment of a kill: what is under way then, and unchanged a while later.
    pub(super) async fn at_a_kill(store: &Store) -> Self {
        let mut connection = store.client().await;
        let then = under_way(&mut connection).await;
        tokio::time::sleep(A_WHILE).await;
        let later = under_way(&mut connection).await;
        Self(then.into_iter().filter(|(n, version)| later.get(n) == Some(version)).map(|(n, _)| n).collect())
    }

    pub(super) fn contains(&self, n: usize) -> bool {
        self.0.contains(&n)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Each challenge whose attempt is under way, and the state of its record.
async fn under_way(connection: &mut MultiplexedConnection) -> BTreeMap<usize, String> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("mfa-courier:*:x*").query_async(connection).await.expect("keys");
    // Of handles, which are not records, some look alike.
    let keys: Vec<String> = keys.into_iter().filter(|key| !key.contains(":handle:")).collect();
    let mut found = BTreeMap::new();
    for keys in keys.chunks(500) {
        let mut asking = redis::pipe();
        for key in keys {
            asking.cmd("HMGET").arg(key).arg("v").arg("b");
        }
        let records: Vec<(Option<String>, Option<Vec<u8>>)> = asking.query_async(connection).await.expect("records");
        for (key, (version, body)) in keys.iter().zip(records) {
            let (Some(version), Some(body)) = (version, body) else { continue };
            let body: Value = serde_json::from_slice(&body).expect("JSON: there is no key to seal it");
            if body["phase"]["working"]["begun"].is_object() {
                let n = key.rsplit_once(":x").and_then(|(_, n)| n.parse().ok());
                found.insert(n.expect("one of ours"), version);
            }
        }
    }
    found
}
