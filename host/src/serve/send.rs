//! One file as a response: whole, a range of it, or the news that it has not changed (RFC 9110).

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::UNIX_EPOCH;

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::reply::{Body, error, nothing, reply};

/// Bytes of a file in memory at a time, for each response.
const CHUNK: usize = 256 * 1024;

/// Answers with the file at `path`. What its URL may be is the caller's to check.
pub async fn send<B>(request: &Request<B>, path: &Path) -> Response<Body> {
    match try_send(request, path).await {
        Ok(response) => response,
        Err(failure) => {
            let missing = matches!(failure.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory);
            let status = if missing { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
            let name = path.file_name().unwrap_or_default().display();
            error(status, format_args!("{name} cannot be read: {failure}"))
        }
    }
}

async fn try_send<B>(request: &Request<B>, path: &Path) -> io::Result<Response<Body>> {
    let mut file = File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let length = metadata.len();
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{length:x}-{:x}\"", modified.as_nanos());
    let etag = HeaderValue::from_str(&tag).map_err(io::Error::other)?;
    let wanted = wanted(request.headers(), &tag, length);
    let mut response = match &wanted {
        Wanted::Unchanged => reply(StatusCode::NOT_MODIFIED, &[], nothing()),
        Wanted::Unsatisfiable => error(StatusCode::RANGE_NOT_SATISFIABLE, format_args!("the file has {length} bytes")),
        Wanted::Whole | Wanted::Part(_) => {
            let range = wanted.range(length);
            let body = if request.method() == Method::HEAD {
                nothing()
            } else {
                file.seek(SeekFrom::Start(range.start)).await?;
                let chunks = ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK);
                StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
            };
            let mut response = reply(StatusCode::OK, &[(CONTENT_TYPE, content_type(path))], body);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
            response
        }
    };
    let content_range = match &wanted {
        Wanted::Part(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            Some(format!("bytes {}-{}/{length}", range.start, range.end - 1))
        }
        Wanted::Unsatisfiable => Some(format!("bytes */{length}")),
        Wanted::Whole | Wanted::Unchanged => None,
    };
    let headers = response.headers_mut();
    if let Some(value) = content_range {
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(&value).map_err(io::Error::other)?);
    }
    headers.insert(ETAG, etag);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Which part of a file a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    Unchanged,
    Unsatisfiable,
}

impl Wanted {
    fn range(&self, length: u64) -> Range<u64> {
        match self {
            Wanted::Part(range) => range.clone(),
            _ => 0..length,
        }
    }
}

/// Decides by `If-None-Match`, then `Range`, which counts only if `If-Range` (when there) names this very file.
fn wanted(headers: &HeaderMap, tag: &str, length: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let same = |tags: &str| tags.split(',').map(str::trim).any(|t| t == "*" || t.trim_start_matches("W/") == tag);
    if text(IF_NONE_MATCH).is_some_and(same) {
        return Wanted::Unchanged;
    }
    if headers.contains_key(IF_RANGE) && text(IF_RANGE) != Some(tag) {
        return Wanted::Whole;
    }
    match text(RANGE).and_then(|range| single_range(range, length)) {
        None => Wanted::Whole,
        Some(range) if range.is_empty() => Wanted::Unsatisfiable,
        Some(range) => Wanted::Part(range),
    }
}

/// The bytes that a `Range` header means; empty if the file has none of them; `None` if the header does not count: another
/// unit, several ranges or no range at all.
fn single_range(header: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    match (first, last) {
        ("", "") => None,
        ("", suffix) => Some(length.saturating_sub(number(suffix)?)..length),
        (first, "") => Some(number(first)?.min(length)..length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
        }
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("txt" | "ts" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_understood_and_anything_else_ignored() {
        let range = |header| single_range(header, 1000);
        assert_eq!(range("bytes=0-0"), Some(0..1));
        assert_eq!(range("bytes=10-19"), Some(10..20));
        assert_eq!(range("bytes=990-"), Some(990..1000));
        assert_eq!(range("bytes=-5"), Some(995..1000));
        assert_eq!(range("bytes=-5000"), Some(0..1000));
        assert_eq!(range("bytes=0-99999999999999999999999"), Some(0..1000));
        for empty in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert!(range(empty).unwrap().is_empty(), "{empty}");
        }
        for ignored in
            ["bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "bytes=a-b", "bytes=+1-2", "items=0-1", "0-1"]
        {
            assert_eq!(range(ignored), None, "{ignored}");
        }
        assert!(single_range("bytes=0-0", 0).unwrap().is_empty());
    }

    #[test]
    fn conditions_decide_before_the_range() {
        let decide = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            wanted(&pairs.collect(), "\"tag\"", 100)
        };
        let range = ("range", "bytes=10-");
        assert_eq!(decide(&[]), Wanted::Whole);
        assert_eq!(decide(&[range]), Wanted::Part(10..100));
        assert_eq!(decide(&[range, ("if-range", "\"tag\"")]), Wanted::Part(10..100));
        assert_eq!(decide(&[range, ("if-range", "\"old\"")]), Wanted::Whole);
        assert_eq!(decide(&[range, ("if-range", "W/\"tag\"")]), Wanted::Whole);
        assert_eq!(decide(&[range, ("if-range", "Tue, 01 Jan 2030 00:00:00 GMT")]), Wanted::Whole);
        assert_eq!(decide(&[range, ("if-none-match", "\"a\", W/\"tag\"")]), Wanted::Unchanged);
        assert_eq!(decide(&[("if-none-match", "\"old\"")]), Wanted::Whole);
        assert_eq!(decide(&[("range", "bytes=100-")]), Wanted::Unsatisfiable);
    }
}
