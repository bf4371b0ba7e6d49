//! A WebSocket client byte by byte: for frames that a well-behaved client never sends, and for what exactly comes back.

use super::http::{Answer, Request, read_answer};
use super::wait::SOON;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub const TEXT: u8 = 0x1;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_IN_TWO_BYTES: u8 = 126;
const LENGTH_IN_EIGHT_BYTES: u8 = 127;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub struct RawSocket {
    stream: TcpStream,
}

/// A frame as the node sent it: its first byte (final bit, reserved bits, opcode) and its payload.
#[derive(Debug, PartialEq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

/// The half of a socket that reads.
pub struct Reading(OwnedReadHalf);

/// The half of a socket that writes.
pub struct Writing(OwnedWriteHalf);

impl Reading {
    /// Reads until the node ends the connection; says how many bytes came.
    pub async fn read_to_end(&mut self) -> usize {
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        while let Ok(read @ 1..) = self.0.read(&mut buffer).await {
            count += read;
        }
        count
    }
}

impl Writing {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the socket can be written to");
    }
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        match (self.opcode(), self.payload.as_slice()) {
            (CLOSE, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

impl RawSocket {
    /// Connects, shakes hands, and panics when refused.
    pub async fn connect(to: SocketAddr, path: &str) -> Self {
        match Self::try_connect(to, path).await {
            Ok(socket) => socket,
            Err(answer) => panic!("refused: {answer:?}"),
        }
    }

    /// Connects and shakes hands; the answer when refused.
    pub async fn try_connect(to: SocketAddr, path: &str) -> Result<Self, Answer> {
        let stream = TcpStream::connect(to).await.expect("the node accepts");
        Self::shake(stream, to, path).await
    }

    /// The same with a receive buffer so small that the node's writes soon stall when it is not read from.
    pub async fn connect_narrow(to: SocketAddr, path: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1024).expect("a small buffer");
        let stream = socket.connect(to).await.expect("the node accepts");
        Self::shake(stream, to, path).await.expect("not refused")
    }

    async fn shake(mut stream: TcpStream, to: SocketAddr, path: &str) -> Result<Self, Answer> {
        stream.set_nodelay(true).expect("no delay");
        let request = Request::get(path).upgrade().encode(to);
        let answer = timeout(SOON, async {
            stream.write_all(&request).await?;
            read_answer(&mut stream, false).await
        });
        let answer = answer.await.expect("an answer to the handshake in time").expect("an answer");
        if answer.status != 101 {
            return Err(answer);
        }
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer:?}");
        assert_eq!(answer.header("sec-websocket-extensions"), None, "{answer:?}");
        Ok(Self { stream })
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the socket can be written to");
    }

    /// Exactly that many bytes, within [`SOON`].
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(SOON, self.stream.read_exact(&mut bytes)).await;
        read.unwrap_or_else(|_| panic!("{length} bytes did not come within {SOON:?}"))
            .expect("the socket is open");
        bytes
    }

    /// The next frame, or None when the connection ended instead.
    pub async fn frame_within(&mut self, within: Duration) -> Option<Frame> {
        let read = async {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                LENGTH_IN_TWO_BYTES => usize::from(self.stream.read_u16().await?),
                short @ 0..126 => usize::from(short),
                other => panic!("length byte {other:#x}: masked, or far too long"),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>(Frame { first, payload })
        };
        timeout(within, read)
            .await
            .unwrap_or_else(|_| panic!("neither a frame nor the end of the connection within {within:?}"))
            .ok()
    }

    /// Reads over everything else up to the close frame and gives its code; panics when none comes within [`SOON`].
    pub async fn close_code(&mut self) -> u16 {
        let read = async {
            while let Some(frame) = self.frame_within(SOON).await {
                if frame.opcode() == CLOSE {
                    return frame.close_code().expect("a close frame with a code");
                }
            }
            panic!("the connection ended without a close frame");
        };
        timeout(SOON, read).await.unwrap_or_else(|_| panic!("no close frame within {SOON:?}"))
    }

    /// Panics unless the node ends the connection within [`SOON`], whatever it sends before.
    pub async fn expect_end(&mut self) {
        let read = async { while self.frame_within(SOON).await.is_some() {} };
        timeout(SOON, read).await.unwrap_or_else(|_| panic!("the connection did not end within {SOON:?}"));
    }

    /// The half that reads and the half that writes, for a flood in both directions.
    pub fn split(self) -> (Reading, Writing) {
        let (reading, writing) = self.stream.into_split();
        (Reading(reading), Writing(writing))
    }

    /// Ends the connection with a reset instead of a close.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("no linger");
    }
}

/// A frame as a client must send it: masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, MASKED, payload.len());
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A whole message in one masked frame.
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(FINAL | opcode, payload)
}

/// A frame as only a server may send it.
pub fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(FINAL | opcode, 0, payload.len());
    bytes.extend(payload);
    bytes
}

fn header(first: u8, mask: u8, length: usize) -> Vec<u8> {
    match length {
        0..126 => vec![first, mask | length as u8],
        126..=0xffff => {
            let [high, low] = (length as u16).to_be_bytes();
            vec![first, mask | LENGTH_IN_TWO_BYTES, high, low]
        }
        _ => [&[first, mask | LENGTH_IN_EIGHT_BYTES], (length as u64).to_be_bytes().as_slice()].concat(),
    }
}
