//! A client's message of text, in fragments with pings in between. Input: a byte that picks the limit, a byte that picks
//! the size of the fragments, the text.

use bytes::BytesMut;
use refresh_relay::close::CloseReason;
use refresh_relay::ws::{Decoder, Heard};

const LIMITS: [usize; 4] = [1, 32, 125, 300];

pub fn check(input: &[u8]) {
    let [limit, size, text @ ..] = input else { return };
    let limit = LIMITS[usize::from(limit % 4)];
    let size = usize::from(*size).clamp(1, 120);
    let mut bytes = Vec::new();
    let mut fragments = text.chunks(size).peekable();
    let mut opcode = 0x01;
    while let Some(fragment) = fragments.next() {
        let last = fragments.peek().is_none();
        frame(&mut bytes, if last { 0x80 | opcode } else { opcode }, fragment);
        opcode = 0x00;
        frame(&mut bytes, 0x89, b"");
    }
    let mut decoder = Decoder::new(BytesMut::from(bytes.as_slice()), limit);
    let said: Vec<_> = std::iter::from_fn(|| decoder.decode()).collect();
    let good = text.len() <= limit && std::str::from_utf8(text).is_ok();
    if good {
        let pings = said.iter().filter(|heard| matches!(heard, Ok(Heard::Ping(_)))).count();
        let pieces = said.iter().filter(|heard| matches!(heard, Ok(Heard::Data))).count();
        assert_eq!((pieces, pings, said.len()), (pings, pings, 2 * text.chunks(size).len()));
    } else {
        let reason = said.last().and_then(|heard| heard.as_ref().err()).expect("it was refused");
        assert!(*reason == CloseReason::NotText || (*reason == CloseReason::TooBig && text.len() > limit));
    }
}

fn frame(bytes: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend([first, 0x80 | u8::try_from(payload.len()).expect("short")]);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
