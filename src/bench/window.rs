//! What is counted between `Arm` and `Delivered`: which publish a delivery belongs to, and when each socket has the last.

use memchr::memmem::Finder;

use super::clock::Moment;
use super::counted::Counted;
use super::histogram::{HistogramError, Latencies};
use super::protocol::Schedule;

/// What the window knows of one socket.
#[derive(Default)]
pub struct Seat {
    /// Publishes go to the rooms in turn, so a room's share of them follows from its number.
    pub room: u64,
    /// Publishes of its room that it has, the newest one's place included.
    seen: u64,
    /// Deliveries, each counted.
    deliveries: u64,
    complete: bool,
}

impl Seat {
    pub fn in_room(room: usize) -> Self {
        Self { room: room as u64, ..Self::default() }
    }
}

pub struct Window {
    schedule: Schedule,
    rooms: u64,
    sequence: Option<Finder<'static>>,
    pub counted: Counted,
    pub latencies: Latencies,
    /// Whether this window's `Delivered` was sent, or none is open.
    pub reported: bool,
}

impl Window {
    pub fn new(rooms: usize, sequence_marker: Option<&str>) -> Result<Self, HistogramError> {
        let nothing = Schedule {
            first: Moment::now(),
            interval: std::time::Duration::ZERO,
            publishes: 0,
            first_number: 0,
        };
        Ok(Self {
            schedule: nothing,
            rooms: rooms.max(1) as u64,
            sequence: sequence_marker.map(|marker| Finder::new(marker).into_owned()),
            counted: Counted::default(),
            latencies: Latencies::new()?,
            reported: true,
        })
    }

    pub fn open(&mut self, schedule: Schedule) {
        self.schedule = schedule;
        self.counted = Counted::default();
        self.latencies.clear();
        self.reported = false;
    }

    /// A socket that takes part from now on.
    pub fn seat(&mut self, seat: &mut Seat) {
        self.counted.sockets += 1;
        (seat.seen, seat.deliveries) = (0, 0);
        self.look_again(seat);
    }

    /// The schedule has so many publishes after all; every seat is to be looked at again.
    pub fn expect(&mut self, publishes: u64) {
        self.schedule.publishes = publishes;
        self.counted.complete = 0;
        self.reported = false;
    }

    /// Whether every socket has everything.
    pub fn is_complete(&self) -> bool {
        self.counted.complete >= self.counted.sockets
    }

    pub fn look_again(&mut self, seat: &mut Seat) {
        seat.complete = self.has_all(seat);
        self.counted.complete += usize::from(seat.complete);
    }

    /// Publishes over several connections may overtake each other, so the last number need not come last, or at all.
    fn has_all(&self, seat: &Seat) -> bool {
        let due = self.due(seat.room);
        seat.seen >= due || seat.deliveries >= due
    }

    /// How many publishes of the schedule go to that room.
    fn due(&self, room: u64) -> u64 {
        self.schedule.publishes.saturating_sub(room).div_ceil(self.rooms)
    }

    /// A delivery to that socket came now.
    pub fn record(&mut self, seat: &mut Seat, payload: &[u8], now: Moment) {
        if self.reported {
            return;
        }
        let place = match &self.sequence {
            None => seat.seen,
            Some(marker) => match number_after(marker, payload)
                .and_then(|number| number.checked_sub(self.schedule.first_number))
            {
                // Published before this window was opened.
                None => return,
                Some(index) => index / self.rooms,
            },
        };
        self.counted.deliveries += 1;
        self.counted.first.get_or_insert(now);
        self.counted.last = Some(now);
        let due = self.due(seat.room);
        if place < due {
            let index = seat.room + place * self.rooms;
            self.latencies.record(now.since(self.schedule.start_of(index)));
        }
        seat.seen = seat.seen.max(place + 1);
        seat.deliveries += 1;
        if !seat.complete && self.has_all(seat) {
            seat.complete = true;
            self.counted.complete += 1;
            self.counted.completed = Some(now);
        }
    }
}

fn number_after(marker: &Finder<'_>, payload: &[u8]) -> Option<u64> {
    let start = marker.find(payload)? + marker.needle().len();
    let digits = payload[start..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        number = Some(number.unwrap_or(0_u64).wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    }
    number
}
