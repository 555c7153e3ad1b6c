//! Pressure shared by all deliveries: may this key spend one more, and is this provider well.
//!
//! Pure: every function takes `now`; nothing here sleeps, logs or reads a clock. The worker holds one
//! [`quota::Lanes`] and one [`health::Health`] and asks them before each attempt; a push provider
//! asks [`burst::Burst`] what an answer about a device is worth.

pub mod burst;
pub mod health;
pub mod quota;
