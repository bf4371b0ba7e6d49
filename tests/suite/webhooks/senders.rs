//! Whose deliveries are believed, and what the log tells of them.

use super::{
    GITHUB_SECRET, GITHUB_SIGNATURE, GITLAB_SIGNING_TOKEN, GITLAB_TOKEN, ROOM, STANDARD_SECRET,
    STANDARD_SIGNATURE, all, count, github, gitlab, hmac, ignored, json_post, now, path, pipeline, signed,
    standard, start, with_webhooks, workflow_run,
};
use crate::support::node::KEY;
use crate::support::program::Files;
use crate::support::wait::{SOON, eventually};
use serde_json::json;

#[tokio::test]
async fn gitlab_may_sign_instead_of_showing_its_token() {
    let files = Files::new();
    let node = start(&files).await;
    let body = pipeline("main", "success").to_string();
    let request = || json_post(&path(ROOM, "gitlab"), &body).header("X-Gitlab-Event", "Pipeline Hook");

    let answer = signed(request(), GITLAB_SIGNING_TOKEN, "id-1", now(), &body).send(node.public).await;
    assert_eq!((answer.status, &answer.json()["published_by"]), (200, &json!("webhook:lab-signed")));

    let unsigned = request().header("X-Gitlab-Token", GITLAB_SIGNING_TOKEN);
    let other = signed(request(), STANDARD_SECRET, "id-2", now(), &body);
    let late = signed(request(), GITLAB_SIGNING_TOKEN, "id-3", now() - 400, &body);
    for request in [request(), unsigned, other, late] {
        request.send(node.public).await.expect_problem(401, "unauthorized");
    }
    // While one replaces the other, GitLab sends both, and the relay need not know both.
    let both =
        signed(request(), STANDARD_SECRET, "id-4", now(), &body).header("X-Gitlab-Token", GITLAB_TOKEN);
    assert_eq!(both.send(node.public).await.json()["published_by"], "webhook:lab");
}

#[tokio::test]
async fn the_vector_of_github_is_believed_and_that_of_standard_webhooks_is_too_old() {
    let files = Files::new();
    let node = start(&files).await;
    // "Hello, World!" is signed well, and is no JSON.
    let vector =
        json_post(&path(ROOM, "github"), "Hello, World!").header("X-Hub-Signature-256", GITHUB_SIGNATURE);
    let answer = vector.header("X-GitHub-Event", "push").send(node.public).await;
    answer.expect_problem(400, "invalid_body");
    assert!(answer.json()["detail"].as_str().unwrap_or_default().contains("not JSON"), "{answer:?}");

    // Its signature is right, and years old, as the answer says.
    let vector = json_post(&path(ROOM, "standard"), r#"{"test": 2432232314}"#)
        .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
        .header("webhook-timestamp", "1614265330")
        .header("webhook-signature", STANDARD_SIGNATURE);
    let answer = vector.send(node.public).await;
    answer.expect_problem(401, "unauthorized");
    assert!(answer.json()["detail"].as_str().unwrap_or_default().contains("clock"), "{answer:?}");
}

#[tokio::test]
async fn a_delivery_without_a_good_signature_is_refused_with_401() {
    let files = Files::new();
    let node = start(&files).await;
    let body = workflow_run("Publish", "main", "success").to_string();
    let tampered = body.replace("octo-repo", "evil-repo");
    let good = hex::encode(hmac(GITHUB_SECRET.as_bytes(), &[&body]));
    let with = |body: &str, signature: &str| {
        let request = json_post(&path(ROOM, "github"), body).header("X-GitHub-Event", "workflow_run");
        request.header("X-Hub-Signature-256", signature)
    };
    let message = r#"{"type": "datafile.published"}"#;
    let stale = |seconds: i64| standard(ROOM, "m", now().saturating_add_signed(seconds), message);
    let moved = json_post(&path(ROOM, "standard"), message)
        .header("webhook-id", "other")
        .header("webhook-timestamp", &now().to_string())
        .header("webhook-signature", STANDARD_SIGNATURE);
    let requests = [
        json_post(&path(ROOM, "github"), &body),
        json_post(&path(ROOM, "github"), &body).bearer(KEY),
        with(&body, ""),
        with(&body, &good),
        with(&body, &format!("sha1={good}")),
        with(&body, "sha256=00"),
        with(&tampered, &format!("sha256={good}")),
        with(&format!("{body} "), &format!("sha256={good}")),
        with(&body, &format!("sha256={good}")).header("X-Hub-Signature-256", &format!("sha256={good}")),
        github(ROOM, "It's a secret to Everybody", "workflow_run", "d", &body),
        github(ROOM, GITLAB_TOKEN, "workflow_run", "d", &body),
        gitlab(ROOM, "the secret token at gitlab ", "Push Hook", "d", "{}").header("X-Gitlab-Token", "twice"),
        gitlab(ROOM, "the secret token at gitla", "Push Hook", "d", "{}"),
        gitlab(ROOM, GITHUB_SECRET, "Push Hook", "d", "{}"),
        json_post(&path(ROOM, "gitlab"), "{}").header("X-Gitlab-Event", "Push Hook"),
        json_post(&path(ROOM, "standard"), message),
        stale(-310),
        stale(310),
        moved,
        signed(json_post(&path(ROOM, "standard"), message), GITLAB_SIGNING_TOKEN, "m", now(), message),
    ];
    for request in &requests {
        let answer = request.send(node.public).await;
        assert_eq!(answer.status, 401, "{request:?} {answer:?}");
        answer.expect_problem(401, "unauthorized");
    }
    assert_eq!(node.room(ROOM).await.status, 404, "something was published");
    assert_eq!(count(&node, "unauthorized").await, requests.len() as f64);
}

#[tokio::test]
async fn a_room_that_is_not_the_webhooks_is_refused_with_403() {
    let files = Files::new();
    let node = start(&files).await;
    let body = json!({"ref": "refs/heads/main", "deleted": false}).to_string();
    for (room, status) in
        [("shop-1", 200), ("feature%76isor", 200), ("Featurevisor", 403), ("shop", 403), ("other", 403)]
    {
        let answer = github(room, GITHUB_SECRET, "push", room, &body).send(node.public).await;
        assert_eq!(answer.status, status, "{room}: {answer:?}");
        if status == 403 {
            answer.expect_problem(403, "forbidden");
        }
    }
    let answer = github("broken%ff", GITHUB_SECRET, "push", "d", &body).send(node.public).await;
    answer.expect_problem(400, "invalid_room");
    assert_eq!(count(&node, "forbidden").await, 3.0);
    assert_eq!(node.room("other").await.status, 404, "something was published");
}

#[tokio::test]
async fn the_log_names_webhook_secret_and_delivery_and_shows_neither_secret_nor_payload() {
    let files = Files::new();
    let secrets = "[\"a secret that is replaced\", \"It's a Secret to Everybody\"]";
    let file = all().replacen(&format!("{GITHUB_SECRET:?}"), secrets, 1);
    let node = with_webhooks(&files.write("webhooks.toml", &file)).set("log.level", "trace").start().await;
    let body = json!({"ref": "refs/heads/main", "deleted": false, "pusher": "payload-hunter2"}).to_string();
    assert_eq!(github(ROOM, GITHUB_SECRET, "push", "72d3162e", &body).send(node.public).await.status, 200);
    let other = body.replace("main", "branch-hunter2");
    assert!(
        ignored(&github(ROOM, GITHUB_SECRET, "push", "72d3162f", &other).send(node.public).await)
            .contains("hunter2")
    );
    gitlab(ROOM, "wrong-hunter2", "Push Hook", "d", &body)
        .send(node.public)
        .await
        .expect_problem(401, "unauthorized");

    let logged = async |message: &str, delivery: &str| {
        eventually(SOON, "the delivery is logged", async || {
            let found = node.log().into_iter().find(|line| line["message"] == message);
            found.filter(|line| line["delivery"] == delivery).ok_or_else(|| node.output())
        })
        .await
    };
    let asks = logged("webhook asks for a refresh", "72d3162e").await;
    assert_eq!(
        (&asks["webhook"], &asks["secret"], &asks["event"]),
        (&json!("site"), &json!("secret 2"), &json!("push"))
    );
    let left = logged("webhook ignored", "72d3162f").await;
    assert_eq!(left["unmet"], "ref");
    let output = node.output();
    for text in ["hunter2", GITHUB_SECRET, GITLAB_TOKEN, "sha256=", "replaced"] {
        assert!(!output.contains(text), "{text} stands in the log:\n{output}");
    }
}
