//! The program's command line, exit codes and log format.

use crate::support::node::{KEY, Setup, refresh};
use crate::support::ports;
use crate::support::program::{Files, command, environment, run, variable};
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

#[tokio::test]
async fn help_and_version_are_everywhere() {
    let none = BTreeMap::new();
    for command in [vec![], vec!["serve"], vec!["check-config"], vec!["healthcheck"]] {
        let help = run(&[command.as_slice(), &["--help"]].concat(), &none).await.expect_code(0);
        assert!(help.stdout.contains("Usage"), "{help:#?}");
        let version = run(&[command.as_slice(), &["--version"]].concat(), &none).await.expect_code(0);
        let number = version
            .stdout
            .split_whitespace()
            .any(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
        assert!(version.stdout.contains("refresh-relay") && number, "{version:#?}");
    }
    let help = run(&["--help"], &none).await;
    for subcommand in ["serve", "check-config", "healthcheck"] {
        assert!(help.stdout.contains(subcommand), "{help:#?}");
    }
}

#[tokio::test]
async fn wrong_usage_exits_with_2() {
    let none = BTreeMap::new();
    for arguments in
        [vec!["relay"], vec!["--nonsense"], vec!["serve", "--config"], vec!["healthcheck", "extra"]]
    {
        let finished = run(&arguments, &none).await.expect_code(2);
        assert!(finished.stderr.starts_with("error:") && finished.stderr.contains("--help"), "{finished:#?}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_a_failure_while_running_and_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for key in ["server.bind", "admin.bind"] {
        let mut settings = environment(&[("server.bind", "127.0.0.1:0"), ("admin.bind", "127.0.0.1:0")]);
        settings.insert(variable(key), address.clone());
        let finished = run(&["serve"], &settings).await.expect_code(1);
        assert!(finished.output().contains(&address), "{finished:#?}");
    }
}

#[tokio::test]
async fn a_json_log_is_one_object_a_line() {
    let node = Setup::memory().start().await;
    let output = node.output();
    let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|event| event.is_object());
    let others: Vec<_> = output.lines().filter(|line| !is_object(line)).collect();
    assert!(others.is_empty(), "{others:?}");
    let listening = node.log().into_iter().find(|event| event["message"] == "listening");
    let listening = listening.expect("it was read at the start");
    for field in ["timestamp", "level", "target", "public", "admin"] {
        assert!(listening[field].is_string(), "no {field} in {listening}");
    }
}

#[tokio::test]
async fn a_text_log_is_not_json() {
    let settings = [("server.bind", "127.0.0.1:0"), ("admin.bind", "127.0.0.1:0"), ("log.format", "text")];
    let mut node = command(&["serve"], &environment(&settings)).spawn().expect("the program can be started");
    let mut lines = BufReader::new(node.stderr.take().expect("piped")).lines();
    let listening = timeout(SOON, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains("listening") {
                return line;
            }
        }
        panic!("the log ended before the node listened");
    });
    let listening = listening.await.expect("the node listens soon");
    assert!(listening.contains("INFO") && listening.contains("127.0.0.1:"), "{listening}");
    assert!(serde_json::from_str::<Value>(&listening).is_err(), "{listening}");
}

#[tokio::test]
async fn a_node_serves_at_every_log_level_until_it_is_told_to_stop() {
    for level in ["error", "warn", "info", "debug", "info,refresh_relay::cli=off"] {
        // At some of them it does not say where it listens.
        let bind = format!("127.0.0.1:{}", ports::free());
        let settings = [("server.bind", bind.as_str()), ("admin.bind", "127.0.0.1:0"), ("log.level", level)];
        let at_once = [("drain.notice_seconds", "0"), ("drain.spread_seconds", "0"), ("publish.secret", KEY)];
        let environment = environment(&[&settings[..], &at_once[..]].concat());
        let mut child = command(&["serve"], &environment).spawn().expect("the program can be started");
        let address = bind.parse().expect("an address");
        eventually(SOON, "a publish", async || {
            let answer = refresh("featurevisor").try_send(address).await?;
            equal("status", &answer.status, &200)
        })
        .await;
        let pid = Pid::from_raw(child.id().expect("a process that runs").cast_signed());
        kill(pid, Signal::SIGTERM).expect("it can be signalled");
        let status = timeout(SOON, child.wait()).await.expect("it ends").expect("a status");
        assert_eq!(status.code(), Some(0), "at {level}");
    }
}

#[tokio::test]
async fn the_settings_file_may_be_named_before_and_after_the_subcommand() {
    let files = Files::new();
    let file = files.write("relay.toml", "[server]\nworkers = 3\n");
    for arguments in [["--config", &file, "check-config"], ["check-config", "--config", &file]] {
        let finished = run(&arguments, &BTreeMap::new()).await.expect_code(0);
        assert!(finished.stdout.contains("workers = 3"), "{arguments:?}: {finished:#?}");
    }
}
