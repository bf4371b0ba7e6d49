//! What comes back from Redis: messages on channels, and what keys hold. Input: the bytes.

use std::fmt::Debug;

use refresh_relay::broker::redis::message::Message;
use refresh_relay::broker::{NodeRecord, Tally};
use refresh_relay::room::{Position, Publication};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn check(input: &[u8]) {
    if let Ok(message) = Message::decode(input) {
        let encoded = message.encode().expect("what was read can be written");
        assert_eq!(Message::decode(&encoded).expect("and read again"), message);
        assert_eq!(
            encoded,
            Message::decode(&encoded).and_then(|again| again.encode()).expect("the same bytes")
        );
    }
    is_read_back::<Publication>(input);
    is_read_back::<NodeRecord>(input);
    is_read_back::<Tally>(input);
    if let Ok(publication) = serde_json::from_slice::<Publication>(input) {
        assert!(publication.published_at.to_string().ends_with('Z'));
        assert!(publication.published_at.since(publication.published_at).is_zero());
    }
    if let Ok(position) = String::from_utf8_lossy(input).parse::<Position>() {
        assert_eq!(position.to_string().parse::<Position>().expect("a position"), position);
        assert!(position.covers(&position) && !position.is_news_to(&position));
    }
}

fn is_read_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(input: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(input) {
        let encoded = serde_json::to_vec(&value).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<T>(&encoded).expect("and read again"), value);
    }
}
