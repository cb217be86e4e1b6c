//! Other sites whose pages may use this server (CORS): none unless `--cors-origins` names them.

use std::{error, fmt};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::reply::{Body, nothing, reply};

/// What a page may read of an answer beside what any page may.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("accept-ranges, content-length, content-range, etag, retry-after, www-authenticate");
const PRIVATE_NETWORK: [HeaderName; 2] = [
    HeaderName::from_static("access-control-request-private-network"),
    HeaderName::from_static("access-control-allow-private-network"),
];

/// The origins that may.
pub struct Cors(Vec<String>);

/// This is no origin as browsers write it.
#[derive(Debug)]
pub struct OriginError(String);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--cors-origins {:?}: give each origin as browsers write it, https://a.example or http://localhost:3000: in small \
             letters, without a path, and none for all",
            self.0
        )
    }
}

impl error::Error for OriginError {}

impl Cors {
    /// # Errors
    /// If one is no origin.
    pub fn new(origins: &[String]) -> Result<Cors, OriginError> {
        match origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(OriginError(origin.clone())),
            None => Ok(Cors(origins.to_vec())),
        }
    }

    /// The origin of a request, if it is one of those.
    pub fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.0.iter().any(|allowed| *origin == allowed))
    }

    /// The answer to a browser that asks whether such a page may send a request.
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let asked = request.headers();
        let asks = request.method() == Method::OPTIONS && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        self.allowed(asked).filter(|_| asks)?;
        let headers = [(ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"), (ACCESS_CONTROL_MAX_AGE, "600")];
        let mut response = reply(StatusCode::NO_CONTENT, &headers, nothing());
        // These pages may send any: the OpenAI client has many of its own.
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        let [asks, allows] = PRIVATE_NETWORK;
        if asked.get(asks).is_some_and(|value| value == "true") {
            response.headers_mut().insert(allows, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// Lets the page that sent a request read the answer. A cache keeps the answers to several origins apart.
    pub fn mark(&self, asked: &HeaderMap, response: &mut Response<Body>) {
        if self.0.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(asked) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let whole = uri.scheme_str().is_some_and(|scheme| text == format!("{scheme}://{authority}"));
    whole && !text.contains(['@', '*']) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for origin in ["https://a.example", "http://localhost:3000", "http://[::1]:80"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "",
            "*",
            "null",
            "a.example",
            "https://a.example/",
            "https://a.example/x",
            "HTTPS://a.example",
            "ftp://a",
            "https://*.a",
            "https://u@a",
        ] {
            assert!(Cors::new(&[other.to_string()]).is_err(), "{other}");
        }
    }

    #[test]
    fn only_the_very_origin_is_allowed() {
        let cors = Cors::new(&["https://a.example".to_string()]).unwrap();
        let allowed = |origin: &'static str| {
            cors.allowed(&[(ORIGIN, HeaderValue::from_static(origin))].into_iter().collect()).is_some()
        };
        assert!(allowed("https://a.example"));
        for other in
            ["http://a.example", "https://a.example:444", "https://b.a.example", "https://a.example.evil", "null"]
        {
            assert!(!allowed(other), "{other}");
        }
    }
}
