//! `mfa-courier`: carries sign-in codes and prompts from AMQP to the phone, with one final outcome each.
//!
//! The modules stand in the order of their layers, lowest first; none looks down the list. A challenge
//! takes the same way: it arrives by `broker`, `worker` carries out what `delivery` decides, `provider`
//! reaches the person, `ledger` remembers who may speak.

// What everything is made of.
pub mod clock;
pub mod secret;

pub mod seal;

pub mod phone;

pub mod challenge;

// The core: pure.
pub mod guard;

pub mod delivery;

// The shell: carries steps out.
pub mod telemetry;

pub mod broker;

pub mod provider;

pub mod ledger;

pub mod worker;

// Around it.
pub mod http;
pub mod simulator;

pub mod config;

pub mod boot;

pub mod cli;
