//! The public listener under TLS.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::TlsAcceptorConfig;
use actix_http::error::DispatchError;
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactoryExt, boxed};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::rt::net::TcpStream;
use actix_web::web;
use rustls::ServerConfig;
use tracing::debug;

use super::{Connections, app, listen};
use crate::http::{Public, unheard};
use crate::metrics::{Metrics, TlsFailure};

/// How TLS connections are taken.
pub struct Tls {
    pub config: ServerConfig,
    pub handshake_timeout: Duration,
    /// Handshakes at a time that a worker takes; more wait, and with them all that is new to it.
    pub handshakes: usize,
}

/// actix-http offers HTTP/1.1 alone by ALPN, as it is built without HTTP/2.
pub(super) fn serve(
    server: ServerBuilder,
    listeners: Vec<TcpListener>,
    taken: Connections,
    tls: Tls,
    public: web::Data<Public>,
) -> io::Result<Server> {
    let Tls { config, handshake_timeout, handshakes } = tls;
    // For the whole process, but each worker looks at it once, as it starts. The 256 that it is otherwise are held by
    // anyone who opens so many connections and says nothing.
    max_concurrent_tls_connect(handshakes);
    let server = listen(server, listeners, &move || {
        let metrics = Arc::clone(&public.metrics);
        let acceptor = TlsAcceptorConfig::default().handshake_timeout(handshake_timeout);
        let connections = taken
            .http(|stream: &TlsStream<TcpStream>| stream.get_ref().0)
            .secure()
            .finish(app(public.clone()))
            .rustls_0_23_with_config(config.clone(), acceptor)
            .map_err(move |error| {
                count(&error, &metrics);
                error
            });
        // A pointer for a task that would hold it twice, as on the actix-ws wire without TLS.
        boxed::factory(connections)
    })?;
    Ok(server.run())
}

/// Strangers on the Internet cause these at will, so that they are counted, and logged for those who look for them.
fn count(error: &TlsError<io::Error, DispatchError>, metrics: &Metrics) {
    let (reason, cause) = match error {
        TlsError::Timeout => (TlsFailure::Timeout, None),
        // What rustls refuses comes so; all else is from the connection.
        TlsError::Tls(error) if error.kind() == io::ErrorKind::InvalidData => {
            (TlsFailure::Protocol, Some(error))
        }
        TlsError::Tls(error) => (TlsFailure::Gone, Some(error)),
        TlsError::Service(error) => return unheard::count(error, metrics),
    };
    metrics.tls.handshake_failed(reason);
    debug!(?reason, cause = cause.map(tracing::field::display), "TLS handshake failed");
}
