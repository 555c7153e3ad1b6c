//! (to be written)

/// The most of an answer's body that is read, in bytes.
pub const MAX_REPLY_BYTES: usize = 256 * 1024;
