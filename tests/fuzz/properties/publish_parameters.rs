//! What a publish may ask for beside its body. Input: the query on the first line, then values of `Idempotency-Key`.

use actix_web::http::header::HeaderValue;
use refresh_relay::http::parameters::{MAX_IDEMPOTENCY_KEY, MAX_WAIT, parse_idempotency_key, parse_wait};

pub fn check(input: &[u8]) {
    let mut lines = super::lines(input);
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default());
    match parse_wait(&query) {
        Ok(Some(wait)) => assert!(wait <= MAX_WAIT && query.contains('='), "{query:?}"),
        Ok(None) => assert!(!query.split('&').any(|pair| pair.starts_with("wait=")), "{query:?}"),
        Err(message) => assert!(!message.is_empty()),
    }
    let headers = super::headers("idempotency-key", &lines.collect::<Vec<_>>());
    let sent: Vec<&[u8]> = headers.get_all("idempotency-key").map(HeaderValue::as_bytes).collect();
    match parse_idempotency_key(&headers) {
        Ok(Some(key)) => {
            assert_eq!(sent, [key.as_bytes()]);
            assert!(
                (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len())
                    && key.bytes().all(|byte| byte.is_ascii_graphic())
            );
        }
        Ok(None) => assert!(sent.is_empty()),
        Err(message) => assert!(!sent.is_empty() && !message.is_empty()),
    }
}
