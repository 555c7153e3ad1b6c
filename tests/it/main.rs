//! What crosses a boundary, in one binary: recorded conversations, hostile peers, a real RabbitMQ (started
//! once for all tests of a run), and the whole worker in virtual time.

mod broker;
mod dialects;
mod node;
mod replies;
mod worker;
mod world;
