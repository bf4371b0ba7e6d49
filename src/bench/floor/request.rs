//! As much of HTTP as the floor needs: an upgrade, or a publish of which only the path is of interest.

use std::io;

use tungstenite::handshake::derive_accept_key;

const HEADERS: usize = 64;

pub enum Request {
    Upgrade { path: String, answer: Vec<u8> },
    Publish { path: String },
}

/// The request, if it is whole.
pub fn read_request(bytes: &[u8]) -> io::Result<Option<Request>> {
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
