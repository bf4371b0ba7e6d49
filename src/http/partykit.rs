//! The paths of PartyKit's guide: a WebSocket, and a POST that refreshes.
//!
//! Answers are PartyKit's to the byte where that serves users; where they are better on purpose it is said.

use std::rc::Rc;
use std::time::Instant;

use actix_http::RequestHead;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::IgnoredAny;
use tracing::{info, warn};

use super::Public;
use super::body::{self, BodyError};
use super::problem::RETRY_AFTER_SECONDS;
use crate::broker::Draft;
use crate::hub::Shard;
use crate::metrics::{Api, PublishResult, Refusal};
use crate::room::RoomId;
use crate::ws::Admitted;

pub const NOTHING: &str = "Nothing to see here.";

pub async fn party(
    request: &HttpRequest,
    payload: web::Payload,
    room: &str,
    public: &Public,
    shard: &Rc<Shard>,
) -> HttpResponse {
    match *request.method() {
        Method::GET if wants_websocket(request) => connect(request, payload, room, public, shard),
        Method::POST => {
            let (result, answer) = publish(request, payload, room, public).await;
            public.metrics.published(Api::Partykit, result);
            answer
        }
        _ => plain(StatusCode::OK, NOTHING),
    }
}

pub fn unknown_party(party: &str) -> HttpResponse {
    plain(StatusCode::NOT_FOUND, format!("Party {party} not found"))
}

pub fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "Not found")
}

fn wants_websocket(request: &HttpRequest) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|protocols| {
        protocols.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
    })
}

/// The answer to a handshake that is refused.
pub struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    pub fn into_response(self) -> HttpResponse {
        plain(self.status, self.text)
    }
}

/// Checks a handshake.
pub fn admit(head: &RequestHead, room: &str, public: &Public) -> Result<Admitted, Refused> {
    let parsed = RoomId::parse(room, public.settings.rooms.max_name_bytes);
    let room_error = parsed.as_ref().err().map(ToString::to_string);
    public.gate.admit(head, parsed).map_err(|refusal| {
        public.metrics.refused(refusal);
        refuse(refusal, room_error)
    })
}

fn connect(
    request: &HttpRequest,
    payload: web::Payload,
    room: &str,
    public: &Public,
    shard: &Rc<Shard>,
) -> HttpResponse {
    let upgraded = admit(request.head(), room, public)
        .map(|admitted| public.gate.upgrade(admitted, request, payload, shard));
    match upgraded {
        Ok(answer) => answer.unwrap_or_else(|error| error.error_response()),
        Err(refused) => refused.into_response(),
    }
}

fn refuse(refusal: Refusal, room_error: Option<String>) -> Refused {
    let (status, text) = match refusal {
        Refusal::Origin => (StatusCode::FORBIDDEN, "This origin may not connect here."),
        Refusal::Room => (StatusCode::BAD_REQUEST, ""),
        Refusal::BadRequest => {
            (StatusCode::BAD_REQUEST, "This is not a WebSocket handshake (RFC 6455, version 13).")
        }
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "This node is full, try again."),
        Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, "This node is leaving, try again."),
        Refusal::PerIp => (StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address."),
        Refusal::Rate => (StatusCode::TOO_MANY_REQUESTS, "Too many connections at once, try again."),
    };
    let text =
        room_error.filter(|_| refusal == Refusal::Room).map_or(text.to_owned(), |error| sentence(&error));
    Refused { status, text }
}

async fn publish(
    request: &HttpRequest,
    payload: web::Payload,
    room: &str,
    public: &Public,
) -> (PublishResult, HttpResponse) {
    // The key first: who has none learns nothing of what else is wrong.
    if !public.key.opens_partykit(request.headers()) {
        let exact = public.settings.partykit_exact_status;
        let status = if exact { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        return (PublishResult::Unauthorized, plain(status, NOTHING));
    }
    let started = Instant::now();
    let invalid = |status, text: String| (PublishResult::Invalid, plain(status, text));
    let room = match RoomId::parse(room, public.settings.rooms.max_name_bytes) {
        Ok(room) => room,
        Err(error) => return invalid(StatusCode::BAD_REQUEST, sentence(&error.to_string())),
    };
    let limit = public.settings.publish.body_limit_bytes;
    let body = match body::read(payload, limit).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            return invalid(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {limit} bytes."));
        }
        Err(BodyError::Broken) => {
            return invalid(StatusCode::BAD_REQUEST, "The body did not arrive whole.".to_owned());
        }
    };
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(&body) {
        return invalid(StatusCode::BAD_REQUEST, format!("The body is not JSON: {error}."));
    }
    let draft = Draft { room: room.clone(), revision: None, idempotency_key: None };
    let published = public.node.publish(draft, None).await;
    public.metrics.publish_duration.observe(started.elapsed().as_secs_f64());
    match published {
        Ok(receipt) => {
            let (position, connections) = (receipt.publication.position, receipt.tally.connections);
            info!(%room, %position, connections, "published");
            let result = if receipt.is_confirmed() { PublishResult::Ok } else { PublishResult::Unconfirmed };
            (result, plain(StatusCode::OK, format!("Message sent to {connections} connected participants")))
        }
        Err(error) => {
            warn!(%room, %error, "not published");
            let text = format!("Not published, try again: {error}.");
            (PublishResult::Unavailable, plain(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

pub fn plain(status: StatusCode, text: impl Into<String>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    match status {
        StatusCode::UNAUTHORIZED => {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()));
        }
        _ => {}
    }
    response.insert_header((header::CONTENT_TYPE, "text/plain;charset=UTF-8")).body(text.into())
}
