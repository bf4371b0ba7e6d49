//! How a request shows who sends it.

use actix_http::RequestHead;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use url::form_urlencoded;

use crate::access;
use crate::config::TOKEN_SUBPROTOCOL;

/// PartyKit's header for the secret.
const PARTYKIT_HEADER: &str = "x-partykit-secret";

/// `Authorization: Bearer <credential>` (RFC 6750), without blanks around the credential.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    access::bearer(only(headers, AUTHORIZATION.as_str())?)
}

/// The header of PartyKit's guide, or a bearer.
pub fn partykit(headers: &HeaderMap) -> Option<&[u8]> {
    only(headers, PARTYKIT_HEADER).map(<[u8]>::trim_ascii).or_else(|| bearer(headers))
}

/// The value of a header that is there exactly once: of two, it is not known which one is meant.
pub fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The token of a client that would listen: as a bearer, in the query, or, as browsers can send no headers, among the
/// subprotocols it offers (`token.<the token>`).
pub fn listener(head: &RequestHead) -> Option<String> {
    let headers = head.headers();
    let from_header = || Some(std::str::from_utf8(bearer(headers)?).ok()?.to_owned());
    let from_query = || {
        let query = head.uri.query()?.as_bytes();
        let mut pairs = form_urlencoded::parse(query);
        pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
    };
    let from_subprotocol = || {
        let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
        let mut offered = offered.flat_map(|list| list.split(',').map(str::trim));
        offered.find_map(|one| one.strip_prefix(TOKEN_SUBPROTOCOL)).map(str::to_owned)
    };
    from_header().or_else(from_query).or_else(from_subprotocol)
}
