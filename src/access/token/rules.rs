//! The rules file: which issuers' tokens may publish, and to which rooms.
//!
//! An issuer such as GitHub signs tokens for everybody's repositories. So a rule that does not say whose it is for lets
//! the whole world publish, and is refused.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use toml::Value;

use super::fetch::Source;
use super::verify::{Claims, RequiredClaims};
use crate::access::file::{Pattern, from_toml, may_read};
use crate::access::{Grant, RoomPattern, RoomScope};
use crate::config::secure_url;
use crate::room::Publisher;

/// Claims that say whose token it is, of GitHub Actions, GitLab and of issuers in general.
const IDENTITY: [&str; 10] = [
    "sub",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "workflow_ref",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
];

/// Those of them that are paths: up to a slash, a beginning belongs to one owner.
const PATHS: [&str; 5] = ["sub", "repository", "workflow_ref", "project_path", "namespace_path"];

/// Everyone who may publish by a token.
#[derive(Debug)]
pub struct Rules {
    issuers: Vec<Issuer>,
}

#[derive(Debug)]
pub struct Issuer {
    /// As its tokens spell it.
    name: String,
    pub source: Source,
    pub required: RequiredClaims,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    grant: Grant,
    conditions: Vec<Condition>,
}

/// A claim, and the values of which it must have one.
#[derive(Debug)]
struct Condition {
    claim: String,
    values: Vec<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<IssuerEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerEntry {
    url: String,
    jwks_url: Option<String>,
    audience: String,
    #[serde(default)]
    rule: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    id: String,
    rooms: Vec<String>,
    claims: BTreeMap<String, Value>,
    #[serde(default = "may_read")]
    may_read: bool,
}

impl Rules {
    /// From the content of a rules file. An error names every problem.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let file: File = from_toml(content)?;
        let mut problems = Problems::default();
        if file.issuer.is_empty() {
            problems.note("holds no [[issuer]]");
        }
        let (mut urls, mut ids) = (HashSet::new(), HashSet::new());
        let mut issuers = Vec::new();
        for (entry, number) in file.issuer.into_iter().zip(1..) {
            problems.at = format!("issuer {number} ({:?})", entry.url);
            if !urls.insert(entry.url.trim_end_matches('/').to_owned()) {
                problems.note("stands there twice; put its rules together");
            }
            issuers.extend(entry.check(&mut ids, &mut problems));
        }
        problems.none(Self { issuers })
    }

    /// The issuer that a token says it is from.
    pub fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }

    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.issuers.iter().map(|issuer| &issuer.source)
    }
}

impl Issuer {
    /// What the first rule grants whose conditions all hold.
    pub fn grant(&self, claims: &Claims) -> Option<&Grant> {
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.conditions.iter().all(|condition| condition.holds(claims)))?;
        Some(&rule.grant)
    }
}

impl Condition {
    fn holds(&self, claims: &Claims) -> bool {
        claims.text(&self.claim).is_some_and(|value| self.values.iter().any(|pattern| pattern.fits(value)))
    }

    /// Whether tokens of strangers cannot fulfil it.
    fn identifies(&self) -> bool {
        let path = PATHS.contains(&self.claim.as_str());
        IDENTITY.contains(&self.claim.as_str())
            && self.values.iter().all(|pattern| match pattern.beginning() {
                None => true,
                Some(beginning) => path && beginning.contains('/') && !beginning.starts_with('/'),
            })
    }
}

impl IssuerEntry {
    fn check(self, ids: &mut HashSet<String>, problems: &mut Problems) -> Option<Issuer> {
        let url = problems.take(secure_url(&self.url).map_err(|problem| format!("url {problem}")));
        let jwks_url =
            self.jwks_url.map(|url| secure_url(&url).map_err(|problem| format!("jwks_url {problem}")));
        let jwks_url = jwks_url.and_then(|url| problems.take(url));
        if self.audience.is_empty() {
            problems
                .note("audience is empty; name what the tokens are made for, such as the relay's own URL");
        }
        if self.rule.is_empty() {
            problems.note("has no [[issuer.rule]]");
        }
        let at = problems.at.clone();
        let mut rules = Vec::new();
        for (rule, number) in self.rule.into_iter().zip(1..) {
            problems.at = format!("{at}, rule {number} ({:?})", rule.id);
            if !ids.insert(rule.id.clone()) {
                problems.note("id stands there twice");
            }
            rules.extend(rule.check(problems));
        }
        let source = jwks_url.map(Source::Jwks).or(url.map(Source::Issuer))?;
        let required = RequiredClaims { issuer: Some(self.url.clone()), audience: Some(self.audience) };
        Some(Issuer { name: self.url, source, required, rules })
    }
}

impl RuleEntry {
    fn check(self, problems: &mut Problems) -> Option<Rule> {
        let publisher = Publisher::parse(&format!("oidc:{}", self.id)).map_err(|error| format!("id {error}"));
        let publisher = problems.take(publisher);
        if self.rooms.is_empty() {
            problems.note("rooms is empty; name the rooms it may publish to, or \"*\"");
        }
        let rooms = self
            .rooms
            .iter()
            .map(|room| RoomPattern::parse(room).map_err(|problem| format!("rooms {problem}")));
        let rooms = rooms.filter_map(|room| problems.take(room)).collect();
        let mut conditions = Vec::new();
        for (claim, value) in self.claims {
            let values = values(value).map_err(|problem| format!("claims.{claim} {problem}"));
            conditions.extend(problems.take(values).map(|values| Condition { claim, values }));
        }
        if !conditions.iter().any(Condition::identifies) {
            problems.note(
                "does not say whose tokens it is for, so anyone's repository could publish; add to claims \
                 repository (GitHub), project_path (GitLab) or sub, exact or with a beginning such as my-org/*",
            );
        }
        let grant = Grant { publisher: publisher?, rooms: RoomScope::new(rooms), may_read: self.may_read };
        Some(Rule { grant, conditions })
    }
}

/// One pattern or several. A number is meant as the text that issuers write for it.
fn values(value: Value) -> Result<Vec<Pattern>, String> {
    match value {
        Value::String(text) if text.is_empty() => Err("must not be empty".to_owned()),
        Value::String(text) => Ok(vec![Pattern::parse(&text)?]),
        Value::Integer(number) => Ok(vec![Pattern::parse(&number.to_string())?]),
        Value::Array(items) if !items.is_empty() => {
            let items = items.into_iter().map(|item| match item {
                Value::Array(_) => Err("must not be a list of lists".to_owned()),
                item => values(item),
            });
            Ok(items.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        _ => Err("must be a text or a list of texts".to_owned()),
    }
}

/// What is wrong with a file, and where.
#[derive(Default)]
struct Problems {
    at: String,
    found: Vec<String>,
}

impl Problems {
    fn note(&mut self, problem: impl AsRef<str>) {
        let problem = problem.as_ref();
        self.found.push(if self.at.is_empty() {
            problem.to_owned()
        } else {
            format!("{}: {problem}", self.at)
        });
    }

    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.note(problem)).ok()
    }

    fn none<T>(self, value: T) -> Result<T, String> {
        if self.found.is_empty() { Ok(value) } else { Err(self.found.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::room::RoomId;

    fn file(claims: &str) -> String {
        format!(
            "[[issuer]]\nurl = \"https://token.actions.githubusercontent.com\"\naudience = \"relay\"\n\
             [[issuer.rule]]\nid = \"flags\"\nrooms = [\"shop-*\"]\nclaims = {claims}\n"
        )
    }

    fn problem(file: &str) -> String {
        Rules::parse(file.as_bytes()).unwrap_err()
    }

    fn granted(rules: &Rules, claims: serde_json::Value) -> bool {
        let issuer = rules.issuer("https://token.actions.githubusercontent.com").unwrap();
        issuer.grant(&Claims::of_test(claims)).is_some()
    }

    #[test]
    fn a_rule_grants_its_rooms_when_all_conditions_hold() {
        let text = file(r#"{ repository = "acme/flags", ref = ["refs/heads/main", "refs/tags/*"] }"#);
        let rules = Rules::parse(text.as_bytes()).unwrap();
        assert!(granted(&rules, json!({"repository": "acme/flags", "ref": "refs/heads/main"})));
        assert!(granted(&rules, json!({"repository": "acme/flags", "ref": "refs/tags/v1"})));
        for claims in [
            json!({"repository": "acme/flags"}),
            json!({"repository": "acme/flags", "ref": "refs/heads/main2"}),
            json!({"repository": "acme/flags2", "ref": "refs/heads/main"}),
            json!({"repository": "evil/acme/flags", "ref": "refs/heads/main"}),
            json!({"repository": ["acme/flags"], "ref": "refs/heads/main"}),
            json!({"ref": "refs/heads/main"}),
        ] {
            assert!(!granted(&rules, claims.clone()), "{claims}");
        }
        let issuer = rules.issuer("https://token.actions.githubusercontent.com").unwrap();
        let claims = json!({"repository": "acme/flags", "ref": "refs/tags/v1"});
        let grant = issuer.grant(&Claims::of_test(claims)).unwrap();
        assert_eq!(grant.publisher.as_str(), "oidc:flags");
        assert!(grant.rooms.covers(&RoomId::parse("shop-1", 99).unwrap()));
        assert!(!grant.rooms.covers(&RoomId::parse("featurevisor", 99).unwrap()));
        assert!(rules.issuer("https://token.actions.githubusercontent.com/").is_none());
    }

    #[test]
    fn a_rule_that_everybodys_repository_fulfils_is_refused() {
        for claims in [
            "{}",
            r#"{ ref = "refs/heads/main" }"#,
            r#"{ repository = "*" }"#,
            r#"{ repository = "acme*" }"#,
            r#"{ repository_id = "12*" }"#,
            r#"{ repository_owner = "acme*" }"#,
            r#"{ repository = ["acme/flags", "*"] }"#,
            r#"{ sub = "repo:*" }"#,
            r#"{ project_path = "/*" }"#,
            r#"{ job_workflow_ref = "acme/flags/.github/workflows/publish.yml@refs/heads/main" }"#,
        ] {
            assert!(problem(&file(claims)).contains("whose tokens it is for"), "{claims}");
        }
        for claims in [
            r#"{ repository = "acme/*" }"#,
            "{ repository_id = 12 }",
            r#"{ repository_owner_id = "12", ref = "*" }"#,
            r#"{ sub = "repo:acme/flags:*" }"#,
            r#"{ project_path = "acme/flags" }"#,
        ] {
            assert!(Rules::parse(file(claims).as_bytes()).is_ok(), "{claims}");
        }
    }

    #[test]
    fn every_problem_of_a_rules_file_is_named() {
        let text = "[[issuer]]\nurl = \"http://issuer.example\"\naudience = \"\"\n\
                    [[issuer.rule]]\nid = \"a b\"\nrooms = [\"x*y\"]\nclaims = { sub = 1.5 }\n\
                    [[issuer]]\nurl = \"http://issuer.example\"\naudience = \"a\"\njwks_url = \"x\"\n";
        let problem = problem(text);
        for part in [
            "issuer 1 (\"http://issuer.example\")",
            "url must begin with https://",
            "audience is empty",
            "rule 1 (\"a b\")",
            "id must have",
            "rooms must be",
            "claims.sub must be",
            "issuer 2",
            "twice",
            "jwks_url must be",
            "no [[issuer.rule]]",
        ] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(super::Rules::parse(b"").unwrap_err().contains("no [[issuer]]"));
        assert!(
            super::Rules::parse(b"\n\n[[issuer]]\nurll = 1\n")
                .unwrap_err()
                .starts_with("line 4: unknown field")
        );
    }
}
