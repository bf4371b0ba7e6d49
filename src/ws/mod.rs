//! WebSocket connections: who may connect ([`Gate`]), and the task that serves each.

mod admission;
mod client_address;
mod connection;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix_http::RequestHead;
use actix_http::ws::verify_handshake;
use actix_web::http::header::HeaderValue;
use actix_web::http::{Version, header};
use actix_web::{HttpRequest, HttpResponse, web};
use ipnet::IpNet;

use self::admission::{Admission, Permit};
pub use self::client_address::client_address;
use self::connection::Connection;
pub use self::wire::{Decoder, Framed, Heard, MAX_HEADER, refuse};
use self::wire::{Incoming, Outgoing};
use crate::config::{OriginRule, Settings, WebsocketSettings};
use crate::drain::Lifecycle;
use crate::hub::{Outbox, Shard};
use crate::metrics::{Metrics, Refusal};
use crate::node::Node;
use crate::room::{RoomError, RoomId};
use crate::scope::RoomScope;

/// What the relay speaks, by a name, for clients that must offer one.
const SUBPROTOCOL: &str = "relay.v1";

/// Lets connections in, or says why not, before the upgrade.
pub struct Gate {
    node: Arc<Node>,
    lifecycle: Arc<Lifecycle>,
    admission: Arc<Admission>,
    trusted_proxies: Vec<IpNet>,
    allowed_origins: Vec<OriginRule>,
    allowed_rooms: RoomScope,
    settings: Arc<WebsocketSettings>,
    metrics: Arc<Metrics>,
}

/// A place for a connection, and its room.
pub struct Admitted {
    permit: Permit,
    room: RoomId,
    /// When to close it; None = whenever.
    expires_at: Option<Instant>,
}

impl Admitted {
    pub fn room(&self) -> &RoomId {
        &self.room
    }

    /// Has the connection closed at that moment.
    pub fn until(&mut self, moment: Option<SystemTime>) {
        let left = |moment: SystemTime| moment.duration_since(SystemTime::now()).unwrap_or_default();
        self.expires_at = moment.and_then(|moment| Instant::now().checked_add(left(moment)));
    }
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
            admission: Admission::new(settings, limit),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            allowed_origins: settings.server.allowed_origins.clone(),
            allowed_rooms: settings.rooms.allow.clone(),
            settings: Arc::new(websocket_settings(settings)),
            metrics,
        }
    }

    /// Checks all that can be refused before the upgrade.
    pub fn admit(&self, head: &RequestHead, room: Result<RoomId, RoomError>) -> Result<Admitted, Refusal> {
        if self.lifecycle.is_draining() {
            return Err(Refusal::Draining);
        }
        let mut permit = self.admission.admit(client_address(head, &self.trusted_proxies))?;
        if !self.allows_origin(head) {
            return Err(Refusal::Origin);
        }
        let room = room.map_err(|_| Refusal::Room)?;
        if !self.allowed_rooms.covers(&room) {
            return Err(Refusal::RoomNotAllowed);
        }
        if verify_handshake(head).is_err() || !is_one_handshake(head) {
            return Err(Refusal::BadRequest);
        }
        permit.enter(&room)?;
        // Last: a client whose handshakes are refused takes none of the others' upgrades.
        self.admission.begin()?;
        Ok(Admitted { permit, room, expires_at: None })
    }

    /// Answers the handshake through actix-web, and serves the connection in a task of its own on this worker.
    pub fn upgrade(
        &self,
        admitted: Admitted,
        request: &HttpRequest,
        payload: web::Payload,
        shard: &Rc<Shard>,
    ) -> actix_web::Result<HttpResponse> {
        let WebsocketSettings { subprotocols, max_message_bytes, .. } = &*self.settings;
        let (response, outgoing, incoming) =
            wire::accept_actix_ws(request, payload, subprotocols, *max_message_bytes)?;
        self.serve(admitted, outgoing, incoming, shard);
        Ok(response)
    }

    /// Answers the handshake on the stream itself, and serves the connection in a task of its own on this worker.
    pub async fn take_over(
        &self,
        admitted: Admitted,
        head: &RequestHead,
        stream: Framed,
        shard: &Rc<Shard>,
    ) -> std::io::Result<()> {
        let WebsocketSettings { subprotocols, max_message_bytes, .. } = &*self.settings;
        let (outgoing, incoming) =
            wire::accept_direct(head, stream, subprotocols, *max_message_bytes).await?;
        self.serve(admitted, outgoing, incoming, shard);
        Ok(())
    }

    /// Connections that are open, those in their close handshake included.
    pub fn open(&self) -> usize {
        self.admission.total()
    }

    fn serve(&self, admitted: Admitted, outgoing: Outgoing, incoming: Incoming, shard: &Rc<Shard>) {
        let outbox = Rc::new(Outbox::new(outgoing));
        Connection {
            membership: self.node.join(shard, admitted.room, &outbox, admitted.expires_at),
            outbox,
            incoming,
            permit: admitted.permit,
            frame_limit: self.settings.max_frames_per_second,
            metrics: Arc::clone(&self.metrics),
        }
        .spawn();
    }

    fn allows_origin(&self, head: &RequestHead) -> bool {
        let mut origins = head.headers().get_all(header::ORIGIN);
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin
                .to_str()
                .is_ok_and(|origin| self.allowed_origins.iter().any(|rule| rule.allows(origin))),
            (Some(_), Some(_)) => false,
        }
    }
}

/// What actix-http does not look at: HTTP 1.1 at least, and one key (RFC 6455, sections 4.1 and 11.3.1); no other
/// protocol beside, and no body, as what follows the head is to be frames.
fn is_one_handshake(head: &RequestHead) -> bool {
    let headers = head.headers();
    let mut protocols = headers.get_all(header::UPGRADE);
    let websocket = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    head.version >= Version::HTTP_11
        && headers.get_all(header::SEC_WEBSOCKET_KEY).count() == 1
        && protocols.next().is_some_and(websocket)
        && protocols.next().is_none()
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get_all(header::CONTENT_LENGTH).all(|length| length == "0")
}

/// Where a client may have to show a token among its subprotocols, one of them must be agreed to: browsers give up
/// otherwise (RFC 6455, section 4.1).
fn websocket_settings(settings: &Settings) -> WebsocketSettings {
    let mut websocket = settings.websocket.clone();
    let own = || SUBPROTOCOL.to_owned();
    if settings.subscribers.keys.is_some() && !websocket.subprotocols.contains(&own()) {
        websocket.subprotocols.push(own());
    }
    websocket
}
