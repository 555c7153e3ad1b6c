//! The link to RabbitMQ, against RabbitMQ.

use crate::node::{Client, Node};

#[tokio::test]
async fn boots() {
    let node = Node::shared();
    node.ready().await;
    let client = Client::connect(&node.url(&node.vhost())).await;
    client.classic_queue("q").await;
}
