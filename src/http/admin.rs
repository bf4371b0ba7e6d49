//! The admin listener: probes, status, metrics. Not for the Internet.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::access::{Issuers, JwksStatus};
use crate::broker::{BrokerStatus, NodeId, NodeRecord};
use crate::drain::{Lifecycle, Phase};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::reload::{FileStatus, Reloads};

pub struct Admin {
    pub node: Arc<Node>,
    pub lifecycle: Arc<Lifecycle>,
    pub metrics: Arc<Metrics>,
    pub reloads: Arc<Reloads>,
    pub issuers: Arc<Issuers>,
    pub started: Instant,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    uptime_seconds: u64,
    phase: &'static str,
    node: &'a NodeId,
    broker: BrokerStatus,
    rooms: usize,
    connections: u64,
    nodes: Vec<NodeRecord>,
    files: Vec<FileStatus>,
    issuers: Vec<JwksStatus>,
}

pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/livez", web::get().to(livez))
        .route("/readyz", web::get().to(readyz))
        .route("/status", web::get().to(status))
        .route("/metrics", web::get().to(metrics))
        .default_service(web::to(|| async {
            HttpResponse::NotFound().body("Not found. Here are /livez, /readyz, /status and /metrics.\n")
        }));
}

/// The process answers; that is all, and it never depends on Redis: restarting a node does not mend Redis.
async fn livez() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// Ready once linked for the first time. A later loss of Redis does not make it unready, else every node would leave
/// the load balancer at once, and with them all sockets.
async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    match phase(&admin) {
        "serving" => HttpResponse::Ok().body("ready\n"),
        "starting" => HttpResponse::ServiceUnavailable().body("not linked to Redis yet\n"),
        _ => HttpResponse::ServiceUnavailable().body("draining\n"),
    }
}

fn phase(admin: &Admin) -> &'static str {
    match admin.lifecycle.phase() {
        Phase::Serving if !admin.node.has_linked() => "starting",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Closing => "closing",
        Phase::Stopped => "stopped",
    }
}

async fn status(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: admin.started.elapsed().as_secs(),
        phase: phase(&admin),
        node: admin.node.id(),
        broker: admin.node.broker_status(),
        rooms: admin.node.room_count(),
        connections: admin.node.connections(),
        nodes: admin.node.members(),
        files: admin.reloads.status(),
        issuers: admin.issuers.status(),
    })
}

async fn metrics(admin: web::Data<Admin>) -> HttpResponse {
    admin.metrics.rooms.set(i64::try_from(admin.node.room_count()).unwrap_or(i64::MAX));
    match admin.metrics.encode() {
        Ok(text) => {
            HttpResponse::Ok().insert_header((header::CONTENT_TYPE, prometheus::TEXT_FORMAT)).body(text)
        }
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}
