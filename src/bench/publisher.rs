//! Publishing over keep-alive connections of its own, at intended times, so that one slow answer does not delay the next start.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::clock::{Moment, be_punctual, sleep_until};
use super::histogram::{HistogramError, Latencies};
use super::protocol::Schedule;
use super::target::{Endpoint, Publishing};

/// How long one publish may take.
const TIMEOUT: Duration = Duration::from_secs(15);
const HEADERS: usize = 64;
const READ: usize = 4096;
/// How much of a refusal's body is told.
const SHOWN: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("cannot publish to http://{host}: {source}")]
    Io { host: String, source: io::Error },
    #[error("the publish to http://{host}{path} was answered {status}: {body}{advice}")]
    Refused { host: String, path: String, status: u16, body: String, advice: &'static str },
    #[error("the publish to http://{host} was answered with something that is not HTTP: {reason}")]
    NotHttp { host: String, reason: String },
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    #[error("a publishing thread ended early")]
    Thread,
}

/// What the publishes of one schedule came to.
pub struct Published {
    pub answered: u64,
    /// From the intended start to the answer.
    pub answers: Latencies,
    /// From the intended start to the actual one.
    pub late: Latencies,
    pub last_answer: Option<Moment>,
}

/// Connections that publish at the same time; each goes to all nodes in turn.
pub struct Publishers {
    lines: Vec<Line>,
    rooms: Vec<String>,
    payload: String,
}

impl Publishers {
    pub fn new(publishing: &Publishing, connections: usize, rooms: &[String], payload_bytes: usize) -> Self {
        let lines = (0..connections.max(1)).map(|_| Line::new(publishing)).collect();
        Self { lines, rooms: rooms.to_vec(), payload: "x".repeat(payload_bytes) }
    }

    /// Publishes by that schedule, and does `meanwhile` on this thread, which can see whether a publish failed.
    /// What has not begun by `until` is left out.
    pub fn run<T>(
        &mut self,
        schedule: Schedule,
        until: Moment,
        meanwhile: impl FnOnce(&AtomicBool) -> T,
    ) -> Result<(T, Published), PublishError> {
        let Self { lines, rooms, payload } = self;
        let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let order = Order { schedule, until, rooms, payload, next: &next };
        std::thread::scope(|scope| {
            let (order, failed) = (&order, &failed);
            let threads: Vec<_> = lines
                .iter_mut()
                .map(|line| {
                    scope.spawn(move || {
                        let done = line.work(order);
                        if done.is_err() {
                            // Nobody goes on when one was refused: the run is void.
                            order.next.store(schedule.publishes, Ordering::Relaxed);
                            failed.store(true, Ordering::Relaxed);
                        }
                        done
                    })
                })
                .collect();
            let result = meanwhile(failed);
            let mut all = Published::new()?;
            for thread in threads {
                all.add(&thread.join().map_err(|_| PublishError::Thread)??);
            }
            Ok((result, all))
        })
    }
}

/// One publish. Threads keep these, and not histograms: there may be hundreds of threads.
struct Answered {
    intended: Moment,
    start: Moment,
    end: Moment,
}

/// What the publishing threads do together.
struct Order<'a> {
    schedule: Schedule,
    until: Moment,
    rooms: &'a [String],
    payload: &'a str,
    /// The first publish that no thread has taken.
    next: &'a AtomicU64,
}

impl Published {
    fn new() -> Result<Self, HistogramError> {
        Ok(Self { answered: 0, answers: Latencies::new()?, late: Latencies::new()?, last_answer: None })
    }

    fn add(&mut self, done: &[Answered]) {
        for answered in done {
            self.answered += 1;
            self.late.record(answered.start.since(answered.intended));
            self.answers.record(answered.end.since(answered.intended));
            self.last_answer = self.last_answer.max(Some(answered.end));
        }
    }
}

/// One publishing thread's connections, one to each node.
struct Line {
    publishing: Publishing,
    streams: Vec<Option<TcpStream>>,
    answer: Vec<u8>,
}

impl Line {
    fn new(publishing: &Publishing) -> Self {
        let streams = publishing.endpoints.iter().map(|_| None).collect();
        Self { publishing: publishing.clone(), streams, answer: Vec::new() }
    }

    /// Takes the next publish that nobody has, until there is none.
    fn work(&mut self, order: &Order<'_>) -> Result<Vec<Answered>, PublishError> {
        be_punctual();
        let Order { schedule, rooms, payload, .. } = order;
        let mut done = Vec::new();
        loop {
            if order.until.is_over() {
                return Ok(done);
            }
            let index = order.next.fetch_add(1, Ordering::Relaxed);
            if index >= schedule.publishes {
                return Ok(done);
            }
            let intended = schedule.start_of(index);
            let room = usize::try_from(index).ok().and_then(|index| rooms.get(index % rooms.len().max(1)));
            let number = schedule.first_number + index;
            let node = usize::try_from(number).unwrap_or(0) % self.streams.len();
            let request = self.request(node, number, room.map_or("", String::as_str), payload);
            self.connect(node)?;
            sleep_until(intended);
            let start = Moment::now();
            self.publish(node, &request)?;
            done.push(Answered { intended, start, end: Moment::now() });
        }
    }

    fn request(&self, node: usize, number: u64, room: &str, payload: &str) -> Vec<u8> {
        let number = number.to_string();
        let fill =
            |text: &str| text.replace("{n}", &number).replace("{room}", room).replace("{payload}", payload);
        let endpoint = &self.publishing.endpoints[node];
        let body = fill(&self.publishing.body);
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.publishing.method,
            fill(&endpoint.path),
            endpoint.host
        );
        // Writing to a string cannot fail.
        for (name, value) in &self.publishing.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
        head.into_bytes()
    }

    fn connect(&mut self, node: usize) -> Result<(), PublishError> {
        if self.streams[node].is_none() {
            let endpoint = &self.publishing.endpoints[node];
            self.streams[node] = Some(connect(endpoint).map_err(|source| failed(endpoint, source))?);
        }
        Ok(())
    }

    fn publish(&mut self, node: usize, request: &[u8]) -> Result<(), PublishError> {
        match self.exchange(node, request) {
            // The server may close a connection that was idle just as the request leaves: once more on a new one.
            Err(PublishError::Io { .. }) => {
                self.streams[node] = None;
                self.connect(node)?;
                self.exchange(node, request)
            }
            other => other,
        }
    }

    fn exchange(&mut self, node: usize, request: &[u8]) -> Result<(), PublishError> {
        let endpoint = &self.publishing.endpoints[node];
        let Some(stream) = &mut self.streams[node] else {
            return Err(failed(endpoint, io::ErrorKind::NotConnected.into()));
        };
        stream.write_all(request).map_err(|source| failed(endpoint, source))?;
        self.answer.clear();
        let answer = loop {
            let mut chunk = [0; READ];
            let length = stream.read(&mut chunk).map_err(|source| failed(endpoint, source))?;
            self.answer.extend_from_slice(&chunk[..length]);
            match read_answer(&self.answer, length == 0) {
                Ok(Some(answer)) => break answer,
                Ok(None) if length == 0 => return Err(failed(endpoint, io::ErrorKind::UnexpectedEof.into())),
                Ok(None) => {}
                Err(reason) => return Err(PublishError::NotHttp { host: endpoint.host.clone(), reason }),
            }
        };
        if answer.closes {
            self.streams[node] = None;
        }
        if !(200..300).contains(&answer.status) {
            return Err(refused(endpoint, &answer));
        }
        Ok(())
    }
}

fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&endpoint.address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn failed(endpoint: &Endpoint, source: io::Error) -> PublishError {
    PublishError::Io { host: endpoint.host.clone(), source }
}

fn refused(endpoint: &Endpoint, answer: &Answer) -> PublishError {
    let advice = match answer.status {
        401 | 403 => "; give the publish key by --key-file, or by --publish-header",
        404 => "; look at --publish-url and --room",
        429 => "; the server limits the rate: lower --rate or lift its limit",
        _ => "",
    };
    let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(SHOWN)]).trim().to_owned();
    let path = endpoint.path.clone();
    PublishError::Refused { host: endpoint.host.clone(), path, status: answer.status, body, advice }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    closes: bool,
}

/// The whole answer, if it is there.
fn read_answer(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let start = match answer.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(start) => start,
    };
    let value = |name: &str| {
        let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let status = answer.code.unwrap_or(0);
    let body = &bytes[start..];
    let length = value("content-length").and_then(|length| length.trim().parse::<usize>().ok());
    let chunked = value("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let whole = match length {
        _ if status == 204 => true,
        _ if chunked => body.ends_with(b"0\r\n\r\n"),
        Some(length) => body.len() >= length,
        None => ended,
    };
    let closes = ended || value("connection").is_some_and(|value| value.contains("close"));
    Ok(whole.then(|| Answer { status, body: body.to_vec(), closes }))
}
