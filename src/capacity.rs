//! How the open files of this process are shared out, so that no flood of connections leaves the node without the few
//! it cannot do without.

use tracing::warn;

/// For Redis, the listeners and the admin listener.
const RESERVED: u64 = 128;

/// TCP connections that are no sockets: handshakes under way, publishes, and those that never say anything. An eighth
/// of all files, within these bounds.
const REQUESTS: std::ops::RangeInclusive<u64> = 64..=4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// WebSocket connections on this node.
    pub sockets: usize,
    /// Other TCP connections on the public listener.
    pub requests: usize,
}

impl Capacity {
    /// Raises the open-file limit to its hard limit and shares it out. `configured` sockets, or with 0 all there can be.
    pub fn of_this_process(configured: usize) -> Self {
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
            warn!(%error, "the open-file limit could not be raised");
            1024
        });
        let possible = Self::of(files);
        if configured > possible.sockets {
            let (configured, possible) = (configured, possible.sockets);
            warn!(configured, possible, "server.max_connections is more than the open-file limit allows");
        }
        match configured {
            0 => possible,
            _ => Self { sockets: configured.min(possible.sockets), ..possible },
        }
    }

    fn of(files: u64) -> Self {
        let requests = (files / 8).clamp(*REQUESTS.start(), *REQUESTS.end());
        let sockets = files.saturating_sub(RESERVED + requests).max(1);
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self { sockets: number(sockets), requests: number(requests) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_what_is_left_of_the_files() {
        assert_eq!(Capacity::of(20_000), Capacity { sockets: 17_372, requests: 2_500 });
        assert_eq!(Capacity::of(1_048_576), Capacity { sockets: 1_044_352, requests: 4_096 });
        assert_eq!(Capacity::of(600), Capacity { sockets: 397, requests: 75 });
        assert_eq!(Capacity::of(100), Capacity { sockets: 1, requests: 64 });
    }
}
