//! A TCP proxy between one node and one Redis, which can turn into a black hole in one direction or in both.
//!
//! As with real packet loss nothing that was sent is lost for good while the connection lives: bytes, and closing, are
//! held, and go on once the hole is gone, unless the connections are reset then.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holes {
    pub to_redis: bool,
    pub from_redis: bool,
    /// Connections made while this had another value end.
    generation: u64,
}

pub struct Proxy {
    pub address: SocketAddr,
    holes: watch::Sender<Holes>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (holes, seen) = watch::channel(Holes::default());
        tokio::spawn(accept(listener, port, seen));
        Self { address, holes }
    }

    pub fn open(&self, to_redis: bool, from_redis: bool) {
        self.holes.send_modify(|holes| {
            holes.to_redis = to_redis;
            holes.from_redis = from_redis;
        });
    }

    /// Lets everything through again; with `reset`, connections that were there before are gone.
    pub fn close(&self, reset: bool) {
        self.holes.send_modify(|holes| {
            let generation = holes.generation + u64::from(reset);
            *holes = Holes { generation, ..Holes::default() };
        });
    }
}

async fn accept(listener: TcpListener, port: u16, holes: watch::Receiver<Holes>) {
    let mut alive = holes.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                tokio::spawn(carry(client, port, holes.clone()));
            },
            // The proxy is gone.
            Err(_) = async { alive.wait_for(|_| false).await } => return,
        }
    }
}

async fn carry(client: TcpStream, port: u16, mut holes: watch::Receiver<Holes>) {
    let generation = holes.borrow().generation;
    let mut reset = holes.clone();
    let carrying = async {
        holes.wait_for(|holes| !holes.to_redis && !holes.from_redis).await.ok()?;
        let server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pass(from_client, to_server, holes.clone(), |holes| holes.to_redis) => {}
            () = pass(from_server, to_client, holes.clone(), |holes| holes.from_redis) => {}
        }
        Some(())
    };
    tokio::select! {
        _ = carrying => {}
        _ = reset.wait_for(|holes| holes.generation != generation) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut holes: watch::Receiver<Holes>,
    held: fn(&Holes) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if holes.wait_for(|holes| !held(holes)).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
