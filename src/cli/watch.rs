//! `watch`: an app that prints what it is told. With a key, the whole round trip in one command.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Error, HandshakeError, Message, WebSocket, client_tls_with_config};
use url::Url;

use super::publish::{Relay, read_key};
use super::trust::Trust;

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// How long one read waits before the deadline is looked at again.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct Watch {
    /// The room's address, such as <wss://relay.example.com/party/featurevisor>.
    #[arg(long)]
    url: String,
    /// Succeed after so many frames; without it go on until the connection ends.
    #[arg(long)]
    count: Option<u64>,
    /// Fail if they have not come after so long.
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u64>,
    /// Publish to this relay once connected, and succeed when that refresh arrives.
    #[arg(long, requires_all = ["room", "key_file"])]
    publish_url: Option<String>,
    /// The room to publish to.
    #[arg(long, requires = "publish_url")]
    room: Option<String>,
    /// Holds the publish key; - reads it from standard input.
    #[arg(long, value_name = "FILE", requires = "publish_url")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

impl Watch {
    pub fn run(&self) -> anyhow::Result<()> {
        let deadline = self.timeout_seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut socket =
            connect(&self.url, &self.trust).with_context(|| format!("cannot connect to {}", self.url))?;
        set_read_timeout(&socket)?;
        let mut wanted = self.count;
        if let (Some(url), Some(room), Some(key_file)) = (&self.publish_url, &self.room, &self.key_file) {
            let relay = Relay { url, key: &read_key(key_file)?, trust: &self.trust };
            let answer = relay.publish(room, None, None)?;
            ensure!(answer.confirmed, "published, but not every live node confirmed: {}", answer.body);
            wanted = wanted.or(Some(1));
        }
        let mut seen = 0;
        while wanted.is_none_or(|wanted| seen < wanted) {
            if let Some(text) = next_text(&mut socket, deadline)? {
                println!("{text}");
                seen += 1;
            }
        }
        Ok(())
    }
}

fn connect(url: &str, trust: &Trust) -> anyhow::Result<Socket> {
    let connector = trust.for_websocket()?;
    let address = Url::parse(url)?;
    let host = address.host_str().context("the URL names no host")?;
    let default_port = if address.scheme() == "wss" { 443 } else { 80 };
    // An IPv6 address has its brackets in a URL, and nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port().unwrap_or(default_port)))?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_tls_with_config(url, stream, None, connector).map_err(|error| match error {
        HandshakeError::Failure(error) => anyhow::Error::from(error),
        HandshakeError::Interrupted(_) => anyhow::anyhow!("the handshake was interrupted"),
    })?;
    Ok(socket)
}

fn set_read_timeout(socket: &Socket) -> anyhow::Result<()> {
    let stream = match socket.get_ref() {
        MaybeTlsStream::Plain(stream) => stream,
        MaybeTlsStream::Rustls(stream) => &stream.sock,
        _ => bail!("unknown kind of connection"),
    };
    Ok(stream.set_read_timeout(Some(READ_TIMEOUT))?)
}

/// The next text frame; None for anything else, or nothing yet. Pings are answered by reading on.
fn next_text(socket: &mut Socket, deadline: Option<Instant>) -> anyhow::Result<Option<String>> {
    ensure!(deadline.is_none_or(|deadline| Instant::now() < deadline), "nothing came in time");
    match socket.read() {
        Ok(Message::Text(text)) => Ok(Some(text.to_string())),
        Ok(Message::Close(Some(close))) => bail!("closed with code {}: {}", close.code, close.reason),
        Ok(Message::Close(None)) => bail!("closed without a code"),
        Ok(_) => Ok(None),
        Err(Error::Io(error))
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context("the connection ended"),
    }
}
