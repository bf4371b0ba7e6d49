//! How the two listeners are bound and served.

mod tls;

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::error::DispatchError;
use actix_http::{HttpServiceBuilder, KeepAlive, Request, Response};
use actix_server::{Server, ServerBuilder, ServerServiceFactory};
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

/// Connections that the kernel keeps for us until they are accepted. It cuts this at `net.core.somaxconn`, which mostly
/// is as many.
const BACKLOG: i32 = 4096;

/// Sockets that the public listener consists of, each with a backlog of its own: what finds none left comes back after
/// a second, or three. Of 10,000 clients that returned to a restarted node at once, some did with one socket.
const PUBLIC_SOCKETS: usize = 4;

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
    let (listeners, address) = bind(settings.server.bind, PUBLIC_SOCKETS, "server.bind")?;
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
        return Ok((tls::serve(server, listeners, taken, tls, public)?, address));
    }
    let server = match settings.wire() {
        WireKind::ActixWs => listen(server, listeners, &move || {
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
        WireKind::Direct => listen(server, listeners, &move || {
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

/// Has the server serve the same on each of the listeners.
fn listen<F>(server: ServerBuilder, listeners: Vec<TcpListener>, factory: &F) -> io::Result<ServerBuilder>
where
    F: ServerServiceFactory<TcpStream> + Clone,
{
    listeners
        .into_iter()
        .try_fold(server, |server, listener| server.listen("public", listener, factory.clone()))
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
    let (listeners, address) = bind(address, 1, "admin.bind")?;
    let server = HttpServer::new(move || App::new().app_data(admin.clone()).configure(admin::routes))
        .workers(1)
        .disable_signals();
    let server = listeners.into_iter().try_fold(server, HttpServer::listen)?;
    Ok((server.run(), address))
}

/// Binds sockets to one address, so that a port that is taken is an error before anything runs.
fn bind(address: SocketAddr, count: usize, key: &str) -> anyhow::Result<(Vec<TcpListener>, SocketAddr)> {
    let bound = || -> io::Result<_> {
        let first = socket(address)?;
        first.bind(&address.into())?;
        let bound = first.local_addr()?.as_socket().unwrap_or(address);
        let mut sockets = vec![first];
        // From here on, as a node that is started on a port in use is to fail, and not to share it.
        sockets[0].set_reuse_port(count > 1)?;
        for _ in 1..count {
            let another = socket(bound)?;
            another.set_reuse_port(true)?;
            another.bind(&bound.into())?;
            sockets.push(another);
        }
        sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
        Ok((sockets.into_iter().map(TcpListener::from).collect(), bound))
    };
    bound().with_context(|| format!("cannot listen on {address} ({key})"))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
