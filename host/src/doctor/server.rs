//! The port, the page, and the headers that a browser gets from a server that answers there.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Check, Tell};
use crate::{Failure, cli};

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most bytes of an answer that are read.
const MOST: usize = 1 << 20;
/// Without these a page is not cross-origin isolated, and computes with one thread.
const ISOLATION: [(&str, &str); 2] =
    [("cross-origin-opener-policy", "same-origin"), ("cross-origin-embedder-policy", "require-corp")];

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Tells whether a server can be started, or what one that runs already says.
pub fn checks(arguments: &cli::Doctor, tell: Tell<'_>) -> io::Result<()> {
    let listening = &arguments.listening;
    tell(page(&listening.web_root))?;
    let (host, port) = (listening.bare_host(), listening.port);
    let error = match TcpListener::bind((host, port)) {
        Ok(_) if port == 0 => return tell(Check::ok("port", "any free one")),
        Ok(_) => return tell(Check::ok("port", format!("{port} is free on {host}"))),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        let advice = "choose another --host or --port; ports below 1024 are for root";
        return tell(Check::fail("port", format!("{port} on {host} cannot be listened on: {error}"), advice));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = |path: &'static str| runtime.block_on(ask(host, port, path)).map_err(|error| error.to_string());
    let status = ask("/api/status");
    tell(running(port, &status))?;
    if status.is_ok() {
        tell(headers(&ask("/web/")))?;
    }
    Ok(())
}

/// Whether the page was built.
fn page(web_root: &Path) -> Check {
    let missing: Vec<&str> =
        ["index.html", "page.js", "wasm"].into_iter().filter(|name| !web_root.join(name).exists()).collect();
    if missing.is_empty() {
        return Check::ok("page", format!("{} is there", web_root.display()));
    }
    Check::warn(
        "page",
        format!("{} has no {}", web_root.display(), missing.join(", ")),
        "the server answers without it, but for /web/: `cargo run --release -p tools -- browser` builds it",
    )
}

/// What has the port already.
fn running(port: u16, status: &Result<Answer, String>) -> Check {
    let taken = format!("choose another --port, or end what listens on {port}");
    let found = match status {
        Err(error) => {
            return Check::fail(
                "port",
                format!("{port} is taken by something that is no server of ours: {error}"),
                taken,
            );
        }
        Ok(answer) => answer,
    };
    let said: Value = serde_json::from_slice(&found.body).unwrap_or_default();
    match (said["version"].as_str(), found.status) {
        (Some(version), _) if said["profile"].is_string() => {
            Check::ok("port", format!("a lockstep {version} answers on {port}, ready: {}", said["ready"] == true))
        }
        (_, StatusCode::UNAUTHORIZED) => Check::ok("port", format!("a server that asks for a key answers on {port}")),
        (_, code) => {
            Check::fail("port", format!("{port} is taken: something answers {} to /api/status", code.as_u16()), taken)
        }
    }
}

/// Whether a browser may share memory between the threads of the page.
fn headers(answer: &Result<Answer, String>) -> Check {
    let name = "browser headers";
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Check::warn(name, format!("no answer to /web/: {error}"), "run this again"),
    };
    let is = |(header, wanted): &(&str, &str)| answer.headers.get(*header).is_some_and(|value| value == *wanted);
    let missing: Vec<String> =
        ISOLATION.iter().filter(|pair| !is(pair)).map(|(header, wanted)| format!("{header}: {wanted}")).collect();
    if missing.is_empty() {
        return Check::ok(name, "the page is cross-origin isolated: it may use several threads");
    }
    let advice = "let whatever stands before the server pass these headers on; without them the page has one thread";
    Check::warn(name, format!("not sent: {}", missing.join(", ")), advice)
}

async fn ask(host: &str, port: u16, path: &str) -> Result<Answer, Failure> {
    let asked = async {
        let stream = TcpStream::connect((host, port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request =
            Request::get(path).header(HOST, "localhost").header(CONNECTION, "close").body(Empty::<Bytes>::new())?;
        let answered = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MOST).collect().await?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The connection is driven beside the exchange.
        tokio::select! {
            answer = answered => answer,
            Err(error) = connection => Err(error.into()),
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Result<Answer, String> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Ok(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn a_taken_port_is_a_failure_unless_a_server_of_ours_has_it() {
        let ours = r#"{"version":"0.1.0","profile":"lockstep/1","ready":true}"#;
        assert_eq!(running(1, &answer(200, &[], ours)).status, Status::Ok);
        assert_eq!(running(1, &answer(401, &[], "{}")).status, Status::Ok);
        for other in [answer(404, &[], "not here"), answer(200, &[], r#"{"version":"2"}"#), Err("reset".to_string())] {
            let check = running(1, &other);
            assert!(check.status == Status::Fail && check.advice.unwrap().contains("--port"));
        }
    }

    #[test]
    fn headers_that_a_proxy_took_away_are_named() {
        assert_eq!(headers(&answer(200, &ISOLATION, "")).status, Status::Ok);
        for (sent, named) in [(&ISOLATION[..1], "embedder"), (&ISOLATION[1..], "opener"), (&[][..], "opener")] {
            let check = headers(&answer(200, sent, ""));
            assert!(check.status == Status::Warn && check.found.contains(named), "{check:?}");
        }
        assert_eq!(
            headers(&answer(200, &[ISOLATION[0], ("cross-origin-embedder-policy", "unsafe-none")], "")).status,
            Status::Warn
        );
    }
}
