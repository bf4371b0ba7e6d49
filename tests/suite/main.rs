//! The relay from outside: every test starts the real program and talks to it as its users do.
//!
//! One binary, so that the support code is compiled once. Tests share nothing (each has its own nodes and its own
//! Redis on ports that the system picks), so they run at the same time and in any order; most of their time is waiting.

#![allow(
    unreachable_pub,
    reason = "nobody is outside of a test binary; `pub` marks what modules offer each other"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on panics, and then shows what its nodes printed"
)]
#![allow(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "metrics are counts, small and whole"
)]
#![allow(clippy::match_wild_err_arm, reason = "the only error of a timeout is that the time is over")]

mod admin;
mod bench;
mod broadcast;
mod broker_contract;
mod cluster;
mod command_line;
mod drain;
mod healthcheck;
mod hostile;
mod invariant;
mod limits;
mod metrics;
mod oidc;
mod operators;
mod partykit;
mod publish;
mod publish_keys;
mod redis_loss;
mod refusals;
mod round_trip;
mod secrets;
mod settings;
mod start;
mod subscriber_tokens;
mod support;
mod tls_and_acl;
mod tls_listener;
mod topologies;
mod webhooks;
mod websocket;
