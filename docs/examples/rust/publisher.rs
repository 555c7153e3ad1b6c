//! Publishes one challenge: `publisher AMQP_URL NUMBER`. Prints its id.

use std::error::Error;

use aws_lc_rs::rand;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, number] = arguments.as_slice() else { return Err("usage: publisher AMQP_URL NUMBER".into()) };
    let (mut id, mut code) = ([0; 16], [0; 8]);
    rand::fill(&mut id)?;
    rand::fill(&mut code)?;
    let challenge = json!({
        "id": format!("{:032x}", u128::from_be_bytes(id)),
        "purpose": "sign_in",
        "code": format!("{:06}", u64::from_be_bytes(code) % 1_000_000),
        "ttl": 120,
        "methods": [{"channel": "sms", "to": number}],
    });
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    let body = challenge.to_string();
    let confirm = channel
        .basic_publish("mfa.challenges".into(), "challenge.requested".into(), options, body.as_bytes(), properties)
        .await?;
    // Acked, and not returned: some queue has it.
    match confirm.await? {
        Confirmation::Ack(None) => {}
        Confirmation::Ack(Some(_)) => return Err("no queue takes challenges: has a worker been started?".into()),
        Confirmation::Nack(_) | Confirmation::NotRequested => return Err("the broker refused it".into()),
    }
    connection.close(200, "OK".into()).await?;
    println!("{}", challenge["id"].as_str().unwrap_or_default());
    Ok(())
}
