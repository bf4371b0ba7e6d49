//! Upgrades that come past actix-web, with the stream itself.
//!
//! actix-http hands over every request that asks for a WebSocket, whatever its path and method; those that may not
//! have one get the same plain answers as from the routes.

use std::rc::Rc;

use actix_http::{Request, RequestHead};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use tracing::debug;

use super::partykit::{self, plain};
use super::path::Target;
use super::unheard::Unheard;
use super::{Public, head, v1};
use crate::hub::Shard;
use crate::ws::{Framed, refuse};

pub async fn take_over(
    mut request: Request,
    stream: Framed,
    public: web::Data<Public>,
    shard: Rc<Shard>,
) -> actix_web::Result<()> {
    if let Some(connection) = request.conn_data::<Unheard>() {
        connection.heard();
    }
    head::own(request.head_mut());
    let head = request.head();
    let answered = match Target::parse(head.uri.path()) {
        _ if head::is_too_large(head, &public) => refuse(stream, head::refusal(&public)).await,
        Target::Party { room } if head.method == Method::GET => {
            match partykit::admit(head, room, &public).await {
                Ok(admitted) => public.gate.take_over(admitted, head, stream, &shard).await,
                Err(refused) => refuse(stream, refused.into_response()).await,
            }
        }
        target => refuse(stream, not_upgraded(&target, head)).await,
    };
    if let Err(error) = answered {
        debug!(%error, "a client was gone before its handshake was answered");
    }
    Ok(())
}

fn not_upgraded(target: &Target<'_>, head: &RequestHead) -> HttpResponse {
    match target {
        // A publish with a body is not among the requests that come here: its length frames it.
        Target::Party { .. } if head.method == Method::POST => {
            plain(StatusCode::BAD_REQUEST, "A publish has a body, and asks for no upgrade.")
        }
        Target::Party { .. } => plain(StatusCode::OK, partykit::NOTHING),
        Target::UnknownParty(party) => partykit::unknown_party(party),
        Target::Unknown => partykit::not_found(),
        Target::Room(_) | Target::Refresh(_) | Target::Webhook { .. } | Target::UnknownV1 => v1::not_found(),
    }
}
