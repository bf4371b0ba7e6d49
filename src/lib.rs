//! A relay cluster that tells running apps to fetch their feature-flag datafile again.
//!
//! # The principle
//!
//! A refresh is **level-triggered**. It does not say "here is event 17 of a log"; it says "room R is now at position
//! P; fetch again if you are older". From this follows everything that is simple here:
//!
//! - only the newest position of a room matters, so a socket's outbox holds one entry and never grows;
//! - a duplicate costs a conditional GET, a lost refresh costs an outage: whenever a gap is possible, send a refresh;
//! - catching up means comparing one head per room, so there is no history, no replay buffer, no acknowledgement;
//! - nodes hold nothing that cannot be rebuilt from the broker, so any of them may die at any moment.
//!
//! # The layout
//!
//! ```text
//! main -> cli -> app -> listener -> { http, ws, drain } -> { access, node } -> { broker, hub }
//!      -> { room, scope, close, backoff, capacity }
//! ```
//!
//! Arrows are imports; there are no others, but for `http`, which hands upgrades to `ws`, both of which ask `drain`
//! whether the node is leaving, and the leaves `config`, `metrics`, `reload`, `telemetry` and `tls`, which everyone may
//! read and which know nothing but each other, `close` and `scope`. [`access`] is who may do what. [`bench`](mod@bench),
//! which only `cli` calls, knows nothing of the relay: it measures any server from outside. [`broker`] is the bus between
//! nodes and [`hub`] is who is connected here; they meet in [`node`] alone.
//!
//! # The four flows
//!
//! **Publish.** [`http`] asks [`access`] who is there, and checks room and body; [`node::Node::publish`] has the broker
//! take one atomic step: next generation, new head, word to every node. Every node, the publishing one too, receives it
//! by the same road. Its hub hands it once to each worker, whose shard writes it to the sockets of the room. Each node
//! confirms so many sockets; the publisher's answer adds the confirmations up.
//!
//! **Connect.** [`ws::Gate`], and [`access`] where tokens are asked for, refuse before the upgrade, with a plain status.
//! A connection is seated first, then the room's head is looked at: what is published in between comes twice or once,
//! never not at all.
//!
//! **Drain.** See [`drain`].
//!
//! **Redis lost.** The link ends, or a probe does not come back: sockets stay, publishes answer 503, readiness stays.
//! The link is rebuilt without a retry limit. The same server process as before? Heads are compared, and what is
//! newer is sent. Another one, or a head that vanished or went backwards? Every socket is told to fetch again, spread
//! out. Heads are also compared on a slow timer, so that a silent loss heals too.

pub mod access;
pub mod app;
pub mod backoff;
pub mod bench;
pub mod broker;
pub mod capacity;
pub mod cli;
pub mod close;
pub mod config;
pub mod drain;
pub mod http;
pub mod hub;
pub mod listener;
pub mod metrics;
pub mod node;
pub mod reload;
pub mod room;
pub mod scope;
pub mod telemetry;
pub mod tls;
pub mod ws;
