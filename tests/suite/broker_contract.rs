//! What every broker must do, run over each of them: the memory broker, and Redis.
//!
//! The only part of the suite that looks inside the crate, as a broker has no other outside than its trait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use refresh_relay::broker::memory::MemoryBroker;
use refresh_relay::broker::redis::RedisBroker;
use refresh_relay::broker::{
    About, Broker, Confirmation, Continuity, Draft, Events, Held, LinkState, NodeId, NodeRecord, Published,
    Tally,
};
use refresh_relay::config;
use refresh_relay::metrics::Metrics;
use refresh_relay::room::{Publication, Revision, RoomId};

use super::support::redis::TestRedis;
use super::support::wait::{SOON, equal, eventually};

const HEAD_TTL: Duration = Duration::from_secs(3600);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Writes down what the broker reports.
#[derive(Default)]
struct Record {
    publications: Mutex<Vec<(Publication, NodeId)>>,
    confirmations: Mutex<Vec<Confirmation>>,
    count_requests: Mutex<Vec<(RoomId, u64, NodeId)>>,
}

impl Events for Record {
    fn on_publication(&self, publication: Publication, publisher: NodeId) {
        self.publications.lock().unwrap().push((publication, publisher));
    }

    fn on_confirmation(&self, confirmation: Confirmation) {
        self.confirmations.lock().unwrap().push(confirmation);
    }

    fn on_count_request(&self, room: RoomId, number: u64, asker: NodeId) {
        self.count_requests.lock().unwrap().push((room, number, asker));
    }

    fn on_link_up(&self, _: Continuity) {}

    fn on_unreadable(&self) {
        panic!("a broker must be able to read what it wrote");
    }
}

/// One node's end of a broker, linked.
struct End {
    id: NodeId,
    broker: Arc<dyn Broker>,
    record: Arc<Record>,
}

impl End {
    async fn link(id: NodeId, broker: Arc<dyn Broker>) -> Self {
        let record = Arc::new(Record::default());
        let (running, events) = (Arc::clone(&broker), Arc::clone(&record));
        tokio::spawn(async move { running.run(events).await });
        eventually(SOON, "the link", async || equal("link", &broker.link(), &LinkState::Up)).await;
        Self { id, broker, record }
    }

    async fn memory() -> Self {
        let id = NodeId::random();
        Self::link(id.clone(), Arc::new(MemoryBroker::new(id, HEAD_TTL))).await
    }

    async fn redis(redis: &TestRedis) -> Self {
        let id = NodeId::random();
        let variables = [("RELAY_REDIS__URL", redis.url()), ("RELAY_PUBLISH__SECRET", "secret".to_owned())];
        let settings = config::load(None, variables.map(|(name, value)| (name.to_owned(), value))).unwrap();
        let settings = settings.settings.redis.unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let broker = RedisBroker::new(id.clone(), &settings, HEAD_TTL, metrics);
        Self::link(id, Arc::new(broker)).await
    }

    async fn publish(&self, draft: Draft) -> Publication {
        match self.broker.publish(draft).await.unwrap() {
            Published::New(publication) => publication,
            duplicate @ Published::Duplicate { .. } => panic!("not new: {duplicate:?}"),
        }
    }

    async fn hears(&self, wanted: &[(Publication, NodeId)]) {
        eventually(SOON, "the publications", async || {
            equal("publications", &self.record.publications.lock().unwrap().as_slice(), &wanted)
        })
        .await;
    }
}

/// Runs the same test on every broker.
macro_rules! on_every_broker {
    ($($name:ident: $test:expr;)+) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $name() { $test(End::memory().await).await; })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let server = TestRedis::start().await;
                $test(End::redis(&server).await).await;
            })+
        }
    };
}

on_every_broker! {
    publications_are_heard_in_the_order_of_their_generations: order;
    a_publication_carries_its_revision_and_the_brokers_time: content;
    the_head_is_the_newest_publication_and_rooms_without_one_have_none: heads;
    an_idempotency_key_publishes_once_and_its_answer_is_kept: idempotency;
    a_confirmation_reaches_the_node_it_is_for: confirmation;
    a_count_request_reaches_the_node_that_asks_too: count_request;
    a_node_is_live_from_its_announcement_until_it_retires: membership;
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name, 256).unwrap()
}

fn draft(name: &str) -> Draft {
    Draft {
        room: room(name),
        revision: None,
        published_by: None,
        idempotency_key: None,
        answer_within: ANSWER_WITHIN,
    }
}

async fn order(end: End) {
    let mut wanted = Vec::new();
    for generation in 1..=20 {
        let publication = end.publish(draft("a")).await;
        assert_eq!(publication.position.generation, generation);
        wanted.push((publication, end.id.clone()));
    }
    assert!(wanted.iter().all(|(one, _)| one.position.epoch == wanted[0].0.position.epoch));
    let other = end.publish(draft("b")).await;
    assert_eq!(other.position.generation, 1, "rooms are counted apart");
    // Rooms may travel apart too, so only the one room's order is looked at.
    eventually(SOON, "all publications", async || {
        let heard = end.record.publications.lock().unwrap();
        let of_a: Vec<_> = heard.iter().filter(|(one, _)| one.room == room("a")).cloned().collect();
        equal("publications", &of_a, &wanted).and(equal("count", &heard.len(), &21))
    })
    .await;
}

async fn content(end: End) {
    let name = "weiß nicht: \"{}\"/%2F";
    let revision = Revision::parse("4\"2").unwrap();
    let before = end.broker.now();
    let publication = end.publish(Draft { revision: Some(revision.clone()), ..draft(name) }).await;
    assert_eq!(publication.room, room(name));
    assert_eq!(publication.revision, Some(revision));
    let off = publication.published_at.since(before).max(before.since(publication.published_at));
    assert!(off < Duration::from_secs(5), "published {off:?} away from the broker's clock");
    end.hears(&[(publication, end.id.clone())]).await;
}

async fn heads(end: End) {
    end.publish(draft("a")).await;
    let newest = end.publish(draft("a")).await;
    let other = end.publish(draft("b")).await;
    let heads = end.broker.heads(&[room("b"), room("none"), room("a")]).await.unwrap();
    assert_eq!(heads, [Held::Head(other), Held::Nothing, Held::Head(newest)]);
    assert_eq!(end.broker.heads(&[]).await.unwrap(), []);
}

async fn idempotency(end: End) {
    let once = |name: &str, key: &str| Draft { idempotency_key: Some(key.to_owned()), ..draft(name) };
    let first = end.publish(once("a", "k")).await;
    assert_eq!(end.broker.recall(&room("a"), "k").await.unwrap(), None, "there is no answer yet");
    match end.broker.publish(once("a", "k")).await.unwrap() {
        Published::Duplicate { publication, answered_in } => {
            assert_eq!(publication, first);
            assert!(!answered_in.is_zero() && answered_in <= ANSWER_WITHIN, "{answered_in:?}");
        }
        Published::New(publication) => panic!("published twice: {publication:?}"),
    }
    let tally = Tally { expected: 3, confirmed: 2, connections: 7 };
    end.broker.remember(&room("a"), "k", tally).await.unwrap();
    assert_eq!(end.broker.recall(&room("a"), "k").await.unwrap(), Some(tally));
    let elsewhere = end.publish(once("b", "k")).await;
    let other_key = end.publish(once("a", "other")).await;
    assert_eq!(other_key.position.generation, 2, "the duplicate took no generation");
    eventually(SOON, "three publications", async || {
        let heard: Vec<_> =
            end.record.publications.lock().unwrap().iter().map(|(one, _)| one.clone()).collect();
        let all = [&first, &elsewhere, &other_key].iter().all(|one| heard.contains(one));
        if all && heard.len() == 3 { Ok(()) } else { Err(format!("{heard:?}")) }
    })
    .await;
}

async fn confirmation(end: End) {
    let position = end.publish(draft("a")).await.position;
    let about = About::Position(position);
    let confirmation = Confirmation { from: NodeId::random(), room: room("a"), about, connections: 3 };
    end.broker.confirm(vec![(end.id.clone(), confirmation.clone())]).await.unwrap();
    eventually(SOON, "the confirmation", async || {
        equal("confirmations", &*end.record.confirmations.lock().unwrap(), &vec![confirmation.clone()])
    })
    .await;
}

async fn count_request(end: End) {
    end.broker.request_counts(&room("a"), 42).await.unwrap();
    eventually(SOON, "the request", async || {
        equal("requests", &*end.record.count_requests.lock().unwrap(), &vec![(room("a"), 42, end.id.clone())])
    })
    .await;
}

fn node_record(id: &NodeId, connections: u64) -> NodeRecord {
    NodeRecord { id: id.clone(), address: "host:8080".into(), version: "1.0.0".into(), connections, rooms: 1 }
}

async fn membership(end: End) {
    assert_eq!(end.broker.nodes().await.unwrap(), []);
    for connections in [1, 2] {
        let record = node_record(&end.id, connections);
        assert_eq!(end.broker.announce(&record).await.unwrap(), std::slice::from_ref(&record));
        assert_eq!(end.broker.nodes().await.unwrap(), [record]);
    }
    end.broker.retire().await.unwrap();
    assert_eq!(end.broker.nodes().await.unwrap(), []);
}

#[tokio::test]
async fn two_nodes_on_one_redis_hear_the_same_and_know_each_other() {
    let server = TestRedis::start().await;
    let (a, b) = (End::redis(&server).await, End::redis(&server).await);
    let first = a.publish(draft("a")).await;
    let second = b.publish(draft("a")).await;
    assert!(second.position.is_news_to(&first.position));
    let wanted = [(first, a.id.clone()), (second, b.id.clone())];
    a.hears(&wanted).await;
    b.hears(&wanted).await;
    a.broker.announce(&node_record(&a.id, 0)).await.unwrap();
    let mut nodes = b.broker.announce(&node_record(&b.id, 0)).await.unwrap();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    let mut wanted = [node_record(&a.id, 0), node_record(&b.id, 0)];
    wanted.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(nodes, wanted);
    let about = About::Count(1);
    let confirmation = Confirmation { from: a.id.clone(), room: room("a"), about, connections: 1 };
    a.broker.confirm(vec![(b.id.clone(), confirmation)]).await.unwrap();
    eventually(SOON, "b's confirmation", async || {
        equal("count", &b.record.confirmations.lock().unwrap().len(), &1)
    })
    .await;
    assert!(a.record.confirmations.lock().unwrap().is_empty(), "it was for b alone");
}

#[tokio::test]
async fn a_room_whose_head_redis_lost_begins_a_new_epoch() {
    let server = TestRedis::start().await;
    let end = End::redis(&server).await;
    let before = end.publish(draft("a")).await.position;
    server.command(&["FLUSHALL"]).await;
    let after = end.publish(draft("a")).await.position;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.generation, 1);
}

#[tokio::test]
async fn a_head_that_cannot_be_read_hides_no_other() {
    let server = TestRedis::start().await;
    let end = End::redis(&server).await;
    let good = end.publish(draft("good")).await;
    for (room, command) in [("garbage", "HSET"), ("list", "RPUSH")] {
        end.publish(draft(room)).await;
        let ::redis::Value::Array(keys) = server.command(&["KEYS", &format!("*:head:{room}")]).await else {
            panic!()
        };
        let key: String = ::redis::from_redis_value_ref(&keys[0]).unwrap();
        server.command(&["DEL", &key]).await;
        server.command(&[command, &key, "publication", "{}"]).await;
    }
    let heads = end.broker.heads(&[room("garbage"), room("good"), room("list")]).await.unwrap();
    assert_eq!(heads, [Held::Unreadable, Held::Head(good), Held::Unreadable]);
}
