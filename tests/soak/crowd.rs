//! The clients: each sits in one room, reads, and comes back when its socket ends, as partysocket does.

use super::clock::Clock;
use super::node::Slot;
use super::plan::ROOMS;
use super::random::Random;
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// partysocket's: the first pause before it connects again, what the next is longer by, and the longest.
const FIRST_PAUSE: f64 = 3.0;
const GROWTH: f64 = 1.3;
const LONGEST_PAUSE: f64 = 10.0;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(4);
/// A connection that held this long makes the next pause the first again.
const STABLE: Duration = Duration::from_secs(5);

/// What a frame said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing but to refresh.
    Plain,
    /// The number of a publication.
    Revision(usize),
}

/// An attempt to connect, and the connection it became.
#[derive(Debug, Clone)]
pub struct Session {
    pub node: usize,
    pub begun: Duration,
    pub open: Option<Duration>,
    pub ended: Option<Duration>,
    pub how: String,
    pub frames: Vec<(Duration, Heard)>,
}

pub struct Client {
    pub number: usize,
    pub room: usize,
    sessions: Mutex<Vec<Session>>,
    wish: watch::Sender<Wish>,
}

/// What the run wants of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wish {
    paused: bool,
    /// A connection ends when this changes.
    turn: u64,
}

impl Client {
    pub fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().expect("not poisoned")
    }

    fn note(&self, note: impl FnOnce(&mut Session)) {
        note(self.sessions().last_mut().expect("a session was begun"));
    }

    async fn run(self: Arc<Self>, slots: Arc<Vec<Slot>>, clock: Clock, mut random: Random) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some((node, address)) = pick(&slots, &mut random) else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            self.sessions().push(Session {
                node,
                begun: clock.now(),
                open: None,
                ended: None,
                how: String::new(),
                frames: Vec::new(),
            });
            let opened = timeout(HANDSHAKE_WITHIN, connect(address, self.room)).await;
            let how = match opened {
                Ok(Ok(stream)) => {
                    let open = clock.now();
                    self.note(|session| session.open = Some(open));
                    let how = self.read(stream, &clock).await;
                    if clock.now().saturating_sub(open) > STABLE {
                        pause = FIRST_PAUSE;
                    }
                    how
                }
                Ok(Err(error)) => error,
                Err(_) => String::from("the handshake took too long"),
            };
            let now = clock.now();
            self.note(|session| (session.ended, session.how) = (Some(now), how));
            sleep(Duration::from_secs_f64(pause)).await;
            pause = (pause * GROWTH).min(LONGEST_PAUSE);
        }
    }

    /// Reads until the connection ends; says how it did.
    async fn read(&self, mut stream: WebSocketStream<TcpStream>, clock: &Clock) -> String {
        let mut wish = self.wish.subscribe();
        let turn = wish.borrow().turn;
        loop {
            let _ = wish.wait_for(|wish| !wish.paused || wish.turn != turn).await;
            let message = tokio::select! {
                message = stream.next() => message,
                changed = wish.wait_for(|wish| wish.paused || wish.turn != turn) => {
                    if changed.is_ok_and(|wish| wish.turn != turn) {
                        return String::from("left");
                    }
                    continue;
                }
            };
            let now = clock.now();
            match message {
                Some(Ok(Message::Text(text))) => {
                    let heard = heard(text.as_str());
                    self.note(|session| session.frames.push((now, heard)));
                }
                Some(Ok(Message::Close(frame))) => return format!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return String::from("the stream ended"),
            }
        }
    }
}

/// As a load balancer does: any node that serves.
fn pick(slots: &[Slot], random: &mut Random) -> Option<(usize, SocketAddr)> {
    let serving: Vec<_> =
        slots.iter().filter_map(|slot| slot.address().map(|address| (slot.number, address))).collect();
    (!serving.is_empty()).then(|| serving[random.below(serving.len())])
}

async fn connect(to: SocketAddr, room: usize) -> Result<WebSocketStream<TcpStream>, String> {
    let path = if room.is_multiple_of(2) { "party" } else { "parties/main" };
    let request = format!("ws://{to}/{path}/room-{room}").into_client_request().map_err(|e| e.to_string())?;
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    let (stream, _) = client_async(request, stream).await.map_err(|error| error.to_string())?;
    Ok(stream)
}

fn heard(text: &str) -> Heard {
    let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    frame["revision"].as_str().and_then(|text| text.parse().ok()).map_or(Heard::Plain, Heard::Revision)
}

/// All clients.
pub struct Crowd {
    pub clients: Vec<Arc<Client>>,
}

impl Crowd {
    pub fn gather(count: usize, slots: &Arc<Vec<Slot>>, clock: Clock, random: &mut Random) -> Self {
        let clients = (0..count).map(|number| {
            let client = Arc::new(Client {
                number,
                room: number % ROOMS,
                sessions: Mutex::default(),
                wish: watch::Sender::default(),
            });
            tokio::spawn(Arc::clone(&client).run(Arc::clone(slots), clock, random.split()));
            client
        });
        Self { clients: clients.collect() }
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        let open = |client: &&Arc<Client>| {
            client.sessions().last().is_some_and(|session| session.open.is_some() && session.ended.is_none())
        };
        self.clients.iter().filter(open).count()
    }

    /// The clients whose number falls into that share, the same ones each time.
    fn share(&self, percent: usize) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.iter().filter(move |client| client.number * 37 % 100 < percent)
    }

    pub fn pause(&self, percent: usize, paused: bool) {
        for client in self.share(percent) {
            client.wish.send_modify(|wish| wish.paused = paused);
        }
    }

    /// Has them leave one after the other.
    pub async fn churn(&self, percent: usize, over: Duration) {
        let leaving: Vec<_> = self.share(percent).collect();
        for client in &leaving {
            client.wish.send_modify(|wish| wish.turn += 1);
            sleep(over / u32::try_from(leaving.len()).expect("not so many")).await;
        }
    }
}
