//! What happens when: worked out from the seed before anything starts, so that the same seed gives the same run.
//!
//! A run is a row of rounds. In each, up to three faults that overlap strike while publications go out; then all is
//! healed, and after a while it is checked who was told. Each room is published to only a few times per round, so that
//! no later publication hides an earlier one that was lost.

use super::faults::{Direction, Fault, Restart};
use super::random::Random;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    Standalone,
    Sentinel,
    Cluster,
}

/// What is asked for on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub seed: u64,
    pub topology: Topology,
    pub lasts: Duration,
    pub nodes: usize,
    pub clients: usize,
    /// After the end of the faults of a round, by when everybody must have been told.
    pub settle: Duration,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub size: Size,
    pub rounds: Vec<Round>,
}

/// Times are counted from the start of the round.
#[derive(Debug, Clone)]
pub struct Round {
    pub starts: Duration,
    pub acts: Vec<Act>,
    pub posts: Vec<Post>,
}

#[derive(Debug, Clone)]
pub struct Act {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

/// One publish, repeated under an idempotency key if `persistent`, as CI does.
#[derive(Debug, Clone)]
pub struct Post {
    pub at: Duration,
    pub room: usize,
    pub node: usize,
    pub persistent: bool,
}

pub const ROOMS: usize = 24;

/// Published to over the PartyKit path, whose frames carry no revision.
pub fn is_partykit(room: usize) -> bool {
    room % 4 == 3
}

/// Published to all the time: for conflation, and so that publishing nodes are never idle.
pub fn is_busy(room: usize) -> bool {
    room == 0
}

const BUSY_INTERVAL: Duration = Duration::from_millis(120);
const LEAD: Duration = Duration::from_millis(1500);
/// A round's checks, before the next one starts.
const CHECKS: Duration = Duration::from_secs(1);

impl Plan {
    pub fn new(size: Size) -> Self {
        let mut random = Random::new(size.seed);
        let (mut faults, mut posts) = (random.split(), random.split());
        let mut bag = Vec::new();
        let mut rounds = Vec::new();
        let mut starts = Duration::from_secs(3);
        loop {
            let acts = acts(&size, &mut faults, &mut bag);
            let over = acts.iter().map(|act| act.at + act.lasts).max().unwrap_or_default();
            let lasts = over + size.settle + CHECKS;
            if !rounds.is_empty() && starts + lasts > size.lasts {
                return Self { size, rounds };
            }
            rounds.push(Round { starts, acts, posts: round_posts(&size, &mut posts, over) });
            starts += lasts;
        }
    }
}

/// One fault, or up to three on different targets, each of which begins while the first lasts.
fn acts(size: &Size, random: &mut Random, bag: &mut Vec<usize>) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    loop {
        if bag.is_empty() {
            bag.extend(0..Fault::kinds(size.topology));
            random.shuffle(bag);
        }
        let kind = bag.pop().expect("just filled");
        let (fault, lasts) = fault(size, random, kind);
        let first = acts.first().map_or(Duration::ZERO, |first| first.lasts);
        let within = u64::try_from(first.as_millis()).expect("short").max(200);
        let at = if acts.is_empty() { LEAD } else { LEAD + random.millis(0, within) };
        if acts.iter().all(|act| act.fault.target() != fault.target()) {
            acts.push(Act { at, lasts, fault });
        }
        if acts.len() == 3 || !random.chance(55) {
            return acts;
        }
    }
}

/// How long faults last: mostly short, now and then longer than any timeout, in runs that have the time for it.
fn stretch(size: &Size, random: &mut Random, low: u64, high: u64) -> Duration {
    let long = size.lasts >= Duration::from_secs(240) && random.chance(12);
    if long { random.millis(high, high * 6) } else { random.millis(low, high) }
}

fn fault(size: &Size, random: &mut Random, kind: usize) -> (Fault, Duration) {
    let node = random.below(size.nodes);
    let pick = random.below(16);
    let redis = stretch(size, random, 200, 5000);
    let long = stretch(size, random, 500, 6000);
    let data = match random.below(3) {
        0 => Restart::Kept,
        1 => Restart::Empty,
        _ => Restart::Stale,
    };
    let nodes: Vec<usize> = match random.below(3) {
        0 => (0..size.nodes).collect(),
        1 => vec![node],
        _ => vec![node, (node + 1) % size.nodes],
    };
    let reset = random.chance(50);
    let times = 1 + random.below(4);
    let hole = |direction| Fault::BlackHole { nodes: nodes.clone(), direction, reset };
    match Fault::number(size.topology, kind) {
        0 => (Fault::KillRedis { pick, data }, redis),
        1 => (Fault::FreezeRedis { pick }, long),
        2 => (Fault::CutSubscribers { times }, random.millis(0, 2500)),
        3 => (Fault::CutCommands { times }, random.millis(0, 2500)),
        4 => (Fault::PauseRedis { writes_only: reset }, random.millis(300, 5000)),
        5 => (Fault::KillNode { node }, random.millis(100, 5000)),
        6 => (Fault::DrainNode { node }, random.millis(500, 3000)),
        7 => (Fault::FreezeNode { node }, stretch(size, random, 500, 5000)),
        8 => (Fault::Churn { share: 20 + random.below(60) }, random.millis(500, 3000)),
        9 => (Fault::SlowReaders { share: 20 + random.below(60) }, random.millis(500, 5000)),
        10 => (Fault::FlushAll, random.millis(0, 500)),
        11 => (hole(Direction::Both), long),
        12 => (hole(Direction::ToRedis), long),
        13 => (hole(Direction::FromRedis), long),
        14 => (Fault::NoRoom, random.millis(500, 4000)),
        15 => (Fault::Failover { pick }, random.millis(500, 3000)),
        _ => (Fault::MoveSlot { pick }, random.millis(200, 1500)),
    }
}

fn round_posts(size: &Size, random: &mut Random, over: Duration) -> Vec<Post> {
    // Beyond the end of the faults; a failover goes on for some seconds, in which two masters take publications.
    let beyond = if size.topology == Topology::Standalone { 500 } else { 6000 };
    let last = u64::try_from(over.as_millis()).expect("short") + beyond;
    let mut posts = Vec::new();
    for room in 0..ROOMS {
        let count = if is_busy(room) { 0 } else { random.below(5) };
        for _ in 0..count {
            let (at, node) = (random.millis(300, last), random.below(size.nodes));
            posts.push(Post { at, room, node, persistent: !is_partykit(room) && random.chance(35) });
        }
    }
    let mut at = Duration::from_millis(300);
    while at < over {
        posts.push(Post { at, room: 0, node: random.below(size.nodes), persistent: false });
        at += BUSY_INTERVAL;
    }
    posts.sort_by_key(|post| post.at);
    posts
}
