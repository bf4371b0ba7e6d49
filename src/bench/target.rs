//! What is measured: any server with a WebSocket address and an HTTP address that publishes.

use std::net::{SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};
use url::Url;

/// A server under test.
#[derive(Clone, Debug)]
pub struct Target {
    pub sockets: Sockets,
    pub publishing: Publishing,
}

/// How its sockets connect, and what they hear. Texts may hold `{room}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sockets {
    /// Where to connect, round-robin.
    pub endpoints: Vec<Endpoint>,
    pub headers: Vec<(String, String)>,
    pub subprotocol: Option<String>,
    /// Texts to send once connected, in order.
    pub send: Vec<String>,
    /// A socket is ready when a frame with this has come; None: with the handshake.
    pub ready_marker: Option<String>,
    pub delivery_marker: String,
    /// What stands right before the number of the publish in a delivery. None: deliveries are counted.
    pub sequence_marker: Option<String>,
    /// A text frame that is exactly the first is answered by the second.
    pub ping_replies: Vec<(String, String)>,
}

/// How one publishes to it. Texts may hold `{room}`, `{n}` and `{payload}`.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Publishes go to them in turn.
    pub endpoints: Vec<Endpoint>,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An address, resolved; the path may hold what the texts beside it may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub host: String,
    pub path: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{url} is no address: {reason}")]
    Address { url: String, reason: String },
    #[error("{url}: the bench speaks {wanted} only, without TLS; measure the plain listener")]
    Scheme { url: String, wanted: &'static str },
    #[error("{url} cannot be resolved: {source}")]
    Unresolved { url: String, source: std::io::Error },
    #[error("{0:?} is not of the form {1}")]
    Form(String, &'static str),
}

/// An address of that scheme, resolved.
pub fn endpoint(url: &str, scheme: &'static str) -> Result<Endpoint, TargetError> {
    // The braces of a placeholder would be percent-encoded.
    let wrong = |reason: &dyn std::fmt::Display| TargetError::Address {
        url: url.to_owned(),
        reason: reason.to_string(),
    };
    let parsed = Url::parse(url).map_err(|error| wrong(&error))?;
    if parsed.scheme() != scheme {
        let wanted = if scheme == "ws" { "ws://" } else { "http://" };
        return Err(TargetError::Scheme { url: url.to_owned(), wanted });
    }
    let host = parsed.host_str().ok_or_else(|| wrong(&"it names no host"))?;
    let port = parsed.port_or_known_default().unwrap_or(80);
    let unresolved = |source| TargetError::Unresolved { url: url.to_owned(), source };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let address: SocketAddr = (name, port)
        .to_socket_addrs()
        .map_err(unresolved)?
        .next()
        .ok_or_else(|| wrong(&"its host has no address"))?;
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = after_scheme.find(['/', '?']).map_or("/", |start| &after_scheme[start..]);
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    Ok(Endpoint { address, host: format!("{host}:{port}"), path })
}

/// `K: V`.
pub fn header(text: &str) -> Result<(String, String), TargetError> {
    pair(text, ':', "'Name: value'").map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
}

/// `MARKER=REPLY`.
pub fn ping_reply(text: &str) -> Result<(String, String), TargetError> {
    pair(text, '=', "'PING=REPLY'")
}

fn pair(text: &str, separator: char, form: &'static str) -> Result<(String, String), TargetError> {
    let (left, right) = text.split_once(separator).ok_or_else(|| TargetError::Form(text.to_owned(), form))?;
    Ok((left.to_owned(), right.to_owned()))
}
