//! `floor`: what a broadcast costs at the least.

use super::{OnFloor, Scenario, broadcast};

pub static FLOOR: Scenario = Scenario {
    name: "floor",
    help: "No server: what bare non-blocking writes to as many sockets cost on this machine",
    publishes: true,
    wants_numbers: false,
    takes_rooms: false,
    run: None,
    on_floor: OnFloor::Behind(broadcast::run),
};
