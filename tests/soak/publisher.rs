//! Publishes as planned, over both APIs, and enters what was answered.

use super::http::{Answer, Request};
use super::node::{KEY, send};
use super::plan::{Post, is_partykit};
use super::world::World;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often, and how far apart, a persistent publish is asked for.
const REQUESTS: usize = 25;
const PAUSE: Duration = Duration::from_millis(400);

pub async fn publish(world: Arc<World>, post: Post) {
    let number = world.ledger.open(post.room, post.node, world.clock.now());
    let requests = if post.persistent { REQUESTS } else { 1 };
    for attempt in 0..requests {
        let node = (post.node + attempt) % world.slots.len();
        if ask(&world, number, &post, node).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// One request; answers whether it was acknowledged.
async fn ask(world: &World, number: usize, post: &Post, node: usize) -> bool {
    let Some(address) = world.slots[node].seen().public else { return false };
    let asked = world.clock.now();
    {
        let publication = &mut world.ledger.publications()[number];
        (publication.asked, publication.node) = (asked, node);
        publication.requests += 1;
    }
    let answer = send(&request(number, post), address).await;
    let now = world.clock.now();
    let publication = &mut world.ledger.publications()[number];
    publication.answered = Some(now);
    match answer {
        Ok(answer) => {
            publication.status = answer.status;
            publication.answer.clone_from(&answer.body);
            if (200..300).contains(&answer.status) {
                (publication.position, publication.connections) = read(&answer);
                return true;
            }
        }
        Err(error) => (publication.status, publication.answer) = (0, error),
    }
    false
}

fn request(number: usize, post: &Post) -> Request {
    let room = post.room;
    if is_partykit(room) {
        let request = Request::post(&format!("/party/room-{room}")).header("X-PartyKit-Secret", KEY);
        return request.body(r#"{"type": "refresh"}"#);
    }
    let request = Request::post(&format!("/v1/rooms/room-{room}/refresh")).bearer(KEY);
    let request = request.body(json!({ "revision": number.to_string() }).to_string());
    if post.persistent { request.header("Idempotency-Key", &format!("soak-{number}")) } else { request }
}

fn read(answer: &Answer) -> (Option<(String, u64)>, u64) {
    if !answer.body.starts_with('{') {
        let count = answer.body.split(' ').find_map(|word| word.parse().ok());
        return (None, count.unwrap_or(u64::MAX));
    }
    let receipt = answer.json();
    let position = receipt["position"].as_str().and_then(position);
    (position, receipt["connections"].as_u64().unwrap_or(u64::MAX))
}

/// Epoch and generation.
pub fn position(text: &str) -> Option<(String, u64)> {
    let (epoch, generation) = text.rsplit_once('-')?;
    Some((epoch.to_owned(), generation.parse().ok()?))
}
