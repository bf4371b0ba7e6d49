//! A TCP proxy between a node and its Redis that can fail in ways Redis itself cannot be asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    swallow: Swallow,
    accepting: JoinHandle<()>,
}

/// Bytes that, when an answer contains them, make that one answer disappear.
type Swallow = Arc<Mutex<Option<Vec<u8>>>>;

impl Proxy {
    /// Listens on a free port and passes everything on to the server at `port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        let swallow = Swallow::default();
        let accepting = tokio::spawn(accept(listener, port, is_cut, swallow.clone()));
        Self { address, cut, swallow, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Closes every connection and every new one at once, until [`Proxy::heal`].
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn heal(&self) {
        self.cut.send_replace(false);
    }

    /// Loses the next packet from the server that contains `bytes`, and nothing else: no connection notices.
    pub fn swallow_next(&self, bytes: &[u8]) {
        *self.swallow.lock().expect("not poisoned") = Some(bytes.to_vec());
    }

    /// Whether the packet named last has come by and was lost.
    pub fn has_swallowed(&self) -> bool {
        self.swallow.lock().expect("not poisoned").is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut.send_replace(true);
    }
}

async fn accept(listener: TcpListener, port: u16, cut: watch::Receiver<bool>, swallow: Swallow) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if !*cut.borrow() {
            tokio::spawn(carry(client, port, cut.clone(), swallow.clone()));
        }
    }
}

async fn carry(client: TcpStream, port: u16, mut cut: watch::Receiver<bool>, swallow: Swallow) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, None) => {}
        () = pass(from_server, to_client, Some(swallow)) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: Option<Swallow>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let packet = &buffer[..length];
        let lost = swallow.as_ref().is_some_and(|swallow| {
            let mut wanted = swallow.lock().expect("not poisoned");
            let found =
                wanted.as_ref().is_some_and(|bytes| packet.windows(bytes.len()).any(|part| part == bytes));
            if found {
                *wanted = None;
            }
            found
        });
        if !lost && to.write_all(packet).await.is_err() {
            return;
        }
    }
}
