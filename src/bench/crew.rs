//! The generator processes as the coordinator sees them: started, told, listened to, each with a deadline.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use super::clock::Moment;
use super::processes::{Cpu, ProcessError, Processes};
use super::protocol::{Command, Plan, Report};

/// Reports that may wait: each process sends one for each command, and one more.
const REPORTS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    #[error("a generator process cannot be started: {0}")]
    Start(std::io::Error),
    #[error("a generator process cannot be told what to do: {0}")]
    Tell(std::io::Error),
    #[error("a generator process says something unknown: {0}")]
    Language(#[from] serde_json::Error),
    #[error("a generator process ended early; what it printed stands above")]
    Ended,
    #[error("a generator process failed: {0}")]
    Failed(String),
    #[error("the generator did not {0} in time")]
    Late(&'static str),
}

struct Member {
    child: Child,
    input: Option<ChildStdin>,
}

/// Generator processes; they end with this value.
pub struct Crew {
    members: Vec<Member>,
    reports: Receiver<Result<Report, CrewError>>,
}

impl Crew {
    pub fn start(plan: &Plan, size: usize) -> Result<Self, CrewError> {
        let (sender, reports) = sync_channel(REPORTS);
        let program = std::env::current_exe().map_err(CrewError::Start)?;
        let mut members = Vec::with_capacity(size);
        for _ in 0..size {
            let mut child = Program::new(&program)
                .args(["bench", "generator"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(CrewError::Start)?;
            let input = child.stdin.take();
            if let Some(output) = child.stdout.take() {
                let sender = sender.clone();
                std::thread::spawn(move || listen(BufReader::new(output), &sender));
            }
            members.push(Member { child, input });
        }
        let mut crew = Self { members, reports };
        for number in 0..size {
            crew.tell(number, &serde_json::to_string(plan)?)?;
        }
        Ok(crew)
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    pub fn cpu(&self) -> Result<Cpu, ProcessError> {
        Processes::new(self.pids())?.cpu()
    }

    fn tell(&mut self, number: usize, line: &str) -> Result<(), CrewError> {
        let Some(input) = &mut self.members[number].input else { return Err(CrewError::Ended) };
        writeln!(input, "{line}").and_then(|()| input.flush()).map_err(CrewError::Tell)
    }

    /// Tells each process what `command` makes for its number.
    pub fn tell_each(&mut self, command: impl Fn(usize) -> Command) -> Result<(), CrewError> {
        for number in 0..self.size() {
            let line = serde_json::to_string(&command(number))?;
            self.tell(number, &line)?;
        }
        Ok(())
    }

    /// So many reports, as `pick` wants them, of whichever process; fewer when the deadline is over.
    pub fn gather_some<T>(
        &mut self,
        deadline: Moment,
        count: usize,
        pick: impl Fn(Report) -> Option<T>,
    ) -> Result<Vec<T>, CrewError> {
        let mut gathered = Vec::with_capacity(count);
        while gathered.len() < count {
            match self.next(deadline)? {
                None => break,
                Some(report) => gathered.extend(pick(report)),
            }
        }
        Ok(gathered)
    }

    /// The next report of any process; None when the deadline is over.
    fn next(&mut self, deadline: Moment) -> Result<Option<Report>, CrewError> {
        match self.reports.recv_timeout(deadline.left()) {
            Ok(Ok(Report::Failed(reason))) => Err(CrewError::Failed(reason)),
            Ok(report) => report.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(CrewError::Ended),
        }
    }

    /// One report of each process, as `pick` wants it; one that is late is an error.
    pub fn gather_all<T>(
        &mut self,
        deadline: Moment,
        what: &'static str,
        pick: impl Fn(Report) -> Option<T>,
    ) -> Result<Vec<T>, CrewError> {
        let gathered = self.gather_some(deadline, self.size(), pick)?;
        if gathered.len() == self.size() { Ok(gathered) } else { Err(CrewError::Late(what)) }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // The end of its input tells a process to end.
        for member in &mut self.members {
            drop(member.input.take());
        }
        for member in &mut self.members {
            // It holds nothing that anyone needs; what cannot be killed has ended.
            drop(member.child.kill());
            drop(member.child.wait());
        }
    }
}

fn listen(lines: impl BufRead, sender: &SyncSender<Result<Report, CrewError>>) {
    for line in lines.lines() {
        let Ok(line) = line else { break };
        let report = serde_json::from_str(&line).map_err(CrewError::Language);
        if sender.send(report).is_err() {
            return;
        }
    }
    // The coordinator may be gone by then.
    let _ = sender.send(Err(CrewError::Ended));
}
