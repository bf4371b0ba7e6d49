//! A request's head: how large it may be, and whose memory it is in.

use actix_http::RequestHead;
use actix_web::HttpResponse;
use actix_web::http::Uri;
use actix_web::http::header::HeaderValue;

use super::Public;
use super::problem::{Code, Problem};
use crate::metrics::BadRequest;

/// What the request line has beside method and target: two spaces, the version, the end of the line.
const REQUEST_LINE: usize = " ".len() + " HTTP/1.1\r\n".len();

/// What a header's line has beside name and value.
const HEADER_LINE: usize = ": \r\n".len();

/// Whether a head is larger than `server.request_head_limit_bytes`.
pub fn is_too_large(head: &RequestHead, public: &Public) -> bool {
    bytes(head) > public.head_limit_bytes
}

/// The answer to a head that is too large. It is the same for every path, as the path is part of what is too large.
pub fn refusal(public: &Public) -> HttpResponse {
    public.metrics.bad_request(BadRequest::HeadTooLarge);
    let limit = public.head_limit_bytes;
    let detail = format!(
        "The head of a request must not have more than {limit} bytes; send fewer or shorter headers."
    );
    Problem::new(Code::HeadTooLarge, detail).into_response()
}

/// The length it had on the wire, spare spaces aside.
fn bytes(head: &RequestHead) -> usize {
    let target = head.uri.path().len() + head.uri.query().map_or(0, |query| "?".len() + query.len());
    let headers = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_LINE);
    head.method.as_str().len() + target + REQUEST_LINE + headers.sum::<usize>() + "\r\n".len()
}

/// Copies what the head shares with the buffer that the connection was read into.
///
/// actix-http parses path and headers into slices of that buffer, and keeps up to 256 heads a worker for reuse, cleared
/// only then: until then each would hold its whole buffer, of as much as 128 KiB. Half a thousand publishes with large
/// bodies left 33 MB behind that way.
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
