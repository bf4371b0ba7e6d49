//! What the tests stand on: real processes (nodes, Redis), real sockets, and waiting with a deadline.
//!
//! Nothing here knows the relay's code: a node is started by its command line, asked over HTTP and WebSocket, and watched
//! through its log and metrics. Every process belongs to one test and ends with it, so tests share nothing and may run in any
//! order and at the same time.

pub mod hose;
pub mod http;
pub mod issuer;
pub mod metrics;
pub mod node;
pub mod ports;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod redis_cluster;
pub mod sentinel;
pub mod socket;
pub mod tls;
pub mod tunnel;
pub mod wait;
pub mod witness;
