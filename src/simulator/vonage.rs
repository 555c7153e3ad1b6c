//! Vonage's SMS and Voice APIs as they answer.

/// The key of the account that it knows.
pub const API_KEY: &str = "5133000a";
/// That account's secret.
pub const API_SECRET: &str = "simulated-api-secret";
/// The application that it knows.
pub const APPLICATION_ID: &str = "51330000-0000-4000-8000-00000000000a";
/// That application's private key: published here, and so no secret.
pub const VONAGE_PRIVATE_KEY: &str = include_str!("vonage.pem");
/// What verifies that application's tokens.
pub const VONAGE_PUBLIC_KEY: &str = include_str!("vonage.pub.pem");
