//! What a run came to, in numbers.

use super::clock::seconds;
use super::plan::Size;
use super::run::Outcome;
use super::world::{Strike, World};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

pub fn summary(world: &World, size: &Size, outcome: &Outcome) -> String {
    let mut text = counts(world, size, outcome);
    faults(world, &mut text);
    memory(world, &mut text);
    text
}

fn counts(world: &World, size: &Size, outcome: &Outcome) -> String {
    let findings = &outcome.findings;
    let strikes = world.strikes.lock().expect("not poisoned");
    let mut delays = findings.delays.clone();
    delays.sort();
    let part = |percent: usize| delays.get(delays.len() * percent / 100).map_or(Duration::ZERO, |time| *time);
    format!(
        "seed {} ({}, {} nodes, {} clients): {} s, {} rounds, {} faults ({} of them hindered by another), \
         {} publishes, {} answered 2xx, {} times a client had to be told, {} times on its return, {} violations\n  \
         from the publish to the client's frame, faults included: median {}, 99 % {}, most {} s\n",
        size.seed,
        size.topology.name(),
        size.nodes,
        size.clients,
        world.clock.now().as_secs(),
        outcome.rounds,
        strikes.len(),
        strikes.iter().filter(|strike| strike.trouble.is_some()).count(),
        world.ledger.publications().len(),
        findings.acknowledged,
        findings.pairs,
        findings.returns,
        findings.violations.len(),
        seconds(part(50)),
        seconds(part(99)),
        seconds(delays.last().copied().unwrap_or_default())
    )
}

/// How often each fault struck, and how soon nodes noticed its start and its end.
fn faults(world: &World, text: &mut String) {
    let strikes = world.strikes.lock().expect("not poisoned");
    let mut kinds: BTreeMap<&str, (usize, Vec<Duration>, Vec<Duration>)> = BTreeMap::new();
    for strike in strikes.iter() {
        let (count, down, up) = kinds.entry(strike.name).or_default();
        *count += 1;
        // With another fault at the same time it is not known what a node reacted to.
        let together =
            |other: &&Strike| other.from <= strike.to.unwrap_or(other.from) && other.to >= Some(strike.from);
        if strikes.iter().filter(together).count() == 1 {
            reactions(world, strike, down, up);
        }
    }
    for (name, (count, mut down, mut up)) in kinds {
        let (down_median, up_median) = (median(&mut down), median(&mut up));
        let most = up.last().copied().map_or_else(|| "-".into(), seconds);
        let _ = writeln!(
            text,
            "  {count:3} x {name}; where it was alone: link down {} times, median {down_median} s after its start, up \
             again median {up_median} s, at most {most} s after its end",
            down.len(),
        );
    }
}

/// How long after the start of the fault a node said that the link is down, and after its end that it is up.
fn reactions(world: &World, strike: &Strike, down: &mut Vec<Duration>, up: &mut Vec<Duration>) {
    let Some(to) = strike.to else { return };
    for slot in world.slots.iter() {
        let seen = slot.seen();
        let first = |since: Duration, wanted: bool| {
            seen.links.iter().find(|(at, up)| *at >= since && *up == wanted).map(|(at, _)| *at)
        };
        let Some(fell) = first(strike.from, false).filter(|at| *at <= to) else { continue };
        down.push(fell.saturating_sub(strike.from));
        // It may be up again before the end.
        let is_up = seen.links.iter().rfind(|(at, _)| *at <= to).is_some_and(|(_, up)| *up);
        let rose = if is_up { Some(to) } else { first(to, true) };
        up.push(rose.map_or(Duration::MAX, |at| at.saturating_sub(to)));
    }
}

fn median(times: &mut [Duration]) -> String {
    times.sort();
    times.get(times.len() / 2).map_or_else(|| "-".into(), |time| seconds(*time))
}

fn memory(world: &World, text: &mut String) {
    for slot in world.slots.iter() {
        let seen = slot.seen();
        for (first, last, most) in seen.growth.iter().chain(seen.resident.iter()) {
            let _ = writeln!(
                text,
                "  node {}: resident {first} kB first, {last} kB last, {most} kB most",
                slot.number
            );
        }
    }
}
