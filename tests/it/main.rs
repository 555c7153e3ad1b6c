//! What crosses a boundary, in one binary: recorded conversations, hostile peers, a real RabbitMQ (started
//! once for all tests of a run), and the whole worker in virtual time.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod dialects;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod fcm;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod node;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod provider_guide;
#[cfg(test)]
mod push;
#[cfg(test)]
mod readings;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod service;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod smpp;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod worker;
#[cfg(test)]
mod world;
