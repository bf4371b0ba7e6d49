//! WebSocket frames (RFC 6455, section 5.2) as a client reads and writes them, without allocating for each.

/// A client must mask; which key it takes is nobody's business on a loopback interface.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_IN_TWO_BYTES: u8 = 0x7e;
const LENGTH_IN_EIGHT_BYTES: u8 = 0x7f;

pub const TEXT: u8 = 0x1;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// One frame of a server, and how many bytes it took.
pub struct Frame<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    pub length: usize,
}

/// The frame at the start of these bytes; None while it is not whole.
pub fn first(bytes: &[u8]) -> Option<Frame<'_>> {
    let (&[head, short], rest) = bytes.split_first_chunk::<2>()?;
    let (header, length): (usize, usize) = match short & 0x7f {
        LENGTH_IN_TWO_BYTES => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        LENGTH_IN_EIGHT_BYTES => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let end = header.checked_add(length)?;
    Some(Frame { opcode: head & 0x0f, payload: bytes.get(header..end)?, length: end })
}

/// Appends a whole masked frame.
pub fn append(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FINAL | opcode);
    match payload.len() {
        length @ 0..126 => out.push(MASKED | u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            out.push(MASKED | LENGTH_IN_TWO_BYTES);
            out.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            out.push(MASKED | LENGTH_IN_EIGHT_BYTES);
            out.extend(u64::try_from(length).unwrap_or(0).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
