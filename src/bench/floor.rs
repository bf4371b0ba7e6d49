//! The floor: the least that any server on this machine could spend. One thread, and for each delivery one bare
//! non-blocking write of a frame that was made once; no rooms' bookkeeping, no confirmation, no care for slow readers.
//!
//! It is a process of its own that speaks just enough HTTP and WebSocket to be measured like any other server.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tungstenite::handshake::derive_accept_key;

use super::protocol::Endpoint;
use super::target::Target;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1024;
const BACKLOG: i32 = 4096;
const HEADERS: usize = 64;
/// A final text frame: two bytes of header and the eighteen that a relay's refresh has.
const FRAME: &[u8] = b"\x81\x12{\"type\":\"refresh\"}";
pub const MARKER: &str = "\"type\":\"refresh\"";

/// The floor's process as the coordinator sees it; it ends with this value.
pub struct FloorServer {
    child: Child,
    address: SocketAddr,
}

impl FloorServer {
    /// Starts it, on these CPUs only if some are named.
    pub fn start(cpus: Option<&str>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match cpus {
            None => Command::new(&program),
            Some(cpus) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", cpus]).arg(&program);
                pinned
            }
        };
        command.args(["bench", "floor-server"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| io::Error::other("the floor server did not start"))?;
        Ok(Self { child, address })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn target(&self) -> Target {
        let endpoint =
            Endpoint { address: self.address, host: self.address.to_string(), path: "/{room}".to_owned() };
        Target {
            websockets: vec![endpoint.clone()],
            connect_headers: Vec::new(),
            subprotocol: None,
            send: Vec::new(),
            ready_marker: None,
            delivery_marker: MARKER.to_owned(),
            sequence_marker: None,
            ping_replies: Vec::new(),
            publishes: vec![endpoint],
            publish_method: "POST".to_owned(),
            publish_headers: Vec::new(),
            publish_body: String::new(),
        }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        // What cannot be killed has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until standard input ends; says its address first.
pub fn serve() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into());
    let mut out = io::stdout().lock();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    Floor::new(listener)?.run()
}

struct Peer {
    stream: TcpStream,
    /// A request that is not whole yet.
    partial: Vec<u8>,
    /// Its room and its place there, once upgraded.
    seat: Option<(usize, usize)>,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    /// Woken when standard input ends.
    waker: Arc<Waker>,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// The number of each path's room.
    names: HashMap<String, usize>,
    /// The sockets of each room.
    rooms: Vec<Vec<usize>>,
    buffer: Vec<u8>,
}

impl Floor {
    fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            listener,
            waker,
            peers: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            rooms: Vec::new(),
            buffer: vec![0; 16 * 1024],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let waker = Arc::clone(&self.waker);
        std::thread::spawn(move || {
            // Ends with the coordinator; what it says does not matter.
            drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
            drop(waker.wake());
        });
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKER => return Ok(()),
                    LISTENER => self.accept()?,
                    Token(index) => {
                        if self.read(index).is_err() {
                            self.remove(index);
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.peers.len());
            self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            let peer = Some(Peer { stream, partial: Vec::new(), seat: None });
            match self.peers.get_mut(index) {
                Some(slot) => *slot = peer,
                None => self.peers.push(peer),
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(gone) = self.peers.get_mut(index).and_then(Option::take) else { return };
        self.free.push(index);
        let Some((room, place)) = gone.seat else { return };
        self.rooms[room].swap_remove(place);
        if let Some(moved) = self.rooms[room].get(place).copied()
            && let Some(Some(peer)) = self.peers.get_mut(moved)
        {
            peer.seat = Some((room, place));
        }
    }

    fn seat(&mut self, path: String) -> usize {
        let next = self.rooms.len();
        let room = *self.names.entry(path).or_insert(next);
        if room == next {
            self.rooms.push(Vec::new());
        }
        room
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(index) else { return Ok(()) };
            let length = match peer.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if peer.seat.is_some() {
                continue;
            }
            peer.partial.extend_from_slice(&self.buffer[..length]);
            let Some(request) = read_request(&peer.partial)? else { continue };
            peer.partial = Vec::new();
            match request {
                Request::Upgrade { path, answer } => {
                    peer.stream.write_all(&answer)?;
                    let room = self.seat(path);
                    self.rooms[room].push(index);
                    let seat = Some((room, self.rooms[room].len() - 1));
                    if let Some(Some(peer)) = self.peers.get_mut(index) {
                        peer.seat = seat;
                    }
                }
                Request::Publish { path } => {
                    self.broadcast(&path);
                    let Some(Some(peer)) = self.peers.get_mut(index) else { return Ok(()) };
                    peer.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                }
            }
        }
    }

    fn broadcast(&mut self, path: &str) {
        let sockets = self.names.get(path).and_then(|room| self.rooms.get(*room));
        for index in sockets.into_iter().flatten() {
            if let Some(Some(peer)) = self.peers.get_mut(*index) {
                // A socket that is full or gone misses it: the bench counts what arrives.
                drop(peer.stream.write(FRAME));
            }
        }
    }
}

enum Request {
    Upgrade { path: String, answer: Vec<u8> },
    Publish { path: String },
}

/// The request, if it is whole.
fn read_request(bytes: &[u8]) -> io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = request.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let value = |name: &str| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let path = request.path.unwrap_or("/").to_owned();
    if let Some(key) = value("sec-websocket-key") {
        let accept = derive_accept_key(key.value);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        return Ok(Some(Request::Upgrade { path, answer: answer.into_bytes() }));
    }
    let length =
        value("content-length").and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let whole = bytes.len() >= start + length.unwrap_or(0);
    Ok(whole.then_some(Request::Publish { path }))
}
