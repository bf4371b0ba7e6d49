//! What processes cost: CPU by their process clock (nanoseconds, all threads, ended ones too), memory from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

const KIB: u64 = 1024;

/// Processes with all their children, asked anew at each reading.
#[derive(Clone)]
pub struct Processes {
    roots: Vec<u32>,
}

/// CPU used so far, by process.
#[derive(Clone, Default)]
pub struct Cpu(BTreeMap<u32, Duration>);

impl Cpu {
    /// What was used since; a process that was not there then counts whole.
    pub fn since(&self, earlier: &Self) -> Duration {
        let used = |(pid, now): (&u32, &Duration)| {
            now.saturating_sub(earlier.0.get(pid).copied().unwrap_or(Duration::ZERO))
        };
        self.0.iter().map(used).sum()
    }

    pub fn of(&self, pid: u32) -> Duration {
        self.0.get(&pid).copied().unwrap_or(Duration::ZERO)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("there is no process {0}; --server-pid wants the number of a running server")]
    Gone(u32),
    #[error("cannot read {path}: {source}")]
    Proc { path: String, source: std::io::Error },
}

impl Processes {
    /// Checks that they are there.
    pub fn new(roots: Vec<u32>) -> Result<Self, ProcessError> {
        match roots.iter().find(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(false)) {
            Some(pid) => Err(ProcessError::Gone(*pid)),
            None => Ok(Self { roots }),
        }
    }

    /// They and their children, and theirs.
    fn all(&self) -> Result<BTreeSet<u32>, ProcessError> {
        let listed = fs::read_dir("/proc")
            .map_err(|source| ProcessError::Proc { path: "/proc".to_owned(), source })?;
        let numbers = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let parents: Vec<_> = numbers.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
        let mut all: BTreeSet<u32> = self.roots.iter().copied().collect();
        loop {
            let before = all.len();
            all.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| all.contains(parent))
                    .map(|(pid, _)| *pid)
                    .collect::<Vec<_>>(),
            );
            if all.len() == before {
                return Ok(all);
            }
        }
    }

    /// A process that ended meanwhile is left out.
    pub fn cpu(&self) -> Result<Cpu, ProcessError> {
        let read = |pid: u32| {
            let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).ok()?;
            Some((pid, Duration::from(clock_gettime(clock).ok()?)))
        };
        Ok(Cpu(self.all()?.into_iter().filter_map(read).collect()))
    }

    /// Bytes resident, exactly (`smaps_rollup`), or roughly and for less CPU (`status`) where that is refused.
    pub fn resident(&self) -> Result<(u64, &'static str), ProcessError> {
        let all = self.all()?;
        let exact: Option<u64> = all.iter().map(|pid| rollup(*pid)).sum();
        match exact {
            Some(bytes) => Ok((bytes, "smaps_rollup")),
            None => Ok((self.resident_roughly()?, "status")),
        }
    }

    /// The same from `status`, cheap enough to be read often.
    pub fn resident_roughly(&self) -> Result<u64, ProcessError> {
        Ok(self.all()?.into_iter().filter_map(status).sum())
    }
}

/// CPU that this process used, ended threads included.
pub fn own_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// How long the main thread of a process was ready to run and had no CPU; zero where the kernel does not say.
pub fn waited(pid: u32) -> Duration {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let waited = schedstat.split_whitespace().nth(1).and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn rollup(pid: u32) -> Option<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Rss:")
}

fn status(pid: u32) -> Option<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * KIB)
}
