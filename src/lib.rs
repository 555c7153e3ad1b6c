//! `mfa-courier`: carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
pub mod clock;
pub mod telemetry;
pub mod secret;
pub mod phone;
pub mod challenge;
pub mod guard;
pub mod delivery;
pub mod broker;
pub mod provider;
pub mod ledger;
pub mod worker;
