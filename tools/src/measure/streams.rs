//! How long requests of a server wait for one another.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::MeasureError;
use super::report::{Figure, Unit};
use crate::served::{Served, when_loaded};
use crate::workspace::Workspace;

/// Requests that get tokens all the time.
const STREAMS: usize = 7;
/// Tokens of the prompt that one more has.
const PROMPT: usize = 4000;
/// Tokens of each before and after that one reads its prompt.
const AROUND: usize = 64;
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Eight requests, one of which has a long prompt: the longest that one of the others waits for a token meanwhile, beside their
/// fair share, a token for each of the eight; and how long the long prompt takes, beside the others and alone.
///
/// # Errors
/// If the server does not run, or an answer ends early.
pub fn figures(workspace: &Workspace, model: &Path) -> Result<Vec<Figure>, MeasureError> {
    let mut command = Command::new(workspace.lockstep());
    command.args(["serve", "--port", "0", "--log-level", "error", "--prefix-cache", "0", "--model"]);
    let server = Served::start(command.arg(model))?;
    let url = format!("{}v1/completions", server.origin);
    // Another beginning each time: what is known of a text need not be read.
    let long = |number: usize| format!("{number}{}", " word".repeat(PROMPT - 1));
    let alone = until_first(&ask(&url, &long(1), 1)?)?;

    let short = |number: usize| ask(&url, &format!("{number} Once upon a time"), 4000);
    let streams: Vec<Stream> = (0..STREAMS).map(short).collect::<Result<_, _>>()?;
    let mut times = vec![Vec::new(); STREAMS];
    for (stream, times) in streams.iter().zip(&mut times) {
        take(stream, times, AROUND)?;
    }
    let reading = ask(&url, &long(2), AROUND)?;
    let read = reading.asked + until_first(&reading)?;
    let mut after = vec![read];
    take(&reading, &mut after, AROUND - 1)?;
    let (mut waits, mut shares) = (Vec::new(), Vec::new());
    for (stream, times) in streams.iter().zip(&mut times) {
        times.extend(stream.times.try_iter());
        for pair in times.windows(2).filter(|pair| pair[1] > reading.asked) {
            let wait = (pair[1] - pair[0]).as_secs_f64() * 1e3;
            if pair[0] < read { waits.push(wait) } else { shares.push(wait) }
        }
    }
    let [share, most, nearly] = [quantile(&mut shares, 0.5), quantile(&mut waits, 1.0), quantile(&mut waits, 0.99)];
    let requests = STREAMS + 1;
    let figure = |what: String, ours, peer: &str, theirs| Figure {
        what,
        unit: Unit::Milliseconds,
        ours,
        peer: Some((peer.to_owned(), theirs)),
    };
    let beside = (read - reading.asked).as_secs_f64() * 1e3;
    Ok(vec![
        figure(
            format!("{requests} requests, one reads {PROMPT} tokens: longest wait for a token"),
            most,
            "a token for each",
            share,
        ),
        figure("the same, of 99 % of the waits".into(), nearly, "a token for each", share),
        figure(
            format!("first token after a prompt of {PROMPT}, beside {STREAMS} that stream"),
            beside,
            "alone",
            alone.as_secs_f64() * 1e3,
        ),
    ])
}

/// The answer to a request, as it comes.
struct Stream {
    asked: Instant,
    /// When each token came; nothing is sent any more once it has ended.
    times: Receiver<Instant>,
}

/// Asks for a text that goes on to its length. A thread reads it.
fn ask(url: &str, prompt: &str, max_tokens: usize) -> Result<Stream, MeasureError> {
    // With log-probabilities every token is told by itself.
    let body = serde_json::json!({
        "prompt": prompt, "max_tokens": max_tokens, "stream": true, "ignore_eos": true, "logprobs": 0,
    });
    let said = |error: ureq::Error| MeasureError::Said { line: url.into(), said: error.to_string() };
    let (mut asked, body) = (Instant::now(), body.to_string());
    let post = || {
        asked = Instant::now();
        ureq::post(url).content_type("application/json").send(&body)
    };
    let answer = when_loaded(post).map_err(said)?;
    let (sender, times) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok);
        for _ in lines.filter(|line| line.contains("\"token_logprobs\":[")) {
            // Nobody listens any more once the measurement has ended.
            if sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    Ok(Stream { asked, times })
}

/// The next tokens of a stream.
fn take(stream: &Stream, times: &mut Vec<Instant>, count: usize) -> Result<(), MeasureError> {
    for _ in 0..count {
        let time = stream.times.recv_timeout(PATIENCE).map_err(|error| {
            let said = match error {
                RecvTimeoutError::Timeout => format!("nothing for {PATIENCE:?}"),
                RecvTimeoutError::Disconnected => format!("{} tokens and no more", times.len()),
            };
            MeasureError::Said { line: "/v1/completions".into(), said }
        })?;
        times.push(time);
    }
    Ok(())
}

fn until_first(stream: &Stream) -> Result<Duration, MeasureError> {
    let mut first = Vec::new();
    take(stream, &mut first, 1)?;
    Ok(first[0] - stream.asked)
}

/// The value that so much of all are not above.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&mut values, share)), [100.0, 198.0, 200.0]);
        assert_eq!(quantile(&mut [3.0], 0.5), 3.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
