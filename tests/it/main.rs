//! What crosses a boundary: recorded conversations, hostile peers.

mod dialects;
mod replies;
