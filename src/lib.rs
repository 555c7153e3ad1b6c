//! `mfa-courier`: carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
//!
//! The modules in the order of their layers, lowest first; none looks down the list. A challenge takes
//! the same way: it arrives by `broker`, `worker` carries out what `delivery` decides, `provider` reaches
//! the person, `ledger` remembers who may speak.

pub mod broker;
pub mod challenge;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod guard;
pub mod http;
pub mod ledger;
pub mod phone;
pub mod provider;
pub mod secret;
pub mod telemetry;
pub mod worker;
