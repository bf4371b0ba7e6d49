//! `POST /v1/rooms/<room>/webhooks/<kind>`: a refresh on the word of GitHub, GitLab, or another sender of webhooks.
//!
//! Senders show the answer to whoever set the webhook up, and nobody else sees it: so it says what is wrong. GitLab gives up
//! a webhook that is answered with errors, so what is merely not asked for is answered 200.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::info;

use super::body::{self, BodyLimits};
use super::problem::{Code, Problem};
use super::publishing::Publish;
use super::wording::TOO_MANY;
use super::{Public, credentials, v1};
use crate::access::webhook::{Action, Claim, Kind, Payload, ProofError, Sender, Webhooks};
use crate::metrics::{Api, PublishResult};
use crate::reload::Reloaded;
use crate::room::{RoomId, Timestamp};

/// GitHub and GitLab wait 10 seconds for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of bodies that are held at once before it is known who sent them: anyone can send a megabyte.
const UNPROVEN_BYTES: usize = 64 << 20;

/// Which webhooks are taken, and how much of them.
pub struct WebhookReceiver {
    webhooks: Arc<Reloaded<Webhooks>>,
    body_limit_bytes: usize,
    unproven: Arc<Semaphore>,
}

impl WebhookReceiver {
    pub fn new(webhooks: Arc<Reloaded<Webhooks>>, body_limit_bytes: usize) -> Self {
        let unproven = Arc::new(Semaphore::new(UNPROVEN_BYTES.max(body_limit_bytes)));
        Self { webhooks, body_limit_bytes, unproven }
    }
}

/// A delivery that was believed, and what becomes of it.
enum Outcome {
    Publish(Publish),
    Nothing(HttpResponse),
}

/// One delivery.
pub async fn deliver(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: Option<&str>,
    kind: &str,
    public: &Public,
) -> HttpResponse {
    let Some(kind) = Kind::parse(kind) else {
        let detail = "Webhooks end in /webhooks/github, /webhooks/gitlab or /webhooks/standard.";
        return Problem::new(Code::NotFound, detail).into_response();
    };
    let Some(receiver) = &public.webhooks else {
        let detail = "This relay expects no webhooks; set webhooks.file, which says whose mean a refresh.";
        return Problem::new(Code::NotFound, detail).into_response();
    };
    if request.method() != Method::POST {
        return v1::method_not_allowed("POST");
    }
    match receive(request, payload, room, (kind, receiver), public).await {
        Ok(Outcome::Publish(publish)) => v1::answer(publish, Api::Webhook, public).await,
        Ok(Outcome::Nothing(response)) => {
            public.metrics.published(Api::Webhook, PublishResult::Ignored);
            response
        }
        Err(problem) => v1::refuse(problem, Api::Webhook, public),
    }
}

async fn receive(
    request: &HttpRequest,
    payload: &mut web::Payload,
    room: Option<&str>,
    (kind, receiver): (Kind, &WebhookReceiver),
    public: &Public,
) -> Result<Outcome, Problem> {
    let header = |name: &str| {
        let value = credentials::only(request.headers(), name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    };
    let claim = Claim::read(kind, &header, Timestamp::now()).map_err(|error| unauthorized(&error))?;
    let limits = BodyLimits { bytes: receiver.body_limit_bytes, ..public.body_limits };
    let read = body::read_out_of(&receiver.unproven, payload, limits).await;
    let (body, unproven) = read.map_err(|error| v1::no_body(&error, limits))?;
    let webhooks = receiver.webhooks.current();
    let sender = webhooks.sender(kind, &claim, &body).map_err(|error| unauthorized(&error))?;
    drop(unproven);
    let room = v1::parse_room(room, public)?;
    may_publish(&sender, &room)?;
    let payload = Payload::parse(header(header::CONTENT_TYPE.as_str()), &body)
        .map_err(|error| Problem::new(Code::InvalidBody, format!("Signed well, but {error}.")))?;
    let outcome = judge(&sender, &claim, room, &payload, public);
    // Senders tell of much that means no refresh; it must not take the place of what does.
    if matches!(outcome, Outcome::Publish(_)) && !public.publish_rate.allows(&sender.webhook.grant.publisher)
    {
        return Err(Problem::new(Code::RateLimited, TOO_MANY));
    }
    Ok(outcome)
}

fn unauthorized(error: &ProofError) -> Problem {
    Problem::new(Code::Unauthorized, format!("Not believed: {error}."))
}

fn may_publish(sender: &Sender<'_>, room: &RoomId) -> Result<(), Problem> {
    let webhook = sender.webhook;
    webhook.grant.publish_to(room).map_err(|_| {
        let detail = format!(
            "The webhook {} is not for this room; name the room in its entry, or use the URL of another.",
            webhook.id
        );
        Problem::new(Code::Forbidden, detail)
    })
}

fn judge(
    sender: &Sender<'_>,
    claim: &Claim<'_>,
    room: RoomId,
    payload: &Payload,
    public: &Public,
) -> Outcome {
    let Sender { webhook, secret } = *sender;
    let (id, event, delivery) = (webhook.id.as_str(), claim.event, claim.delivery);
    match webhook.judge(event, payload) {
        Action::Publish(revision) => {
            info!(%room, webhook = id, secret, event, delivery, "webhook asks for a refresh");
            Outcome::Publish(Publish {
                room,
                revision,
                publisher: webhook.grant.publisher.clone(),
                // The blanks keep it apart from keys of publishers, which have none.
                idempotency_key: delivery.map(|delivery| format!("webhook {id} {delivery}")),
                wait: Some(public.confirm_timeout.min(ANSWER_WITHIN)),
            })
        }
        Action::Ping => {
            info!(%room, webhook = id, secret, delivery, "webhook pings");
            Outcome::Nothing(v1::json(StatusCode::OK, &json!({ "pong": true, "webhook": id, "room": room })))
        }
        Action::Ignore(ignored) => {
            info!(%room, webhook = id, secret, event, delivery, unmet = ignored.paths(), "webhook ignored");
            Outcome::Nothing(v1::json(StatusCode::OK, &json!({ "ignored": ignored.to_string() })))
        }
    }
}
