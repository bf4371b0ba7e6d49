//! Reading a request's body, up to a limit, and what a publish says in it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::Settings;
use crate::room::Revision;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    TooSlow,
    /// The client broke off, or its framing is wrong.
    Broken,
    /// Too much of others is held already.
    NoRoom,
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub bytes: usize,
    /// Until all of it is there.
    pub timeout: Duration,
}

impl BodyLimits {
    pub fn new(settings: &Settings) -> Self {
        Self { bytes: settings.publish.body_limit_bytes, timeout: settings.server.request_body_timeout }
    }
}

impl BodyError {
    /// What to tell the client.
    pub fn detail(&self, limits: BodyLimits) -> String {
        match self {
            Self::TooLarge => format!("The body is larger than {} bytes.", limits.bytes),
            Self::TooSlow => format!("The body did not arrive within {} s.", limits.timeout.as_secs()),
            Self::Broken => "The body did not arrive whole.".to_owned(),
            Self::NoRoom => "Too many bodies are on their way, try again.".to_owned(),
        }
    }
}

pub async fn read(payload: &mut web::Payload, limits: BodyLimits) -> Result<Bytes, BodyError> {
    let body = collect(payload, limits.bytes, |_| true);
    timeout(limits.timeout, body).await.unwrap_or(Err(BodyError::TooSlow))
}

/// The same, out of a budget of bytes that all who call this share. What was taken is given back with the permit.
pub async fn read_out_of(
    budget: &Arc<Semaphore>,
    payload: &mut web::Payload,
    limits: BodyLimits,
) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), BodyError> {
    let mut held = Vec::new();
    // As the bytes come in: what is only announced takes nothing from others.
    let body = collect(payload, limits.bytes, |bytes| {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(budget).try_acquire_many_owned(bytes);
        permit.map(|permit| held.push(permit)).is_ok()
    });
    let body = timeout(limits.timeout, body).await.unwrap_or(Err(BodyError::TooSlow))?;
    Ok((body, held))
}

async fn collect(
    payload: &mut web::Payload,
    limit: usize,
    mut take: impl FnMut(usize) -> bool,
) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if !take(chunk.len()) {
            return Err(BodyError::NoRoom);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    revision: Option<String>,
}

/// The body of a publish on `/v1`: nothing, or an object that may name a revision. An error says what it should be.
pub fn parse_revision(body: &[u8]) -> Result<Option<Revision>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    // By way of a map, as serde takes an array for a struct too.
    let object: serde_json::Result<Map<String, Value>> = serde_json::from_slice(body);
    let body =
        object.and_then(|object| RefreshBody::deserialize(Value::Object(object))).map_err(|error| {
            format!(r#"The body must be empty or a JSON object like {{"revision": "42"}}: {error}."#)
        })?;
    body.revision.as_deref().map(Revision::parse).transpose().map_err(|error| error.to_string())
}

/// The body of a publish on the PartyKit paths: whatever JSON it holds, it means a refresh.
pub fn parse_json(body: &[u8]) -> Result<(), String> {
    let parsed = serde_json::from_slice::<IgnoredAny>(body);
    parsed.map(drop).map_err(|error| format!("The body is not JSON: {error}."))
}
