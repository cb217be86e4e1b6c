//! Who may ask: any web page can make a browser call a server on this machine.

use std::fmt;
use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Request, Version};

use super::cors::Cors;

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum GuardError {
    /// HTTP/1.1 without a host.
    NoHost,
    /// A host name that is not ours: perhaps a page whose name was re-pointed at this machine (DNS rebinding).
    Host(String),
    /// Another site's page asks this server to compute.
    CrossSite,
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardError::NoHost => f.write_str("the request names no Host"),
            GuardError::Host(host) => {
                write!(f, "this server is not called {host:?}; start it with --allowed-hosts {host} if it is")
            }
            GuardError::CrossSite => f.write_str("pages of other sites may not use this server"),
        }
    }
}

impl std::error::Error for GuardError {}

/// The name, without the port, by which the request calls this server.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let header = || request.headers().get(HOST)?.to_str().ok();
    let full = request.uri().authority().map(|authority| authority.as_str()).or_else(header)?;
    Some(without_port(full))
}

fn without_port(full: &str) -> &str {
    match full.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => full,
    }
}

/// Checks that the request calls this server by one of its names: an address, `localhost` or one of `allowed`.
///
/// An address cannot be re-pointed, so any address will do.
///
/// # Errors
/// If it uses another name, or none (HTTP/1.0 may do that; browsers do not speak it).
pub fn check_host<B>(request: &Request<B>, allowed: &[String]) -> Result<(), GuardError> {
    let Some(name) = host(request) else {
        return if request.version() == Version::HTTP_10 { Ok(()) } else { Err(GuardError::NoHost) };
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let ours = bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|a| a.eq_ignore_ascii_case(name));
    if ours { Ok(()) } else { Err(GuardError::Host(name.to_string())) }
}

/// Checks that no page of another site is behind a request, unless that may use this server. Programs send neither header.
///
/// # Errors
/// If `Sec-Fetch-Site` says that the request comes from another site or port, or `Origin` is not this server.
pub fn check_site(headers: &HeaderMap, cors: &Cors) -> Result<(), GuardError> {
    if cors.allowed(headers).is_some() {
        return Ok(());
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(GuardError::CrossSite);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let ours = || {
        let authority = origin.to_str().ok()?.split_once("://")?.1;
        Some(authority.eq_ignore_ascii_case(headers.get(HOST)?.to_str().ok()?))
    };
    if ours() == Some(true) { Ok(()) } else { Err(GuardError::CrossSite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let builder = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap()
    }

    fn by(host: &str) -> Result<(), GuardError> {
        check_host(&request(&[("host", host)]), &["a.example".to_string()])
    }

    #[test]
    fn our_names_are_addresses_localhost_and_the_allowed_ones() {
        let ours = [
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost:1",
            "LOCALHOST",
            "[::1]:8080",
            "[::1]",
            "192.168.1.7:80",
            "A.example:8080",
        ];
        for host in ours {
            assert_eq!(by(host), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "", "a.example.evil", "x:y"]
        {
            assert!(matches!(by(host), Err(GuardError::Host(_))), "{host}");
        }
    }

    #[test]
    fn the_address_in_an_absolute_request_line_counts_more_than_the_header() {
        let request = Request::builder().uri("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert!(check_host(&request, &[]).is_err());
    }

    #[test]
    fn only_http_1_0_may_name_no_host() {
        let mut bare = request(&[]);
        assert_eq!(check_host(&bare, &[]), Err(GuardError::NoHost));
        *bare.version_mut() = Version::HTTP_10;
        assert_eq!(check_host(&bare, &[]), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_may_not_compute() {
        let cors = Cors::new(&["https://good.example".to_string()]).unwrap();
        let check = |headers: &[(&str, &str)]| check_site(request(headers).headers(), &cors);
        let host = ("host", "localhost:8080");
        assert_eq!(check(&[host]), Ok(()));
        assert_eq!(check(&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")]), Ok(()));
        assert_eq!(check(&[host, ("sec-fetch-site", "none")]), Ok(()));
        assert_eq!(check(&[host, ("sec-fetch-site", "cross-site"), ("origin", "https://good.example")]), Ok(()));
        for header in [
            ("sec-fetch-site", "cross-site"),
            // Another port of this machine: an image there sends no Origin.
            ("sec-fetch-site", "same-site"),
            ("origin", "http://localhost:3000"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            assert_eq!(check(&[host, header]), Err(GuardError::CrossSite), "{header:?}");
        }
    }
}
