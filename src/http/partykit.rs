//! The paths of PartyKit's guide: a WebSocket, and a POST that refreshes.
//!
//! Answers are PartyKit's to the byte where that serves users; where they are better on purpose it is said.

use std::borrow::Cow;
use std::rc::Rc;

use actix_http::RequestHead;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::Public;
use super::body::{self, BodyError};
use super::credentials;
use super::held::until_answered;
use super::problem::RETRY_AFTER_SECONDS;
use super::publishing::Publish;
use super::wording::{ROOM_NOT_ALLOWED, TOO_MANY};
use crate::access::{DenialKind, Denied, Grant};
use crate::hub::Shard;
use crate::metrics::{Api, PublishResult, Refusal};
use crate::room::RoomId;
use crate::ws::Admitted;

pub const NOTHING: &str = "Nothing to see here.";

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
    text: Cow<'static, str>,
}

impl PlainRefusal {
    pub fn into_response(self) -> HttpResponse {
        plain(self.status, self.text)
    }
}

/// Checks a handshake.
pub async fn admit(head: &RequestHead, room: &str, public: &Public) -> Result<Admitted, PlainRefusal> {
    let room = RoomId::parse(room, public.max_room_bytes);
    let bad_name = room.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let mut admitted = public.gate.admit(head, room).map_err(|refusal| refuse(refusal, &bad_name, public))?;
    // Last, as it costs most.
    let shown = credentials::listener(head);
    let leave = public.access.listener(shown.as_deref(), admitted.room()).await;
    let leave = leave.map_err(|denied| refuse(not_a_listener(&denied), &denied.to_string(), public))?;
    admitted.until(leave.until);
    Ok(admitted)
}

const fn not_a_listener(denied: &Denied) -> Refusal {
    match denied.kind() {
        DenialKind::Unauthorized => Refusal::Unauthorized,
        DenialKind::Forbidden => Refusal::Forbidden,
        DenialKind::Unavailable => Refusal::IssuerUnavailable,
    }
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

/// Counts a handshake that is refused. `cause` says what is wrong with the room's name, or with the token.
fn refuse(refusal: Refusal, cause: &str, public: &Public) -> PlainRefusal {
    public.metrics.refused(refusal);
    let status = match refusal {
        Refusal::Room | Refusal::BadRequest => StatusCode::BAD_REQUEST,
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden | Refusal::Origin | Refusal::RoomNotAllowed => StatusCode::FORBIDDEN,
        Refusal::PerIp | Refusal::Rate => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Full | Refusal::RoomFull | Refusal::Draining | Refusal::IssuerUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let text = match refusal {
        Refusal::Room | Refusal::Unauthorized | Refusal::Forbidden | Refusal::IssuerUnavailable => {
            sentence(cause).into()
        }
        Refusal::BadRequest => "This is not a WebSocket handshake (RFC 6455, version 13).".into(),
        Refusal::Origin => "This origin may not connect here.".into(),
        Refusal::RoomNotAllowed => ROOM_NOT_ALLOWED.into(),
        Refusal::PerIp => "Too many connections from this address.".into(),
        Refusal::Rate => "Too many connections at once, try again.".into(),
        Refusal::Full => "This node is full, try again.".into(),
        Refusal::RoomFull => "This room is full on this node, try again.".into(),
        Refusal::Draining => "This node is leaving, try again.".into(),
    };
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
    let refused = |status, text: Cow<'static, str>| PlainRefusal { status, text };
    let room = RoomId::parse(room, public.max_room_bytes)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, sentence(&error.to_string()).into()))?;
    if !public.allowed_rooms.covers(&room) {
        return Err(refused(StatusCode::FORBIDDEN, ROOM_NOT_ALLOWED.into()));
    }
    grant
        .publish_to(&room)
        .map_err(|denied| refused(StatusCode::FORBIDDEN, sentence(&denied.to_string()).into()))?;
    let limits = public.body_limits;
    let body = body::read(payload, limits).await.map_err(|error| {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
            BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        };
        refused(status, error.detail(limits).into())
    })?;
    body::parse_json(&body).map_err(|error| refused(StatusCode::BAD_REQUEST, error.into()))?;
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
