//! The least that could carry a challenge: consume, parse, one POST, publish with a confirm, ack.
//!
//! No deadline, no retry, no fallback, no ledger, no limit: what is lost when it is killed is lost.

use std::sync::Arc;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

/// Works until it is killed.
pub(crate) async fn run(amqp: &str, provider: &str) {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await.unwrap();
    let consuming = connection.create_channel().await.unwrap();
    let publishing = Arc::new(connection.create_channel().await.unwrap());
    publishing.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    consuming.basic_qos(1_000, BasicQosOptions::default()).await.unwrap();
    let queue = "mfa.courier.challenges".into();
    let options = BasicConsumeOptions::default();
    let mut consumer = consuming.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    while let Some(delivery) = consumer.next().await {
        let (delivery, client, publishing, provider) =
            (delivery.unwrap(), client.clone(), Arc::clone(&publishing), provider.to_owned());
        tokio::spawn(async move {
            let challenge: Value = serde_json::from_slice(&delivery.data).unwrap();
            let message = json!({"to": challenge["methods"][0]["to"], "text": challenge["code"]});
            let request = client.post(provider).header("content-type", "application/json").body(message.to_string());
            let answer = request.send().await.unwrap().bytes().await.unwrap();
            let accepted: Value = serde_json::from_slice(&answer).unwrap();
            let outcome = json!({"challenge_id": challenge["id"], "status": "sent", "message_id": accepted["id"]});
            let properties = BasicProperties::default().with_delivery_mode(2);
            let (exchange, key) = ("mfa.outcomes".into(), "outcome.sent.sms.final".into());
            let body = outcome.to_string();
            let options = BasicPublishOptions::default();
            let confirm = publishing.basic_publish(exchange, key, options, body.as_bytes(), properties).await.unwrap();
            confirm.await.unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        });
    }
}
