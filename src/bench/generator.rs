//! A generator process: one thread, one epoll loop, all its sockets; told what to do over standard input.
//!
//! It must cost far less than what it measures, so nothing here allocates or locks for a delivery.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use super::churn::Churn;
use super::clock::{Moment, be_punctual};
use super::connection::{Connection, Phase, Shared, Turn};
use super::histogram::HistogramError;
use super::opening::{Ramp, connect, explain};
use super::protocol::{Command, Delivered, Dropped, Plan, Report, Schedule};
use super::window::{Seat, Window};

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
/// Commands that may wait; the coordinator sends one and waits for its answer.
const COMMANDS: usize = 16;
/// How soon a timer that is due is looked at while sockets are being opened or churned.
const TICK: Duration = Duration::from_millis(1);
/// How long it looks out for the next delivery before it sleeps: a write to a socket whose reader sleeps wakes it, at
/// the writer's cost (5.9 us a delivery instead of 4.5), and the clients of a real server are on other machines.
const LOOKOUT: Duration = Duration::from_micros(50);

#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    #[error("the generator's event loop: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    #[error("the generator was told something unknown: {0}")]
    Command(#[from] serde_json::Error),
}

/// Runs until standard input ends. Whatever goes wrong is told the coordinator, who tells the user.
pub fn run() -> Result<(), GeneratorError> {
    let outcome = Generator::start().and_then(|mut generator| generator.run());
    if let Err(error) = &outcome {
        say(&Report::Failed(error.to_string()))?;
    }
    outcome
}

fn say(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

struct Generator {
    poll: Poll,
    commands: Receiver<io::Result<String>>,
    shared: Shared,
    connections: Vec<Option<Connection>>,
    /// Where the sockets that `Open` counts end and those of the churn begin.
    numbered: usize,
    ramp: Option<Ramp>,
    churn: Option<Churn>,
    lost: usize,
    first_closure: Option<String>,
    /// Looking out for deliveries that did not come.
    awake: Duration,
}

impl Generator {
    fn start() -> Result<Self, GeneratorError> {
        be_punctual();
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let plan: Plan = serde_json::from_str(&line)?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, commands) = sync_channel(COMMANDS);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.send(line).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            drop(sender);
            // Nobody is left to tell if that fails; the loop looks again at its next tick.
            let _ = waker.wake();
        });
        let shared = Shared::new(plan)?;
        Ok(Self {
            poll,
            commands,
            shared,
            connections: Vec::new(),
            numbered: 0,
            ramp: None,
            churn: None,
            lost: 0,
            first_closure: None,
            awake: Duration::ZERO,
        })
    }

    fn run(&mut self) -> Result<(), GeneratorError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut lookout = Moment::now();
        loop {
            let begun = Moment::now();
            let looks_out = begun < lookout;
            let timeout = (self.ramp.is_some() || self.churn.is_some()).then_some(TICK);
            let timeout = if looks_out { Some(Duration::ZERO) } else { timeout };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if !events.is_empty() && !self.shared.window.reported {
                lookout = Moment::now().plus(LOOKOUT);
            } else if looks_out {
                self.awake += Moment::now().since(begun);
            }
            for event in &events {
                if event.token() != WAKER {
                    self.on_event(event);
                }
            }
            if !self.take_commands()? {
                return Ok(());
            }
            self.advance_churn();
            self.advance_ramp()?;
            self.report_delivered(false)?;
        }
    }

    /// Whether to go on.
    fn take_commands(&mut self) -> Result<bool, GeneratorError> {
        loop {
            match self.commands.try_recv() {
                Ok(line) => self.on_command(serde_json::from_str(&line?)?)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Result<(), GeneratorError> {
        match command {
            Command::Open(wanted) => {
                self.connections.clear();
                self.connections.resize_with(wanted.count, || None);
                self.numbered = wanted.count;
                (self.lost, self.first_closure) = (0, None);
                self.ramp = Some(Ramp::new(wanted)?);
            }
            Command::Return(wanted) => {
                self.ramp = Some(Ramp::returning(wanted)?);
                say(&Report::Armed)?;
            }
            Command::Arm(schedule) => {
                self.arm(schedule);
                say(&Report::Armed)?;
            }
            Command::Expect { publishes } => self.expect(publishes),
            Command::Collect => self.report_delivered(true)?,
            Command::Drop => {
                self.connections.iter_mut().take(self.numbered).for_each(|slot| drop(slot.take()));
                let first_closure = self.first_closure.take();
                say(&Report::Dropped(Dropped { lost: self.lost, first_closure }))?;
            }
            Command::Churn(wanted) => self.churn = Some(Churn::new(wanted, self.numbered)),
            Command::EndChurn => {
                if let Some(churn) = self.churn.take() {
                    self.connections.truncate(self.numbered);
                    say(&Report::Churned(churn.done))?;
                }
            }
        }
        Ok(())
    }

    fn arm(&mut self, schedule: Schedule) {
        self.shared.window.open(schedule);
        self.with_seats(Window::seat);
    }

    /// Counts anew which sockets have all, now that the number of publishes is another one.
    fn expect(&mut self, publishes: u64) {
        self.shared.window.expect(publishes);
        self.with_seats(Window::look_again);
    }

    /// Does that for every socket that is measured.
    fn with_seats(&mut self, act: fn(&mut Window, &mut Seat)) {
        for connection in self.connections.iter_mut().take(self.numbered).flatten() {
            if connection.measured && connection.phase == Phase::Ready {
                act(&mut self.shared.window, &mut connection.seat);
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        let index = event.token().0;
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let readable = event.is_readable() || event.is_error() || event.is_read_closed();
        let turn = connection.on_event(&mut self.shared, readable, event.is_writable());
        self.on_turn(index, turn);
    }

    fn on_turn(&mut self, index: usize, turn: Turn) {
        let Some(slot) = self.connections.get_mut(index) else { return };
        let Some(connection) = slot else { return };
        let churning = index >= self.numbered;
        match turn {
            Turn::Nothing => {}
            Turn::Ready if churning => {
                if let Some(churn) = &mut self.churn {
                    churn.on_ready();
                }
            }
            Turn::Ready => {
                if connection.stuck {
                    // It keeps its socket and its seat at the server, and never reads again.
                    drop(self.poll.registry().deregister(&mut connection.stream));
                }
                if let Some(ramp) = &mut self.ramp {
                    ramp.on_ready(index, connection.start);
                }
            }
            Turn::Lost(reason) => {
                let was_ready = connection.phase == Phase::Ready;
                *slot = None;
                self.on_lost(index, was_ready, reason);
            }
        }
    }

    fn on_lost(&mut self, index: usize, was_ready: bool, reason: String) {
        if index >= self.numbered {
            if let Some(churn) = &mut self.churn {
                churn.on_failure(reason);
            }
            return;
        }
        match &mut self.ramp {
            Some(ramp) if !was_ready => ramp.on_failure(index, reason),
            Some(ramp) if ramp.returns => ramp.on_lost(index),
            _ if was_ready => {
                self.lost += 1;
                self.first_closure.get_or_insert(reason);
            }
            _ => {}
        }
    }

    fn advance_ramp(&mut self) -> Result<(), GeneratorError> {
        let mut begun = 0;
        // Between two looks at the sockets that are under way, so that their answers are not kept waiting.
        while begun < EVENTS / 8
            && let Some((index, intended)) = self.ramp.as_mut().and_then(Ramp::due)
        {
            begun += 1;
            self.open(index, intended);
        }
        if let Some(over) = self.ramp.take_if(|ramp| ramp.is_over()) {
            say(&Report::Opened(over.report()?))?;
        }
        Ok(())
    }

    fn open(&mut self, index: usize, intended: Moment) {
        let Some(ramp) = &self.ramp else { return };
        let number = ramp.wanted.first + index;
        let stuck = ramp.wanted.is_stuck(index);
        let turn = match connect(&self.shared.plan, number, stuck, intended) {
            Err(error) => return self.on_lost(index, false, explain(&error)),
            Ok(connection) => self.place(index, connection),
        };
        self.on_turn(index, turn);
    }

    /// Has the loop watch that socket, and writes its request at once if the connection stands already.
    fn place(&mut self, index: usize, connection: Connection) -> Turn {
        let connection = self.connections[index].insert(connection);
        let watched = self.poll.registry().register(
            &mut connection.stream,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        );
        match watched {
            Err(error) => Turn::Lost(explain(&error)),
            Ok(()) => connection.on_event(&mut self.shared, false, true),
        }
    }

    fn advance_churn(&mut self) {
        let Some(churn) = &mut self.churn else { return };
        while let Some(index) = churn.leaving() {
            if let Some(slot) = self.connections.get_mut(index) {
                *slot = None;
            }
        }
        while let Some((index, number)) = self.churn.as_mut().and_then(Churn::arriving) {
            if index >= self.connections.len() {
                self.connections.resize_with(index + 1, || None);
            }
            let turn = match connect(&self.shared.plan, number, false, Moment::now()) {
                Err(error) => {
                    self.on_lost(index, false, explain(&error));
                    continue;
                }
                Ok(mut connection) => {
                    connection.measured = false;
                    self.place(index, connection)
                }
            };
            self.on_turn(index, turn);
        }
    }

    /// Reports once for each window: when all sockets have everything, or when it is asked for.
    fn report_delivered(&mut self, asked: bool) -> Result<(), GeneratorError> {
        let window = &mut self.shared.window;
        if window.reported {
            return Ok(());
        }
        if !asked && !window.is_complete() {
            return Ok(());
        }
        window.reported = true;
        say(&Report::Delivered(Delivered {
            pid: std::process::id(),
            awake: std::mem::take(&mut self.awake),
            counted: window.counted.clone(),
            closed: self.lost,
            latency: window.latencies.pack()?,
            first_frame: self.shared.first_frame.clone(),
            first_closure: self.first_closure.clone(),
        }))?;
        Ok(())
    }
}
