//! What a client sends on its WebSocket. Input: a byte that picks the limit, a byte that picks the pieces, the bytes.

use bytes::BytesMut;
use refresh_relay::close::CloseReason;
use refresh_relay::ws::{Decoder, Heard, MAX_HEADER};

/// Below, at and above what a control frame may hold.
const LIMITS: [usize; 4] = [1, 32, 125, 300];

/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

type Said = Vec<Result<Heard, CloseReason>>;

pub fn check(input: &[u8]) {
    let [limit, pieces, bytes @ ..] = input else { return };
    let limit = LIMITS[usize::from(limit % 4)];
    let whole = said(limit, bytes.len(), bytes);
    // However the network cuts them, the same bytes mean the same.
    assert_eq!(said(limit, 1 + usize::from(*pieces), bytes), whole);
    assert_eq!(said(limit, 1, bytes), whole);

    let (said, _held) = whole;
    for heard in &said {
        match heard {
            Ok(Heard::Ping(payload)) => assert!(payload.len() <= limit.min(MAX_CONTROL)),
            Ok(Heard::Pong | Heard::Data | Heard::Close) => {}
            Err(reason) => assert!(matches!(reason.code(), 1002 | 1007 | 1009), "{reason:?}"),
        }
    }
    let failed = said.iter().position(Result::is_err);
    assert!(failed.is_none_or(|at| at + 1 == said.len()), "something was heard after an error");
}

/// What is heard when the bytes come so many at a time, and how many are kept in the end.
fn said(limit: usize, at_a_time: usize, bytes: &[u8]) -> (Said, usize) {
    let mut pieces = bytes.chunks(at_a_time.max(1));
    let mut decoder = Decoder::new(BytesMut::from(pieces.next().unwrap_or_default()), limit);
    let mut said = Said::new();
    loop {
        while let Some(heard) = decoder.decode() {
            said.push(heard);
        }
        assert!(decoder.held() <= limit + MAX_HEADER, "{} bytes are kept", decoder.held());
        match pieces.next() {
            Some(piece) => decoder.push(piece),
            None => return (said, decoder.held()),
        }
    }
}
