//! The receipts that simulated providers send, signed as the real ones do; the last digits of the number decide.
//!
//! | number ends in | what is told of a message that was taken |
//! |---|---|
//! | `88nnnnn` | delivered, after `nnnnn` ms |
//! | `78ccccc` | undelivered by the code `ccccc`, after 100 ms; a call: busy |
//! | `9920` | nothing, ever |
//! | `9921` | delivered, three times |
//! | `9922` | delivered, and then that it was sent |
//! | `9923` | delivered, with a signature that is not the provider's |
//! | `9924` | delivered, before the request is answered |
//! | `9925` | delivered, at an address whose token is nobody's |
//! | `9926` | delivered, at an address whose token was another provider's |
//! | `9930` | a phone rings after 3 s and is answered 3 s later; a text message: sent, and then delivered |
//! | `9931`, `9932`, `9933` | likewise, but it is busy, nobody answers, a machine does; a text message: undelivered |
//! | anything else | sent, and then delivered |
//!
//! What is not taken because nobody listens, or because the answer is a 5xx, is told again, as vendors do; what is
//! refused is not. How it went is counted: [`Simulator::receipts`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::Simulator;
use crate::clock::{Clock, Timestamp};

/// What one receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is on its way; a phone rings.
    Sent,
    /// It arrived; somebody answered.
    Delivered,
    /// It did not arrive; a phone is busy.
    Undelivered,
    /// Nobody answers. It did not arrive.
    NoAnswer,
    /// A machine answers. It did not arrive.
    Machine,
}

/// What is false about a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Somebody signed it who does not know the secret.
    Signature,
    /// Its address has a token that nobody gave.
    Token,
    /// Its address has the token of another provider's attempt.
    AnothersToken,
}

/// One receipt of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    after: Duration,
    pub(super) says: Says,
    pub(super) code: Option<String>,
    lie: Option<Lie>,
    /// Whether it is told before the request is answered.
    early: bool,
}

/// A receipt as its protocol writes it.
pub(super) struct Written {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Writes the receipt of a message, by its number, that goes to an address.
pub(super) type Teller = fn(u64, &Line, &str, Timestamp) -> Option<Written>;

/// How receipts were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// With a 2xx.
    pub taken: u64,
    /// With a 4xx.
    pub refused: u64,
    /// With nothing, or with another error, however often they were told.
    pub lost: u64,
}

/// How the receipts of all entries were answered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptCount {
    /// Those that were true.
    pub genuine: Answers,
    /// Those that were lies.
    pub forged: Answers,
}

const MOMENT: Duration = Duration::from_millis(100);
/// From the call to the ringing, and from the ringing to its end.
const RINGS: Duration = Duration::from_secs(3);
/// How often a receipt is told that nobody takes, and how long after each time it is told again.
const TRIES: u32 = 10;
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Line {
    const fn new(after: Duration, says: Says) -> Self {
        Self { after, says, code: None, lie: None, early: false }
    }

    fn lie(lie: Lie) -> Self {
        Self { lie: Some(lie), ..Self::new(MOMENT, Says::Delivered) }
    }

    /// Whether it is to be signed with a secret that is not the provider's.
    pub(super) fn is_signed_by_a_stranger(&self) -> bool {
        self.lie == Some(Lie::Signature)
    }
}

/// What is told of a message to this number.
fn script(to: &str) -> Vec<Line> {
    let last = |n: usize| to.len().checked_sub(n).and_then(|at| to.get(at..)).unwrap_or_default();
    if let Some(millis) = last(7).strip_prefix("88").and_then(|millis| millis.parse().ok()) {
        return vec![Line::new(Duration::from_millis(millis), Says::Delivered)];
    }
    if let Some(code) = last(7).strip_prefix("78") {
        return vec![Line { code: Some(code.to_owned()), ..Line::new(MOMENT, Says::Undelivered) }];
    }
    let delivered = || Line::new(MOMENT, Says::Delivered);
    let rings = |end: Says| vec![Line::new(RINGS, Says::Sent), Line::new(RINGS, end)];
    match last(4) {
        "9920" => Vec::new(),
        "9921" => vec![delivered(), delivered(), delivered()],
        "9922" => vec![delivered(), Line::new(MOMENT, Says::Sent)],
        "9923" => vec![Line::lie(Lie::Signature)],
        "9924" => vec![Line { early: true, ..Line::new(Duration::ZERO, Says::Delivered) }],
        "9925" => vec![Line::lie(Lie::Token)],
        "9926" => vec![Line::lie(Lie::AnothersToken)],
        "9930" => rings(Says::Delivered),
        "9931" => rings(Says::Undelivered),
        "9932" => rings(Says::NoAnswer),
        "9933" => rings(Says::Machine),
        _ => vec![Line::new(MOMENT, Says::Sent), delivered()],
    }
}

/// A message that news is told of.
struct About {
    teller: Teller,
    id: u64,
    address: String,
}

/// What tells receipts.
#[derive(Clone)]
pub(super) struct Post {
    client: reqwest::Client,
    clock: Clock,
    stop: CancellationToken,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    count: ReceiptCount,
    /// The latest token of each provider, by the name that addresses have.
    tokens: BTreeMap<String, String>,
}

impl Post {
    pub(super) fn new(clock: Clock, stop: CancellationToken) -> Self {
        Self { client: reqwest::Client::new(), clock, stop, book: Arc::default() }
    }

    /// Tells what the script says of message `id`, one after the other: what is early before it returns, the rest
    /// later.
    pub(super) async fn tell(&self, teller: Teller, id: u64, to: &str, address: String) {
        if let Some((_, provider, token)) = parts(&address) {
            self.book().tokens.insert(provider.to_owned(), token.to_owned());
        }
        let about = About { teller, id, address };
        let (early, later): (Vec<Line>, Vec<Line>) = script(to).into_iter().partition(|line| line.early);
        self.tell_all(&about, &early).await;
        let post = self.clone();
        tokio::spawn(async move { post.tell_all(&about, &later).await });
    }

    async fn tell_all(&self, about: &About, lines: &[Line]) {
        for line in lines {
            if self.stop.run_until_cancelled(tokio::time::sleep(line.after)).await.is_none() {
                return;
            }
            self.tell_one(about, line).await;
        }
    }

    async fn tell_one(&self, about: &About, line: &Line) {
        let address = self.address_of(line, &about.address);
        for turn in 0..TRIES {
            if turn > 0 && self.stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
                return;
            }
            // Signed anew each time: the time within it counts.
            let now = self.clock.now();
            let Some(Written { headers, body }) = (about.teller)(about.id, line, &address, now) else { return };
            let sent = self.client.post(&address).timeout(PATIENCE).headers(headers).body(body).send().await;
            match sent.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => return self.count(line, |answers| answers.taken += 1),
                Ok(status) if status.is_client_error() => return self.count(line, |answers| answers.refused += 1),
                Ok(status) => tracing::debug!(%status, "a simulated receipt was not taken"),
                Err(why) => tracing::debug!(why = %why.without_url(), "a simulated receipt was not taken"),
            }
        }
        self.count(line, |answers| answers.lost += 1);
    }

    /// Where a receipt goes: where the message said, or where a liar hopes to be believed.
    fn address_of(&self, line: &Line, address: &str) -> String {
        let Some((base, provider, token)) = parts(address) else { return address.to_owned() };
        let another = || self.book().tokens.iter().find(|(name, _)| *name != provider).map(|(_, token)| token.clone());
        let token = match line.lie {
            None | Some(Lie::Signature) => return address.to_owned(),
            Some(Lie::Token) => altered(token),
            Some(Lie::AnothersToken) => another().unwrap_or_else(|| altered(token)),
        };
        format!("{base}/{provider}/{token}")
    }

    fn count(&self, line: &Line, one_more: impl FnOnce(&mut Answers)) {
        let count = &mut self.book().count;
        one_more(if line.lie.is_some() { &mut count.forged } else { &mut count.genuine });
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulator {
    /// How the receipts of all entries were answered so far.
    #[must_use]
    pub fn receipts(&self) -> ReceiptCount {
        self.shared.post.book().count
    }
}

/// What stands before the provider, the provider, and the token.
fn parts(address: &str) -> Option<(&str, &str, &str)> {
    let (rest, token) = address.rsplit_once('/')?;
    let (base, provider) = rest.rsplit_once('/')?;
    Some((base, provider, token))
}

/// The same with another first character.
fn altered(token: &str) -> String {
    let first = if token.starts_with('A') { 'B' } else { 'A' };
    std::iter::once(first).chain(token.chars().skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_says_what_is_told() {
        let says = |to: &str| script(to).iter().map(|line| (line.says, line.lie)).collect::<Vec<_>>();
        assert_eq!(says("+14155552671"), [(Says::Sent, None), (Says::Delivered, None)]);
        assert_eq!(says("+14155559920"), []);
        assert_eq!(says("+14155559921"), [(Says::Delivered, None); 3]);
        assert_eq!(says("+14155559922"), [(Says::Delivered, None), (Says::Sent, None)]);
        assert_eq!(says("+14155559923"), [(Says::Delivered, Some(Lie::Signature))]);
        assert_eq!(says("+14155559925"), [(Says::Delivered, Some(Lie::Token))]);
        assert_eq!(says("+14155559926"), [(Says::Delivered, Some(Lie::AnothersToken))]);
        assert_eq!(says("+14155559932"), [(Says::Sent, None), (Says::NoAnswer, None)]);
        assert!(script("+14155559924")[0].early);
        assert_eq!(script("+14158801500"), [Line::new(Duration::from_millis(1_500), Says::Delivered)]);
        assert_eq!(script("+14157830005")[0].code.as_deref(), Some("30005"));
    }

    #[test]
    fn a_liar_says_it_where_it_hopes_to_be_believed() {
        let post = Post::new(Clock::system(), CancellationToken::new());
        let told = |lie, address: &str| post.address_of(&Line::lie(lie), address);
        assert_eq!(told(Lie::Signature, "http://c/receipts/twilio/AbC"), "http://c/receipts/twilio/AbC");
        assert_eq!(told(Lie::Token, "http://c/receipts/twilio/AbC"), "http://c/receipts/twilio/BbC");
        assert_eq!(told(Lie::AnothersToken, "http://c/receipts/twilio/xbC"), "http://c/receipts/twilio/AbC");
        post.book().tokens.insert("gateway".to_owned(), "its".to_owned());
        assert_eq!(told(Lie::AnothersToken, "http://c/receipts/twilio/AbC"), "http://c/receipts/twilio/its");
    }
}
