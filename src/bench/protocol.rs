//! What the coordinator and its generator processes say to each other: one JSON object a line, over standard input and output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::counted::Counted;
use super::histogram::Packed;
use super::target::Sockets;

/// What one process connects to and how; the first line it reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub sockets: Sockets,
    pub rooms: Vec<String>,
    /// Sockets to a loopback address come from 127.0.0.1 and on, so many; 0 = the kernel's choice.
    pub sources: u8,
}

/// Sockets to open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// The number of this process's first socket among those of all processes: it chooses room, endpoint and source.
    pub first: usize,
    pub count: usize,
    /// Handshakes that may be under way at once.
    pub in_flight: usize,
    /// Connects per second of this process; 0 = as fast as they go.
    pub rate: f64,
    /// Of a hundred sockets so many never read again once they are ready, and have a small receive buffer.
    pub stuck_percent: f64,
    /// Of the attempts that fail so many are made again; what fails then is given up.
    pub retries: usize,
    pub deadline: Moment,
}

impl Opening {
    /// Spread evenly over all of them.
    pub fn is_stuck(&self, index: usize) -> bool {
        let number = (self.first + index) as f64;
        let share = self.stuck_percent / 100.0;
        ((number + 1.0) * share).floor() > (number * share).floor()
    }
}

/// When publishes are meant to start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Schedule {
    pub first: Moment,
    pub interval: Duration,
    pub publishes: u64,
    /// The number that the first of them carries.
    pub first_number: u64,
}

impl Schedule {
    pub fn start_of(&self, index: u64) -> Moment {
        self.first.plus(Duration::from_nanos(super::clock::nanoseconds(self.interval).saturating_mul(index)))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Answered by `Opened` when all are ready or failed.
    Open(Opening),
    /// Every socket that is lost from now on is opened again; answered by `Armed`, and by `Opened` once each was lost and
    /// is back.
    Return(Opening),
    /// Starts to count deliveries; answered by `Armed`, and by `Delivered` once every socket has what it should.
    Arm(Schedule),
    /// The schedule has so many publishes after all.
    Expect { publishes: u64 },
    /// Answered by `Delivered` with what has come.
    Collect,
    /// Opens and closes beside the sockets that are there.
    Churn(Churning),
    /// Ends the churn; answered by `Churned`.
    EndChurn,
    /// Closes every socket at once; answered by `Dropped`.
    Drop,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Churning {
    pub rate: f64,
    pub lifetime: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Opened(Opened),
    Armed,
    Delivered(Delivered),
    Churned(Churned),
    Dropped(Dropped),
    /// The process cannot go on, and why.
    Failed(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opened {
    pub ready: usize,
    pub missing: usize,
    /// Attempts that failed; more than are missing when they were tried again.
    pub failures: usize,
    pub first_failure: Option<String>,
    /// When the first was begun of those that are ready.
    pub start: Moment,
    /// When the server took the first socket away that was to return.
    pub first_lost: Option<Moment>,
    /// When the last socket was ready.
    pub end: Moment,
    pub handshakes: Packed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivered {
    pub pid: u32,
    /// How long it stayed awake for deliveries that did not come.
    pub awake: Duration,
    /// Since `Arm`.
    pub counted: Counted,
    /// Sockets that the server closed since they were opened.
    pub closed: usize,
    /// From the intended start of the publish.
    pub latency: Packed,
    /// The first frame of any kind that came, for a marker that never did.
    pub first_frame: Option<String>,
    pub first_closure: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Churned {
    pub opened: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// Sockets that the server had closed before.
    pub lost: usize,
    pub first_closure: Option<String>,
}
