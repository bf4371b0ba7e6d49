//! The floor: the least that any server on this machine could spend. For each delivery one bare non-blocking write of a
//! frame that was made once; no confirmation, no care for slow readers. As many threads as the server has CPUs, each with
//! its own share of the sockets.
//!
//! It is a process of its own that speaks just enough HTTP and WebSocket to be measured like any other server.

mod request;
mod rooms;
mod server;
mod worker;

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};

use super::target::{Endpoint, Publishing, Sockets, Target};

pub use server::serve;

/// A final text frame: two bytes of header and the eighteen that a relay's refresh has.
const FRAME: &[u8] = b"\x81\x12{\"type\":\"refresh\"}";
pub const MARKER: &str = "\"type\":\"refresh\"";

/// The floor's process as the coordinator sees it; it ends with this value.
pub struct FloorServer {
    child: Child,
    address: SocketAddr,
    threads: usize,
}

impl FloorServer {
    /// Starts it, on these CPUs only if some are named, and then with a thread for each unless told otherwise.
    pub fn start(cpus: Option<&str>, threads: Option<NonZeroUsize>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match cpus {
            None => Command::new(&program),
            Some(cpus) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", cpus]).arg(&program);
                pinned
            }
        };
        command.args(["bench", "floor-server"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Without a number it takes the CPUs that it was given.
        if let Some(threads) = threads.or_else(|| cpus.is_none().then_some(NonZeroUsize::MIN)) {
            command.args(["--floor-threads", &threads.to_string()]);
        }
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let told = line.trim().split_once(' ');
        let told = told.and_then(|(address, threads)| Some((address.parse().ok()?, threads.parse().ok()?)));
        let (address, threads) = told.ok_or_else(|| io::Error::other("the floor server did not start"))?;
        Ok(Self { child, address, threads })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn target(&self) -> Target {
        let endpoint =
            Endpoint { address: self.address, host: self.address.to_string(), path: "/{room}".to_owned() };
        Target {
            sockets: Sockets {
                endpoints: vec![endpoint.clone()],
                headers: Vec::new(),
                subprotocol: None,
                send: Vec::new(),
                ready_marker: None,
                delivery_marker: MARKER.to_owned(),
                sequence_marker: None,
                ping_replies: Vec::new(),
            },
            publishing: Publishing {
                endpoints: vec![endpoint],
                method: "POST".to_owned(),
                headers: Vec::new(),
                body: String::new(),
            },
        }
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        // What cannot be killed has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
