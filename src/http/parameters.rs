//! What a publish on `/v1` may ask for beside its body. An error says what the parameter should be.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::web::Query;
use serde::Deserialize;

/// The longest idempotency key, in visible characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;

/// The longest wait for confirmations that a publisher may ask for.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct RefreshQuery {
    wait: Option<String>,
}

/// `wait=<seconds>`, how long the answer may wait for confirmations.
pub fn parse_wait(query: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("wait must be a number of seconds from 0 to {}.", MAX_WAIT.as_secs());
    let query = Query::<RefreshQuery>::from_query(query).map_err(|_| invalid())?;
    let Some(text) = &query.wait else { return Ok(None) };
    let wait = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    wait.filter(|wait| *wait <= MAX_WAIT).map(Some).ok_or_else(invalid)
}

/// The header `Idempotency-Key`.
pub fn parse_idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    let valid =
        |key: &&[u8]| (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let key = Some(value.as_bytes()).filter(valid).and_then(|key| std::str::from_utf8(key).ok());
    if let (Some(key), None) = (key, values.next()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(format!("Idempotency-Key must be sent once, with 1 to {MAX_IDEMPOTENCY_KEY} visible characters."))
    }
}
