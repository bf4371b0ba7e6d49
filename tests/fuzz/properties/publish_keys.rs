//! How a request shows its publish key. Input: lines that begin with `A` are values of `Authorization`, the others of
//! `X-PartyKit-Secret`.

use std::time::SystemTime;

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use refresh_relay::access::{Denied, KeyRing, secret_digest};
use refresh_relay::http::credentials::{bearer, partykit};

const KEY: &str = "change-me";

pub fn check(input: &[u8]) {
    let (mut authorization, mut secret) = (Vec::new(), Vec::new());
    for line in super::lines(input) {
        match line {
            [b'A', value @ ..] => authorization.push(value),
            value => secret.push(value),
        }
    }
    let mut headers = super::headers("authorization", &authorization);
    for (_, value) in super::headers("x-partykit-secret", &secret) {
        headers.append(HeaderName::from_static("x-partykit-secret"), value);
    }
    let shown = bearer(&headers);
    if let Some(shown) = shown {
        let value = only(&headers, AUTHORIZATION.as_str()).expect("one header");
        assert!(value[..7].eq_ignore_ascii_case(b"bearer ") && value[7..].trim_ascii() == shown);
    }
    let either = partykit(&headers);
    match only(&headers, "x-partykit-secret") {
        Some(value) => assert_eq!(either, Some(value.trim_ascii())),
        None => assert_eq!(either, shown),
    }
    let ring = KeyRing::single(KEY);
    for shown in shown.into_iter().chain(either) {
        assert!(shown.trim_ascii() == shown, "blanks around a key are not part of it");
        let found = ring.find(&secret_digest(shown), SystemTime::now());
        assert_eq!(found.is_ok(), shown == KEY.as_bytes());
        assert!(found.is_ok() || found == Err(Denied::Unknown));
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let values: Vec<_> = headers.get_all(name).collect();
    if let [value] = values.as_slice() { Some(value.as_bytes()) } else { None }
}
