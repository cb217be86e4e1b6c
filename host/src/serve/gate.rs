//! Lets requests in: by the name they call the server by, the site they come from, and their key.

use hyper::header::HeaderMap;
use hyper::{Request, Response};

use super::api_error::ApiError;
use super::cors::Cors;
use super::guard::{check_host, check_site};
use super::keys::{Caller, Keys};
use super::reply::Body;
use super::{openai, routes};
use crate::{Failure, cli};

/// What decides who may call.
pub struct Gate {
    hosts: Vec<String>,
    keys: Keys,
    cors: Cors,
}

impl Gate {
    /// # Errors
    /// If a key or an origin is none.
    pub fn new(arguments: &cli::Serve) -> Result<Gate, Failure> {
        let clients = &arguments.clients;
        let hosts = arguments.allowed_hosts.clone();
        Ok(Gate { hosts, keys: Keys::new(clients)?, cors: Cors::new(&clients.cors_origins)? })
    }

    /// Whether nobody uses the server without a key.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// How many may call.
    pub fn callers(&self) -> usize {
        self.keys.callers()
    }

    /// Whose request it is. What is not known here to be open is not.
    ///
    /// # Errors
    /// The answer, if that is all: a refusal, or leave to send a request.
    pub fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Box<Response<Body>>> {
        let (path, headers) = (request.uri().path(), request.headers());
        if let Err(refused) = check_host(request, &self.hosts) {
            return Err(refusal(path, &ApiError::forbidden("host_not_allowed", refused)).into());
        }
        if let Some(leave) = self.cors.preflight(request) {
            return Err(leave.into());
        }
        if is_open(path) {
            return Ok(Caller::ANYONE);
        }
        if let Err(refused) = check_site(headers, &self.cors) {
            return Err(refusal(path, &ApiError::forbidden("cross_site", refused)).into());
        }
        self.keys.check(headers).map_err(|_| refusal(path, &ApiError::no_key()).into())
    }

    /// Adds what the site of the request has to know.
    pub fn mark(&self, asked: &HeaderMap, response: &mut Response<Body>) {
        self.cors.mark(asked, response);
    }
}

/// Whether anyone who reaches the server may have what is at `path`: the page, which holds nothing of the model, and the sign of
/// life.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/web" | "/health" | "/health/live") || path.starts_with("/web/")
}

/// An error in the words of the routes at `path`.
fn refusal(path: &str, error: &ApiError) -> Response<Body> {
    if openai::is_ours(path) || routes::has_error_objects(path) { error.response() } else { error.plain() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_and_the_sign_of_life_are_open() {
        for path in ["/", "/web", "/web/", "/web/page.js", "/health", "/health/live"] {
            assert!(is_open(path), "{path}");
        }
        for path in [
            "/api/status",
            "/api/generate",
            "/models/x/config.json",
            "/v1/models",
            "/metrics",
            "/healthz",
            "/webs",
            "//web/",
            "*",
        ] {
            assert!(!is_open(path), "{path}");
        }
    }
}
