//! `mfa-courier`: carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
pub mod broker;
pub mod challenge;
pub mod clock;
pub mod delivery;
pub mod guard;
pub mod ledger;
pub mod phone;
pub mod provider;
pub mod secret;
pub mod telemetry;
pub mod worker;
