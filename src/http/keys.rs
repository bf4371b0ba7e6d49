//! The keys that may publish, and how a request shows one.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// PartyKit's header for the secret.
const PARTYKIT_HEADER: &str = "x-partykit-secret";

/// Only the digest of a key is kept.
pub struct PublishKey {
    digest: [u8; 32],
}

impl PublishKey {
    pub fn new(secret: &str) -> Self {
        Self { digest: Sha256::digest(secret).into() }
    }

    /// Digests are compared in constant time, so neither content nor length of the key can be measured.
    fn is(&self, shown: &[u8]) -> Choice {
        let digest: [u8; 32] = Sha256::digest(shown).into();
        self.digest.ct_eq(&digest)
    }

    /// Whether the request shows the key as `Authorization: Bearer <key>` (RFC 6750).
    pub fn opens_v1(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|shown| self.is(shown).into())
    }

    /// Whether the request shows the key as PartyKit's guide does, or as a bearer.
    pub fn opens_partykit(&self, headers: &HeaderMap) -> bool {
        let secret = only(headers, PARTYKIT_HEADER).map(<[u8]>::trim_ascii);
        secret.or_else(|| bearer(headers)).is_some_and(|shown| self.is(shown).into())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = only(headers, AUTHORIZATION.as_str())?.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// The value of a header that is there exactly once: of two, it is not known which one is meant.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}
