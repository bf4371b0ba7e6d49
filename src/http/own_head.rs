//! A request's head that owns its bytes.
//!
//! As actix-http parses it, its path and its headers are slices of the buffer that the connection was read into. Up to
//! 256 heads a worker are kept for reuse, and cleared only then: until then each holds its whole buffer, of as much as
//! 128 KiB. Half a thousand publishes with large bodies left 33 MB behind that way.

use actix_http::RequestHead;
use actix_web::http::Uri;
use actix_web::http::header::HeaderValue;

/// Copies what the head shares with the connection's buffer.
pub fn own(head: &mut RequestHead) {
    // What was parsed once can be parsed again; if not, it stays as it is.
    if let Ok(uri) = Uri::try_from(head.uri.to_string()) {
        head.uri = uri;
    }
    head.headers_mut().retain(|_, value| {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
        true
    });
}
