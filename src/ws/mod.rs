//! WebSocket connections: who may connect ([`Gate`]), and the task that serves each.

mod admission;
mod client_address;
mod connection;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use ipnet::IpNet;

use self::admission::Admission;
use self::client_address::client_address;
use self::connection::Connection;
use crate::config::{OriginRule, Settings, WebsocketSettings};
use crate::drain::Lifecycle;
use crate::hub::{Outbox, Shard};
use crate::metrics::{Metrics, Refusal};
use crate::node::Node;
use crate::room::{RoomError, RoomId};

/// Lets connections in, or says why not, before the upgrade.
pub struct Gate {
    node: Arc<Node>,
    lifecycle: Arc<Lifecycle>,
    admission: Arc<Admission>,
    trusted_proxies: Vec<IpNet>,
    allowed_origins: Vec<OriginRule>,
    settings: Arc<WebsocketSettings>,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// `limit` is the number of sockets on this node.
    pub fn new(
        settings: &Settings,
        limit: usize,
        node: Arc<Node>,
        lifecycle: Arc<Lifecycle>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            node,
            lifecycle,
            admission: Admission::new(&settings.server, limit),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            allowed_origins: settings.server.allowed_origins.clone(),
            settings: Arc::new(settings.websocket.clone()),
            metrics,
        }
    }

    /// Upgrades the request and serves the connection in a task of its own, on this worker.
    pub fn connect(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        room: Result<RoomId, RoomError>,
        shard: &Rc<Shard>,
    ) -> Result<HttpResponse, Refusal> {
        if self.lifecycle.is_draining() {
            return Err(Refusal::Draining);
        }
        let permit = self.admission.admit(client_address(request, &self.trusted_proxies))?;
        if !self.allows_origin(request) {
            return Err(Refusal::Origin);
        }
        let room = room.map_err(|_| Refusal::Room)?;
        let (response, wire, incoming) =
            wire::accept(request, payload, &self.settings.subprotocols, self.settings.max_message_bytes)
                .map_err(|_| Refusal::BadRequest)?;
        let outbox = Rc::new(Outbox::new(wire));
        let connection = Connection {
            membership: self.node.join(shard, room, &outbox),
            outbox,
            incoming,
            permit,
            settings: Arc::clone(&self.settings),
            metrics: Arc::clone(&self.metrics),
        };
        actix_web::rt::spawn(connection.run());
        Ok(response)
    }

    fn allows_origin(&self, request: &HttpRequest) -> bool {
        let mut origins = request.headers().get_all(header::ORIGIN);
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin
                .to_str()
                .is_ok_and(|origin| self.allowed_origins.iter().any(|rule| rule.allows(origin))),
            (Some(_), Some(_)) => false,
        }
    }
}
