//! THE CORE: what to do about one challenge.
pub mod message;
pub mod outcome;
pub mod policy;
pub mod verdict;
