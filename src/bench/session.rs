//! One target under load: the generator's processes, the publishing connections and the server's costs, as scenarios use them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::BenchError;
use super::clock::{Moment, sleep};
use super::crew::Crew;
use super::load::Load;
use super::outcome::{Flood, OpenedAll, Outcome};
use super::processes::{Cpu, Processes, own_cpu, waited};
use super::progress::Progress;
use super::protocol::{Churned, Churning, Command, Delivered, Opening, Plan, Report, Schedule};
use super::publisher::Publishers;
use super::report::Figures;
use super::spent::Spent;
use super::target::Target;

/// Between opening and measuring: what the server sends to newcomers has come by then.
pub const SETTLE: Duration = Duration::from_millis(500);
/// From the order to count until the first publish of a flood.
const LEAD: Duration = Duration::from_millis(20);
/// One connect of so many may fail before what is measured begins.
const RETRIED_SHARE: usize = 100;
/// How long a process may take to answer what costs it nothing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How soon a publish that failed ends the wait for its deliveries.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much longer than its deadline a process may take to report.
const GRACE: Duration = Duration::from_secs(5);

/// What a scenario runs on.
pub struct Setting<'a> {
    pub target: &'a Target,
    pub load: &'a Load,
    pub server: Option<Processes>,
    /// Of the floor, which is told with its figures.
    pub floor_threads: Option<usize>,
    pub progress: &'a Progress,
}

pub struct Session<'a> {
    pub load: &'a Load,
    pub server: Option<Processes>,
    pub progress: &'a Progress,
    floor_threads: Option<usize>,
    crew: Crew,
    publishers: Publishers,
    /// The number that the next publish carries.
    next_number: u64,
    /// Connects that failed before what is measured began.
    tried_again: usize,
    spent: Spent,
}

/// How all processes together open sockets.
struct Wanted {
    stuck_percent: f64,
    in_flight: usize,
    retries: usize,
    deadline: Moment,
}

impl<'a> Session<'a> {
    /// With so many publishing connections, unless the user asks for another number.
    pub fn start(setting: &Setting<'a>, publishers: usize) -> Result<Self, BenchError> {
        let Setting { target, load, .. } = setting;
        let rooms = load.room_names();
        let plan = Plan { sockets: target.sockets.clone(), rooms: rooms.clone(), sources: load.sources };
        Ok(Self {
            load,
            server: setting.server.clone(),
            progress: setting.progress,
            floor_threads: setting.floor_threads,
            crew: Crew::start(&plan, load.processes)?,
            publishers: Publishers::new(
                &target.publishing,
                load.publishers.unwrap_or(publishers),
                &rooms,
                load.payload_bytes,
            ),
            next_number: 1,
            tried_again: 0,
            spent: Spent::default(),
        })
    }

    /// Opens `--connections` sockets, which must all be ready.
    pub fn open_all(&mut self) -> Result<OpenedAll, BenchError> {
        self.open_some_stuck(0.0)
    }

    /// The same, where so many of a hundred never read once they are ready.
    pub fn open_some_stuck(&mut self, percent: f64) -> Result<OpenedAll, BenchError> {
        // What is measured comes afterwards, and a client of a server that resets one connection of thousands tries again.
        let few = self.load.connections.div_ceil(RETRIED_SHARE);
        let opened = self.open(percent, self.load.in_flight, few)?;
        self.tried_again += opened.failures.saturating_sub(opened.missing);
        if opened.missing > 0 {
            return Err(opened.into_error(self.load.connections));
        }
        sleep(SETTLE);
        Ok(opened)
    }

    /// Opens them and says how many came about.
    pub fn open(
        &mut self,
        stuck_percent: f64,
        in_flight: usize,
        retries: usize,
    ) -> Result<OpenedAll, BenchError> {
        self.progress.say(&format!("connecting {} sockets", self.load.connections));
        let wanted = Wanted { stuck_percent, in_flight, retries, deadline: self.connect_deadline() };
        self.tell_openings(&wanted, Command::Open)?;
        self.opened(&wanted)
    }

    /// Does that, by which the server loses every socket; they come back by themselves.
    pub fn return_from(
        &mut self,
        restart: impl FnOnce() -> Result<(), BenchError>,
    ) -> Result<OpenedAll, BenchError> {
        let deadline = self.connect_deadline();
        let wanted =
            Wanted { stuck_percent: 0.0, in_flight: self.load.connections, retries: usize::MAX, deadline };
        self.tell_openings(&wanted, Command::Return)?;
        self.armed()?;
        restart()?;
        self.opened(&wanted)
    }

    fn connect_deadline(&self) -> Moment {
        Moment::now().plus(self.load.connect_deadline())
    }

    /// Gives each process its share.
    fn tell_openings(
        &mut self,
        wanted: &Wanted,
        command: impl Fn(Opening) -> Command,
    ) -> Result<(), BenchError> {
        let (load, size) = (self.load, self.crew.size());
        let &Wanted { stuck_percent, in_flight, retries, deadline } = wanted;
        let (rate, in_flight) = (load.connect_rate / size as f64, in_flight.div_ceil(size));
        let retries = retries.div_ceil(size);
        Ok(self.crew.tell_each(|number| {
            let (first, count) = share(load.connections, size, number);
            command(Opening { first, count, in_flight, rate, stuck_percent, retries, deadline })
        })?)
    }

    fn opened(&mut self, wanted: &Wanted) -> Result<OpenedAll, BenchError> {
        let opened = self.crew.gather_all(wanted.deadline.plus(GRACE), "connect", |report| match report {
            Report::Opened(opened) => Some(opened),
            _ => None,
        })?;
        OpenedAll::merged(opened)
    }

    /// Closes all; answers how many the server had closed before, and why the first.
    pub fn drop_all(&mut self) -> Result<(usize, Option<String>), BenchError> {
        self.crew.tell_each(|_| Command::Drop)?;
        let deadline = Moment::now().plus(ANSWER_DEADLINE);
        let dropped = self.crew.gather_all(deadline, "close its sockets", |report| match report {
            Report::Dropped(dropped) => Some(dropped),
            _ => None,
        })?;
        let lost = dropped.iter().map(|part| part.lost).sum();
        Ok((lost, dropped.into_iter().find_map(|part| part.first_closure)))
    }

    /// Publishes so often at these intervals, beginning after `lead`, and waits for every delivery.
    pub fn publish(
        &mut self,
        publishes: u64,
        interval: Duration,
        lead: Duration,
    ) -> Result<Outcome, BenchError> {
        let schedule = self.arm(publishes, interval, lead)?;
        let until = schedule.start_of(publishes).plus(self.load.timeout);
        let crew = &mut self.crew;
        let (counted, answers) =
            self.publishers.run(schedule, until, |failed| collect(crew, until, failed))?;
        if answers.answered < publishes {
            return Err(BenchError::TooSlow { answered: answers.answered, wanted: publishes });
        }
        let counted = counted?;
        let outcome = Outcome::new(schedule, &counted, answers)?;
        self.spent.delivered(&counted, &outcome);
        Ok(outcome)
    }

    /// Publishes so often at these intervals, or as often as it goes in the time that takes; and then once more, when all
    /// others were answered: the room's last state, whose arrival counts.
    pub fn flood(&mut self, publishes: u64, interval: Duration) -> Result<Flood, BenchError> {
        // One more than now: nobody has all before the last state is out.
        let armed = self.arm(publishes + 1, interval, LEAD)?;
        let flood = Schedule { publishes, ..armed };
        let ((), flooding) = self.publishers.run(flood, flood.start_of(publishes), |_| ())?;
        let whole = Schedule { publishes: flooding.answered + 1, ..flood };
        self.crew.tell_each(|_| Command::Expect { publishes: whole.publishes })?;
        let last = Schedule {
            first: Moment::now(),
            interval: Duration::ZERO,
            publishes: 1,
            first_number: flood.first_number + flooding.answered,
        };
        self.next_number = last.first_number + 1;
        let until = last.first.plus(self.load.timeout);
        let crew = &mut self.crew;
        let (counted, answers) = self.publishers.run(last, until, |failed| collect(crew, until, failed))?;
        let counted = counted?;
        let outcome = Outcome::new(whole, &counted, answers)?;
        self.spent.delivered(&counted, &outcome);
        Ok(Flood { flooding, last: last.first, outcome })
    }

    /// Has every process count the deliveries of such a schedule from now on.
    fn arm(&mut self, publishes: u64, interval: Duration, lead: Duration) -> Result<Schedule, BenchError> {
        let first = Moment::now().plus(lead);
        let schedule = Schedule { first, interval, publishes, first_number: self.next_number };
        self.next_number += publishes;
        self.spent.idle(lead);
        self.crew.tell_each(|_| Command::Arm(schedule))?;
        self.armed()?;
        Ok(schedule)
    }

    fn armed(&mut self) -> Result<(), BenchError> {
        let deadline = Moment::now().plus(ANSWER_DEADLINE);
        self.crew.gather_all(deadline, "get ready to count", |report| {
            matches!(report, Report::Armed).then_some(())
        })?;
        Ok(())
    }

    /// Has sockets come and go beside the others, so many a second in all.
    pub fn churn(&mut self, rate: f64, lifetime: Duration) -> Result<(), BenchError> {
        let rate = rate / self.crew.size() as f64;
        Ok(self.crew.tell_each(|_| Command::Churn(Churning { rate, lifetime }))?)
    }

    pub fn end_churn(&mut self) -> Result<Vec<Churned>, BenchError> {
        self.crew.tell_each(|_| Command::EndChurn)?;
        let deadline = Moment::now().plus(ANSWER_DEADLINE);
        Ok(self.crew.gather_all(deadline, "end the churn", |report| match report {
            Report::Churned(churned) => Some(churned),
            _ => None,
        })?)
    }

    /// Does that, and says what the server used meanwhile: None when no process of it was named.
    pub fn measured<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, BenchError>,
    ) -> Result<(T, Option<Duration>), BenchError> {
        let server = self.server_cpu()?;
        let (generator, pids) = (self.crew.cpu()?, self.crew.pids());
        let waits: Vec<_> = pids.iter().map(|pid| waited(*pid)).collect();
        self.spent.open_window();
        let (start, own) = (Moment::now(), own_cpu());
        let result = work(self)?;
        let (elapsed, own) = (Moment::now().since(start), own_cpu().saturating_sub(own));
        let after = self.crew.cpu()?;
        let server = match (server, self.server_cpu()?) {
            (Some(before), Some(after)) => Some(after.since(&before)),
            _ => None,
        };
        let used = |pid: &u32| {
            after.of(*pid).saturating_sub(generator.of(*pid)).saturating_sub(self.spent.awake(*pid))
        };
        let used: Vec<_> = pids.iter().map(used).chain([own]).collect();
        let waits: Vec<_> =
            pids.iter().zip(waits).map(|(pid, before)| waited(*pid).saturating_sub(before)).collect();
        self.spent.close_window(elapsed, &used, &waits);
        Ok((result, server))
    }

    fn server_cpu(&self) -> Result<Option<Cpu>, BenchError> {
        Ok(self.server.as_ref().map(Processes::cpu).transpose()?)
    }

    /// Puts down what the generator itself used.
    pub fn finish(self, mut figures: Figures) -> Figures {
        if self.tried_again > 0 {
            figures.add("connects_tried_again", self.tried_again as f64);
        }
        figures.add_some("floor_threads", self.floor_threads.map(|threads| threads as f64));
        self.spent.tell(&mut figures, self.crew.size());
        figures
    }
}

/// First number and count of the sockets of one process.
fn share(total: usize, size: usize, number: usize) -> (usize, usize) {
    let first = total * number / size;
    (first, total * (number + 1) / size - first)
}

/// What each process counted: by itself when all has come, or what it has at the deadline, or when publishing failed.
fn collect(crew: &mut Crew, deadline: Moment, failed: &AtomicBool) -> Result<Vec<Delivered>, BenchError> {
    let pick = |report| match report {
        Report::Delivered(delivered) => Some(delivered),
        _ => None,
    };
    let size = crew.size();
    let mut delivered = Vec::with_capacity(size);
    while delivered.len() < size && !deadline.is_over() && !failed.load(Ordering::Relaxed) {
        let until = deadline.min(Moment::now().plus(LOOK_EVERY));
        delivered.extend(crew.gather_some(until, size - delivered.len(), pick)?);
    }
    if delivered.len() < size {
        crew.tell_each(|_| Command::Collect)?;
        let until = Moment::now().plus(ANSWER_DEADLINE);
        delivered.extend(crew.gather_some(until, size - delivered.len(), pick)?);
    }
    Ok(delivered)
}
