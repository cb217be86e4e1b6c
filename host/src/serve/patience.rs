//! Connections whose client does not take what it is sent.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A client that takes so many bytes in the time that it has is slow, but there.
const ENOUGH: usize = 64 * 1024;

/// A stream that fails when its reader has not taken enough for a time, though there was more to take.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    behind: Option<Behind>,
}

/// The reader is behind.
struct Behind {
    /// Until when it has time.
    until: Pin<Box<Sleep>>,
    /// What it has taken since.
    taken: usize,
}

impl<S> Patient<S> {
    /// Such a stream.
    pub fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, behind: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.behind) {
            (Poll::Ready(Ok(count)), Some(behind)) => {
                behind.taken += count;
                if behind.taken >= ENOUGH {
                    self.behind = None;
                }
            }
            (Poll::Ready(_), _) => {}
            (Poll::Pending, behind) => {
                let patience = self.patience;
                let behind = behind.get_or_insert_with(|| Behind { until: Box::pin(sleep(patience)), taken: 0 });
                if behind.until.as_mut().poll(cx).is_ready() {
                    let message = "the client does not take what it is sent";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Who flushes has written all that there is: the reader has caught up.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_ends_the_stream() {
        let (ours, theirs) = duplex(1000);
        let start = Instant::now();
        let error = Patient::new(ours, PATIENCE).write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
        drop(theirs);
    }

    /// A kilobyte every second is too little, ten are enough.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_trickles_ends_the_stream_and_a_slow_one_does_not() {
        for (each, enough) in [(1000, false), (10_000, true)] {
            let (ours, mut theirs) = duplex(1000);
            let reader = tokio::spawn(async move {
                let mut buffer = vec![0; each];
                while theirs.read_exact(&mut buffer).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
            let written = Patient::new(ours, PATIENCE).write_all(&[0; 1_000_000]).await;
            assert_eq!(written.is_ok(), enough, "{each} bytes a second");
            reader.await.unwrap();
        }
    }

    /// Now and then there is little to write, and the reader takes it late, but all of it.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_catches_up_has_its_time_again() {
        let (ours, mut theirs) = duplex(100);
        let mut ours = Patient::new(ours, PATIENCE);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 150];
            for _ in 0..10 {
                sleep(Duration::from_secs(20)).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
        });
        for _ in 0..10 {
            ours.write_all(&[0; 150]).await.unwrap();
            ours.flush().await.unwrap();
        }
        reader.await.unwrap();
    }
}
