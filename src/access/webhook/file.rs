//! The webhooks file: TOML, with secrets in it or in files that it names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fields::{Fields, one_or_several};
use super::filter::{Condition, Rule};
use super::payload::PayloadPath;
use super::proof::WebhookSecret;
use super::{Kind, Webhook, Webhooks};
use crate::access::file::{Pattern, from_toml};
use crate::access::{Grant, RoomPattern, RoomScope};
use crate::room::Publisher;

/// Secrets as they stand in the file, or in the files it names, each with the key it stands under.
type Texts = Vec<(String, String)>;

/// The contents of the files with secrets.
type SecretFiles<'a> = HashMap<PathBuf, &'a Vec<u8>>;

/// The files with secrets that a webhooks file names. They are read with it, in this order.
pub fn secret_files(file: &[u8]) -> Vec<PathBuf> {
    let Ok(mut table) = from_toml::<Table>(file) else { return Vec::new() };
    let Some(Value::Array(webhooks)) = table.remove("webhook") else { return Vec::new() };
    let named = webhooks.iter().filter_map(|webhook| webhook.get("secret_file"));
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in named.filter_map(one_or_several).flatten() {
        let path = PathBuf::from(path);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

impl Webhooks {
    /// Takes the content of a webhooks file, and after it those of the files with secrets that it names. An error names
    /// every problem, and repeats no secret.
    pub fn parse(contents: &[Vec<u8>]) -> Result<Self, String> {
        let Some((file, secrets)) = contents.split_first() else { return Err("was not read".to_owned()) };
        let secret_files: SecretFiles<'_> = secret_files(file).into_iter().zip(secrets).collect();
        let mut problems = Vec::new();
        let mut top = Fields::new(from_toml(file)?, String::new(), &mut problems);
        let entries = top.tables("webhook");
        top.finish();
        if entries.is_empty() && problems.is_empty() {
            problems.push("holds no [[webhook]]".to_owned());
        }
        let mut webhooks: Vec<Webhook> = Vec::new();
        let mut used: Vec<(Kind, String, String)> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let id = entry.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let name = format!("webhook {} ({id:?})", index + 1);
            let mut fields = Fields::new(entry, format!("{name}: "), &mut problems);
            let (webhook, texts) = webhook(&mut fields, &secret_files);
            if webhooks.iter().any(|other| other.id == id) {
                fields.problem("id stands there twice");
            }
            for (place, text) in texts {
                match used.iter().find(|(kind, other, _)| *kind == webhook.kind && *other == text) {
                    Some((_, _, other)) => fields.problem(&format!("{place} is the same as that of {other}")),
                    None => used.push((webhook.kind, text, name.clone())),
                }
            }
            fields.finish();
            webhooks.push(webhook);
        }
        if problems.is_empty() { Ok(Self(webhooks)) } else { Err(problems.join("; ")) }
    }
}

/// One entry. What cannot be read is noted, and left out or stood in for.
fn webhook(fields: &mut Fields<'_>, files: &SecretFiles<'_>) -> (Webhook, Texts) {
    let id = fields.required_text("id");
    let publisher = fields.parsed("id", &format!("webhook:{id}"), |text| {
        Publisher::parse(text).map_err(|error| error.to_string())
    });
    let label = fields.required_text("kind");
    let kind = fields.parsed("kind", &label, |label| {
        Kind::parse(label).ok_or_else(|| format!("must be github, gitlab or standard, not {label:?}"))
    });
    let rooms = fields.texts("rooms");
    if rooms.is_empty() {
        fields.problem("rooms is empty; name the rooms it may publish to, or \"*\"");
    }
    let rooms = rooms.iter().filter_map(|room| fields.parsed("rooms", room, RoomPattern::parse)).collect();
    let texts = secrets(fields, files);
    let secrets = texts.iter().filter_map(|(place, text)| {
        let secret = WebhookSecret::parse(kind?, text, place.clone());
        secret.map_err(|problem| fields.problem(&format!("{place} {problem}"))).ok()
    });
    let secrets = secrets.collect();
    let rules = fields.tables("on");
    let rules =
        rules.into_iter().enumerate().map(|(index, entry)| rule(fields.below(index, entry))).collect();
    let grant =
        Grant { publisher: publisher.unwrap_or_default(), rooms: RoomScope::new(rooms), may_read: false };
    (Webhook { id, kind: kind.unwrap_or(Kind::Standard), grant, secrets, rules }, texts)
}

fn secrets(fields: &mut Fields<'_>, files: &SecretFiles<'_>) -> Texts {
    let given = fields.texts("secret");
    let named = fields.texts("secret_file");
    if given.is_empty() && named.is_empty() {
        fields.problem("has neither secret nor secret_file");
    }
    let mut texts = numbered("secret", given);
    for (place, path) in numbered("secret_file", named) {
        let content = files.get(Path::new(&path)).map(|content| std::str::from_utf8(content));
        match content {
            Some(Ok(text)) => texts.push((place, text.trim().to_owned())),
            Some(Err(_)) => fields.problem(&format!("{place}: {path} is not text")),
            None => fields.problem(&format!("{place}: {path} was not read")),
        }
    }
    texts
}

/// Names the first of one as the key itself, and those of several by their number.
fn numbered(key: &str, texts: Vec<String>) -> Texts {
    let alone = texts.len() == 1;
    let place = |index| if alone { key.to_owned() } else { format!("{key} {}", index + 1) };
    texts.into_iter().enumerate().map(|(index, text)| (place(index), text.trim().to_owned())).collect()
}

fn rule(mut fields: Fields<'_>) -> Rule {
    let events = fields.texts("event");
    let events = events.iter().filter_map(|event| fields.parsed("event", event, Pattern::parse)).collect();
    let revision = fields.text("revision");
    let revision = revision.and_then(|path| fields.parsed("revision", &path, PayloadPath::parse));
    let mut conditions = Vec::new();
    flatten("", fields.table("when"), &mut conditions);
    let mut when = Vec::new();
    for (path, value) in conditions {
        let Some(texts) = scalars(&value) else {
            fields
                .problem(&format!("when: {path} must be a text, a number, true or false, or a list of them"));
            continue;
        };
        let patterns = texts.iter().filter_map(|text| fields.parsed(&path, text, Pattern::parse)).collect();
        if let Some(path) = fields.parsed("when", &path, PayloadPath::parse) {
            when.push(Condition { path, any_of: patterns });
        }
    }
    fields.finish();
    Rule { events, when, revision }
}

/// `a.b = "x"` without quotes around its key is a table in a table, and means the same as with them.
fn flatten(path: &str, table: Table, flat: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match value {
            Value::Table(table) => flatten(&path, table, flat),
            value => flat.push((path, value)),
        }
    }
}

/// What is compared with a scalar of JSON, as text.
fn scalars(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        Value::Array(list) if !list.is_empty() => list.iter().map(scalar).collect(),
        value => scalar(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::webhook::{Action, Payload};

    const SITE: &str = r#"
        [[webhook]]
        id = "site"
        kind = "github"
        secret = ["a new secret of the site", "an old secret of the site"]
        rooms = ["featurevisor", "shop-*"]

        [[webhook.on]]
        event = "workflow_run"
        when = { action = "completed", "workflow_run.conclusion" = "success", workflow_run.name = ["Publish", "Deploy*"] }
        revision = "workflow_run.head_sha"

        [[webhook.on]]
        event = ["push", "page_build"]
        when.ref = "refs/heads/main"
        when.forced = false
    "#;

    fn read(file: &str) -> Result<Webhooks, String> {
        Webhooks::parse(&[file.as_bytes().to_vec()])
    }

    #[test]
    fn a_file_says_who_sends_what_to_which_rooms() {
        let webhooks = read(SITE).unwrap();
        let [site] = webhooks.0.as_slice() else { panic!("{webhooks:?}") };
        assert_eq!((site.id.as_str(), site.kind, site.secrets.len()), ("site", Kind::Github, 2));
        assert_eq!(site.grant.publisher.as_str(), "webhook:site");
        assert_eq!(format!("{:?}", site.secrets), "[WebhookSecret(secret 1), WebhookSecret(secret 2)]");
        let judge =
            |event, json: &str| site.judge(Some(event), &Payload::parse(None, json.as_bytes()).unwrap());
        let run = |name: &str| {
            let run = format!(r#"{{"conclusion": "success", "name": {name:?}, "head_sha": "3484a3f"}}"#);
            judge("workflow_run", &format!(r#"{{"action": "completed", "workflow_run": {run}}}"#))
        };
        for name in ["Publish", "Deploy to Pages"] {
            assert!(matches!(run(name), Action::Publish(Some(revision)) if revision.as_str() == "3484a3f"));
        }
        assert!(matches!(run("Test"), Action::Ignore(_)));
        let main = r#"{"ref": "refs/heads/main", "forced": false}"#;
        assert_eq!(judge("push", main), Action::Publish(None));
        assert_eq!(judge("page_build", main), Action::Publish(None));
        assert!(matches!(judge("star", main), Action::Ignore(_)));
        assert_eq!(judge("ping", "{}"), Action::Ping);
    }

    #[test]
    fn without_a_rule_every_delivery_asks_for_a_refresh() {
        let file = "[[webhook]]\nid = \"cms\"\nkind = \"standard\"\nrooms = \"*\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
        let webhooks = read(file).unwrap();
        let anything = Payload::parse(None, b"7").unwrap();
        assert_eq!(webhooks.0[0].judge(None, &anything), Action::Publish(None));
    }

    #[test]
    fn secrets_can_stand_in_files_of_their_own() {
        let file = "[[webhook]]\nid = \"a\"\nkind = \"gitlab\"\nrooms = \"*\"\nsecret_file = [\"/run/new\", \"/run/old\"]\n\
                    [[webhook]]\nid = \"b\"\nkind = \"github\"\nrooms = \"*\"\nsecret_file = \"/run/old\"";
        let named = secret_files(file.as_bytes());
        assert_eq!(named, [PathBuf::from("/run/new"), PathBuf::from("/run/old")]);
        let secrets = [b"a new secret of gitlab\n".to_vec(), b"an old secret of gitlab\n".to_vec()];
        let webhooks = Webhooks::parse(&[&[file.as_bytes().to_vec()], secrets.as_slice()].concat()).unwrap();
        assert_eq!(
            format!("{:?}", webhooks.0[0].secrets),
            "[WebhookSecret(secret_file 1), WebhookSecret(secret_file 2)]"
        );
        assert!(read(file).unwrap_err().contains("secret_file 1: /run/new was not read"));
    }

    #[test]
    fn every_problem_is_named_and_no_secret_repeated() {
        let file = r#"
            webhoks = 1
            [[webhook]]
            id = "a b"
            kind = "bitbucket"
            secrets = "hunter2"
            rooms = ["x*y"]
            [[webhook]]
            kind = "github"
            secret = "hunter2"
            [[webhook.on]]
            evnt = "push"
            event = "pu*sh"
            when = { ref = [], "a..b" = "x", c = 1.5 }
            revision = ""
        "#;
        let problem = read(file).unwrap_err();
        for part in [
            "unknown key webhoks; did you mean webhook?",
            "webhook 1 (\"a b\"): id must have",
            "kind must be github, gitlab or standard",
            "unknown key secrets; did you mean secret?",
            "rooms must be a room",
            "has neither secret nor secret_file",
            "webhook 2 (\"\"): has no id",
            "secret has fewer than 16 bytes",
            "webhook 2 (\"\"): rooms is empty",
            "webhook 2 (\"\"): on 1: unknown key evnt; did you mean event?",
            "event must be a text",
            "when: ref must be",
            "when must be a path",
            "when: c must be",
            "revision must be a path",
        ] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(!problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn what_is_not_toml_is_told_by_its_line_alone() {
        let problem = read("[[webhook]]\nsecret = \"hunter2\" oops\n").unwrap_err();
        assert!(problem.starts_with("line 2: ") && !problem.contains("hunter2"), "{problem}");
        assert!(read("").unwrap_err().contains("holds no [[webhook]]"));
        assert!(read("webhook = 1").unwrap_err().contains("must be tables"));
        assert!(read("webhook = [1]").unwrap_err().contains("must be tables"));
        assert!(Webhooks::parse(&[b"\xff".to_vec()]).unwrap_err().contains("UTF-8"));
        assert!(secret_files(b"webhook = [1]").is_empty());
    }

    #[test]
    fn webhooks_that_could_be_taken_for_one_another_are_refused() {
        let problem = read(&SITE.repeat(2)).unwrap_err();
        assert!(problem.contains("webhook 2 (\"site\"): id stands there twice"), "{problem}");
        let same = "secret 1 is the same as that of webhook 1 (\"site\")";
        assert!(problem.contains(same), "{problem}");
        assert!(read(&format!("{SITE}{}", SITE.replace("site", "other"))).is_ok());
    }
}
