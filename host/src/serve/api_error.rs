//! Errors as the OpenAI API has them: `{"error":{"message","type","param","code"}}`.

use std::fmt;

use hyper::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::reply::{self, Body};

/// Why a request is not answered.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: &'static str,
    allow: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl fmt::Display) -> ApiError {
        ApiError { status, message: message.to_string(), param: None, code, allow: None }
    }

    /// 400: a field is not what it should be.
    pub fn invalid(param: &'static str, message: impl fmt::Display) -> ApiError {
        ApiError { param: Some(param), ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message) }
    }

    /// 400: the body is no JSON, or not of the form that it should have.
    pub fn json(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// 400: the request could not be read to its end.
    pub fn unreadable(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "unreadable_request", message)
    }

    /// 413: the body is longer than may be.
    pub fn too_large(most: usize) -> ApiError {
        let message = format_args!("a request has at most {most} bytes; send it in parts");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// 415: the body is said to be something else than JSON.
    pub fn media_type() -> ApiError {
        let message = "send the request as Content-Type: application/json";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 403: who asks may not.
    pub fn forbidden(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 405: the route exists, the method does not.
    pub fn method(allow: &'static str) -> ApiError {
        let message = format_args!("this path takes {allow} only");
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        ApiError { allow: Some(allow), ..error }
    }

    /// 503: the model is not there yet.
    pub fn loading() -> ApiError {
        let message = "the model is still loading; try again in a moment";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "model_loading", message)
    }

    /// 500: it went wrong here, and would again.
    pub fn internal(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// The response.
    pub fn response(&self) -> Response<Body> {
        let ApiError { status, message, param, code, allow } = self;
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({ "message": message, "type": kind, "param": param, "code": code });
        let mut response = reply::json(*status, &json!({ "error": error }));
        let headers = response.headers_mut();
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match *status {
            StatusCode::SERVICE_UNAVAILABLE => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            // OpenAI's clients would try again otherwise.
            StatusCode::INTERNAL_SERVER_ERROR => {
                headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"))
            }
            _ => None,
        };
        response
    }
}
