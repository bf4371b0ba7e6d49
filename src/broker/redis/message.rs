//! What nodes say to each other on Redis channels: JSON objects told apart by `type`.

use serde::{Deserialize, Serialize};

use crate::broker::{Confirmation, NodeId};
use crate::room::{Publication, RoomId};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// Composed by `publish.lua`.
    Publication {
        publisher: NodeId,
        publication: Publication,
    },
    Confirmation(Confirmation),
    CountRequest {
        room: RoomId,
        number: u64,
        asker: NodeId,
    },
    /// A node's word to itself, to see that what is published comes back.
    Probe {
        number: u64,
    },
}

impl Message {
    pub fn decode(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}
