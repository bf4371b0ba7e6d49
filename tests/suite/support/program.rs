//! The program under test: where it is, and runs of it that end by themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// How a finished run ended.
#[derive(Debug)]
pub struct Finished {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// All that the run printed.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Panics unless it ended with that exit code.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// The binary that cargo built for this test, or the one `REFRESH_RELAY_BINARY` names (a release build, say).
pub fn path() -> PathBuf {
    let named = std::env::var_os("REFRESH_RELAY_BINARY").map(PathBuf::from);
    let built = option_env!("CARGO_BIN_EXE_refresh-relay").map(PathBuf::from);
    named.or(built).expect("cargo builds the program, or REFRESH_RELAY_BINARY names it")
}

/// A command for it with these variables and no others but `PATH`, so that nothing of the caller's environment is a setting.
pub fn command(arguments: &[&str], environment: &BTreeMap<String, String>) -> Command {
    prepared(Command::new(path()), arguments, environment)
}

/// The same under a soft and a hard limit of open files.
pub fn command_limited(
    arguments: &[&str],
    environment: &BTreeMap<String, String>,
    (soft, hard): (u32, u32),
) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(path());
    prepared(shell, arguments, environment)
}

fn prepared(mut command: Command, arguments: &[&str], environment: &BTreeMap<String, String>) -> Command {
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it until it ends by itself; panics when it does not.
pub async fn run(arguments: &[&str], environment: &BTreeMap<String, String>) -> Finished {
    let run = command(arguments, environment).output();
    match timeout(ENDS_WITHIN, run).await {
        Ok(output) => {
            let output = output.expect("the program can be started");
            Finished {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        }
        Err(_) => panic!("{arguments:?} with {environment:?} did not end within {ENDS_WITHIN:?}"),
    }
}

/// The environment variable of a setting: `server.bind` is `RELAY_SERVER__BIND`.
pub fn variable(key: &str) -> String {
    format!("RELAY_{}", key.replace('.', "__").to_uppercase())
}

/// An environment with these settings.
pub fn environment(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect()
}

/// A temporary folder with files for one test.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("the folder can be written to");
        path.display().to_string()
    }
}
