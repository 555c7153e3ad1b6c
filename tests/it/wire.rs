//! What upstream and our own queues may bring.
