//! The public listener and the admin listener.

pub mod admin;
mod body;
mod credentials;
mod partykit;
mod path;
mod problem;
mod publishing;
mod takeover;
mod v1;
mod webhook;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};

use self::path::Target;
pub use self::takeover::take_over;
pub use self::webhook::Expected;
use crate::access::Access;
use crate::hub::Shard;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::ws::Gate;

/// What the public listener needs, shared by all workers.
pub struct Public {
    pub node: Arc<Node>,
    pub gate: Arc<Gate>,
    pub access: Arc<Access>,
    /// None = no webhooks are expected.
    pub webhooks: Option<Expected>,
    pub metrics: Arc<Metrics>,
    pub max_room_bytes: usize,
    pub body_limit_bytes: usize,
    pub confirm_timeout: Duration,
    /// Answer a wrong secret as PartyKit does.
    pub exact_status: bool,
}

/// Every request on the public listener. There is no router in between, as paths are taken raw.
pub async fn public(
    request: HttpRequest,
    payload: web::Payload,
    public: web::Data<Public>,
    shard: web::Data<Rc<Shard>>,
) -> HttpResponse {
    match Target::parse(request.uri().path()) {
        Target::Party { room } => partykit::party(&request, payload, room, &public, &shard).await,
        Target::UnknownParty(party) => partykit::unknown_party(party),
        Target::Unknown => partykit::not_found(),
        Target::Refresh(room) => v1::refresh(&request, payload, room.as_deref(), &public).await,
        Target::Room(room) => v1::room(&request, room.as_deref(), &public).await,
        Target::Webhook { room, kind } => {
            webhook::deliver(&request, payload, room.as_deref(), kind, &public).await
        }
        Target::UnknownV1 => v1::not_found(),
    }
}
