//! How the two listeners are bound and served.

mod tls;

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactory, fn_service, map_config};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::capacity::Capacity;
use crate::config::{Settings, WireKind};
use crate::http::admin::{self, Admin};
use crate::http::{self, Public};

/// Handshakes the kernel keeps for us while a worker is busy; a storm of reconnects needs more than the usual 128.
const BACKLOG: i32 = 4096;

/// How long a response that has ended is read on for, so that its last bytes are not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);

/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

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
    let workers = match settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    // A worker that has as many does not accept until one is gone. Sockets on the direct wire are no longer its own;
    // how many of those there may be is the gate's to say, with an answer.
    let connections = match settings.wire() {
        WireKind::Direct => capacity.requests.div_ceil(workers),
        WireKind::ActixWs => (capacity.sockets + capacity.requests).div_ceil(workers),
    };
    let silence = settings.websocket.silence_limit();
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
            silence,
        };
        return Ok((tls::serve(server, listener, address, tls, public)?, address));
    }
    let server = match settings.wire() {
        WireKind::ActixWs => HttpServer::new(move || app(public.clone()))
            .workers(workers)
            .max_connections(connections)
            .on_connect(move |stream, _| {
                if let Some(stream) = stream.downcast_ref() {
                    prepare(stream, silence);
                }
            })
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            .shutdown_timeout(REQUEST_GRACE_SECONDS)
            .disable_signals()
            .listen(listener)?
            .run(),
        WireKind::Direct => serve_direct(server, listener, address, silence, public)?,
    };
    Ok((server, address))
}

/// Upgrades go past actix-web, with the stream itself.
fn serve_direct(
    server: ServerBuilder,
    listener: TcpListener,
    address: SocketAddr,
    silence: Duration,
    public: web::Data<Public>,
) -> std::io::Result<Server> {
    let server = server.listen("public", listener, move || {
        let (taken_over, shard) = (public.clone(), public.node.shard());
        let upgrade =
            move |(request, stream)| http::take_over(request, stream, taken_over.clone(), Rc::clone(&shard));
        HttpService::build()
            .local_addr(address)
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(move |stream, _| prepare(stream, silence))
            .upgrade(fn_service(upgrade))
            .finish(map_config(app(public.clone()), |()| AppConfig::default()))
            .tcp()
    })?;
    Ok(server.run())
}

/// Every request goes to one handler, as paths are taken raw.
fn app(
    public: web::Data<Public>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let shard = web::Data::new(public.node.shard());
    App::new().app_data(public).app_data(shard).default_service(web::to(http::public))
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
