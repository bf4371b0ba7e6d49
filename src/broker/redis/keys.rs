//! Every key and channel the relay uses in Redis; no other file spells one.
//!
//! Rooms fall into a fixed number of buckets by a hash of their name. Each bucket has one channel, which every node
//! subscribes to, whichever rooms it has sockets in. So subscriptions do not come and go with sockets: a room is
//! heard from the moment its first socket is seated, and a lost link is rebuilt with a few dozen subscriptions, not one
//! per room. The price is that each node reads every publication of the cluster. A publication costs a node without
//! sockets in its room about a microsecond, and Redis one message per node; the choice ends where nodes times
//! publications per second passes what one Redis sends, some hundred thousand messages per second. Refreshes are far
//! rarer than that.
//!
//! The part in braces is the hash tag of Redis Cluster: what one script touches lies in one slot.

use crate::broker::NodeId;
use crate::room::RoomId;

/// Fixed for good: nodes of two versions must agree on it.
const BUCKETS: u32 = 16;

#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

/// A share of the rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(u32);

impl Bucket {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    pub fn of(name: &str) -> Self {
        Self(fnv1a(name.as_bytes()) % BUCKETS)
    }
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn tag(&self, Bucket(number): Bucket) -> String {
        format!("{{{}:{number:02}}}", self.prefix)
    }

    /// Hash: epoch, generation and the newest publication of a room.
    pub fn head(&self, room: &RoomId) -> String {
        format!("{}:head:{room}", self.tag(Bucket::of(room.as_str())))
    }

    /// Hash: what was published under an idempotency key, and the answer. The length keeps room and key apart.
    pub fn idempotency(&self, room: &RoomId, key: &str) -> String {
        let name = room.as_str();
        format!("{}:idempotency:{}:{name}:{key}", self.tag(Bucket::of(name)), name.len())
    }

    /// The bucket whose server keeps the records of the nodes.
    pub const NODES: Bucket = Bucket(0);

    /// Hash: the record of each node.
    pub fn nodes(&self) -> String {
        format!("{}:nodes", self.tag(Self::NODES))
    }

    /// String: written with each probe, as a server that takes no writes is of no use.
    pub fn probe(&self, bucket: Bucket, node: &NodeId) -> String {
        format!("{}:probe:{node}", self.tag(bucket))
    }

    /// Channel: publications and count requests for the rooms of a bucket, to all nodes.
    pub fn channel(&self, bucket: Bucket) -> String {
        format!("{}:publications", self.tag(bucket))
    }

    /// Channel: what is for one node alone, namely confirmations for the rooms of a bucket, and its own probes.
    pub fn inbox(&self, bucket: Bucket, node: &NodeId) -> String {
        format!("{}:inbox:{node}", self.tag(bucket))
    }
}

/// FNV-1a, 32 bits (draft-eastlake-fnv): the same on every node and in every version, which `std`'s hasher is not.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_publish_touches_shares_one_hash_tag() {
        let keys = Keys::new("relay");
        let room = RoomId::parse("featurevisor", 256).unwrap();
        let tag = |key: &str| key[..=key.find('}').unwrap()].to_owned();
        assert_eq!(tag(&keys.head(&room)), tag(&keys.idempotency(&room, "k")));
        assert_eq!(tag(&keys.head(&room)), tag(&keys.channel(Bucket::of(room.as_str()))));
    }

    #[test]
    fn a_room_and_a_key_cannot_be_mistaken_for_another_pair() {
        let keys = Keys::new("relay");
        let room = |name| RoomId::parse(name, 256).unwrap();
        assert_ne!(keys.idempotency(&room("a:b"), "c"), keys.idempotency(&room("a"), "b:c"));
    }

    #[test]
    fn the_hash_has_its_published_values() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }
}
