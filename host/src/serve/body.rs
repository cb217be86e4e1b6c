//! Bodies of requests: bounded in size, and in the time that they take to arrive.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{error, fmt};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use tokio::time::{Sleep, sleep};

use super::api_error::ApiError;
use crate::{Failure, cli};

/// A body that fails if it has not arrived within a time.
pub struct Timed<B> {
    body: Pin<Box<B>>,
    end: Pin<Box<Sleep>>,
}

/// The body took too long.
#[derive(Debug)]
pub struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the rest of the request did not arrive in time; send it at once")
    }
}

impl error::Error for Late {}

/// Bounds a body, whoever reads it.
pub fn bounded<B>(body: B, limits: &cli::Limits) -> Limited<Timed<B>> {
    Limited::new(timed(body, limits.client_timeout()), limits.max_body_bytes)
}

fn timed<B>(body: B, time: Duration) -> Timed<B> {
    Timed { body: Box::pin(body), end: Box::pin(sleep(time)) }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes, Error: Into<Failure>>,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self.end.as_mut().poll(cx).map(|()| Some(Err(Late.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a bounded body that has to be JSON, which no form of another site's page can send without asking first.
///
/// # Errors
/// What is wrong with it.
pub async fn json<B>(headers: &HeaderMap, body: B, limits: &cli::Limits) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes, Error: Into<Failure>>,
{
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::media_type());
    }
    // One that says so is not waited for.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.max_body_bytes as u64) {
        return Err(ApiError::too_large(limits.max_body_bytes));
    }
    let error = match body.collect().await {
        Ok(body) => return Ok(body.to_bytes()),
        Err(error) => error.into(),
    };
    Err(if error.is::<LengthLimitError>() {
        ApiError::too_large(limits.max_body_bytes)
    } else if error.is::<Late>() {
        ApiError::slow(error)
    } else {
        ApiError::unreadable(error)
    })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use tokio::time::Instant;

    use super::*;

    /// A byte each second, for good.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_ends_in_time() {
        let bytes = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Failure>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let start = Instant::now();
        let error = timed(StreamBody::new(bytes), Duration::from_secs(5)).collect().await.err().unwrap();
        assert!(error.is::<Late>());
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
