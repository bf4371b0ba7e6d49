//! The faults, and how each is done and undone.

use super::plan::{Act, Topology};
pub use super::servers::Restart;
use super::servers::Server;
use super::world::World;
use std::time::Duration;
use tokio::time::sleep;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a master, and a start after the fault's time.
    KillRedis {
        pick: usize,
        data: Restart,
    },
    FreezeRedis {
        pick: usize,
    },
    /// CLIENT KILL TYPE pubsub, several times.
    CutSubscribers {
        times: usize,
    },
    /// CLIENT KILL TYPE normal.
    CutCommands {
        times: usize,
    },
    /// CLIENT PAUSE, of all commands or of those that write.
    PauseRedis {
        writes_only: bool,
    },
    KillNode {
        node: usize,
    },
    /// SIGTERM, and a start once it is gone.
    DrainNode {
        node: usize,
    },
    FreezeNode {
        node: usize,
    },
    /// So many in a hundred clients leave and come back.
    Churn {
        share: usize,
    },
    /// So many in a hundred clients do not read for a while.
    SlowReaders {
        share: usize,
    },
    FlushAll,
    BlackHole {
        nodes: Vec<usize>,
        direction: Direction,
        reset: bool,
    },
    /// All connections are cut while maxclients lets none in.
    NoRoom,
    /// Asked of Sentinel, or of a cluster's replica.
    Failover {
        pick: usize,
    },
    /// A slot with rooms in it goes to another master of the cluster.
    MoveSlot {
        pick: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Both,
    ToRedis,
    FromRedis,
}

/// What two faults must not strike at the same time.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Redis,
    Settings,
    Network,
    Node(usize),
    Clients,
}

const STANDALONE: [usize; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
// Nodes find the servers by themselves there, so no proxy stands in between.
const SENTINEL: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15];
const CLUSTER: [usize; 11] = [0, 1, 2, 3, 4, 5, 7, 8, 10, 15, 16];

impl Fault {
    pub fn kinds(topology: Topology) -> usize {
        Self::numbers(topology).len()
    }

    pub fn number(topology: Topology, kind: usize) -> usize {
        Self::numbers(topology)[kind]
    }

    fn numbers(topology: Topology) -> &'static [usize] {
        match topology {
            Topology::Standalone => &STANDALONE,
            Topology::Sentinel => &SENTINEL,
            Topology::Cluster => &CLUSTER,
        }
    }

    pub fn target(&self) -> Target {
        match self {
            Self::KillRedis { .. }
            | Self::FreezeRedis { .. }
            | Self::Failover { .. }
            | Self::MoveSlot { .. } => Target::Redis,
            Self::CutSubscribers { .. }
            | Self::CutCommands { .. }
            | Self::PauseRedis { .. }
            | Self::FlushAll
            | Self::NoRoom => Target::Settings,
            Self::BlackHole { .. } => Target::Network,
            Self::KillNode { node } | Self::DrainNode { node } | Self::FreezeNode { node } => {
                Target::Node(*node)
            }
            Self::Churn { .. } | Self::SlowReaders { .. } => Target::Clients,
        }
    }

    /// Whether Redis may forget by it what it answered for. Replicas lag, so any failover may; and Sentinels start one
    /// also when their own connections to the master are cut or paused.
    pub fn loses_data(&self, topology: Topology) -> bool {
        match self {
            Self::KillRedis { data, .. } if *data != Restart::Kept => true,
            Self::FlushAll => true,
            _ => {
                topology != Topology::Standalone && matches!(self.target(), Target::Redis | Target::Settings)
            }
        }
    }

    /// A word for statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KillRedis { data: Restart::Kept, .. } => "Redis killed, data kept",
            Self::KillRedis { data: Restart::Stale, .. } => "Redis killed, older data",
            Self::KillRedis { data: Restart::Empty, .. } => "Redis killed, empty",
            Self::FreezeRedis { .. } => "Redis frozen",
            Self::CutSubscribers { .. } => "CLIENT KILL TYPE pubsub",
            Self::CutCommands { .. } => "CLIENT KILL TYPE normal",
            Self::PauseRedis { .. } => "CLIENT PAUSE",
            Self::KillNode { .. } => "node killed",
            Self::DrainNode { .. } => "node drained",
            Self::FreezeNode { .. } => "node frozen",
            Self::Churn { .. } => "clients come and go",
            Self::SlowReaders { .. } => "clients do not read",
            Self::FlushAll => "FLUSHALL",
            Self::BlackHole { direction: Direction::Both, .. } => "black hole both ways",
            Self::BlackHole { direction: Direction::ToRedis, .. } => "black hole to Redis",
            Self::BlackHole { direction: Direction::FromRedis, .. } => "black hole from Redis",
            Self::NoRoom => "maxclients reached",
            Self::Failover { .. } => "failover asked for",
            Self::MoveSlot { .. } => "slot moved",
        }
    }
}

/// A server's place among the masters of the moment.
async fn master(world: &World, pick: usize) -> Result<&Server, String> {
    let masters = world.servers.masters().await;
    let number = masters.get(pick % masters.len().max(1)).ok_or("there is no master")?;
    Ok(&world.servers.data[*number])
}

/// Until a topology of several servers is whole again.
const WHOLE_WITHIN: Duration = Duration::from_secs(40);

/// In which a failover that a fault has set off begins.
const FAILOVER_BEGINS: Duration = Duration::from_secs(3);

/// Does it, holds it for its time, and undoes it. An error: it could not be done, because of another fault.
pub async fn carry_out(world: &World, act: &Act) -> Result<(), String> {
    let done = strike(world, act).await;
    let servers = &world.servers;
    if servers.topology != Topology::Standalone
        && matches!(act.fault.target(), Target::Redis | Target::Settings)
    {
        sleep(FAILOVER_BEGINS).await;
        servers.until_whole(WHOLE_WITHIN).await?;
    }
    done
}

async fn strike(world: &World, act: &Act) -> Result<(), String> {
    let lasts = act.lasts;
    match &act.fault {
        Fault::KillRedis { pick, data } => kill_redis(world, *pick, *data, lasts).await,
        Fault::FreezeRedis { pick } => freeze_redis(world, *pick, lasts).await,
        Fault::CutSubscribers { times } => {
            repeat(world, *times, lasts, &["CLIENT", "KILL", "TYPE", "pubsub"]).await
        }
        Fault::CutCommands { times } => {
            repeat(world, *times, lasts, &["CLIENT", "KILL", "TYPE", "normal"]).await
        }
        Fault::FlushAll => repeat(world, 1, lasts, &["FLUSHALL"]).await,
        Fault::PauseRedis { writes_only } => {
            let mode = if *writes_only { "WRITE" } else { "ALL" };
            let paused = everywhere(world, &["CLIENT", "PAUSE", &lasts.as_millis().to_string(), mode]).await;
            sleep(lasts).await;
            paused
        }
        Fault::NoRoom => no_room(world, lasts).await,
        Fault::KillNode { node } => {
            world.slots[*node].kill9().await;
            sleep(lasts).await;
            world.start_node(*node).await
        }
        Fault::DrainNode { node } => {
            world.slots[*node].drain(Duration::from_secs(15)).await?;
            sleep(lasts).await;
            world.start_node(*node).await
        }
        Fault::FreezeNode { node } => {
            let from = world.clock.now();
            world.slots[*node].freeze().await;
            sleep(lasts).await;
            world.slots[*node].thaw().await;
            world.ledger.frozen(*node, from, world.clock.now());
            Ok(())
        }
        Fault::Churn { share } => {
            world.crowd.churn(*share, lasts).await;
            Ok(())
        }
        Fault::SlowReaders { share } => {
            world.crowd.pause(*share, true);
            sleep(lasts).await;
            world.crowd.pause(*share, false);
            Ok(())
        }
        Fault::BlackHole { nodes, direction, reset } => {
            black_hole(world, nodes, *direction, *reset, lasts).await;
            Ok(())
        }
        Fault::Failover { pick } => super::topologies::fail_over(world, *pick, lasts).await,
        Fault::MoveSlot { pick } => super::topologies::move_slot(world, *pick, lasts).await,
    }
}

async fn kill_redis(world: &World, pick: usize, data: Restart, lasts: Duration) -> Result<(), String> {
    let server = master(world, pick).await?;
    if data == Restart::Stale {
        server.keep_data();
        sleep(lasts / 2).await;
    }
    server.kill9().await;
    // Behind Sentinels and in a cluster others may serve meanwhile.
    let dark =
        (world.servers.topology == Topology::Standalone).then(|| world.ledger.dark(None, &world.clock));
    sleep(lasts).await;
    if let Some(dark) = dark {
        world.ledger.light(dark, &world.clock);
    }
    server.put_back(data);
    server.launch().await
}

async fn freeze_redis(world: &World, pick: usize, lasts: Duration) -> Result<(), String> {
    let server = master(world, pick).await?;
    server.freeze().await;
    let dark =
        (world.servers.topology == Topology::Standalone).then(|| world.ledger.dark(None, &world.clock));
    sleep(lasts).await;
    if let Some(dark) = dark {
        world.ledger.light(dark, &world.clock);
    }
    server.thaw().await;
    Ok(())
}

/// The same command on every server that takes it; an error if none does.
async fn everywhere(world: &World, words: &[&str]) -> Result<(), String> {
    let mut result = Err(String::from("no master answered"));
    for number in world.servers.masters().await {
        match world.servers.data[number].command(words).await {
            Ok(_) => result = Ok(()),
            Err(error) if result.is_err() => result = Err(error),
            Err(_) => {}
        }
    }
    result
}

async fn repeat(world: &World, times: usize, over: Duration, words: &[&str]) -> Result<(), String> {
    let mut result = Ok(());
    for _ in 0..times {
        let done = everywhere(world, words).await;
        if result.is_ok() {
            result = done;
        }
        sleep(over / u32::try_from(times).expect("few")).await;
    }
    result
}

async fn no_room(world: &World, lasts: Duration) -> Result<(), String> {
    let server = &world.servers.data[world.servers.masters().await.first().copied().unwrap_or(0)];
    let error = |error: redis::RedisError| error.to_string();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).map_err(error)?;
    let mut kept = client.get_multiplexed_async_connection().await.map_err(error)?;
    let mut commands = redis::pipe();
    commands.cmd("CONFIG").arg("SET").arg("maxclients").arg(1).ignore();
    for kind in ["pubsub", "normal"] {
        commands.cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).ignore();
    }
    let struck = commands.exec_async(&mut kept).await.map_err(error);
    sleep(lasts).await;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxclients")
        .arg(10_000)
        .exec_async(&mut kept)
        .await
        .map_err(error)?;
    struck
}

async fn black_hole(world: &World, nodes: &[usize], direction: Direction, reset: bool, lasts: Duration) {
    let (to_redis, from_redis) = match direction {
        Direction::Both => (true, true),
        Direction::ToRedis => (true, false),
        Direction::FromRedis => (false, true),
    };
    for node in nodes {
        world.proxies[*node].open(to_redis, from_redis);
    }
    // What the proxy had read already still goes through.
    let moment = Duration::from_millis(50);
    sleep(moment).await;
    let dark: Vec<_> = nodes.iter().map(|node| world.ledger.dark(Some(*node), &world.clock)).collect();
    sleep(lasts.saturating_sub(moment)).await;
    for dark in dark {
        world.ledger.light(dark, &world.clock);
    }
    for node in nodes {
        world.proxies[*node].close(reset);
    }
}
