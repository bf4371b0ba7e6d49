//! A TCP proxy between a node and its Redis that can fail in ways Redis itself cannot be asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Proxy {
    address: SocketAddr,
    road: watch::Sender<Road>,
    swallow: Swallow,
    accepting: JoinHandle<()>,
}

/// Where new connections go, and what is wrong.
#[derive(Clone, Copy)]
struct Road {
    port: u16,
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Connections are closed, and new ones at once.
    Cut,
    BlackHole(Hole),
    /// A black hole both ways for clients of that address.
    BlackHoleFor(IpAddr),
    /// A black hole both ways for connections that go to another port than new ones do.
    Stranded,
}

/// Which way loses what is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hole {
    ToServer,
    ToClient,
    BothWays,
}

/// Bytes that, when an answer contains them, make that one answer disappear.
type Swallow = Arc<Mutex<Option<Vec<u8>>>>;

impl Proxy {
    /// Listens on a free port and passes everything on to the server at `port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (road, roads) = watch::channel(Road { port, fault: Fault::None });
        let swallow = Swallow::default();
        let accepting = tokio::spawn(accept(listener, roads, swallow.clone()));
        Self { address, road, swallow, accepting }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Closes every connection and every new one at once, until [`Proxy::heal`].
    pub fn cut(&self) {
        self.change(Fault::Cut);
    }

    /// Nothing passes that way, and nobody is told, until [`Proxy::heal`]. What was sent by then arrives late, as TCP sends it
    /// again until it gives up.
    pub fn black_hole(&self, hole: Hole) {
        self.change(Fault::BlackHole(hole));
    }

    /// A black hole both ways for clients of that address alone.
    pub fn black_hole_for(&self, client: IpAddr) {
        self.change(Fault::BlackHoleFor(client));
    }

    /// The address is another server's from now on. What is under way to the old one gets there only with [`Proxy::heal`].
    pub fn move_to(&self, port: u16) {
        self.road.send_replace(Road { port, fault: Fault::Stranded });
    }

    pub fn heal(&self) {
        self.change(Fault::None);
    }

    fn change(&self, fault: Fault) {
        self.road.send_modify(|road| road.fault = fault);
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
        self.cut();
    }
}

async fn accept(listener: TcpListener, roads: watch::Receiver<Road>, swallow: Swallow) {
    loop {
        let Ok((client, from)) = listener.accept().await else {
            continue;
        };
        let road = *roads.borrow();
        if !matches!(road.fault, Fault::Cut) {
            let way = Way { roads: roads.clone(), ip: from.ip(), port: road.port, direction: Hole::ToServer };
            tokio::spawn(carry(client, way, swallow.clone()));
        }
    }
}

async fn carry(client: TcpStream, way: Way, swallow: Swallow) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", way.port)).await else {
        return;
    };
    // Small packets must not wait for each other: the delays measured are those of the relay.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut roads = way.roads.clone();
    let way_back = Way { direction: Hole::ToClient, ..way.clone() };
    tokio::select! {
        () = pass(from_client, to_server, way, None) => {}
        () = pass(from_server, to_client, way_back, Some(swallow)) => {}
        _ = roads.wait_for(|road| matches!(road.fault, Fault::Cut)) => {}
    }
}

/// One direction of a connection.
#[derive(Clone)]
struct Way {
    roads: watch::Receiver<Road>,
    ip: IpAddr,
    port: u16,
    direction: Hole,
}

impl Way {
    /// Waits for as long as the way is a black hole. An error means that the proxy is gone.
    async fn opens(&mut self) -> Result<(), watch::error::RecvError> {
        let Self { roads, ip, port, direction } = self;
        let is_open = |road: &Road| match road.fault {
            Fault::None | Fault::Cut => true,
            Fault::BlackHole(hole) => hole != Hole::BothWays && hole != *direction,
            Fault::BlackHoleFor(client) => client != *ip,
            Fault::Stranded => road.port == *port,
        };
        roads.wait_for(is_open).await.map(drop)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: Way, swallow: Option<Swallow>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An end of the connection must not get through a black hole either.
        let read = from.read(&mut buffer).await;
        if way.opens().await.is_err() {
            return;
        }
        let Ok(length @ 1..) = read else {
            return;
        };
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
