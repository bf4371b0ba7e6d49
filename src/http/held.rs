//! Keeps a request's body until its answer is written.
//!
//! actix-http reads on and on through a chunked body that its handler has let go of, however long that takes. Of one
//! that is still held when the answer ends, it reads no more than it may for a connection that is closed.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::{HttpResponse, web};
use bytes::Bytes;

struct Held {
    answer: BoxBody,
    _request: web::Payload,
}

/// Sends `answer` to a request with that body.
pub fn until_answered(request: web::Payload, answer: HttpResponse) -> HttpResponse {
    answer.map_body(|_, answer| BoxBody::new(Held { answer, _request: request }))
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}
