//! Which deliveries ask for a refresh: one mechanism for every kind, the name of the event and what stands in its payload.

use std::fmt;

use tracing::warn;

use super::payload::{Payload, PayloadPath};
use crate::access::file::Pattern;
use crate::room::Revision;

/// What is shown of a value that did not fit.
const SHOWN_CHARS: usize = 80;

/// Something of a delivery, and what it may be.
#[derive(Debug)]
pub struct Condition {
    pub path: PayloadPath,
    pub any_of: Vec<Pattern>,
}

/// A kind of delivery that asks for a refresh.
#[derive(Debug)]
pub struct Rule {
    /// Empty = any event.
    pub events: Vec<Pattern>,
    /// All must hold.
    pub when: Vec<Condition>,
    /// Where the revision stands.
    pub revision: Option<PayloadPath>,
}

/// The first thing that did not fit a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The path, or None for the name of the event.
    path: Option<String>,
    /// As the delivery has it, shortened.
    found: Option<String>,
    wanted: Vec<String>,
}

/// Why no rule was met. [`fmt::Display`] shows what the delivery held: for its sender, not for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ignored(Vec<Mismatch>);

impl Rule {
    /// What does not fit, if anything.
    pub fn mismatch(&self, event: Option<&str>, payload: &Payload) -> Option<Mismatch> {
        let wanted =
            |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        let fits = |patterns: &[Pattern], found: Option<&str>| {
            found.is_some_and(|found| patterns.iter().any(|pattern| pattern.fits(found)))
        };
        if !self.events.is_empty() && !fits(&self.events, event) {
            return Some(Mismatch { path: None, found: event.map(shortened), wanted: wanted(&self.events) });
        }
        for Condition { path, any_of } in &self.when {
            let found = payload.scalar(path);
            if !fits(any_of, found.as_deref()) {
                let found = found.as_deref().map(shortened);
                return Some(Mismatch {
                    path: Some(path.as_str().to_owned()),
                    found,
                    wanted: wanted(any_of),
                });
            }
        }
        None
    }

    /// The revision of a delivery that fits. Without one that can be, it is published all the same.
    pub fn revision(&self, payload: &Payload) -> Option<Revision> {
        let path = self.revision.as_ref()?;
        let revision = payload.scalar(path).and_then(|text| Revision::parse(&text).ok());
        if revision.is_none() {
            warn!(path = path.as_str(), "no revision stands there in the payload, published without one");
        }
        revision
    }
}

impl Ignored {
    pub(super) fn add(&mut self, mismatch: Mismatch) {
        self.0.push(mismatch);
    }

    /// What did not fit, without what the delivery held.
    pub fn paths(&self) -> String {
        let paths: Vec<&str> =
            self.told().map(|mismatch| mismatch.path.as_deref().unwrap_or("event")).collect();
        paths.join(", ")
    }

    /// Of several rules those that are for this event tell more than those for others.
    fn told(&self) -> impl Iterator<Item = &Mismatch> {
        let any_for_event = self.0.iter().any(|mismatch| mismatch.path.is_some());
        self.0.iter().filter(move |mismatch| mismatch.path.is_some() || !any_for_event)
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mismatch) in self.told().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mismatch}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.as_deref().unwrap_or("the event");
        match &self.found {
            Some(found) => write!(f, "{name} is {found:?}, not ")?,
            None => write!(f, "{name} is not there, it should be ")?,
        }
        let wanted: Vec<String> = self.wanted.iter().map(|wanted| format!("{wanted:?}")).collect();
        f.write_str(&wanted.join(" or "))
    }
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn rule(events: &[&str], when: &[(&str, &[&str])]) -> Rule {
        let when = when.iter().map(|(path, any_of)| Condition {
            path: PayloadPath::parse(path).unwrap(),
            any_of: patterns(any_of),
        });
        Rule {
            events: patterns(events),
            when: when.collect(),
            revision: Some(PayloadPath::parse("sha").unwrap()),
        }
    }

    fn payload(json: &str) -> Payload {
        Payload::parse(None, json.as_bytes()).unwrap()
    }

    #[test]
    fn an_event_and_all_conditions_must_fit() {
        let rule =
            rule(&["push"], &[("ref", &["refs/heads/main", "refs/tags/v*"]), ("n.forced", &["false"])]);
        let fits = |event, json| rule.mismatch(event, &payload(json)).is_none();
        assert!(fits(Some("push"), r#"{"ref": "refs/heads/main", "n": {"forced": false}}"#));
        assert!(fits(Some("push"), r#"{"ref": "refs/tags/v1", "n": {"forced": "false"}}"#));
        for json in [
            r#"{"ref": "refs/heads/main2", "n": {"forced": false}}"#,
            r#"{"ref": "refs/heads/main", "n": {"forced": null}}"#,
            r#"{"ref": ["refs/heads/main"], "n": {"forced": false}}"#,
            r#"{"n": {"forced": false}}"#,
            "[]",
        ] {
            assert!(!fits(Some("push"), json), "{json}");
        }
        assert!(!fits(Some("pushes"), r#"{"ref": "refs/heads/main", "n": {"forced": false}}"#));
        assert!(!fits(None, r#"{"ref": "refs/heads/main", "n": {"forced": false}}"#));
    }

    #[test]
    fn a_star_stands_for_any_value_but_not_for_none() {
        let rule = rule(&[], &[("tag", &["*"])]);
        assert!(rule.mismatch(None, &payload(r#"{"tag": ""}"#)).is_none());
        assert!(rule.mismatch(None, &payload(r#"{"tag": null}"#)).is_some());
    }

    #[test]
    fn what_did_not_fit_is_told_by_the_rules_that_were_for_the_event() {
        let rules = [
            rule(&["push"], &[("ref", &["refs/heads/main"])]),
            rule(&["workflow_run"], &[("run.conclusion", &["success", "neutral"])]),
        ];
        let told = |event, json: &str| {
            let mut ignored = Ignored::default();
            rules.iter().filter_map(|rule| rule.mismatch(event, &payload(json))).for_each(|m| ignored.add(m));
            (ignored.to_string(), ignored.paths())
        };
        let failed = told(Some("workflow_run"), r#"{"run": {"conclusion": "failure"}}"#);
        assert_eq!(failed.0, r#"run.conclusion is "failure", not "success" or "neutral""#);
        assert_eq!(failed.1, "run.conclusion");
        let other = told(Some("star"), "{}");
        assert_eq!(other.0, r#"the event is "star", not "push"; the event is "star", not "workflow_run""#);
        assert_eq!(told(Some("push"), "{}").0, r#"ref is not there, it should be "refs/heads/main""#);
        let long = "x".repeat(1000);
        assert!(told(Some("push"), &format!(r#"{{"ref": {long:?}}}"#)).0.len() < 200);
    }

    #[test]
    fn a_revision_that_cannot_be_is_left_out() {
        let rule = rule(&[], &[]);
        let revision =
            |json: &str| rule.revision(&payload(json)).map(|revision| revision.as_str().to_owned());
        assert_eq!(revision(r#"{"sha": "3484a3f"}"#).as_deref(), Some("3484a3f"));
        assert_eq!(revision(r#"{"sha": 42}"#).as_deref(), Some("42"));
        assert_eq!(revision(r#"{"sha": "a\nb"}"#), None);
        assert_eq!(revision("{}"), None);
    }
}
