//! What was delivered: JSON, as itself or in a form.

use serde_json::Value;
use thiserror::Error;
use url::form_urlencoded;

/// The field that holds the JSON when GitHub sends a form.
const FORM_FIELD: &str = "payload";

/// The JSON of a delivery.
#[derive(Debug)]
pub struct Payload(Value);

/// Why a body holds no payload. None of it is repeated.
#[derive(Debug, Error)]
pub enum PayloadError {
    #[error("the content type is {0:?}; set it to application/json in the webhook's settings")]
    ContentType(String),
    #[error("the form has no field named payload; set the content type of the webhook to application/json")]
    NoField,
    #[error("the body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Keys of objects and numbers of list entries, with dots in between: `workflow_run.head_commit.id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadPath(String);

impl PayloadPath {
    /// An error says what a path looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.split('.').any(str::is_empty) {
            return Err(format!(
                "must be a path into the payload such as workflow_run.head_sha, not {text:?}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Payload {
    /// Reads a body whose signature was found good.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, PayloadError> {
        let content_type = content_type.unwrap_or("application/json");
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self(serde_json::from_slice(body)?)),
            "application/x-www-form-urlencoded" => {
                let mut fields = form_urlencoded::parse(body);
                let (_, json) = fields.find(|(name, _)| name == FORM_FIELD).ok_or(PayloadError::NoField)?;
                Ok(Self(serde_json::from_str(&json)?))
            }
            json if json.ends_with("+json") => Ok(Self(serde_json::from_slice(body)?)),
            _ => Err(PayloadError::ContentType(essence.chars().take(100).collect())),
        }
    }

    /// The text, number or flag that stands there, as a text.
    pub fn scalar(&self, path: &PayloadPath) -> Option<String> {
        let mut here = &self.0;
        for key in path.0.split('.') {
            here = match here {
                Value::Object(object) => object.get(key)?,
                Value::Array(list) => list.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        match here {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The text of a field of the object itself.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_itself_and_out_of_a_form() {
        let json = br#"{"a": {"b": ["x", 7, true, null, {}]}}"#;
        let form =
            b"x=1&payload=%7B%22a%22%3A+%7B%22b%22%3A+%5B%22x%22%2C+7%2C+true%2C+null%2C+%7B%7D%5D%7D%7D";
        for (content_type, body) in [
            (Some("application/json"), json.as_slice()),
            (Some("Application/JSON; charset=utf-8"), json),
            (Some("application/cloudevents+json"), json),
            (None, json),
            (Some("application/x-www-form-urlencoded"), form),
        ] {
            let payload = Payload::parse(content_type, body).unwrap();
            let at = |path| payload.scalar(&PayloadPath::parse(path).unwrap());
            assert_eq!(at("a.b.0").as_deref(), Some("x"), "{content_type:?}");
            assert_eq!(at("a.b.1").as_deref(), Some("7"));
            assert_eq!(at("a.b.2").as_deref(), Some("true"));
            for nothing in ["a", "a.b", "a.b.3", "a.b.4", "a.b.5", "a.b.x", "a.b.0.c", "c"] {
                assert_eq!(at(nothing), None, "{nothing}");
            }
        }
    }

    #[test]
    fn what_holds_no_json_is_refused_with_what_to_set() {
        for (content_type, body, part) in [
            ("text/xml", "<a/>", "set it to application/json"),
            ("application/x-www-form-urlencoded", "a=1", "no field named payload"),
            ("application/x-www-form-urlencoded", "payload=%7B", "not JSON"),
            ("application/json", "{hunter2", "not JSON"),
            ("application/json", "", "not JSON"),
        ] {
            let error = Payload::parse(Some(content_type), body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
        let deep = "[".repeat(100_000);
        assert!(Payload::parse(None, deep.as_bytes()).is_err());
    }
}
