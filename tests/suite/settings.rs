//! Settings: where they come from, what `check-config` says of them, and how problems are told.

use crate::support::node::KEY;
use crate::support::program::{Files, Finished, environment, run, variable};
use std::collections::BTreeMap;

pub async fn check_config(arguments: &[&str], environment: &BTreeMap<String, String>) -> Finished {
    run(&[&["check-config"], arguments].concat(), environment).await
}

/// The effective settings that a good `check-config` prints.
pub fn effective(finished: Finished) -> toml::Table {
    let finished = finished.expect_code(0);
    match toml::from_str(&finished.stdout) {
        Ok(table) => table,
        Err(error) => panic!("not TOML ({error}): {finished:#?}"),
    }
}

/// The value of `server.bind` and the like, as TOML writes it.
pub fn setting(table: &toml::Table, key: &str) -> String {
    let (section, name) = key.split_once('.').expect("section.name");
    match table.get(section).and_then(|section| section.get(name)) {
        Some(value) => value.to_string().replace('\'', "\""),
        None => panic!("no {key} in {table:?}"),
    }
}

/// Panics unless the run ended with 78 and some line names the key together with one of the words for where it came from.
fn expect_problem(finished: &Finished, key: &str, origins: &[&str]) {
    assert_eq!(finished.code, Some(78), "{finished:#?}");
    let output = finished.output();
    let named =
        output.lines().any(|line| line.contains(key) && origins.iter().any(|origin| line.contains(origin)));
    assert!(named, "no line names {key} and one of {origins:?}:\n{output}");
}

#[tokio::test]
async fn check_config_prints_the_documented_defaults() {
    let table = effective(check_config(&[], &BTreeMap::new()).await);
    let documented = [
        ("server.bind", r#""0.0.0.0:8080""#),
        ("server.workers", "0"),
        ("server.max_connections", "0"),
        ("server.max_connections_per_ip", "0"),
        ("server.handshakes_per_second", "0"),
        ("server.request_head_limit_bytes", "16384"),
        ("server.request_head_timeout_seconds", "5"),
        ("server.request_body_timeout_seconds", "10"),
        ("server.trusted_proxies", "[]"),
        ("server.allowed_origins", r#"["*"]"#),
        ("admin.bind", r#""127.0.0.1:9090""#),
        ("websocket.ping_interval_seconds", "25"),
        ("websocket.pong_timeout_seconds", "10"),
        ("websocket.max_message_bytes", "4096"),
        ("websocket.max_frames_per_second", "100"),
        ("websocket.subprotocols", "[]"),
        ("publish.body_limit_bytes", "65536"),
        ("publish.rate_per_second", "0"),
        ("publish.confirm_timeout_ms", "1000"),
        ("webhooks.body_limit_bytes", "1048576"),
        ("rooms.allow", r#"["*"]"#),
        ("rooms.max_name_bytes", "256"),
        ("rooms.max_connections", "0"),
        ("rooms.replay_window_seconds", "30"),
        ("rooms.head_ttl_seconds", "2592000"),
        ("redis.key_prefix", r#""relay""#),
        ("redis.pool_size", "8"),
        ("redis.connect_timeout_ms", "1000"),
        ("redis.command_timeout_ms", "1000"),
        ("redis.probe_interval_ms", "1000"),
        ("redis.probe_timeout_ms", "1000"),
        ("redis.reconcile_seconds", "30"),
        ("drain.notice_seconds", "5"),
        ("drain.spread_seconds", "20"),
        ("log.level", r#""info""#),
        ("log.format", r#""auto""#),
        ("partykit.exact_status", "false"),
    ];
    for (key, default) in documented {
        assert_eq!(setting(&table, key), default, "{key}");
    }
}

#[tokio::test]
async fn the_environment_beats_the_file_and_the_file_beats_the_default() {
    let files = Files::new();
    let file = files.write("relay.toml", "[server]\nworkers = 3\nbind = \"127.0.0.1:1001\"\n");
    let from_environment = environment(&[("server.bind", "127.0.0.1:1002")]);
    let mut named_by_variable = from_environment.clone();
    named_by_variable.insert("RELAY_CONFIG".into(), file.clone());

    let by_argument = check_config(&["--config", &file], &from_environment).await;
    let by_variable = check_config(&[], &named_by_variable).await;

    for finished in [by_argument, by_variable] {
        let table = effective(finished);
        assert_eq!(setting(&table, "server.bind"), r#""127.0.0.1:1002""#);
        assert_eq!(setting(&table, "server.workers"), "3");
        assert_eq!(setting(&table, "rooms.max_name_bytes"), "256");
    }
}

#[tokio::test]
async fn lists_in_the_environment_are_separated_by_commas() {
    let environment = environment(&[
        ("server.trusted_proxies", "10.0.0.0/8,127.0.0.1/32"),
        ("server.allowed_origins", "https://app.example, https://*.example.com"),
        ("websocket.subprotocols", "one"),
    ]);
    let table = effective(check_config(&[], &environment).await);
    assert_eq!(setting(&table, "server.trusted_proxies"), r#"["10.0.0.0/8", "127.0.0.1/32"]"#);
    assert_eq!(
        setting(&table, "server.allowed_origins"),
        r#"["https://app.example", "https://*.example.com"]"#
    );
    assert_eq!(setting(&table, "websocket.subprotocols"), r#"["one"]"#);
}

#[tokio::test]
async fn what_check_config_prints_is_a_configuration_file_again() {
    let printed = check_config(&[], &environment(&[("server.workers", "3")])).await.expect_code(0).stdout;
    let files = Files::new();
    let file = files.write("printed.toml", &printed);
    let again = check_config(&["--config", &file], &BTreeMap::new()).await.expect_code(0).stdout;
    assert_eq!(again, printed);
}

#[tokio::test]
async fn an_unknown_key_is_refused_wherever_it_stands() {
    let files = Files::new();
    let file = files.write("relay.toml", "[server]\nbnid = \"127.0.0.1:0\"\n");
    let section = files.write("section.toml", "[sever]\nbind = \"127.0.0.1:0\"\n");
    let none = BTreeMap::new();
    for command in ["serve", "check-config"] {
        let finished = run(&[command, "--config", &file], &none).await;
        expect_problem(&finished, "server.bnid", &[&file]);
        let finished = run(&[command, "--config", &section], &none).await;
        expect_problem(&finished, "sever", &[&section]);
        let finished = run(&[command], &environment(&[("server.bnid", "127.0.0.1:0")])).await;
        expect_problem(&finished, "server.bnid", &["RELAY_SERVER__BNID", "environment"]);
        let finished =
            run(&[command], &BTreeMap::from([("RELAY_PORT".into(), "tcp://10.0.0.1:80".into())])).await;
        expect_problem(&finished, "port", &["RELAY_PORT", "environment"]);
    }
}

#[tokio::test]
async fn a_key_that_names_a_place_in_a_list_is_refused_and_makes_no_list() {
    let files = Files::new();
    let file = files.write("relay.toml", "\"redis[99999999999]\" = 1\n");
    let finished = check_config(&["--config", &file], &BTreeMap::new()).await;
    expect_problem(&finished, "redis[99999999999]", &[&file]);
    let finished =
        check_config(&[], &BTreeMap::from([("RELAY_REDIS__URL[-99999999999]".into(), "x".into())])).await;
    expect_problem(&finished, "redis.url[-99999999999]", &["RELAY_REDIS__URL[-99999999999]"]);
}

#[tokio::test]
async fn a_value_where_a_section_belongs_is_refused() {
    let files = Files::new();
    let file = files.write("relay.toml", "server = \"x\"\n");
    let bind = ("RELAY_SERVER__BIND".to_owned(), "127.0.0.1:0".to_owned());
    let finished = check_config(&["--config", &file], &BTreeMap::from([bind.clone()])).await;
    expect_problem(&finished, "server", &["section"]);
    let finished = check_config(&[], &BTreeMap::from([bind, ("RELAY_SERVER".into(), "x".into())])).await;
    expect_problem(&finished, "server", &["RELAY_SERVER "]);
}

#[tokio::test]
async fn all_problems_are_named_at_once_with_key_and_origin() {
    let files = Files::new();
    let content = r#"
        [server]
        bind = "nowhere"
        bnid = "127.0.0.1:0"
        workers = "many"
        trusted_proxies = ["10.0.0.0/99"]

        [websocket]
        ping_interval_seconds = 0

        [publish]
        confirm_timeout_ms = -5
    "#;
    let file = files.write("relay.toml", content);
    let environment = environment(&[
        ("redis.url", "reids://127.0.0.1:6379"),
        ("publish.secret_file", "/does/not/exist"),
        ("log.level", "loud"),
    ]);
    for command in ["serve", "check-config"] {
        let finished = run(&[command, "--config", &file], &environment).await;
        for key in [
            "server.bind",
            "server.bnid",
            "server.workers",
            "server.trusted_proxies",
            "websocket.ping_interval_seconds",
            "publish.confirm_timeout_ms",
        ] {
            expect_problem(&finished, key, &[&file]);
        }
        for key in ["redis.url", "publish.secret_file", "log.level"] {
            expect_problem(&finished, key, &[&variable(key), "environment"]);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_not_toml_is_refused_by_name() {
    let files = Files::new();
    let broken = files.write("broken.toml", "[server\nbind = 1");
    for file in [broken.as_str(), "/does/not/exist.toml"] {
        let finished = check_config(&["--config", file], &BTreeMap::new()).await;
        assert_eq!(finished.code, Some(78), "{finished:#?}");
        assert!(finished.output().contains(file), "{finished:#?}");
    }
}

#[tokio::test]
async fn a_redis_address_with_a_typo_is_refused() {
    let typos = ["reids://127.0.0.1:6379", "redis:/127.0.0.1", "redis://127.0.0.1:port", "127.0.0.1:6379"];
    for typo in typos {
        let environment = environment(&[("redis.url", typo), ("publish.secret", KEY)]);
        for command in ["serve", "check-config"] {
            let finished = run(&[command], &environment).await;
            expect_problem(&finished, "redis.url", &["RELAY_REDIS__URL", "environment"]);
        }
    }
}

#[tokio::test]
async fn with_redis_a_node_without_a_key_refuses_to_start() {
    let environment = environment(&[("redis.url", "redis://127.0.0.1:6379"), ("server.bind", "127.0.0.1:0")]);
    let finished = run(&["serve"], &environment).await.expect_code(78);
    for key in ["publish.secret", "webhooks.file"] {
        assert!(finished.output().contains(key), "it does not say what to do: {finished:#?}");
    }
}

#[tokio::test]
async fn one_problem_neither_hides_another_nor_makes_one() {
    let bad_url = environment(&[("redis.url", "reddis://localhost")]);
    let finished = check_config(&[], &bad_url).await;
    expect_problem(&finished, "redis.url", &["RELAY_REDIS__URL"]);
    expect_problem(&finished, "publish.secret", &["RELAY_PUBLISH__SECRET"]);
    let bad_file =
        environment(&[("redis.url", "redis://localhost"), ("publish.secret_file", "/does/not/exist")]);
    let finished = check_config(&[], &bad_file).await;
    expect_problem(&finished, "publish.secret_file", &["RELAY_PUBLISH__SECRET_FILE"]);
    assert!(finished.output().contains("1 problem "), "{finished:#?}");
    let files = Files::new();
    let file = files.write("relay.toml", "not toml");
    let finished = check_config(&["--config", &file], &environment(&[("server.workers", "x")])).await;
    expect_problem(&finished, "server.workers", &["RELAY_SERVER__WORKERS"]);
    assert!(finished.output().contains(&file), "{finished:#?}");
}

#[tokio::test]
async fn a_number_is_a_whole_number() {
    let files = Files::new();
    for number in ["25.7", "true", "\"1e3\"", "-1"] {
        let file = files.write("relay.toml", &format!("[server]\nworkers = {number}\n"));
        expect_problem(
            &check_config(&["--config", &file], &BTreeMap::new()).await,
            "server.workers",
            &[&file],
        );
    }
}
