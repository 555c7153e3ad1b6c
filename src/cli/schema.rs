//! `mfa-courier schema`: the message contract and the configuration as JSON Schemas, and the contract as AsyncAPI.

use clap::ValueEnum;
use serde_json::Value;

use crate::broker::wire::asyncapi;
use crate::broker::wire::schema::Body;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of what.
    what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// What upstream publishes as challenge.requested.
    Challenge,
    /// What upstream publishes as challenge.cancelled.
    Cancelled,
    /// What upstream publishes as challenge.verified.
    Verified,
    /// What the courier publishes.
    Outcome,
    /// The configuration file, for editors.
    Config,
    /// All of the message contract, as an AsyncAPI 3.0 document.
    Asyncapi,
}

pub(super) fn schema(args: &Args) {
    let schema = match args.what {
        What::Challenge => Value::from(Body::Challenge.schema()),
        What::Cancelled => Value::from(Body::Cancelled.schema()),
        What::Verified => Value::from(Body::Verified.schema()),
        What::Outcome => Value::from(Body::Outcome.schema()),
        What::Config => crate::config::schema::schema(),
        What::Asyncapi => asyncapi::document(),
    };
    outln!("{schema:#}");
}
