//! Faults that only several servers can have.

use super::plan::Topology;
use super::servers::{Servers, text};
use super::world::World;
use std::time::Duration;
use tokio::time::sleep;

/// Asks for an orderly failover.
pub async fn fail_over(world: &World, pick: usize, lasts: Duration) -> Result<(), String> {
    let servers = &world.servers;
    if servers.topology == Topology::Sentinel {
        let sentinel = &servers.sentinels[pick % servers.sentinels.len()];
        sentinel.command(&["SENTINEL", "FAILOVER", "mymaster"]).await?;
    } else {
        let masters = servers.masters().await;
        let replicas: Vec<_> = (0..servers.data.len()).filter(|number| !masters.contains(number)).collect();
        let replica = replicas.get(pick % replicas.len().max(1)).ok_or("there is no replica")?;
        servers.data[*replica].command(&["CLUSTER", "FAILOVER"]).await?;
    }
    sleep(lasts).await;
    Ok(())
}

/// Moves the slot of one of the relay's buckets from the master that holds it to another.
pub async fn move_slot(world: &World, pick: usize, lasts: Duration) -> Result<(), String> {
    let servers = &world.servers;
    let masters = servers.masters().await;
    let first = &servers.data[*masters.first().ok_or("there is no master")?];
    let slot = text(&first.command(&["CLUSTER", "KEYSLOT", &format!("{{relay:{pick:02}}}")]).await?);
    let (from, to) = holder_and_another(servers, &masters, &slot).await?;
    let (source, target) = (&servers.data[from], &servers.data[to]);
    let (source_id, target_id) =
        (source.text(&["CLUSTER", "MYID"]).await?, target.text(&["CLUSTER", "MYID"]).await?);
    target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await?;
    source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await?;
    sleep(lasts).await;
    loop {
        let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await?;
        let redis::Value::Array(keys) = keys else { break };
        if keys.is_empty() {
            break;
        }
        for key in &keys {
            let port = target.port.to_string();
            source.command(&["MIGRATE", "127.0.0.1", &port, &text(key), "0", "1000", "REPLACE"]).await?;
        }
    }
    target.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await?;
    source.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await?;
    Ok(())
}

async fn holder_and_another(
    servers: &Servers,
    masters: &[usize],
    slot: &str,
) -> Result<(usize, usize), String> {
    for holder in masters {
        if servers.data[*holder].command(&["CLUSTER", "COUNTKEYSINSLOT", slot]).await.is_err() {
            continue;
        }
        let nodes = servers.data[*holder].text(&["CLUSTER", "NODES"]).await?;
        if has(&nodes, slot.parse().map_err(|_| "not a slot")?)
            && let Some(other) = masters.iter().find(|other| *other != holder)
        {
            return Ok((*holder, *other));
        }
    }
    Err(format!("no master holds slot {slot}"))
}

/// Whether the server that answered CLUSTER NODES holds the slot.
fn has(nodes: &str, slot: u16) -> bool {
    let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
    own.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    })
}
