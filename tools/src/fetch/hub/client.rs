//! Requests to the hub and to the hosts it redirects to.

use std::cell::Cell;

use ureq::http::header::{AUTHORIZATION, IF_RANGE, LOCATION, RANGE};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{Environment, HubError};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: u32 = 10;

/// Asks for files; follows redirects itself, so that the token stays with the endpoint.
pub struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<String>,
    answered: Cell<bool>,
}

/// The end of a file that is wanted, as long as the file is the one whose beginning is here.
#[derive(Debug, Clone, Copy)]
pub struct Rest<'a> {
    /// First byte wanted.
    pub from: u64,
    /// The strong entity tag of the beginning.
    pub etag: &'a str,
}

/// A header that the hub sets on its redirect, before the storage behind it answers.
#[derive(Debug, Default, Clone)]
pub struct Linked {
    /// `X-Linked-Size`: bytes of the file.
    pub size: Option<u64>,
    /// `X-Linked-Etag`: SHA-256 of a large file.
    pub sha256: Option<String>,
}

impl Client {
    /// A client for that endpoint.
    ///
    /// # Errors
    /// If the endpoint is not an address.
    pub fn new(environment: &Environment) -> Result<Client, HubError> {
        let unusable = |reason: String| HubError::Unreachable { url: environment.endpoint.clone(), reason };
        let endpoint: Uri = environment.endpoint.parse().map_err(|error| unusable(format!("{error}")))?;
        if endpoint.scheme().is_none() || endpoint.authority().is_none() {
            return Err(unusable("HF_ENDPOINT must begin with https:// or http:// and name a host".to_owned()));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(environment.proxy.clone())
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("lockstep-tools/", env!("CARGO_PKG_VERSION")))
            // A compressed answer would have other lengths and offsets than the file.
            .accept_encoding("identity")
            .timeout_resolve(Some(environment.patience.connect))
            .timeout_connect(Some(environment.patience.connect))
            .timeout_recv_response(Some(environment.patience.stall))
            .timeout_per_read(Some(environment.patience.stall))
            .build();
        Ok(Client { agent: config.new_agent(), endpoint, token: environment.token.clone(), answered: Cell::new(false) })
    }

    /// Whether any host has answered yet.
    pub fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Asks for `url`, or the rest of it, and follows redirects.
    ///
    /// # Errors
    /// If nobody answers, or the redirects lead nowhere. Every other status is an answer.
    pub fn get(&self, url: &str, rest: Option<Rest<'_>>) -> Result<(Response<Body>, Linked), HubError> {
        let unreachable = |reason: String| HubError::Unreachable { url: url.to_owned(), reason };
        let mut at: Uri = url.parse().map_err(|error| unreachable(format!("{error}")))?;
        let mut linked = Linked::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&at);
            if let Some(token) = self.token.as_ref().filter(|_| same_origin(&at, &self.endpoint)) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            if let Some(Rest { from, etag }) = rest {
                request = request.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, etag);
            }
            let response = request.call().map_err(|error| unreachable(error.to_string()))?;
            self.answered.set(true);
            linked.note(&response);
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, linked));
            }
            let location = header(&response, LOCATION.as_str()).unwrap_or_default();
            at = follow(&at, &location).map_err(|reason| HubError::Redirect {
                url: at.to_string(),
                location,
                reason,
            })?;
        }
        Err(HubError::TooManyRedirects { url: url.to_owned(), hops: MAX_REDIRECTS })
    }
}

impl Linked {
    fn note(&mut self, response: &Response<Body>) {
        if let Some(size) = header(response, "x-linked-size").and_then(|text| text.parse().ok()) {
            self.size = Some(size);
        }
        let etag = header(response, "x-linked-etag").map(|text| text.trim_matches('"').to_owned());
        if let Some(sha256) = etag.filter(|text| loader::digest::from_hex::<32>(text).is_some()) {
            self.sha256 = Some(sha256);
        }
    }
}

/// The text of a header, if it is there and is text.
pub fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    a.scheme() == b.scheme() && a.host().map(str::to_lowercase) == b.host().map(str::to_lowercase) && port(a) == port(b)
}

/// The address that a redirect at `from` means.
fn follow(from: &Uri, location: &str) -> Result<Uri, &'static str> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let to: Uri = absolute.parse().map_err(|_| "it is not an address")?;
    match (scheme, to.scheme_str()) {
        ("https", Some("http")) => Err("it leaves https"),
        (_, Some("https" | "http")) => Ok(to),
        _ => Err("it is neither an https:// or http:// address nor a path"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_addresses_and_never_from_https_to_http() {
        let from: Uri = "https://hub.example:8443/a/b?c".parse().unwrap();
        let to = |location| follow(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/x?y"), Ok("https://hub.example:8443/x?y".to_owned()));
        assert_eq!(to("//cdn.example/x"), Ok("https://cdn.example/x".to_owned()));
        assert_eq!(to("https://cdn.example/x"), Ok("https://cdn.example/x".to_owned()));
        assert_eq!(to("http://cdn.example/x"), Err("it leaves https"));
        for location in ["", "x", "ftp://cdn.example/x", "https://", "\u{1}"] {
            assert!(to(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub.example/x", "https://HUB.example:443"));
        assert!(!same("https://hub.example", "http://hub.example"));
        assert!(!same("https://hub.example", "https://hub.example:8443"));
        assert!(!same("https://hub.example", "https://cdn.hub.example"));
    }
}
