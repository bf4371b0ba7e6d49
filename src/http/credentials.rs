//! How a request shows who sends it.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// PartyKit's header for the secret.
const PARTYKIT_HEADER: &str = "x-partykit-secret";

/// `Authorization: Bearer <credential>` (RFC 6750), without blanks around the credential.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, credential) = only(headers, AUTHORIZATION.as_str())?.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| credential.trim_ascii())
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
