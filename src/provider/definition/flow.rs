//! What a call says, where the vendor does not take it with the request but fetches it when somebody answers.
//!
//! The instructions are made with the request and go into the address, sealed ([`crate::provider::flow`]); what is
//! served later is exactly that. This file is what a definition says of it.

use super::request::Unfit;
use super::variables::Values;
use super::xml::Element;

/// The instructions of a call, and how the one who fetches them is known.
#[derive(Clone, Debug)]
pub struct FlowRule {
    pub(super) xml: Element,
    /// Whether the vendor signs what it fetches, by the scheme of the channel's receipts.
    pub(in crate::provider) signed: bool,
}

impl FlowRule {
    /// The instructions for one message.
    pub(in crate::provider) fn fill(&self, values: &Values<'_>) -> Result<String, Unfit> {
        self.xml.fill(values)
    }
}
