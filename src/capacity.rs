//! How the open files of this process are shared out, so that no flood of connections leaves the node without the few
//! it cannot do without.

use tracing::warn;

/// For Redis, the listeners and the admin listener.
const RESERVED: u64 = 108;

/// For the event loop of a worker, and a connection more, as each takes its share of them rounded up.
const RESERVED_PER_WORKER: u64 = 5;

/// TCP connections that are no sockets: handshakes under way, publishes, and those that never say anything. An eighth
/// of all files, within these bounds. Each may make actix-http hold 128 KiB of head for as long as one may take: all of
/// them together fit a container of 512 MiB.
const REQUESTS: std::ops::RangeInclusive<u64> = 64..=2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// WebSocket connections on this node.
    pub sockets: usize,
    /// Other TCP connections on the public listener.
    pub requests: usize,
}

impl Capacity {
    /// Raises the open-file limit to its hard limit and shares it out. `configured` sockets, or with 0 all there can be.
    pub fn of_this_process(configured: usize, workers: usize) -> Self {
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
            warn!(%error, "the open-file limit could not be raised");
            1024
        });
        let possible = Self::of(files, workers);
        if configured > possible.sockets {
            let (configured, possible) = (configured, possible.sockets);
            warn!(configured, possible, "server.max_connections is more than the open-file limit allows");
        }
        match configured {
            0 => possible,
            _ => Self { sockets: configured.min(possible.sockets), ..possible },
        }
    }

    fn of(files: u64, workers: usize) -> Self {
        let reserved = RESERVED + RESERVED_PER_WORKER * u64::try_from(workers).unwrap_or(u64::MAX >> 8);
        let requests = (files / 8).clamp(*REQUESTS.start(), *REQUESTS.end());
        let sockets = files.saturating_sub(reserved + requests).max(1);
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self { sockets: number(sockets), requests: number(requests) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_what_is_left_of_the_files() {
        assert_eq!(Capacity::of(20_000, 4), Capacity { sockets: 17_824, requests: 2_048 });
        assert_eq!(Capacity::of(1_048_576, 4), Capacity { sockets: 1_046_400, requests: 2_048 });
        assert_eq!(Capacity::of(600, 4), Capacity { sockets: 397, requests: 75 });
        assert_eq!(Capacity::of(600, 40), Capacity { sockets: 217, requests: 75 });
        assert_eq!(Capacity::of(100, 4), Capacity { sockets: 1, requests: 64 });
    }
}
