//! The paths of PartyKit's guide: a WebSocket, and a POST that refreshes.
//!
//! Answers are PartyKit's to the byte where that serves users; where they are better on purpose it is said.

use std::rc::Rc;

use actix_http::RequestHead;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::Public;
use super::body::{self, BodyError};
use super::credentials;
use super::held::until_answered;
use super::problem::RETRY_AFTER_SECONDS;
use super::publish_rate::TOO_MANY;
use super::publishing::Publish;
use crate::access::{DenialKind, Denied, Grant};
use crate::hub::Shard;
use crate::metrics::{Api, PublishResult, Refusal};
use crate::room::RoomId;
use crate::ws::Admitted;

pub const NOTHING: &str = "Nothing to see here.";

/// What is said of a room that `rooms.allow` does not cover.
pub const ROOM_NOT_ALLOWED: &str = "This relay does not serve that room (rooms.allow).";

/// Everything but a handshake.
pub async fn party(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: &str,
    public: &Public,
) -> HttpResponse {
    match *request.method() {
        Method::POST => publish(request, payload, room, public).await,
        _ => plain(StatusCode::OK, NOTHING),
    }
}

pub fn unknown_party(party: &str) -> HttpResponse {
    plain(StatusCode::NOT_FOUND, format!("Party {party} not found"))
}

pub fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "Not found")
}

/// Whether the request, on a party's path, asks for a WebSocket.
pub fn wants_websocket(request: &HttpRequest) -> bool {
    if request.method() != Method::GET {
        return false;
    }
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|protocols| {
        protocols.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
    })
}

/// The answer to a request that is refused.
pub struct PlainRefusal {
    status: StatusCode,
    text: String,
}

impl PlainRefusal {
    pub fn into_response(self) -> HttpResponse {
        plain(self.status, self.text)
    }
}

/// Checks a handshake.
pub async fn admit(head: &RequestHead, room: &str, public: &Public) -> Result<Admitted, PlainRefusal> {
    let parsed = RoomId::parse(room, public.max_room_bytes);
    let room_error = parsed.as_ref().err().map(ToString::to_string);
    let mut admitted = public.gate.admit(head, parsed).map_err(|refusal| {
        public.metrics.refused(refusal);
        refuse(refusal, room_error)
    })?;
    // Last, as it costs most.
    let shown = credentials::listener(head);
    let leave = public.access.listener(shown.as_deref(), admitted.room()).await;
    admitted.until(leave.map_err(|denied| not_a_listener(&denied, public))?.until);
    Ok(admitted)
}

fn not_a_listener(denied: &Denied, public: &Public) -> PlainRefusal {
    let (refusal, status) = match denied.kind() {
        DenialKind::Unauthorized => (Refusal::Unauthorized, StatusCode::UNAUTHORIZED),
        DenialKind::Forbidden => (Refusal::Forbidden, StatusCode::FORBIDDEN),
        DenialKind::Unavailable => (Refusal::IssuerUnavailable, StatusCode::SERVICE_UNAVAILABLE),
    };
    public.metrics.refused(refusal);
    PlainRefusal { status, text: sentence(&denied.to_string()) }
}

/// Answers a handshake.
pub async fn connect(
    request: &HttpRequest,
    payload: web::Payload,
    room: &str,
    public: &Public,
    shard: &Rc<Shard>,
) -> HttpResponse {
    match admit(request.head(), room, public).await {
        Ok(admitted) => public
            .gate
            .upgrade(admitted, request, payload, shard)
            .unwrap_or_else(|error| error.error_response()),
        Err(refused) => until_answered(payload, refused.into_response()),
    }
}

fn refuse(refusal: Refusal, room_error: Option<String>) -> PlainRefusal {
    let (status, text) = match refusal {
        // The gate does not look at tokens.
        Refusal::Unauthorized | Refusal::Forbidden | Refusal::IssuerUnavailable => {
            (StatusCode::FORBIDDEN, "")
        }
        Refusal::Origin => (StatusCode::FORBIDDEN, "This origin may not connect here."),
        Refusal::Room => (StatusCode::BAD_REQUEST, ""),
        Refusal::BadRequest => {
            (StatusCode::BAD_REQUEST, "This is not a WebSocket handshake (RFC 6455, version 13).")
        }
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "This node is full, try again."),
        Refusal::RoomNotAllowed => (StatusCode::FORBIDDEN, ROOM_NOT_ALLOWED),
        Refusal::RoomFull => (StatusCode::SERVICE_UNAVAILABLE, "This room is full on this node, try again."),
        Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, "This node is leaving, try again."),
        Refusal::PerIp => (StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address."),
        Refusal::Rate => (StatusCode::TOO_MANY_REQUESTS, "Too many connections at once, try again."),
    };
    let text =
        room_error.filter(|_| refusal == Refusal::Room).map_or(text.to_owned(), |error| sentence(&error));
    PlainRefusal { status, text }
}

async fn publish(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: &str,
    public: &Public,
) -> HttpResponse {
    // The key first: who has none learns nothing of what else is wrong.
    let shown = credentials::partykit(request.headers());
    let found = match shown {
        Some(shown) => public.access.publisher(shown).await,
        None => Err(Denied::Unknown),
    };
    let grant = match found {
        Ok(grant) => grant,
        Err(denied) => return deny(&denied, public),
    };
    if !public.publish_rate.allows(&grant.publisher) {
        public.metrics.published(Api::Partykit, PublishResult::RateLimited);
        return plain(StatusCode::TOO_MANY_REQUESTS, TOO_MANY);
    }
    let publish = match read_publish(payload, room, &grant, public).await {
        Ok(publish) => publish,
        Err(refused) => {
            let forbidden = refused.status == StatusCode::FORBIDDEN;
            let result = if forbidden { PublishResult::Forbidden } else { PublishResult::Invalid };
            public.metrics.published(Api::Partykit, result);
            return refused.into_response();
        }
    };
    match publish.run(Api::Partykit, public).await {
        Ok(receipt) => {
            let connections = receipt.tally.connections;
            plain(StatusCode::OK, format!("Message sent to {connections} connected participants"))
        }
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("Not published, try again: {error}.")),
    }
}

fn deny(denied: &Denied, public: &Public) -> HttpResponse {
    let (result, answer) = match denied.kind() {
        DenialKind::Unauthorized => {
            let status = if public.exact_status { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            (PublishResult::Unauthorized, plain(status, NOTHING))
        }
        DenialKind::Forbidden => {
            (PublishResult::Forbidden, plain(StatusCode::FORBIDDEN, sentence(&denied.to_string())))
        }
        DenialKind::Unavailable => (
            PublishResult::Unavailable,
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("Not published, try again: {denied}.")),
        ),
    };
    public.metrics.published(Api::Partykit, result);
    answer
}

/// Whatever JSON the body holds, it means a refresh.
async fn read_publish(
    payload: &mut web::Payload,
    room: &str,
    grant: &Grant,
    public: &Public,
) -> Result<Publish, PlainRefusal> {
    let refused = |status, text| PlainRefusal { status, text };
    let room = RoomId::parse(room, public.max_room_bytes)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, sentence(&error.to_string())))?;
    if !public.allowed_rooms.covers(&room) {
        return Err(refused(StatusCode::FORBIDDEN, ROOM_NOT_ALLOWED.to_owned()));
    }
    grant
        .publish_to(&room)
        .map_err(|denied| refused(StatusCode::FORBIDDEN, sentence(&denied.to_string())))?;
    let limits = public.body_limits;
    let body = body::read(payload, limits).await.map_err(|error| {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        };
        refused(status, error.detail(limits))
    })?;
    body::parse_json(&body).map_err(|error| refused(StatusCode::BAD_REQUEST, error))?;
    let publisher = grant.publisher.clone();
    Ok(Publish { room, revision: None, publisher, idempotency_key: None, wait: None })
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
