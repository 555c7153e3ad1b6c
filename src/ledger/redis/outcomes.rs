//! The outcomes that the ledger in Redis can find: for each session, each user and all together the challenges that were
//! spoken of last, and for each challenge its interim outcomes. A final one is in its record.
//!
//! Nothing here shows whom it is about where there is a key: sessions and users are keyed hashes, bytes are sealed. Every
//! key has its time to live, and every set a bound.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Inner, Name, Subject};
use crate::challenge::ChallengeId;
use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::outcomes::{About, Found, MOST_INTERIMS, Published, final_body};

/// How many challenges are found without saying whose: as many as one look can show, and again as many.
const MOST_LATEST: usize = 1_000;
/// How many challenges of one session or user are found.
const MOST_OF_ONE: usize = 100;
/// How many challenges are read at once.
const AT_ONCE: usize = 32;

impl Inner {
    pub(super) async fn record_outcomes(&self, published: &[Published], until: Timestamp) -> Result<(), LedgerError> {
        if published.is_empty() {
            return Ok(());
        }
        let mut names = vec![latest()];
        let bounds = [MOST_LATEST, MOST_OF_ONE, MOST_INTERIMS].map(|bound| bound.to_string().into_bytes());
        let mut arguments: Vec<Vec<u8>> = vec![self.keep_for(until)];
        arguments.extend(bounds);
        for outcome in published {
            let whose = |kind, whom: &Option<String>| {
                let name = whom.as_deref().and_then(|whom| self.blind(kind, whom).into_iter().next());
                name.unwrap_or_else(latest)
            };
            names.extend([
                interims(&outcome.challenge),
                whose("session", &outcome.session),
                whose("user", &outcome.user),
            ]);
            let (id, bytes) = if outcome.is_final {
                (Vec::new(), Vec::new())
            } else {
                let bytes = self.seal.close(&place(&outcome.challenge, &outcome.id), outcome.body.to_vec());
                let bytes = bytes.ok_or_else(|| LedgerError("an outcome that can't be sealed".to_owned()))?;
                (outcome.id.clone().into_bytes(), bytes)
            };
            let at = outcome.at.as_millis().to_string().into_bytes();
            arguments.extend([outcome.challenge.as_str().as_bytes().to_vec(), at, id, bytes]);
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        self.ask(&self.scripts.record_outcomes, Subject::Named(&names), &arguments).await.map(drop)
    }

    pub(super) async fn outcomes(&self, about: &About, most: usize) -> Result<Found, LedgerError> {
        let challenges = match about {
            About::Challenge(id) => vec![id.clone()],
            About::Session(session) => self.spoken_of(&self.blind("session", session), most).await?,
            About::User(user) => self.spoken_of(&self.blind("user", user), most).await?,
            About::Anything => self.spoken_of(&[latest()], most).await?,
        };
        let reading = stream::iter(challenges.into_iter().map(|id| self.bodies_of(id))).buffered(AT_ONCE);
        let bodies: Vec<Vec<Bytes>> = reading.try_collect().await?;
        Ok(Found::among(bodies.into_iter().flatten(), about, most))
    }

    /// The challenges in these sets that were spoken of last; one more than `most`, to know whether there are more.
    async fn spoken_of(&self, names: &[Name], most: usize) -> Result<Vec<ChallengeId>, LedgerError> {
        let most = most.saturating_add(1).to_string();
        let mut found = HashSet::new();
        for name in names {
            let of_one = [name.clone()];
            let (_, fields) = self.ask(&self.scripts.spoken_of, Subject::Named(&of_one), &[most.as_bytes()]).await?;
            found.extend(fields.into_keys().filter_map(|id| ChallengeId::parse(&id)));
        }
        Ok(found.into_iter().collect())
    }

    /// Everything that was said of a challenge. What can't be read any more, since its key is gone, is left out.
    async fn bodies_of(&self, id: ChallengeId) -> Result<Vec<Bytes>, LedgerError> {
        let names = [interims(&id)];
        let interims = self.ask(&self.scripts.read, Subject::Named(&names), &[]);
        let record = self.ask(&self.scripts.read, Subject::Record(&id), &[]);
        let ((_, interims), (_, record)) = futures_util::try_join!(interims, record)?;
        let opened = interims.into_iter().filter_map(|(own, bytes)| self.seal.open(&place(&id, &own), &bytes).ok());
        let record = super::stored::record(&id, &record, &self.seal).ok().flatten();
        Ok(opened.map(Bytes::from).chain(final_body(record.as_ref())).collect())
    }

    /// The names of the set of a session or user, the one that is written to first.
    fn blind(&self, kind: &'static str, whom: &str) -> Vec<Name> {
        let blind = self.seal.blind(&format!("ledger {kind}"), whom);
        blind.into_iter().map(|hash| (kind, BASE64_URL_SAFE_NO_PAD.encode(hash))).collect()
    }
}

fn latest() -> Name {
    ("latest", "outcomes".to_owned())
}

fn interims(id: &ChallengeId) -> Name {
    ("interims", id.to_string())
}

/// An outcome can't be put in the place of another one.
fn place(challenge: &ChallengeId, id: &str) -> String {
    format!("ledger outcome {challenge} {id}")
}
