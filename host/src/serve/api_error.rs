//! Errors as OpenAI's clients read them: `{"error":{"message","type","param","code"}}`.

use std::fmt;

use hyper::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use kernel::generate::{GenerateError, SamplerError};
use kernel::model::ForwardError;
use serde::Serialize;

use super::engine::{ENDED, SubmitError};
use super::opened_files::Changed;
use super::reply::{self, Body};
use super::weights::Replaced;
use crate::memory::MemoryError;

/// The most characters of what a client sent that a message repeats.
const SHOWN: usize = 60;

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    told: Told,
    allow: Option<&'static str>,
    /// Whether it is over in a moment.
    passes: bool,
}

/// What a client is told.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Told {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

/// The object around it.
#[derive(Serialize)]
pub struct ErrorObject<'a> {
    error: &'a Told,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl fmt::Display) -> ApiError {
        let told = Told { message: message.to_string(), kind, param: None, code };
        ApiError { status, told, allow: None, passes: false }
    }

    fn bad(code: &'static str, param: &str, message: impl fmt::Display) -> ApiError {
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message);
        error.told.param = Some(shown(param));
        error
    }

    /// 400: a field is not what it should be.
    pub fn invalid(param: &str, message: impl fmt::Display) -> ApiError {
        ApiError::bad("invalid_value", param, message)
    }

    /// 400: a field is missing.
    pub fn missing(param: &str, message: impl fmt::Display) -> ApiError {
        ApiError::bad("missing_required_parameter", param, message)
    }

    /// 400: a field asks for something that is not done here.
    pub fn unsupported(param: &str, message: impl fmt::Display) -> ApiError {
        ApiError::bad("unsupported_parameter", param, message)
    }

    /// 400: the body is no JSON object.
    pub fn json(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_json", message)
    }

    /// 400: the request could not be read to its end.
    pub fn unreadable(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", "unreadable_request", message)
    }

    /// 408: the body did not come in time.
    pub fn slow(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", "request_timeout", message)
    }

    /// 409: the weights are there no longer. OpenAI's clients ask again.
    pub fn replaced(error: &Replaced) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, "invalid_request_error", "weights_replaced", error)
    }

    /// 409: there is a training already.
    pub fn training_runs() -> ApiError {
        let message = "a training runs; wait for it, or end it with POST /api/train/stop";
        ApiError::new(StatusCode::CONFLICT, "invalid_request_error", "training_runs", message)
    }

    /// 413: the body is longer than may be.
    pub fn too_large(most: usize) -> ApiError {
        let message = format_args!("a request has at most {most} bytes (--max-body-bytes)");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "request_too_large", message)
    }

    /// 415: the body is said to be something else than JSON.
    pub fn media_type() -> ApiError {
        let message = "send the request as Content-Type: application/json";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", "unsupported_media_type", message)
    }

    /// 401: who asks has none of the server's keys.
    pub fn no_key() -> ApiError {
        let message = "this server wants a key: send Authorization: Bearer KEY, with one that it was started with";
        ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "invalid_api_key", message)
    }

    /// 403: who asks may not.
    pub fn forbidden(code: &'static str, message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "invalid_request_error", code, message)
    }

    /// 404: there is no such route.
    pub fn no_route(path: &str) -> ApiError {
        let message = format_args!("nothing at {}", shown(path));
        ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "unknown_url", message)
    }

    /// 404: there is no such model.
    pub fn no_model(message: impl fmt::Display) -> ApiError {
        let mut error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message);
        error.told.param = Some("model".to_string());
        error
    }

    /// 404: there is no such receipt.
    pub fn no_receipt(message: impl fmt::Display) -> ApiError {
        let mut error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", "receipt_not_found", message);
        error.told.param = Some("id".to_string());
        error
    }

    /// 405: the route exists, the method does not.
    pub fn method(allow: &'static str) -> ApiError {
        let message = format_args!("this path takes {allow} only");
        let code = "method_not_allowed";
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", code, message);
        ApiError { allow: Some(allow), ..error }
    }

    /// 503: the model is not there yet.
    pub fn loading() -> ApiError {
        let message = "the model is still loading; try again in a moment";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "model_loading", message).that_passes()
    }

    /// 503: the server was asked to end.
    pub fn ending() -> ApiError {
        let message = "the server is ending; ask it again when it has been started again";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "shutting_down", message).that_passes()
    }

    /// 503: there is too little memory for it.
    pub fn memory(error: &MemoryError) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "too_little_memory", error)
    }

    /// 503: the weight files were changed. So it is until the server is started again; nobody needs to hurry.
    pub fn changed(changed: &Changed) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "model_changed", changed)
    }

    /// 500: it went wrong here, and would again.
    pub fn internal(message: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error", message)
    }

    fn that_passes(self) -> ApiError {
        ApiError { passes: true, ..self }
    }

    /// The error of a prompt, in the field `param`, that the kernel refuses.
    pub fn prompt(param: &'static str, error: GenerateError) -> ApiError {
        match error {
            GenerateError::Context { .. } => ApiError::bad("context_length_exceeded", param, error),
            GenerateError::Forward(ForwardError::NoTokens) => {
                ApiError::invalid(param, format_args!("{param} has no tokens: give at least one"))
            }
            GenerateError::Bias { .. } => ApiError::invalid("logit_bias", error),
            GenerateError::Forward(_) => ApiError::invalid(param, format_args!("{param}: {error}")),
            _ => ApiError::invalid("max_tokens", error),
        }
    }

    /// Says it in the log: as an error if it went wrong here.
    pub fn log(&self, kind: &str) {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{kind}: {self}");
        } else {
            tracing::debug!("{kind}: {self}");
        }
    }

    /// The object that is the body of a response, or the data of an event.
    pub fn object(&self) -> ErrorObject<'_> {
        ErrorObject { error: &self.told }
    }

    /// The response.
    pub fn response(&self) -> Response<Body> {
        self.with_headers(reply::json(self.status, &self.object()))
    }

    /// The response of the routes whose errors are `{"error": message}`.
    pub fn plain(&self) -> Response<Body> {
        self.with_headers(reply::error(self.status, &self.told.message))
    }

    fn with_headers(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.passes {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lockstep\""));
            }
            // Computing it again would fail again; OpenAI's clients would try.
            StatusCode::INTERNAL_SERVER_ERROR => {
                headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
            }
            _ => {}
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told.message)
    }
}

impl std::error::Error for ApiError {}

impl From<SamplerError> for ApiError {
    fn from(error: SamplerError) -> ApiError {
        ApiError::invalid(error.parameter, error)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> ApiError {
        match error {
            SubmitError::Full => {
                let message = "too many generations are waiting; try again in a moment";
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue_full", message).that_passes()
            }
            SubmitError::Changed(changed) => ApiError::changed(&changed),
            SubmitError::Training => ApiError::training_runs(),
            SubmitError::Ended => ApiError::internal(ENDED),
        }
    }
}

/// The beginning of what a client sent.
pub fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let beginning: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() { beginning + "..." } else { beginning }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn told(error: ApiError) -> (u16, Vec<(&'static str, String)>, String) {
        let response = error.response();
        let names = ["allow", "retry-after", "x-should-retry"];
        let value = |name| Some((name, response.headers().get(name)?.to_str().ok()?.to_string()));
        let headers = names.into_iter().filter_map(value).collect();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_error_has_all_four_members_and_its_headers() {
        for (error, status, header, body) in [
            (
                ApiError::invalid("n", "n is 0"),
                400,
                None,
                r#"{"error":{"message":"n is 0","type":"invalid_request_error","param":"n","code":"invalid_value"}}"#,
            ),
            (
                ApiError::method("POST"),
                405,
                Some(("allow", "POST")),
                r#"{"error":{"message":"this path takes POST only","type":"invalid_request_error","param":null,"code":"method_not_allowed"}}"#,
            ),
            (
                SubmitError::Full.into(),
                429,
                Some(("retry-after", "1")),
                r#"{"error":{"message":"too many generations are waiting; try again in a moment","type":"rate_limit_error","param":null,"code":"queue_full"}}"#,
            ),
            (
                ApiError::loading(),
                503,
                Some(("retry-after", "1")),
                r#"{"error":{"message":"the model is still loading; try again in a moment","type":"server_error","param":null,"code":"model_loading"}}"#,
            ),
            (
                SubmitError::Training.into(),
                409,
                None,
                r#"{"error":{"message":"a training runs; wait for it, or end it with POST /api/train/stop","type":"invalid_request_error","param":null,"code":"training_runs"}}"#,
            ),
            (
                ApiError::internal("x"),
                500,
                Some(("x-should-retry", "false")),
                r#"{"error":{"message":"x","type":"server_error","param":null,"code":"internal_error"}}"#,
            ),
        ] {
            let header: Vec<_> = header.into_iter().map(|(name, value)| (name, value.to_string())).collect();
            assert_eq!(told(error).await, (status, header, body.to_string()));
        }
    }

    #[test]
    fn what_a_client_sent_is_repeated_in_part() {
        assert_eq!(shown("é".repeat(SHOWN).as_str()), "é".repeat(SHOWN));
        assert_eq!(shown("é".repeat(SHOWN + 1).as_str()), "é".repeat(SHOWN) + "...");
    }
}
