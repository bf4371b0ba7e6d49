//! How much load, and for how long.

use std::time::Duration;

use serde::{Serialize, Serializer};

#[derive(Clone, Debug, Serialize)]
pub struct Load {
    pub connections: usize,
    /// Processes of the generator.
    pub processes: usize,
    pub sources: u8,
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Publishes per second, or arrivals for a churn; None: the scenario's own.
    pub rate: Option<f64>,
    pub repeat: usize,
    /// Floods, one after another.
    pub rounds: usize,
    pub rooms: usize,
    pub room: String,
    pub payload_bytes: usize,
    /// Connects per second; 0 = as fast as they go.
    pub connect_rate: f64,
    /// Handshakes under way at once.
    pub in_flight: usize,
    /// Connections that publish at the same time.
    pub publishers: Option<usize>,
    /// Publishes per second while sockets come and go.
    pub publish_rate: f64,
    /// How long the last delivery may take, and all handshakes beyond what their rate asks for.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    pub stuck_percent: f64,
    pub storm_command: Option<String>,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Load {
    /// The rooms that sockets and publishes are spread over.
    pub fn room_names(&self) -> Vec<String> {
        match self.rooms {
            0 | 1 => vec![self.room.clone()],
            rooms => (1..=rooms).map(|number| format!("{}-{number}", self.room)).collect(),
        }
    }

    pub fn connect_deadline(&self) -> Duration {
        let asked = if self.connect_rate > 0.0 { self.connections as f64 / self.connect_rate } else { 0.0 };
        self.timeout + Duration::try_from_secs_f64(asked).unwrap_or_default()
    }
}
