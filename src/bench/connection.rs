//! One socket of the generator: connects, shakes hands, reads frames and answers pings; allocates for none of them.

use std::io::{self, ErrorKind, Read, Write};

use memchr::memmem::Finder;
use mio::net::TcpStream;

use super::clock::Moment;
use super::frames::{self, Frame};
use super::handshake::{self, Answer};
use super::protocol::Plan;
use super::window::{Seat, Window};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The request is not all written, or not all answered.
    Shaking,
    /// Upgraded; the frame that marks it ready has not come.
    Greeting,
    Ready,
}

/// What became of a socket by an event.
pub enum Turn {
    Nothing,
    Ready,
    /// It is of no more use, and why.
    Lost(String),
}

/// What all sockets of a process share.
pub struct Shared {
    pub plan: Plan,
    accept: String,
    delivery: Finder<'static>,
    ready: Option<Finder<'static>>,
    ping_replies: Vec<(Vec<u8>, Vec<u8>)>,
    pub window: Window,
    pub first_frame: Option<String>,
    buffer: Box<[u8]>,
    reply: Vec<u8>,
}

/// Larger than what piles up on a socket between two looks; a read that does not fill it has emptied the socket.
const BUFFER: usize = 64 * 1024;
/// How much of a frame is told.
const SHOWN: usize = 200;

impl Shared {
    pub fn new(plan: Plan) -> Result<Self, super::histogram::HistogramError> {
        let sockets = &plan.sockets;
        Ok(Self {
            accept: handshake::expected_accept(),
            delivery: Finder::new(&sockets.delivery_marker).into_owned(),
            ready: sockets.ready_marker.as_deref().map(|marker| Finder::new(marker).into_owned()),
            ping_replies: sockets
                .ping_replies
                .iter()
                .map(|(ping, reply)| (ping.clone().into(), reply.clone().into()))
                .collect(),
            window: Window::new(plan.rooms.len(), sockets.sequence_marker.as_deref())?,
            first_frame: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            reply: Vec::new(),
            plan,
        })
    }
}

pub struct Connection {
    pub stream: TcpStream,
    pub phase: Phase,
    /// From when its handshake counts.
    pub start: Moment,
    pub seat: Seat,
    /// Whether the window counts it.
    pub measured: bool,
    /// Whether it stops reading once it is ready.
    pub stuck: bool,
    /// A frame in pieces, or the handshake's answer so far.
    partial: Vec<u8>,
    /// What the kernel did not take yet.
    unsent: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream, request: Vec<u8>, seat: Seat, start: Moment) -> Self {
        Self {
            stream,
            phase: Phase::Shaking,
            start,
            seat,
            measured: true,
            stuck: false,
            partial: Vec::new(),
            unsent: request,
        }
    }

    pub fn on_event(&mut self, shared: &mut Shared, readable: bool, writable: bool) -> Turn {
        if writable
            && !self.unsent.is_empty()
            && let Err(error) = self.flush()
        {
            return Turn::Lost(self.describe(&error));
        }
        if !readable {
            return Turn::Nothing;
        }
        let before = self.phase;
        match self.read(shared) {
            Err(reason) => Turn::Lost(reason),
            Ok(()) if before != Phase::Ready && self.phase == Phase::Ready => Turn::Ready,
            Ok(()) => Turn::Nothing,
        }
    }

    fn describe(&self, error: &io::Error) -> String {
        match self.phase {
            Phase::Shaking => format!("cannot connect: {error}"),
            _ => format!("the connection broke: {error}"),
        }
    }

    /// Writes what is not written yet; also before the connection stands, when nothing is taken.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.shrink_to_fit();
        Ok(())
    }

    fn read(&mut self, shared: &mut Shared) -> Result<(), String> {
        // Taken out so that what is read from it can be handed around beside what is shared; put back below.
        let mut buffer = std::mem::take(&mut shared.buffer);
        let outcome = self.read_into(&mut buffer, shared);
        shared.buffer = buffer;
        outcome
    }

    fn read_into(&mut self, buffer: &mut [u8], shared: &mut Shared) -> Result<(), String> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection without a close frame".to_owned()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.describe(&error)),
            };
            if self.partial.is_empty() {
                let used = self.take(&buffer[..length], shared)?;
                self.partial.extend_from_slice(&buffer[used..length]);
            } else {
                let mut bytes = std::mem::take(&mut self.partial);
                bytes.extend_from_slice(&buffer[..length]);
                let used = self.take(&bytes, shared)?;
                bytes.drain(..used);
                // A whole frame leaves nothing behind, and then no memory either.
                self.partial = if bytes.is_empty() { Vec::new() } else { bytes };
            }
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes what is whole; answers how much that was.
    fn take(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<usize, String> {
        let mut used = 0;
        if self.phase == Phase::Shaking {
            match handshake::read_answer(bytes, &shared.accept) {
                Answer::Incomplete => return Ok(0),
                Answer::Refused(reason) => return Err(reason),
                Answer::Upgraded(length) => used = length,
            }
            self.greet(shared).map_err(|error| self.describe(&error))?;
        }
        while let Some(frame) = frames::first(&bytes[used..]) {
            used += frame.length;
            self.on_frame(&frame, shared)?;
        }
        Ok(used)
    }

    /// Says what the server wants to hear first.
    fn greet(&mut self, shared: &Shared) -> io::Result<()> {
        self.phase = if shared.ready.is_some() { Phase::Greeting } else { Phase::Ready };
        let rooms = &shared.plan.rooms;
        let room =
            usize::try_from(self.seat.room).ok().and_then(|room| rooms.get(room)).map_or("", String::as_str);
        for text in &shared.plan.sockets.send {
            frames::append(&mut self.unsent, frames::TEXT, text.replace("{room}", room).as_bytes());
        }
        self.flush()
    }

    fn on_frame(&mut self, frame: &Frame<'_>, shared: &mut Shared) -> Result<(), String> {
        match frame.opcode {
            frames::PING => return self.reply(frames::PONG, frame.payload, shared),
            frames::PONG => return Ok(()),
            frames::CLOSE => {
                let (code, reason) = frame.payload.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
                let (code, reason) = (u16::from_be_bytes(*code), String::from_utf8_lossy(reason));
                return Err(format!("the server closed the connection with code {code} {reason}"));
            }
            _ => {}
        }
        if shared.first_frame.is_none() {
            let shown = &frame.payload[..frame.payload.len().min(SHOWN)];
            shared.first_frame = Some(String::from_utf8_lossy(shown).into_owned());
        }
        if shared.delivery.find(frame.payload).is_some() && self.measured {
            shared.window.record(&mut self.seat, frame.payload, Moment::now());
        }
        if self.phase == Phase::Greeting
            && shared.ready.as_ref().is_some_and(|marker| marker.find(frame.payload).is_some())
        {
            self.phase = Phase::Ready;
        }
        let reply = shared.ping_replies.iter().position(|(ping, _)| ping == frame.payload);
        if let Some(at) = reply {
            let text = std::mem::take(&mut shared.ping_replies[at].1);
            let sent = self.reply(frames::TEXT, &text, shared);
            shared.ping_replies[at].1 = text;
            return sent;
        }
        Ok(())
    }

    fn reply(&mut self, opcode: u8, payload: &[u8], shared: &mut Shared) -> Result<(), String> {
        if !self.unsent.is_empty() {
            frames::append(&mut self.unsent, opcode, payload);
            return self.flush().map_err(|error| self.describe(&error));
        }
        shared.reply.clear();
        frames::append(&mut shared.reply, opcode, payload);
        match self.stream.write(&shared.reply) {
            Ok(written) => self.unsent.extend_from_slice(&shared.reply[written..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent.extend_from_slice(&shared.reply);
            }
            Err(error) => return Err(self.describe(&error)),
        }
        Ok(())
    }
}
