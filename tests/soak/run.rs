//! One run: carries a plan out, checks after each round, and tells what came of it.

use super::check::{self, Findings};
use super::clock::seconds;
use super::faults;
use super::plan::{Act, Plan, Post, Round, Size};
use super::publisher::publish;
use super::report;
use super::world::{Strike, World};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub findings: Findings,
    pub rounds: usize,
    pub summary: String,
}

/// After a publish of the end of a round, how long it may take until all nodes are there to confirm.
const WHOLE_TRIES: usize = 20;

pub async fn run(size: Size) -> Outcome {
    let plan = Plan::new(size);
    let world = match World::start(&size).await {
        Ok(world) => Arc::new(world),
        Err(error) => {
            let violations = vec![format!("the run did not come to its start: {error}")];
            return Outcome {
                findings: Findings { violations, ..Findings::default() },
                ..Outcome::default()
            };
        }
    };
    let mut outcome = Outcome::default();
    let mut unchecked = 0;
    for (number, round) in plan.rounds.iter().enumerate() {
        // Failovers take longer than was planned for.
        if number > 0 && world.clock.now() + size.settle > size.lasts {
            break;
        }
        let before = outcome.findings.violations.len();
        world.clock.until(round.starts).await;
        strike(&world, round, size.seed).await;
        // The settling counts from the end of the fault, or from that of the last publish.
        let over = world.clock.now();
        world.clock.until(over + size.settle).await;
        check::nodes(&world, &mut outcome.findings).await;
        check::heads(&world, number, &mut outcome.findings).await;
        whole_again(&world, number, &mut outcome.findings).await;
        unchecked = check::publications(&world, unchecked, &mut outcome.findings);
        outcome.rounds += 1;
        let found = outcome.findings.violations[before..].to_vec();
        if !found.is_empty() {
            tell(&world, &plan, number, &found);
        }
    }
    outcome.summary = report::summary(&world, &size, &outcome);
    outcome
}

/// Has the faults strike and the publications go out, all at their times; done when all is healed and answered.
async fn strike(world: &Arc<World>, round: &Round, seed: u64) {
    let start = world.clock.now();
    let mut running = JoinSet::new();
    for act in round.acts.clone() {
        let world = Arc::clone(world);
        running.spawn(async move {
            world.clock.until(start + act.at).await;
            perform(&world, &act, seed).await;
        });
    }
    for post in round.posts.clone() {
        let world = Arc::clone(world);
        running.spawn(async move {
            world.clock.until(start + post.at).await;
            publish(world, post).await;
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("a part of the run does not panic");
    }
}

async fn perform(world: &World, act: &Act, seed: u64) {
    let from = world.clock.now();
    println!("seed {seed}: {} {:?} for {} s", seconds(from), act.fault, seconds(act.lasts));
    let number = {
        let mut strikes = world.strikes.lock().expect("not poisoned");
        strikes.push(Strike {
            what: format!("{:?}", act.fault),
            name: act.fault.name(),
            loses_data: act.fault.loses_data(world.servers.topology),
            from,
            to: None,
            trouble: None,
        });
        strikes.len() - 1
    };
    let done = faults::carry_out(world, act).await;
    let mut strikes = world.strikes.lock().expect("not poisoned");
    strikes[number].to = Some(world.clock.now());
    strikes[number].trouble = done.err();
}

/// Publishes at each node until every node confirms again.
async fn whole_again(world: &Arc<World>, round: usize, findings: &mut Findings) {
    let mut last = String::new();
    for attempt in 0..WHOLE_TRIES {
        // Beyond the rooms that are checked for what they missed.
        let post = Post {
            at: Duration::ZERO,
            room: 0,
            node: (round + attempt) % world.slots.len(),
            persistent: false,
        };
        publish(Arc::clone(world), post).await;
        let newest = world.ledger.publications().last().cloned().expect("just published");
        if newest.status == 200 {
            return;
        }
        last = format!("{} {}", newest.status, newest.answer);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    findings.violations.push(format!("no publish is confirmed by all nodes any more: {last}"));
}

/// Prints what was found, with all that is needed to look into it and to see it again.
fn tell(world: &World, plan: &Plan, round: usize, found: &[String]) {
    let size = &plan.size;
    println!("\nVIOLATED in round {} of seed {}:", round + 1, size.seed);
    for violation in found {
        println!("- {violation}");
    }
    println!("  the latest faults:");
    let strikes = world.strikes.lock().expect("not poisoned");
    for strike in strikes.iter().rev().take(6).rev() {
        let end = strike.to.map_or_else(|| "now".into(), seconds);
        println!("    {} to {end} {} {:?}", seconds(strike.from), strike.what, strike.trouble);
    }
    for node in 0..world.slots.len() {
        println!("{}", world.lines(node));
    }
    println!(
        "  again: cargo test --test soak -- --seed {} --topology {} --seconds {} --nodes {} --clients {} --settle {}\n",
        size.seed,
        size.topology.name(),
        size.lasts.as_secs(),
        size.nodes,
        size.clients,
        size.settle.as_secs()
    );
}
