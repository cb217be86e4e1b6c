//! Server-sent events, as `EventSource` reads them.
//!
//! Every event of `/api` has an `id`, the step it belongs to: an `EventSource` whose connection breaks asks again with
//! `Last-Event-ID`, and the route then answers 204, which ends it, instead of generating once more. Those of `/v1` have `data` alone.
//!
//! Cancellation: the body that hyper holds is the receiving end of a channel. When the client goes, hyper drops it; the task
//! that fills it sees that at once and drops its generation's events, which is how the engine learns of it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::reply::{Body, reply};

/// Time between two comments that keep proxies from closing a quiet connection.
const PING: Duration = Duration::from_secs(15);
/// Events that may wait for the socket.
const AHEAD: usize = 16;

/// Where the events of a response are written.
pub struct Events(mpsc::Sender<Bytes>);

/// The client has gone.
#[derive(Debug)]
pub struct Gone;

impl Events {
    /// Writes one event: its `data` is one line of JSON. Waits while the client is slow.
    ///
    /// # Errors
    /// If the client has gone.
    pub async fn send(&self, id: usize, event: &str, data: &Value) -> Result<(), Gone> {
        let text = format!("id: {id}\nevent: {event}\ndata: {data}\n\n");
        self.0.send(Bytes::from(text)).await.map_err(|_| Gone)
    }

    /// Writes one event of the other form, that OpenAI's clients read: nothing but `data`, one line of JSON or a word.
    /// Waits while the client is slow.
    ///
    /// # Errors
    /// If the client has gone.
    pub async fn data(&self, line: &str) -> Result<(), Gone> {
        // Some clients take these for the end of a line; in JSON they are within strings.
        let line = line.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        self.0.send(Bytes::from(format!("data: {line}\n\n"))).await.map_err(|_| Gone)
    }

    /// Waits for the client to go.
    pub async fn gone(&self) -> Gone {
        self.0.closed().await;
        Gone
    }
}

/// A response of events, and where to write them. It ends when that is dropped.
pub fn events() -> (Response<Body>, Events) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let frames = stream::unfold((receiver, pings), |(mut receiver, mut pings)| async {
        let bytes = tokio::select! {
            biased;
            event = receiver.recv() => event?,
            _ = pings.tick() => Bytes::from_static(b": ping\n\n"),
        };
        Some((Ok(Frame::data(bytes)), (receiver, pings)))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (reply(StatusCode::OK, &headers, StreamBody::new(frames).boxed_unsync()), Events(sender))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn events_are_framed_and_silence_is_filled() {
        let (response, events) = events();
        let mut body = response.into_body();
        events.send(3, "token", &json!({"tokenText": "a\r\nb\u{2028}"})).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, "id: 3\nevent: token\ndata: {\"tokenText\":\"a\\r\\nb\u{2028}\"}\n\n");
        let before = Instant::now();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((frame, before.elapsed()), (Bytes::from_static(b": ping\n\n"), PING));
        drop(events);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn the_other_form_has_data_lines_only() {
        let (response, events) = events();
        let mut body = response.into_body();
        events.data(&json!({"text": "a\r\nb\u{85}\u{2028}\u{2029}é"}).to_string()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, "data: {\"text\":\"a\\r\\nb\\u0085\\u2028\\u2029é\"}\n\n");
    }

    #[tokio::test]
    async fn a_dropped_body_is_noticed() {
        let (response, events) = events();
        drop(response);
        let Gone = events.gone().await;
        assert!(events.send(1, "token", &json!({})).await.is_err());
    }
}
