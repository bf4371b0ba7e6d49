//! A small HTTP/1.1 client that sends exactly what it is told.
//!
//! It normalises nothing: paths, header names, blanks and duplicates go out as written, which the compatible paths need. One
//! connection a request.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest an answer may take: a publish may wait 10 s for confirmations.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A request as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: None }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    /// Sent with its length, or in chunks if a `Transfer-Encoding: chunked` header was added.
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Makes it a WebSocket handshake.
    pub fn upgrade(self) -> Self {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// The bytes that go out.
    pub fn encode(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !self.has("connection") {
            head.push_str("Connection: close\r\n");
        }
        let chunked = self.has("transfer-encoding");
        let body = match &self.body {
            Some(body) if chunked => chunks(body),
            Some(body) => {
                head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
                body.clone()
            }
            None => String::new(),
        };
        format!("{head}\r\n{body}").into_bytes()
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// Sends it and panics unless an answer comes back.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        match self.try_send(to).await {
            Ok(answer) => answer,
            Err(error) => panic!("{} {} to {to}: {error}", self.method, self.path),
        }
    }

    /// Sends it; an error when no whole answer comes back.
    pub async fn try_send(&self, to: SocketAddr) -> Result<Answer, String> {
        match timeout(ANSWER_WITHIN, self.exchange(to)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
        }
    }

    async fn exchange(&self, to: SocketAddr) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        // A server may refuse a large body before it has read it: the answer counts, not the failed write.
        let sent = stream.write_all(&self.encode(to)).await;
        match read_answer(&mut stream, self.method == "HEAD").await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }
}

impl Answer {
    /// The value of the first header of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self:?}"),
        }
    }

    /// Panics unless this has a `Retry-After` of whole seconds, at least one.
    pub fn expect_retry_after(&self) {
        let seconds = self.header("retry-after").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "no Retry-After in whole seconds: {self:?}");
    }

    /// Panics unless this is a plain sentence with that status.
    pub fn expect_sentence(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        let plain = self.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        assert!(plain, "not plain text: {self:?}");
        let sentence = self.body.contains(' ') && !self.body.contains('\n') && !self.body.starts_with('{');
        assert!(sentence, "not one plain sentence: {self:?}");
    }

    /// Panics unless this is a problem document (RFC 9457) with that status and code.
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["type", "title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "member `{member}` is empty: {self:?}");
        }
    }
}

/// The body in two chunks.
fn chunks(body: &str) -> String {
    let (one, two) = body.split_at(body.len() / 2);
    let parts = [one, two].into_iter().filter(|part| !part.is_empty());
    let chunks: Vec<_> = parts.map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
    chunks.concat() + "0\r\n\r\n"
}

/// Reads one answer. A 101 ends with its head, so the stream is then at the first frame.
pub async fn read_answer(stream: &mut TcpStream, head_only: bool) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("not an HTTP answer: {head:?}")))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new() };
    if !head_only && !matches!(status, 101 | 204 | 304) {
        answer.body = String::from_utf8_lossy(&read_body(stream, &answer).await?).into_owned();
    }
    Ok(answer)
}

async fn read_body(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = answer.header("content-length").and_then(|value| value.parse().ok()) {
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
    } else if answer.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                line.push(char::from(stream.read_u8().await?));
            }
            let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    } else {
        stream.read_to_end(&mut body).await?;
    }
    Ok(body)
}
