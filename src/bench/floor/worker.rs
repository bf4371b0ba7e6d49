//! One thread of the floor: accepts, reads requests, and writes to its own sockets alone.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use super::FRAME;
use super::request::{Request, read_request};
use super::rooms::{Rooms, Seat};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1024;
const BUFFER: usize = 16 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A publish on its way through the threads; answered when the last of them has written, which is when it is dropped.
pub struct Publication {
    path: String,
    publisher: Arc<TcpStream>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        // A publisher that is gone wants no answer.
        drop((&*self.publisher).write_all(ANSWER));
    }
}

/// Where the other threads leave publications for this one.
#[derive(Clone)]
pub struct Door {
    sender: Sender<Arc<Publication>>,
    waker: Arc<Waker>,
}

struct Peer {
    stream: Arc<TcpStream>,
    /// A request that is not whole yet.
    partial: Vec<u8>,
    /// Once upgraded.
    seat: Option<Seat>,
}

pub struct Worker {
    poll: Poll,
    listener: TcpListener,
    door: Door,
    publications: Receiver<Arc<Publication>>,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    rooms: Rooms,
    buffer: Vec<u8>,
}

impl Worker {
    pub fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, publications) = channel();
        Ok(Self {
            poll,
            listener,
            door: Door { sender, waker },
            publications,
            peers: Vec::new(),
            free: Vec::new(),
            rooms: Rooms::default(),
            buffer: vec![0; BUFFER],
        })
    }

    pub fn door(&self) -> Door {
        self.door.clone()
    }

    pub fn run(mut self, others: &[Door]) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    WAKER => {
                        while let Ok(publication) = self.publications.try_recv() {
                            self.write_to_room(&publication.path);
                        }
                    }
                    LISTENER => self.accept()?,
                    Token(index) => {
                        if self.read(index, others).is_err() {
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
            let peer = Some(Peer { stream: Arc::new(stream), partial: Vec::new(), seat: None });
            match self.peers.get_mut(index) {
                Some(slot) => *slot = peer,
                None => self.peers.push(peer),
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(gone) = self.peers.get_mut(index).and_then(Option::take) else { return };
        self.free.push(index);
        let Some(seat) = gone.seat else { return };
        if let Some(moved) = self.rooms.leave(seat)
            && let Some(Some(peer)) = self.peers.get_mut(moved)
        {
            peer.seat = Some(seat);
        }
    }

    fn read(&mut self, index: usize, others: &[Door]) -> io::Result<()> {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(index) else { return Ok(()) };
            let length = match (&*peer.stream).read(&mut self.buffer) {
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
                    (&*peer.stream).write_all(&answer)?;
                    peer.seat = Some(self.rooms.enter(path, index));
                }
                Request::Publish { path } => {
                    let publisher = Arc::clone(&peer.stream);
                    self.publish(&Arc::new(Publication { path, publisher }), others)?;
                }
            }
        }
    }

    /// Others first: they write while this thread does.
    fn publish(&self, publication: &Arc<Publication>, others: &[Door]) -> io::Result<()> {
        for door in others {
            door.sender.send(Arc::clone(publication)).map_err(io::Error::other)?;
            door.waker.wake()?;
        }
        self.write_to_room(&publication.path);
        Ok(())
    }

    fn write_to_room(&self, path: &str) {
        for index in self.rooms.sockets(path) {
            if let Some(Some(peer)) = self.peers.get(index) {
                // A socket that is full or gone misses it: the bench counts what arrives.
                drop((&*peer.stream).write(FRAME));
            }
        }
    }
}
