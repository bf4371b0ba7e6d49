//! What must hold when a round is over.

use super::clock::seconds;
use super::crowd::{Client, Heard, Session};
use super::http::Request;
use super::ledger::Publication;
use super::node::{KEY, send};
use super::plan::ROOMS;
use super::publisher::position;
use super::world::World;
use std::fmt::Write;
use std::time::Duration;

/// A socket that comes back this soon is promised to be told what it missed. The relay's window, less what clocks and
/// handshakes take.
const PROMISED_RETURN: Duration = Duration::from_secs(25);

/// How long a node may count a socket that has ended.
const GRACE: Duration = Duration::from_secs(2);

/// What a check found, and what it looked at.
#[derive(Debug, Default)]
pub struct Findings {
    pub violations: Vec<String>,
    pub acknowledged: usize,
    /// Pairs of a publication and a client that had to be told.
    pub pairs: usize,
    /// The same for clients that were away.
    pub returns: usize,
    /// From the first request to the first frame.
    pub delays: Vec<Duration>,
}

/// Looks at all publications from `first` on; those younger than the time to settle must be looked at later. Answers
/// the first of those.
pub fn publications(world: &World, first: usize, findings: &mut Findings) -> usize {
    let now = world.clock.now();
    let publications = world.ledger.publications().clone();
    for publication in &publications[first..] {
        let last = publication.answered.unwrap_or(publication.asked);
        if now.saturating_sub(last) < world.settle {
            return publication.number;
        }
        let Some(acknowledged) = publication.acknowledged() else { continue };
        findings.acknowledged += 1;
        let room: Vec<_> =
            world.crowd.clients.iter().filter(|client| client.room == publication.room).collect();
        for client in &room {
            was_told(world, &publications, publication, client, findings);
        }
        if world.ledger.was_dark(publication.node, publication.asked, acknowledged) {
            findings.violations.push(format!(
                "answered {} while Redis was out of reach\n{}",
                publication.status,
                describe(publication)
            ));
        }
        let most: usize = room.iter().map(|client| countable(world, publication, client)).sum();
        if publication.connections > most as u64 {
            findings.violations.push(format!(
                "counted {} sockets where there were at most {most}\n{}",
                publication.connections,
                describe(publication)
            ));
        }
    }
    publications.len()
}

fn was_told(
    world: &World,
    publications: &[Publication],
    publication: &Publication,
    client: &Client,
    findings: &mut Findings,
) {
    let sessions = client.sessions();
    // Who is not connected now is told when it comes back, which a later check sees if it was soon enough.
    let Some(current) = sessions.last().filter(|last| last.ended.is_none()) else { return };
    let Some(open) = current.open else { return };
    let told = |session: &Session| {
        let begin = session.frames.partition_point(|(at, _)| *at < publication.began);
        let mut later = session.frames[begin..].iter();
        later.find(|(_, heard)| is_newer(*heard, publications, publication)).map(|(at, _)| *at)
    };
    let stayed = open <= publication.began;
    let answered = publication.answered.unwrap_or_default();
    if stayed {
        findings.pairs += 1;
    } else {
        let was_here =
            sessions.iter().any(|session| session.open.is_some_and(|open| open <= publication.began));
        let soon = open.saturating_sub(publication.began) < PROMISED_RETURN;
        if !was_here || !soon || world.lost_data(publication.began, open.max(answered)) {
            return;
        }
        findings.returns += 1;
    }
    match sessions.iter().filter_map(told).min() {
        Some(at) if stayed => findings.delays.push(at.saturating_sub(publication.began)),
        Some(_) => {}
        None => {
            let what = if stayed { "was never told" } else { "was not told on its return" };
            findings.violations.push(format!(
                "client {} {what}\n{}\n{}",
                client.number,
                describe(publication),
                history(&sessions, publication)
            ));
        }
    }
}

/// Whether the frame was sent for this publication or for one that is not older. What Redis lost is told without a
/// revision, or with that of a publication that was lost.
fn is_newer(heard: Heard, publications: &[Publication], than: &Publication) -> bool {
    match heard {
        Heard::Plain => true,
        Heard::Revision(number) => {
            let older = publications.get(number).and_then(Publication::acknowledged);
            number == than.number || older.is_none_or(|answered| answered >= than.began)
        }
    }
}

/// How many sockets of this client the nodes may have counted.
fn countable(world: &World, publication: &Publication, client: &Client) -> usize {
    let answered = publication.answered.unwrap_or_default();
    let counts = |session: &&Session| {
        let gone = session.ended.map(|ended| world.ledger.noticed(session.node, ended) + GRACE);
        session.begun <= answered && gone.is_none_or(|gone| gone >= publication.began)
    };
    client.sessions().iter().filter(counts).count()
}

fn describe(publication: &Publication) -> String {
    format!(
        "  publication {} in room-{}: first asked for at {}, last at {} ({} requests, node {}), answered {} at {}: {}",
        publication.number,
        publication.room,
        seconds(publication.began),
        seconds(publication.asked),
        publication.requests,
        publication.node,
        publication.status,
        publication.answered.map_or_else(|| "never".into(), seconds),
        publication.answer
    )
}

/// The sessions of a client around a publication, and what it heard then.
fn history(sessions: &[Session], publication: &Publication) -> String {
    let mut text = String::from("  its connections:");
    for session in sessions.iter().rev().take(4).rev() {
        let _ = write!(
            text,
            "\n    node {} from {} to {} {}",
            session.node,
            session.open.map_or_else(|| "never open".into(), seconds),
            session.ended.map_or_else(|| "now".into(), seconds),
            session.how
        );
        let near = publication.began.saturating_sub(Duration::from_secs(20));
        for (at, heard) in session.frames.iter().filter(|(at, _)| *at >= near).take(30) {
            let _ = write!(text, "\n      {} {heard:?}", seconds(*at));
        }
    }
    text
}

/// Asks every node whether it is well: it runs, is linked, ready, did not panic, and publishes.
pub async fn nodes(world: &World, findings: &mut Findings) {
    for slot in world.slots.iter() {
        slot.look_at_memory().await;
        let number = slot.number;
        if let Some(how) = slot.ended().await {
            findings
                .violations
                .push(format!("node {number} ended by itself: {how}\n{}", world.lines(number)));
            continue;
        }
        let panics = std::mem::take(&mut slot.seen().panics);
        findings.violations.extend(panics.iter().map(|line| format!("node {number} printed {line}")));
        match slot.broker().await {
            Ok(broker) if broker["link"] == "up" => {}
            other => {
                findings
                    .violations
                    .push(format!("node {number}: link not up: {other:?}\n{}", world.lines(number)));
            }
        }
        let ready = slot.admin("/readyz").await.map(|answer| answer.status);
        if ready != Ok(200) {
            findings.violations.push(format!("node {number}: /readyz: {ready:?}"));
        }
    }
}

/// Asks a node for the head of each room: what was answered for is stored, unless Redis has lost it since.
pub async fn heads(world: &World, round: usize, findings: &mut Findings) {
    let asked = round % world.slots.len();
    let Some(address) = world.slots[asked].address() else { return };
    for room in 0..ROOMS {
        let now = world.clock.now();
        let newest = {
            let publications = world.ledger.publications();
            let acknowledged = publications.iter().filter(|p| p.room == room && p.acknowledged().is_some());
            acknowledged.filter(|p| p.position.is_some()).max_by_key(|p| p.began).cloned()
        };
        let Some(newest) = newest.filter(|newest| !world.lost_data(newest.began, now)) else { continue };
        let answer = send(&Request::get(&format!("/v1/rooms/room-{room}")).bearer(KEY), address).await;
        let head = match &answer {
            Ok(answer) if answer.status == 200 => answer.json()["position"].as_str().and_then(position),
            _ => None,
        };
        let covers = match (&head, &newest.position) {
            (Some((epoch, generation)), Some((wanted, least))) => epoch == wanted && generation >= least,
            _ => false,
        };
        if !covers {
            findings.violations.push(format!(
                "node {asked} says of room-{room}: {answer:?}, which does not cover what was answered for\n{}",
                describe(&newest)
            ));
        }
    }
}
