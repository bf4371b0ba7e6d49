//! The body of a publish, in both forms, and the frame that comes of it. Input: the body.

use refresh_relay::http::body::{parse_json, parse_revision};
use refresh_relay::hub::Frame;
use refresh_relay::room::Revision;
use serde_json::{Value, json};

pub fn check(input: &[u8]) {
    let json = serde_json::from_slice::<Value>(input).ok();
    if json.is_some() {
        assert_eq!(parse_json(input), Ok(()), "this is JSON");
    }
    match parse_revision(input) {
        Ok(Some(revision)) => {
            assert_eq!(json, Some(json!({"revision": revision.as_str()})));
            let text = revision.as_str();
            let chars = text.chars().count();
            assert!((1..=Revision::MAX_CHARS).contains(&chars) && !text.chars().any(char::is_control));
            let again = serde_json::to_vec(&json).expect("JSON can be written");
            assert_eq!(parse_revision(&again), Ok(Some(revision.clone())));
            frame(&revision);
        }
        Ok(None) => {
            let nothing = json.is_none_or(|json| json == json!({}) || json == json!({"revision": null}));
            assert!(nothing && (json_is_absent(input) == input.is_empty()));
        }
        Err(message) => assert!(!message.is_empty()),
    }
}

fn json_is_absent(input: &[u8]) -> bool {
    serde_json::from_slice::<Value>(input).is_err()
}

/// Clients read from the frame just what was published, and its length fits its text.
fn frame(revision: &Revision) {
    let frame = Frame::refresh(Some(revision));
    let said: Value = serde_json::from_str(frame.text()).expect("a frame is JSON");
    assert_eq!(said, json!({"type": "refresh", "revision": revision.as_str()}));
    let (header, text) = frame.encoded().split_at(frame.encoded().len() - frame.text().len());
    assert_eq!(text, frame.text().as_bytes());
    let length = match *header {
        [0x81, short @ 0..126] => usize::from(short),
        [0x81, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
        _ => panic!("not the header of a short text frame: {header:x?}"),
    };
    assert_eq!(length, text.len());
}
