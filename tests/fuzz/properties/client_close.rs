//! A client's close frame. Input: its payload.

use bytes::BytesMut;
use refresh_relay::close::CloseReason;
use refresh_relay::ws::{Decoder, Heard};

const MASKED: u8 = 0x80;
const LENGTH_IN_TWO_BYTES: u8 = 0x7e;

pub fn check(input: &[u8]) {
    let mut frame = vec![0x88];
    if let Ok(short @ ..126) = u8::try_from(input.len()) {
        frame.push(MASKED | short);
    } else {
        frame.push(MASKED | LENGTH_IN_TWO_BYTES);
        frame.extend(u16::try_from(input.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(input.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));

    let heard = Decoder::new(BytesMut::from(frame.as_slice()), 4096).decode();
    let expected = if is_allowed(input) { Ok(Heard::Close) } else { Err(CloseReason::Protocol) };
    assert_eq!(heard, Some(expected));
}

/// RFC 6455, sections 5.5, 5.5.1 and 7.4, and the codes registered since.
fn is_allowed(payload: &[u8]) -> bool {
    match payload {
        [] => true,
        [_] => false,
        [high, low, text @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            payload.len() <= 125
                && matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
                && std::str::from_utf8(text).is_ok()
        }
    }
}
