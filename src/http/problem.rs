//! Errors on `/v1`: problem documents (RFC 9457) with a stable `code`.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde::Serialize;

/// Seconds after which a client may try again what is unavailable now: about what a link takes to be rebuilt.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// What went wrong, by its stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    BodyTooLarge,
    InvalidBody,
    InvalidRoom,
    InvalidParameter,
    Timeout,
    RateLimited,
    Full,
    BrokerUnavailable,
    IssuerUnavailable,
}

impl Code {
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidBody | Self::InvalidRoom | Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Full | Self::BrokerUnavailable | Self::IssuerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// One thing that went wrong. `detail` says what to do about it.
#[derive(Debug)]
pub struct Problem {
    pub code: Code,
    pub detail: Cow<'static, str>,
}

#[derive(Serialize)]
struct Document<'a> {
    /// The code tells more than a type of our own could; with this type, RFC 9457 wants the status' phrase as title.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: Code,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub fn into_response(self) -> HttpResponse {
        let status = self.code.status();
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let mut response = HttpResponse::build(status);
        match self.code {
            Code::Unauthorized => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Code::Full | Code::BrokerUnavailable | Code::IssuerUnavailable | Code::RateLimited => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()));
            }
            _ => {}
        }
        response
            .content_type("application/problem+json")
            .body(serde_json::to_vec(&document).unwrap_or_default())
    }
}
