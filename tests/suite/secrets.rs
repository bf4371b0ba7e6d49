//! Secrets: they may stand in files, and they are never shown.

use crate::settings::{check_config, effective, setting};
use crate::support::http::Request;
use crate::support::node::{KEY, Setup};
use crate::support::program::{Files, environment};
use crate::support::redis::TestRedis;

#[tokio::test]
async fn a_secret_can_stand_in_a_file() {
    let redis = TestRedis::start_with_password("redis-password").await;
    let files = Files::new();
    let key_file = files.write("key", "key-from-a-file\n");
    let password_file = files.write("password", "redis-password\n");
    let setup = Setup::redis(&redis).unset("publish.secret");
    let setup = setup.set("publish.secret_file", &key_file).set("redis.password_file", &password_file);
    let node = setup.start().await;

    let publish = |key: &str| Request::post("/v1/rooms/featurevisor/refresh").bearer(key);

    assert_eq!(publish("key-from-a-file").send(node.public).await.status, 200);
    publish("key-from-a-file-").send(node.public).await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn check_config_hides_every_secret() {
    let files = Files::new();
    let key_file = files.write("key", "secret-number-one");
    let runs = [
        vec![("publish.secret", "secret-number-one"), ("redis.password", "secret-number-two")],
        vec![
            ("publish.secret_file", key_file.as_str()),
            ("redis.url", "redis://:secret-number-two@127.0.0.1:6379"),
        ],
        vec![
            ("publish.secret", "secret-number-one"),
            ("redis.url", "redis://user:secret-number-two@127.0.0.1:6379"),
        ],
    ];
    for settings in runs {
        let finished = check_config(&[], &environment(&settings)).await;
        assert!(!finished.output().contains("secret-number"), "{finished:#?}");
        let table = effective(finished);
        if settings.iter().any(|(key, _)| *key == "redis.url") {
            assert!(setting(&table, "redis.url").contains("127.0.0.1:6379"), "{table:?}");
        }
    }
}

#[tokio::test]
async fn a_problem_does_not_show_the_secret_it_is_about() {
    let settings = [
        ("redis.url", "reids://user:secret-number-two@127.0.0.1:6379"),
        ("publish.secret", "secret-number-one"),
    ];
    let finished = check_config(&[], &environment(&settings)).await.expect_code(78);
    assert!(!finished.output().contains("secret-number"), "{finished:#?}");
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    let mut redis = TestRedis::start_with_password("redis-password").await;
    let url = redis.url().replace("redis://", "redis://:redis-password@");
    let node = Setup::redis(&redis).set("redis.url", url).set("log.level", "trace").start().await;
    for key in [KEY, "a-wrong-key"] {
        Request::post("/party/featurevisor")
            .header("X-PartyKit-Secret", key)
            .body("{}")
            .send(node.public)
            .await;
        Request::post("/v1/rooms/featurevisor/refresh").bearer(key).send(node.public).await;
    }
    redis.kill9().await;
    node.until_metric("relay_redis_link_up", &[], 0.0).await;
    Request::post("/v1/rooms/featurevisor/refresh").bearer(KEY).send(node.public).await;

    let output = node.output();
    assert!(output.contains("listening"), "nothing was logged");
    for secret in [KEY, "a-wrong-key", "redis-password"] {
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} was logged");
    }
}
