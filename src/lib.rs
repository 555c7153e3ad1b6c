//! `mfa-courier`: carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
//!
//! The modules in the order of their layers, lowest first; none looks down the list. A challenge takes
//! the same way: it arrives by `broker`, `worker` carries out what `delivery` decides, `provider` reaches
//! the person, `ledger` remembers who may speak.

pub mod clock;
pub mod secret;
pub mod phone;
pub mod challenge;
pub mod guard;
pub mod delivery;
pub mod telemetry;
pub mod broker;
pub mod provider;
pub mod ledger;
pub mod worker;
pub mod http;
pub mod config;
