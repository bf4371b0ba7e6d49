//! The opening handshake as a client does it (RFC 6455, section 4.1).

use std::fmt::Write;

use tungstenite::handshake::derive_accept_key;

/// Any sixteen bytes will do: they only prove that the answer was made for a WebSocket handshake.
const KEY: &str = "cmVmcmVzaC1yZWxheS1iYw==";
const HEADERS: usize = 64;
/// How much of a refusal's body is told.
const SHOWN: usize = 160;

/// What the server's answer is so far.
pub enum Answer {
    Incomplete,
    /// Upgraded; so many bytes belong to the answer, what follows are frames.
    Upgraded(usize),
    /// Why the handshake failed.
    Refused(String),
}

/// The accept value that a server must answer with; computed once.
pub fn expected_accept() -> String {
    derive_accept_key(KEY.as_bytes())
}

pub fn request(host: &str, path: &str, headers: &[(String, String)], subprotocol: Option<&str>) -> Vec<u8> {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    // Writing to a string cannot fail.
    if let Some(subprotocol) = subprotocol {
        let _ = write!(request, "Sec-WebSocket-Protocol: {subprotocol}\r\n");
    }
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    request.into_bytes()
}

pub fn read_answer(bytes: &[u8], expected_accept: &str) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Answer::Incomplete,
        Err(error) => return Answer::Refused(format!("the handshake's answer is not HTTP: {error}")),
    };
    let status = answer.code.unwrap_or(0);
    if status != 101 {
        let body = &bytes[length..bytes.len().min(length + SHOWN)];
        let body = String::from_utf8_lossy(body);
        return Answer::Refused(format!("the handshake was answered {status}: {}", body.trim()));
    }
    let accept =
        answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    if accept.is_some_and(|header| header.value.trim_ascii() == expected_accept.as_bytes()) {
        Answer::Upgraded(length)
    } else {
        Answer::Refused(
            "the handshake's answer has a wrong Sec-WebSocket-Accept: no WebSocket server".to_owned(),
        )
    }
}
