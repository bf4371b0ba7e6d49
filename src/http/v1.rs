//! `/v1`: publishing with an answer a machine can judge, and asking where a room stands.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;

use super::Public;
use super::body::{self, BodyError, BodyLimits, parse_revision};
use super::credentials;
use super::parameters::{parse_idempotency_key, parse_wait};
use super::problem::{Code, Problem};
use super::publishing::Publish;
use super::wording::{ROOM_NOT_ALLOWED, TOO_MANY};
use crate::access::{DenialKind, Denied, Grant};
use crate::broker::{BrokerError, Tally};
use crate::metrics::{Api, PublishResult, QueryResult};
use crate::room::{Position, Publication, Publisher, Revision, RoomError, RoomId};

/// The answer to a publish, and to a question for a room.
#[derive(Serialize)]
struct RoomState<'a> {
    room: &'a RoomId,
    position: Option<Position>,
    revision: Option<&'a Revision>,
    published_by: Option<&'a Publisher>,
    published_at: Option<String>,
    nodes: Nodes,
    connections: u64,
}

#[derive(Serialize)]
struct Nodes {
    expected: usize,
    confirmed: usize,
}

impl<'a> RoomState<'a> {
    fn new(room: &'a RoomId, head: Option<&'a Publication>, tally: Tally) -> Self {
        Self {
            room,
            position: head.map(|head| head.position),
            revision: head.and_then(|head| head.revision.as_ref()),
            published_by: head.and_then(|head| head.published_by.as_ref()),
            published_at: head.map(|head| head.published_at.to_string()),
            nodes: Nodes { expected: tally.expected, confirmed: tally.confirmed },
            connections: tally.connections,
        }
    }
}

pub fn not_found() -> HttpResponse {
    Problem::new(Code::NotFound, "There is nothing at this path; rooms are at /v1/rooms/<room>.")
        .into_response()
}

/// `POST /v1/rooms/<room>/refresh`.
pub async fn refresh(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: Option<&str>,
    public: &Public,
) -> HttpResponse {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    match read_publish(request, payload, room, public).await {
        Ok(publish) => answer(publish, Api::V1, public).await,
        Err(problem) => refuse(problem, Api::V1, public),
    }
}

/// Publishes, and tells what came of it.
pub async fn answer(publish: Publish, api: Api, public: &Public) -> HttpResponse {
    match publish.run(api, public).await {
        Ok(receipt) => {
            let publication = &receipt.publication;
            let state = RoomState::new(&publication.room, Some(publication), receipt.tally);
            json(if receipt.is_confirmed() { StatusCode::OK } else { StatusCode::ACCEPTED }, &state)
        }
        Err(error) => unavailable(&error).into_response(),
    }
}

/// Counts a request to publish that is refused.
pub fn refuse(problem: Problem, api: Api, public: &Public) -> HttpResponse {
    let result = match problem.code {
        Code::Unauthorized => PublishResult::Unauthorized,
        Code::Forbidden => PublishResult::Forbidden,
        Code::IssuerUnavailable | Code::Full => PublishResult::Unavailable,
        Code::RateLimited => PublishResult::RateLimited,
        _ => PublishResult::Invalid,
    };
    public.metrics.published(api, result);
    problem.into_response()
}

/// `GET /v1/rooms/<room>`.
pub async fn room(request: &HttpRequest, room: Option<&str>, public: &Public) -> HttpResponse {
    let (result, response) = if request.method() == Method::GET {
        match report(request, room, public).await {
            Ok(response) => (QueryResult::Ok, response),
            Err(problem) => (query_result(problem.code), problem.into_response()),
        }
    } else {
        (QueryResult::Invalid, method_not_allowed("GET"))
    };
    public.metrics.queried(result);
    response
}

const fn query_result(code: Code) -> QueryResult {
    match code {
        Code::NotFound => QueryResult::NotFound,
        Code::Unauthorized => QueryResult::Unauthorized,
        Code::Forbidden => QueryResult::Forbidden,
        Code::IssuerUnavailable | Code::BrokerUnavailable => QueryResult::Unavailable,
        _ => QueryResult::Invalid,
    }
}

async fn report(request: &HttpRequest, room: Option<&str>, public: &Public) -> Result<HttpResponse, Problem> {
    let grant = authorize(request, public).await?;
    let room = parse_room(room, public)?;
    grant.read(&room).map_err(|denied| forbidden(&denied))?;
    let report = public.node.room(&room).await.map_err(|error| unavailable(&error))?;
    let report = report.ok_or_else(|| {
        Problem::new(Code::NotFound, "This room has neither been refreshed nor has it a connection.")
    })?;
    Ok(json(StatusCode::OK, &RoomState::new(&room, report.head.as_ref(), report.tally)))
}

async fn read_publish(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: Option<&str>,
    public: &Public,
) -> Result<Publish, Problem> {
    // The key first: who has none learns nothing of what else is wrong.
    let grant = authorize(request, public).await?;
    if !public.publish_rate.allows(&grant.publisher) {
        return Err(Problem::new(Code::RateLimited, TOO_MANY));
    }
    let room = parse_room(room, public)?;
    grant.publish_to(&room).map_err(|denied| forbidden(&denied))?;
    let invalid_parameter = |detail: String| Problem::new(Code::InvalidParameter, detail);
    let wait = parse_wait(request.query_string()).map_err(invalid_parameter)?;
    let idempotency_key = parse_idempotency_key(request.headers()).map_err(invalid_parameter)?;
    let body = read_body(payload, public.body_limits).await?;
    let revision = parse_revision(&body).map_err(|detail| Problem::new(Code::InvalidBody, detail))?;
    Ok(Publish { room, revision, publisher: grant.publisher, idempotency_key, wait })
}

async fn authorize(request: &HttpRequest, public: &Public) -> Result<Grant, Problem> {
    let found = match credentials::bearer(request.headers()) {
        Some(shown) => public.access.publisher(shown).await,
        None => Err(Denied::Unknown),
    };
    found.map_err(|denied| match denied.kind() {
        DenialKind::Unauthorized => unauthorized(&denied),
        DenialKind::Forbidden => forbidden(&denied),
        DenialKind::Unavailable => {
            Problem::new(Code::IssuerUnavailable, format!("Not possible now, try again: {denied}."))
        }
    })
}

fn unauthorized(denied: &Denied) -> Problem {
    let detail = match denied {
        Denied::Unknown => "Send a publish key of this relay as Authorization: Bearer <key>.".to_owned(),
        Denied::Token(_) | Denied::UnknownIssuer => format!("Not published: {denied}."),
        denied => format!("Use another key: {denied}."),
    };
    Problem::new(Code::Unauthorized, detail)
}

fn forbidden(denied: &Denied) -> Problem {
    if *denied == Denied::NoRule {
        return Problem::new(Code::Forbidden, format!("Have a rule added or changed: {denied}."));
    }
    Problem::new(Code::Forbidden, format!("Use another key, or have its entry changed: {denied}."))
}

pub fn parse_room(room: Option<&str>, public: &Public) -> Result<RoomId, Problem> {
    let parsed = room.ok_or(RoomError::NotUtf8);
    let room = parsed
        .and_then(|room| RoomId::parse(room, public.max_room_bytes))
        .map_err(|error| Problem::new(Code::InvalidRoom, error.to_string()))?;
    if public.allowed_rooms.covers(&room) {
        Ok(room)
    } else {
        Err(Problem::new(Code::Forbidden, ROOM_NOT_ALLOWED))
    }
}

pub async fn read_body(payload: &mut web::Payload, limits: BodyLimits) -> Result<Bytes, Problem> {
    body::read(payload, limits).await.map_err(|error| no_body(&error, limits))
}

pub fn no_body(error: &BodyError, limits: BodyLimits) -> Problem {
    let code = match error {
        BodyError::TooLarge => Code::BodyTooLarge,
        BodyError::TooSlow => Code::Timeout,
        BodyError::Broken => Code::InvalidBody,
        BodyError::NoRoom => Code::Full,
    };
    Problem::new(code, error.detail(limits))
}

fn unavailable(error: &BrokerError) -> Problem {
    Problem::new(Code::BrokerUnavailable, format!("Not possible now, try again: {error}."))
}

pub fn method_not_allowed(allow: &'static str) -> HttpResponse {
    let problem = Problem::new(Code::MethodNotAllowed, format!("Use {allow} on this path."));
    let mut response = problem.into_response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    response
}

pub fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(body)
}
