//! The same id again: 64 to 66.

use mfa_courier::delivery::outcome::{Reason, Status};
use serde_json::{Value, json};

use super::{challenge, seconds, setup, world};
use crate::world::World;

fn publish(world: &World, fields: &Value) {
    world.publish(&serde_json::from_slice(&challenge(fields)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_same_content_is_sent_once_and_answered_alike() {
    // 64, 66.
    let mut world = world(setup());
    world.start_worker();
    world.start_worker();
    for _ in 0..1_000 {
        publish(&world, &json!({}));
    }
    world.settle(seconds(62)).await;
    world.pass(seconds(600)).await;
    publish(&world, &json!({"ttl": 30, "session_id": "another"}));
    world.settle(seconds(62)).await;
    assert_eq!((world.sent().len(), world.different_bodies("c:final")), (1, 1));
    assert_eq!(world.outcome("c").status, Status::Sent);
}

#[tokio::test(start_paused = true)]
async fn another_content_is_not_sent_and_upstream_learns_of_it() {
    // 65.
    let others = [
        json!({"code": "000000"}),
        json!({"methods": [{"channel": "sms", "to": "+14155552672"}]}),
        json!({"purpose": "transaction"}),
        json!({"tenant": "contoso"}),
    ];
    for after_the_end in [false, true] {
        for other in &others {
            let mut world = world(setup());
            world.start_worker();
            publish(&world, &json!({}));
            if after_the_end {
                world.settle(seconds(5)).await;
            } else {
                world.pass(std::time::Duration::from_millis(5)).await;
            }
            publish(&world, other);
            publish(&world, other);
            world.settle(seconds(62)).await;
            assert_eq!((world.outcome("c").status, world.sent().len()), (Status::Sent, 1), "{other}");
            let conflicts: Vec<_> = world.heard().iter().filter(|heard| !heard.is_final).collect();
            assert_eq!(conflicts.len(), 2, "{other}");
            for conflict in conflicts {
                assert_eq!((conflict.status, conflict.reason), (Status::Rejected, Some(Reason::DuplicateId)));
                assert_eq!(conflict.id, conflicts_id(&world), "{other}: derived, so a repeat can be told");
            }
        }
    }
}

fn conflicts_id(world: &World) -> String {
    let id = &world.heard().iter().find(|heard| !heard.is_final).unwrap().id;
    let digits = id.strip_prefix("c:conflict:").expect("the form of the contract");
    assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    id.clone()
}
