//! An HTTP connection byte by byte: for requests that no client would send, or not at that pace.

use super::http::{Answer, read_answer};
use super::wait::SOON;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// What makes a request for a path a handshake.
pub const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub struct Hose {
    stream: TcpStream,
}

impl Hose {
    pub async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.expect("the kernel takes it") }
    }

    /// From that address of this machine, such as `127.0.0.7`.
    pub async fn connect_from(from: &str, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = from.parse().expect("an address");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        Self { stream: socket.connect(to).await.expect("the kernel takes it") }
    }

    /// False when the node has ended the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Repeats the bytes with a pause in between until the node ends the connection; says how long that took. Panics when
    /// it does not within that time.
    pub async fn dribble(&mut self, bytes: &[u8], within: Duration) -> Duration {
        let start = Instant::now();
        while start.elapsed() < within {
            let mut one = [0];
            let ended = match timeout(Duration::from_millis(50), self.stream.read(&mut one)).await {
                Ok(Ok(0) | Err(_)) => true,
                Ok(Ok(_)) | Err(_) => !self.send(bytes).await,
            };
            if ended {
                return start.elapsed();
            }
        }
        panic!("the node took {bytes:?} again and again for {within:?}");
    }

    /// Repeats the bytes that often, with a pause after each.
    pub async fn trickle(&mut self, bytes: &[u8], times: usize, pause: Duration) {
        for _ in 0..times {
            if !self.send(bytes).await {
                return;
            }
            sleep(pause).await;
        }
    }

    /// The next answer, within [`SOON`]; None when the connection ended without one.
    pub async fn answer(&mut self) -> Option<Answer> {
        let answer = timeout(SOON, read_answer(&mut self.stream, false)).await;
        answer
            .unwrap_or_else(|_| panic!("neither an answer nor the end of the connection within {SOON:?}"))
            .ok()
    }

    /// Exactly that many bytes, within [`SOON`].
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = timeout(SOON, self.stream.read_exact(&mut bytes)).await;
        read.unwrap_or_else(|_| panic!("{length} bytes did not come within {SOON:?}"))
            .expect("an open connection");
        bytes
    }

    /// Ends the connection with a reset instead of a close.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("no linger");
    }

    /// Panics unless the node ends the connection within [`SOON`], whatever it sends before.
    pub async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let end = timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection did not end within {SOON:?}");
    }
}

/// Sends these bytes on a connection of their own and gives the first answer; None when there was none.
pub async fn answer_to(to: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut hose = Hose::connect(to).await;
    // What is refused early may not be read to its end.
    let _taken_or_refused = hose.send(bytes).await;
    hose.answer().await
}
