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
//! | anything else | sent, and then delivered |

use std::time::Duration;

use axum::http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};

/// What one receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is on its way; a phone rings.
    Sent,
    /// It arrived; somebody answered.
    Delivered,
    /// It did not arrive.
    Undelivered,
}

/// One receipt of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    after: Duration,
    pub(super) says: Says,
    pub(super) code: Option<String>,
    /// Whether somebody else sends it.
    pub(super) forged: bool,
}

/// A receipt as its protocol writes it.
pub(super) struct Written {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Writes the receipt of a message, by its number, that goes to an address.
pub(super) type Teller = fn(u64, &Line, &str, Timestamp) -> Option<Written>;

const MOMENT: Duration = Duration::from_millis(100);

fn line(after: Duration, says: Says) -> Line {
    Line { after, says, code: None, forged: false }
}

/// What is told of a message to this number.
pub(super) fn script(to: &str) -> Vec<Line> {
    let last = |n: usize| to.len().checked_sub(n).and_then(|at| to.get(at..)).unwrap_or_default();
    if let Some(millis) = last(7).strip_prefix("88").and_then(|millis| millis.parse().ok()) {
        return vec![line(Duration::from_millis(millis), Says::Delivered)];
    }
    if let Some(code) = last(7).strip_prefix("78") {
        return vec![Line { code: Some(code.to_owned()), ..line(MOMENT, Says::Undelivered) }];
    }
    let delivered = || line(MOMENT, Says::Delivered);
    match last(4) {
        "9920" => Vec::new(),
        "9921" => vec![delivered(), delivered(), delivered()],
        "9922" => vec![delivered(), line(MOMENT, Says::Sent)],
        "9923" => vec![Line { forged: true, ..delivered() }],
        _ => vec![line(MOMENT, Says::Sent), delivered()],
    }
}

/// Sends what the script says of message `id` to `address`, one after the other.
pub(super) async fn send(
    teller: Teller,
    clock: Clock,
    stop: CancellationToken,
    (id, to, address): (u64, String, String),
) {
    let client = reqwest::Client::new();
    for line in script(&to) {
        if stop.run_until_cancelled(tokio::time::sleep(line.after)).await.is_none() {
            return;
        }
        let Some(Written { headers, body }) = teller(id, &line, &address, clock.now()) else { return };
        if let Err(why) = client.post(&address).headers(headers).body(body).send().await {
            tracing::debug!(why = %why.without_url(), "a simulated receipt was not taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_says_what_is_told() {
        let says = |to: &str| script(to).iter().map(|line| (line.says, line.forged)).collect::<Vec<_>>();
        assert_eq!(says("+14155552671"), [(Says::Sent, false), (Says::Delivered, false)]);
        assert_eq!(says("+14155559920"), []);
        assert_eq!(says("+14155559921"), [(Says::Delivered, false); 3]);
        assert_eq!(says("+14155559922"), [(Says::Delivered, false), (Says::Sent, false)]);
        assert_eq!(says("+14155559923"), [(Says::Delivered, true)]);
        assert_eq!(script("+14158801500"), [line(Duration::from_millis(1_500), Says::Delivered)]);
        assert_eq!(script("+14157830005")[0].code.as_deref(), Some("30005"));
    }
}
