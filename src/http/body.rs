//! Reading a request's body, up to a limit.

use std::time::Duration;

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    /// The client broke off or took too long, or its framing is wrong.
    Broken,
}

/// How long a body may take to arrive: a publish is a line of JSON.
const TIMEOUT: Duration = Duration::from_secs(10);

pub async fn read(payload: web::Payload, limit: usize) -> Result<Bytes, BodyError> {
    timeout(TIMEOUT, collect(payload, limit)).await.unwrap_or(Err(BodyError::Broken))
}

async fn collect(mut payload: web::Payload, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
