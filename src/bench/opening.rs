//! Opening many sockets: at a rate or as fast as they go, so many handshakes at once; or again, each when it is lost.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::Moment;
use super::connection::Connection;
use super::handshake;
use super::histogram::{HistogramError, Latencies};
use super::protocol::{Opened, Opening, Plan};
use super::window::Seat;

/// What a socket that is to be stuck can hold: the kernel's least.
const STUCK_BUFFER: usize = 2048;
/// How long a socket that is tried again waits after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// An opening under way.
pub struct Ramp {
    pub wanted: Opening,
    next: usize,
    in_flight: usize,
    ready: usize,
    failed: usize,
    given_up: usize,
    first_failure: Option<String>,
    start: Moment,
    end: Moment,
    handshakes: Latencies,
    again: VecDeque<(Moment, usize)>,
    /// Whether sockets are opened because they were lost.
    pub returns: bool,
    first_lost: Option<Moment>,
    /// For each socket that is ready, when the connect began that was accepted.
    begun: Vec<Option<Moment>>,
}

impl Ramp {
    pub fn new(wanted: Opening) -> Result<Self, HistogramError> {
        let start = Moment::now();
        let begun = vec![None; wanted.count];
        Ok(Self {
            wanted,
            next: 0,
            in_flight: 0,
            ready: 0,
            failed: 0,
            given_up: 0,
            first_failure: None,
            start,
            end: start,
            handshakes: Latencies::new()?,
            again: VecDeque::new(),
            returns: false,
            first_lost: None,
            begun,
        })
    }

    /// All sockets stand; each is opened again once it is lost.
    pub fn returning(wanted: Opening) -> Result<Self, HistogramError> {
        let ramp = Self::new(wanted)?;
        Ok(Self { next: ramp.wanted.count, returns: true, ..ramp })
    }

    /// Which socket to open now, and when it was meant to be opened.
    pub fn due(&mut self) -> Option<(usize, Moment)> {
        if self.in_flight >= self.wanted.in_flight {
            return None;
        }
        let now = Moment::now();
        if self.again.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, index)) = self.again.pop_front()
        {
            self.in_flight += 1;
            return Some((index, now));
        }
        if self.next >= self.wanted.count {
            return None;
        }
        let mut intended = now;
        if self.wanted.rate > 0.0 {
            intended = self.start.plus(Duration::from_secs_f64(self.next as f64 / self.wanted.rate));
            if intended > now {
                return None;
            }
        }
        self.next += 1;
        self.in_flight += 1;
        Some((self.next - 1, intended))
    }

    pub fn on_ready(&mut self, index: usize, started: Moment) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ready += 1;
        self.begun[index] = Some(started);
        self.end = Moment::now();
        self.handshakes.record(self.end.since(started));
    }

    pub fn on_failure(&mut self, index: usize, reason: String) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.failed += 1;
        self.first_failure.get_or_insert(reason);
        if self.failed > self.wanted.retries {
            self.given_up += 1;
        } else {
            self.again.push_back((Moment::now().plus(RETRY_PAUSE), index));
        }
    }

    /// A socket that was ready is to return: at once.
    pub fn on_lost(&mut self, index: usize) {
        let now = Moment::now();
        self.first_lost.get_or_insert(now);
        // A server that ends may have taken it in once more.
        if self.begun[index].take().is_some() {
            self.ready -= 1;
        }
        self.again.push_back((now, index));
    }

    pub fn is_over(&self) -> bool {
        self.ready + self.given_up >= self.wanted.count || self.wanted.deadline.is_over()
    }

    pub fn report(self) -> Result<Opened, HistogramError> {
        let missing = self.wanted.count.saturating_sub(self.ready);
        let late =
            (missing > 0).then(|| "no handshake, or no frame with the ready marker, in time".to_owned());
        let kept = if self.returns { missing.saturating_sub(self.again.len() + self.in_flight) } else { 0 };
        let kept = (kept > 0)
            .then(|| format!("{kept} were never lost: --storm-command has to restart every node in time"));
        let start = if self.returns { self.begun.iter().flatten().min() } else { None };
        Ok(Opened {
            ready: self.ready,
            missing,
            failures: self.failed,
            first_failure: kept.or(self.first_failure).or(late),
            start: start.copied().unwrap_or(self.start),
            first_lost: self.first_lost,
            end: self.end,
            handshakes: self.handshakes.pack()?,
        })
    }
}

/// Begins a connection: the socket with that number, or one beside the numbered ones.
pub fn connect(plan: &Plan, number: usize, stuck: bool, start: Moment) -> io::Result<Connection> {
    let sockets = &plan.sockets;
    let endpoint = &sockets.endpoints[number % sockets.endpoints.len()];
    let room = number % plan.rooms.len().max(1);
    let name = plan.rooms.get(room).map_or("", String::as_str);
    let stream = begin(endpoint.address, number, plan.sources, stuck)?;
    let path = endpoint.path.replace("{room}", name);
    let request = handshake::request(&endpoint.host, &path, &sockets.headers, sockets.subprotocol.as_deref());
    let mut connection = Connection::new(stream, request, Seat::in_room(room), start);
    connection.stuck = stuck;
    connection.measured = !stuck;
    Ok(connection)
}

/// A non-blocking connect from one of the sources, so that ports do not run out.
fn begin(address: SocketAddr, number: usize, sources: u8, stuck: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if stuck {
        socket.set_recv_buffer_size(STUCK_BUFFER)?;
    }
    if sources > 0 && address.is_ipv4() && address.ip().is_loopback() {
        let last = u8::try_from(number % usize::from(sources)).unwrap_or(0);
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last.saturating_add(1))), 0);
        // Otherwise the kernel looks for a port that nobody uses here, which takes long once most are taken.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SockAddr::from(source))?;
    }
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// What a user can do about it.
pub fn explain(error: &io::Error) -> String {
    let errno = |code| error.raw_os_error() == Some(code);
    if errno(nix::libc::EMFILE) || errno(nix::libc::ENFILE) {
        format!(
            "too few open files ({error}): raise them with `ulimit -n`, or spread the sockets with --processes"
        )
    } else if errno(nix::libc::EADDRNOTAVAIL) || errno(nix::libc::EADDRINUSE) {
        format!("no free port ({error}): spread the sockets over more addresses with --sources")
    } else {
        format!("cannot connect: {error}")
    }
}
