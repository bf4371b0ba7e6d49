//! `rooms`: many rooms, sockets spread over them, publishes to each in turn.

use super::super::BenchError;
use super::super::report::Figures;
use super::super::session::Setting;
use super::{OnFloor, Scenario, latency, sustained};

/// Rooms are published to side by side.
const PUBLISHERS: usize = 8;

pub static ROOMS: Scenario = Scenario {
    name: "rooms",
    help: "The same over --rooms rooms, published to in turn",
    publishes: true,
    wants_numbers: false,
    takes_rooms: true,
    run: Some(run),
    on_floor: OnFloor::Behind(run),
};

fn run(setting: &Setting<'_>) -> Result<Figures, BenchError> {
    let rooms = setting.load.rooms;
    let mut figures = match setting.load.rate {
        Some(rate) => latency::run_at(setting, rate, PUBLISHERS),
        None => sustained::back_to_back(setting, rooms as u64, PUBLISHERS.min(rooms)),
    }?;
    figures.add("rooms", rooms as f64);
    Ok(figures)
}
