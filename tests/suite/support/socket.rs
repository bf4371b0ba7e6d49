//! A WebSocket client as an app has one: it reads all the time, answers pings, and keeps what it was sent.

use super::http::Request;
use super::wait::SOON;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The frame of a publication that carried nothing.
pub const REFRESH: &str = r#"{"type":"refresh"}"#;

/// The frame of a publication with that revision.
pub fn refresh_with(revision: &str) -> String {
    format!(r#"{{"type":"refresh","revision":"{revision}"}}"#)
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// With a close frame of that code.
    Close(Option<u16>),
    /// Without one: what browsers report as 1006.
    Abnormal(String),
}

pub struct Socket {
    pub subprotocol: Option<String>,
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    seen: Arc<Seen>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    inbox: Mutex<Inbox>,
    changed: Notify,
}

#[derive(Default)]
struct Inbox {
    texts: VecDeque<String>,
    pongs: VecDeque<Vec<u8>>,
    pings: usize,
    ending: Option<(Instant, Ending)>,
}

impl Socket {
    /// Connects and panics when refused.
    pub async fn connect(to: SocketAddr, path: &str) -> Self {
        Self::connect_with(to, path, &[]).await
    }

    pub async fn connect_with(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        match Self::try_connect(to, path, headers).await {
            Ok(socket) => socket,
            Err(error) => panic!("WebSocket {path} on {to} with {headers:?}: {error}"),
        }
    }

    /// Connects; an error when refused. What a refusal says is read with [`handshake`].
    pub async fn try_connect(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let open = async {
            let mut request = format!("ws://{to}{path}").into_client_request().map_err(|e| e.to_string())?;
            for (name, value) in headers {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
                let value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
                request.headers_mut().append(name, value);
            }
            let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            client_async(request, stream).await.map_err(|e| e.to_string())
        };
        let (stream, answer) = match timeout(SOON, open).await {
            Ok(opened) => opened?,
            Err(_) => return Err(format!("no answer to the handshake within {SOON:?}")),
        };
        let subprotocol = answer
            .headers()
            .get("sec-websocket-protocol")
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (sink, stream) = stream.split();
        let seen = Arc::new(Seen::default());
        let reader = tokio::spawn(read(stream, seen.clone()));
        Ok(Self { subprotocol, sink, seen, reader })
    }

    /// The next text frame, within [`SOON`].
    pub async fn frame(&mut self) -> String {
        self.frame_within(SOON).await
    }

    pub async fn frame_within(&mut self, within: Duration) -> String {
        self.wait(within, "a text frame", |inbox| inbox.texts.pop_front()).await
    }

    /// The next text frame if one comes within that time.
    pub async fn try_frame(&mut self, within: Duration) -> Option<String> {
        self.look_for(within, |inbox| inbox.texts.pop_front()).await
    }

    /// Panics unless the next text frame, within [`SOON`], is this one.
    pub async fn expect_frame(&mut self, wanted: &str) {
        let frame = self.frame().await;
        assert_eq!(frame, wanted, "another frame came first");
    }

    /// Panics unless nothing but pings comes, and the socket stays open, for that long.
    pub async fn expect_silence(&mut self, period: Duration) {
        let heard = self.look_for(period, |inbox| match (inbox.texts.pop_front(), &inbox.ending) {
            (Some(text), _) => Some(format!("the frame {text}")),
            (None, Some((_, ending))) => Some(format!("the end {ending:?}")),
            (None, None) => None,
        });
        if let Some(heard) = heard.await {
            panic!("wanted silence, heard {heard}");
        }
    }

    /// Takes all text frames that have come so far.
    pub fn frames_so_far(&self) -> Vec<String> {
        self.inbox().texts.drain(..).collect()
    }

    /// How many pings have come.
    pub fn pings(&self) -> usize {
        self.inbox().pings
    }

    /// How the socket ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.inbox().ending.as_ref().map(|(_, ending)| ending.clone())
    }

    /// Waits for the end and says when it came and how. Text frames stay to be read.
    pub async fn ended_within(&mut self, within: Duration) -> (Instant, Ending) {
        self.wait(within, "the end of the socket", |inbox| inbox.ending.clone()).await
    }

    /// Panics unless the node answers a ping with the same payload, so the socket is open in both directions.
    pub async fn expect_alive(&mut self) {
        self.ping(b"still there?").await;
        self.expect_pong(b"still there?").await;
    }

    pub async fn ping(&mut self, payload: &[u8]) {
        self.send(Message::Ping(payload.to_vec().into())).await;
    }

    pub async fn expect_pong(&mut self, payload: &[u8]) {
        let pong = self.wait(SOON, "a pong", |inbox| inbox.pongs.pop_front()).await;
        assert_eq!(pong, payload, "the pong carries something else than the ping");
    }

    pub async fn text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn binary(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec())).await;
    }

    /// Sends a close frame; without a code it is an empty one.
    pub async fn close(&mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: CloseCode::from(code), reason: "".into() });
        self.send(Message::Close(frame)).await;
    }

    async fn send(&mut self, message: Message) {
        if let Err(error) = self.sink.send(message).await {
            panic!("the socket cannot be written to: {error}; it ended with {:?}", self.ending());
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.seen.inbox.lock().expect("not poisoned")
    }

    async fn wait<T>(&self, within: Duration, what: &str, take: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        match self.look_for(within, take).await {
            Some(found) => found,
            None => panic!("waited {within:?} for {what}; the end: {:?}", self.ending()),
        }
    }

    /// Looks into the inbox at each change until `take` finds something or the time is over. One caller at a time.
    async fn look_for<T>(
        &self,
        within: Duration,
        mut take: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Option<T> {
        let look = async {
            loop {
                let found = take(&mut self.inbox());
                if let Some(found) = found {
                    return found;
                }
                self.seen.changed.notified().await;
            }
        };
        timeout(within, look).await.ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut stream: SplitStream<WebSocketStream<TcpStream>>, seen: Arc<Seen>) {
    let mut close = None;
    loop {
        let message = stream.next().await;
        let mut inbox = seen.inbox.lock().expect("not poisoned");
        match message {
            Some(Ok(Message::Text(text))) => inbox.texts.push_back(text.to_string()),
            Some(Ok(Message::Pong(payload))) => inbox.pongs.push_back(payload.to_vec()),
            Some(Ok(Message::Ping(_))) => inbox.pings += 1,
            Some(Ok(Message::Close(frame))) => {
                close = Some(Ending::Close(frame.map(|frame| u16::from(frame.code))));
            }
            Some(Ok(other)) => inbox.texts.push_back(format!("not a text frame: {other:?}")),
            Some(Err(error)) => {
                let ending = close.take().unwrap_or_else(|| Ending::Abnormal(error.to_string()));
                inbox.ending = Some((Instant::now(), ending));
            }
            None => {
                let ending = close.take().unwrap_or_else(|| Ending::Abnormal("the stream ended".into()));
                inbox.ending = Some((Instant::now(), ending));
            }
        }
        let over = inbox.ending.is_some();
        drop(inbox);
        seen.changed.notify_one();
        if over {
            return;
        }
    }
}

/// Sends a handshake and gives back the plain HTTP answer to it.
pub async fn handshake(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> super::http::Answer {
    let request = headers
        .iter()
        .fold(Request::get(path).upgrade(), |request, (name, value)| request.header(name, value));
    request.send(to).await
}
