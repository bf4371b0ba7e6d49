//! The public listener and the admin listener.

pub mod admin;
pub mod body;
pub mod credentials;
pub mod head;
mod held;
pub mod parameters;
mod partykit;
pub mod path;
mod problem;
mod publish_rate;
mod publishing;
mod takeover;
pub mod unheard;
mod v1;
mod webhook;
mod wording;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};

pub use self::body::BodyLimits;
use self::path::Target;
pub use self::publish_rate::PublishRate;
pub use self::takeover::take_over;
use self::unheard::Unheard;
pub use self::webhook::WebhookReceiver;
use crate::access::Access;
use crate::hub::Shard;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::scope::RoomScope;
use crate::ws::Gate;

/// What the public listener needs, shared by all workers.
pub struct Public {
    pub node: Arc<Node>,
    pub gate: Arc<Gate>,
    pub access: Arc<Access>,
    /// None = no webhooks are expected.
    pub webhooks: Option<WebhookReceiver>,
    pub metrics: Arc<Metrics>,
    pub head_limit_bytes: usize,
    pub max_room_bytes: usize,
    pub allowed_rooms: RoomScope,
    pub body_limits: BodyLimits,
    pub publish_rate: PublishRate,
    pub confirm_timeout: Duration,
    /// Answer a wrong secret as PartyKit does.
    pub exact_status: bool,
}

/// Every request on the public listener. There is no router in between, as paths are taken raw.
pub async fn public(
    request: HttpRequest,
    mut payload: web::Payload,
    public: web::Data<Public>,
    shard: web::Data<Rc<Shard>>,
) -> HttpResponse {
    if let Some(connection) = request.conn_data::<Unheard>() {
        connection.heard();
    }
    let response = match Target::parse(request.uri().path()) {
        _ if head::is_too_large(request.head(), &public) => head::refusal(&public),
        Target::Party { room } if partykit::wants_websocket(&request) => {
            return partykit::connect(&request, payload, room, &public, &shard).await;
        }
        Target::Party { room } => partykit::party(&request, &mut payload, room, &public).await,
        Target::UnknownParty(party) => partykit::unknown_party(party),
        Target::Unknown => partykit::not_found(),
        Target::Refresh(room) => v1::refresh(&request, &mut payload, room.as_deref(), &public).await,
        Target::Room(room) => v1::room(&request, room.as_deref(), &public).await,
        Target::Webhook { room, kind } => {
            webhook::deliver(&request, &mut payload, room.as_deref(), kind, &public).await
        }
        Target::UnknownV1 => v1::not_found(),
    };
    held::until_answered(payload, response)
}
