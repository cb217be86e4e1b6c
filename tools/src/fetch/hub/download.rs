//! One file from the hub: resumed where it stopped, checked before it gets its name.

use std::io::Read;
use std::path::Path;
use std::thread::sleep;

use ureq::Body;
use ureq::http::Response;

use super::client::{Client, Linked, Rest, header};
use super::part::Part;
use super::{HubError, Patience};
use crate::fetch::FetchError;
use crate::fetch::progress::Progress;

/// An attempt that brought this many bytes counts as progress: the patience starts anew.
const PROGRESS: u64 = 1 << 20;

/// What is known about a file before it arrives.
#[derive(Debug, Clone)]
pub struct Expected {
    /// File name.
    pub name: String,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// SHA-256 in hexadecimal, if known.
    pub sha256: Option<String>,
}

/// How one attempt ended.
enum Attempt {
    /// The whole file is here.
    Whole,
    /// It broke off; another attempt may go on.
    Broken(String),
    /// The hub is busy or has a problem that may pass.
    Busy(HubError),
    /// What is here does not belong to the file that the hub has now.
    Outdated,
}

/// Downloads `url` to `target`, going on where an earlier run stopped.
///
/// # Errors
/// If the hub gives nothing, or something else than expected. Then there is no `target`; what has arrived of the right
/// file stays as `<target>.part`.
pub fn download(
    client: &Client,
    patience: &Patience,
    url: &str,
    mut expected: Expected,
    target: &Path,
) -> Result<(), FetchError> {
    let io = || FetchError::io("write", target);
    let mut part = Part::open(target, expected.size).map_err(io())?;
    let mut resumed = part.len() > 0;
    let mut failures = 0;
    loop {
        let before = part.len();
        let attempt = attempt(client, url, &mut expected, &mut part)?;
        if let Attempt::Whole = attempt {
            let found = part.sha256();
            match &expected.sha256 {
                Some(wanted) if *wanted != found && resumed => {
                    eprintln!("{}: what an earlier run left does not belong to it; starting again", expected.name);
                    part.restart().map_err(io())?;
                    resumed = false;
                    continue;
                }
                Some(wanted) if *wanted != found => {
                    part.discard().map_err(io())?;
                    return Err(HubError::Hash { file: expected.name, found, expected: wanted.clone() }.into());
                }
                _ => return part.finish().map_err(io()),
            }
        }
        failures = if part.len() >= before + PROGRESS { 0 } else { failures + 1 };
        if let Attempt::Outdated = attempt {
            part.restart().map_err(io())?;
        }
        if failures >= patience.attempts {
            return Err(give_up(attempt, &expected, part.len()).into());
        }
        if let Attempt::Broken(reason) = &attempt {
            eprintln!("{}: {reason}; trying again from byte {}", expected.name, part.len());
        }
        resumed |= part.len() > 0;
        sleep(patience.pause * 2u32.pow(failures.saturating_sub(1).min(5)));
    }
}

fn give_up(attempt: Attempt, expected: &Expected, have: u64) -> HubError {
    let reason = match attempt {
        Attempt::Busy(error) => return error,
        Attempt::Broken(reason) => reason,
        Attempt::Outdated | Attempt::Whole => "the file changed at the hub again and again".to_owned(),
    };
    HubError::Interrupted { file: expected.name.clone(), have, size: expected.size.unwrap_or(have), reason }
}

fn attempt(client: &Client, url: &str, expected: &mut Expected, part: &mut Part) -> Result<Attempt, FetchError> {
    if expected.size == Some(part.len()) {
        return Ok(Attempt::Whole);
    }
    let from = part.len();
    let rest = part.etag().map(|etag| Rest { from, etag });
    let (response, linked) = match client.get(url, rest) {
        Ok(answer) => answer,
        // A hub that has answered before is there: the connection broke, another attempt may work.
        Err(HubError::Unreachable { reason, .. }) if client.has_answered() => return Ok(Attempt::Broken(reason)),
        Err(error) => return Err(error.into()),
    };
    let status = response.status().as_u16();
    let busy = || HubError::Status { url: url.to_owned(), status };
    match status {
        200 => part.restart().map_err(FetchError::io("write", part.path()))?,
        206 if starts_at(&response, from, expected.size) => {}
        206 | 416 => return Ok(Attempt::Outdated),
        408 | 429 | 500 | 502 | 503 | 504 => return Ok(Attempt::Busy(busy())),
        _ => return Err(busy().into()),
    }
    learn(expected, &linked, &response, part.len())?;
    part.set_etag(header(&response, "etag")).map_err(FetchError::io("write", part.path()))?;
    receive(response, expected, part)
}

/// Whether a partial answer goes on at `from` in a file of the right length.
fn starts_at(response: &Response<Body>, from: u64, size: Option<u64>) -> bool {
    let parse = || {
        let range = header(response, "content-range")?;
        let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let start: u64 = range.split_once('-')?.0.parse().ok()?;
        Some(start == from && size.is_none_or(|size| total == size.to_string()))
    };
    parse().unwrap_or(false)
}

/// Compares the length that the answer states with the one expected; takes it over where none is known.
fn learn(expected: &mut Expected, linked: &Linked, response: &Response<Body>, have: u64) -> Result<(), FetchError> {
    let length: Option<u64> = header(response, "content-length").and_then(|text| text.parse().ok());
    let stated = length.map(|length| length.saturating_add(have));
    if let (Some(found), Some(size)) = (stated, expected.size)
        && found != size
    {
        return Err(wrong_size(expected, found, kind(response)).into());
    }
    expected.size = expected.size.or(linked.size).or(stated);
    expected.sha256 = expected.sha256.take().or_else(|| linked.sha256.clone());
    Ok(())
}

fn wrong_size(expected: &Expected, found: u64, kind: String) -> HubError {
    HubError::Size { file: expected.name.clone(), found, expected: expected.size.unwrap_or(found), kind }
}

fn kind(response: &Response<Body>) -> String {
    header(response, "content-type").unwrap_or_else(|| "of no stated type".to_owned())
}

/// Takes the body of an answer, but no more than the file has.
fn receive(response: Response<Body>, expected: &Expected, part: &mut Part) -> Result<Attempt, FetchError> {
    let kind = kind(&response);
    let mut progress = Progress::new(&expected.name, expected.size, part.len());
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Ok(Attempt::Broken(error.to_string())),
        };
        let found = part.len() + read as u64;
        if expected.size.is_some_and(|size| found > size) {
            part.restart().map_err(FetchError::io("write", part.path()))?;
            return Err(wrong_size(expected, found, kind).into());
        }
        part.append(&buffer[..read]).map_err(FetchError::io("write", part.path()))?;
        progress.advance(part.len());
    }
    match expected.size {
        Some(size) if part.len() < size => Ok(Attempt::Broken("the connection ended early".to_owned())),
        _ => {
            progress.finish();
            Ok(Attempt::Whole)
        }
    }
}
