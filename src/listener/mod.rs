//! How the two listeners are bound and served.

mod tls;

use std::fmt::Debug;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::error::DispatchError;
use actix_http::{HttpServiceBuilder, KeepAlive, Request, Response};
use actix_server::Server;
use actix_service::{
    Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, boxed, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::capacity::Capacity;
use crate::config::{Settings, WireKind};
use crate::http::admin::{self, Admin};
use crate::http::unheard::{self, Unheard};
use crate::http::{self, Public};
use crate::metrics::Metrics;

/// By how much longer than the heartbeat the kernel waits for a dead client, so that the heartbeat, which looks once a
/// second, is first to say why.
const HEARTBEAT_MARGIN: Duration = Duration::from_secs(2);

/// Handshakes the kernel keeps for us while a worker is busy; a storm of reconnects needs more than the usual 128.
const BACKLOG: i32 = 4096;

/// How long a response that has ended is read on for, so that its last bytes are not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);

/// A connection ends with its answer: actix-http gives a time to no head but the first, a proxy never sends a publish
/// on a connection that is just being closed, and no answer can be taken for that of another request.
const KEEP_ALIVE: KeepAlive = KeepAlive::Disabled;

/// How long requests under way have at the end.
const REQUEST_GRACE_SECONDS: u64 = 5;

/// Serves apps and publishers; under TLS if there is a `tls` to serve with.
pub fn serve_public(
    settings: &Settings,
    capacity: Capacity,
    public: web::Data<Public>,
    tls: Option<ServerConfig>,
) -> anyhow::Result<(Server, SocketAddr)> {
    let (listener, address) = bind(settings.server.bind, "server.bind")?;
    let workers = settings.server.worker_count();
    // A worker that has as many does not accept until one is gone. Sockets on the direct wire are no longer its own;
    // how many of those there may be is the gate's to say, with an answer.
    let connections = match settings.wire() {
        WireKind::Direct => capacity.requests.div_ceil(workers),
        WireKind::ActixWs => (capacity.sockets + capacity.requests).div_ceil(workers),
    };
    let taken = Connections {
        address,
        head_timeout: settings.server.request_head_timeout,
        silence: settings.websocket.silence_limit() + HEARTBEAT_MARGIN,
        metrics: Arc::clone(&public.metrics),
    };
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(REQUEST_GRACE_SECONDS)
        .disable_signals();
    if let (Some(config), Some(settings)) = (tls, &settings.server.tls) {
        let tls = tls::Tls {
            config,
            handshake_timeout: settings.handshake_timeout,
            handshakes: capacity.requests.div_ceil(workers),
        };
        return Ok((tls::serve(server, listener, taken, tls, public)?, address));
    }
    let server = match settings.wire() {
        WireKind::ActixWs => server.listen("public", listener, move || {
            let metrics = Arc::clone(&public.metrics);
            let connections = taken
                .http(|stream| stream)
                .finish(app(public.clone()))
                .tcp()
                .map_err(move |error| counted(error, &metrics));
            // actix-server's task holds what it is given twice: a pointer is less, 0.4 KB less a socket.
            boxed::factory(connections)
        })?,
        // Upgrades go past actix-web, with the stream itself.
        WireKind::Direct => server.listen("public", listener, move || {
            let metrics = Arc::clone(&public.metrics);
            let (taken_over, shard) = (public.clone(), public.node.shard());
            let upgrade = move |(request, stream)| {
                http::take_over(request, stream, taken_over.clone(), Rc::clone(&shard))
            };
            taken
                .http(|stream| stream)
                .upgrade(fn_service(upgrade))
                .finish(app(public.clone()))
                .tcp()
                .map_err(move |error| counted(error, &metrics))
        })?,
    };
    Ok((server.run(), address))
}

/// What is the same for connections of every kind.
#[derive(Clone)]
struct Connections {
    address: SocketAddr,
    head_timeout: Duration,
    /// After which a client that acknowledges nothing is given up.
    silence: Duration,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// HTTP on streams of which `tcp` is the TCP part.
    fn http<T, S>(&self, tcp: fn(&T) -> &TcpStream) -> HttpServiceBuilder<T, S>
    where
        T: 'static,
        S: ServiceFactory<Request, Config = ()>,
        S::Error: Into<Response<BoxBody>> + 'static,
        S::InitError: Debug,
        <S::Service as Service<Request>>::Future: 'static,
    {
        let Self { address, head_timeout, silence, metrics } = self.clone();
        HttpServiceBuilder::default()
            .local_addr(address)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(head_timeout)
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(move |stream, connection| {
                prepare(tcp(stream), silence);
                connection.insert(Unheard::new(head_timeout, Arc::clone(&metrics)));
            })
    }
}

fn counted(error: DispatchError, metrics: &Metrics) -> DispatchError {
    unheard::count(&error, metrics);
    error
}

/// Every request goes to one handler, as paths are taken raw.
fn app(
    public: web::Data<Public>,
) -> impl ServiceFactory<Request, Config = (), Response = ServiceResponse, Error = actix_web::Error, InitError = ()>
{
    let shard = web::Data::new(public.node.shard());
    let app = App::new().app_data(public).app_data(shard).default_service(web::to(http::public));
    apply_fn_factory(map_config(app, |()| AppConfig::default()), |mut request: Request, app| {
        http::head::own(request.head_mut());
        app.call(request)
    })
}

/// Frames are small and urgent. And the kernel gives up a client that acknowledges nothing, or never reads, after
/// the time a silent one has.
fn prepare(stream: &TcpStream, silence: Duration) {
    let socket = SockRef::from(stream);
    if let Err(error) = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(silence)))
    {
        tracing::debug!(%error, "socket options not set");
    }
}

/// Serves probes, status and metrics.
pub fn serve_admin(address: SocketAddr, admin: web::Data<Admin>) -> anyhow::Result<(Server, SocketAddr)> {
    let (listener, address) = bind(address, "admin.bind")?;
    let server = HttpServer::new(move || App::new().app_data(admin.clone()).configure(admin::routes))
        .workers(1)
        .disable_signals()
        .listen(listener)?;
    Ok((server.run(), address))
}

/// Binds a listener, so that a port that is taken is an error before anything runs.
fn bind(address: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = || -> std::io::Result<_> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bound().with_context(|| format!("cannot listen on {address} ({key})"))
}
