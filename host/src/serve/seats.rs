//! Seats: how many connections there are at a time, and who makes room when there are too many.
//!
//! A connection is idle while no request of it is answered: it has sent none yet, or not all of its head. When all seats are
//! taken, the one that has been idle for longest is closed, so that those who only sit keep nobody out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::reply::Body;

/// All seats.
pub struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    /// A connection has ended, or become idle.
    change: Notify,
}

#[derive(Default)]
struct Taken {
    count: usize,
    /// Connections that were asked to make room and have not ended yet.
    leaving: usize,
    /// The idle ones, the one that has been so for longest first.
    idle: BTreeMap<u64, CancellationToken>,
    /// The next key of those.
    next: u64,
}

/// The seat of a connection, until it is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    leave: CancellationToken,
    /// Where it stands among the idle ones, while it does.
    idle: Mutex<Option<u64>>,
}

/// While this is there, a connection is not idle.
pub struct Busy(Arc<Seat>);

impl Seats {
    /// So many, at least two.
    pub fn new(most: usize) -> Arc<Seats> {
        Arc::new(Seats { most: most.max(2), taken: Mutex::default(), change: Notify::new() })
    }

    /// The next free seat; an idle connection makes room where there is none.
    pub async fn take(self: &Arc<Seats>) -> Seat {
        loop {
            if let Some(seat) = self.try_take() {
                return seat;
            }
            self.change.notified().await;
        }
    }

    fn try_take(self: &Arc<Seats>) -> Option<Seat> {
        let mut taken = self.lock();
        if taken.count < self.most {
            taken.count += 1;
            let leave = CancellationToken::new();
            let idle = Mutex::new(Some(taken.sit_down(leave.clone())));
            return Some(Seat { seats: self.clone(), leave, idle });
        }
        if taken.leaving == 0
            && let Some((_, leave)) = taken.idle.pop_first()
        {
            taken.leaving += 1;
            leave.cancel();
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing is half done in there, whoever panicked.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn sit_down(&mut self, leave: CancellationToken) -> u64 {
        let key = self.next;
        self.next += 1;
        self.idle.insert(key, leave);
        key
    }
}

impl Seat {
    /// Returns when the connection is to make room.
    pub async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }

    /// A request has come.
    pub fn busy(self: &Arc<Seat>) -> Busy {
        let key = self.key().take();
        if let Some(key) = key {
            self.seats.lock().idle.remove(&key);
        }
        Busy(self.clone())
    }

    fn key(&self) -> MutexGuard<'_, Option<u64>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let key = self.key().take();
        let mut taken = self.seats.lock();
        if let Some(key) = key {
            taken.idle.remove(&key);
        }
        if self.leave.is_cancelled() {
            taken.leaving -= 1;
        }
        taken.count -= 1;
        drop(taken);
        self.seats.change.notify_one();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Busy(seat) = self;
        if !seat.leave.is_cancelled() {
            let key = seat.seats.lock().sit_down(seat.leave.clone());
            *seat.key() = Some(key);
        }
        seat.seats.change.notify_one();
    }
}

impl Busy {
    /// The same until all of `body` is sent, or it is given up.
    pub fn until_end_of(self, body: Body) -> Body {
        Occupied { body, _busy: self }.boxed_unsync()
    }
}

struct Occupied {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Occupied {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many connections the process can hold beside its other files, each with a file that it is sent, if that is less than
/// `most`.
pub fn within_files(most: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        /// The model, the log, the listener, the runtime's own.
        const OTHERS: u64 = 48;
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(files.saturating_sub(OTHERS) / 2).unwrap_or(most).min(most)
    }
    #[cfg(not(unix))]
    most
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, timeout};

    use super::*;
    use crate::serve::reply::nothing;

    fn waits(seats: &Arc<Seats>) -> bool {
        seats.try_take().is_none()
    }

    #[tokio::test]
    async fn who_has_been_idle_for_longest_makes_room() {
        let seats = Seats::new(3);
        let [first, second, third] = [seats.take().await, seats.take().await, seats.take().await].map(Arc::new);
        // The first was busy meanwhile: the second has been idle for longest.
        drop(first.busy());
        assert!(waits(&seats) && waits(&seats));
        assert_eq!([&first, &second, &third].map(|seat| seat.leave.is_cancelled()), [false, true, false]);
        assert!(timeout(Duration::from_millis(10), seats.take()).await.is_err());
        drop(second);
        let _fourth = timeout(Duration::from_secs(10), seats.take()).await.unwrap();
        assert!(waits(&seats) && third.leave.is_cancelled() && !first.leave.is_cancelled());
    }

    #[tokio::test]
    async fn who_is_answered_stays_until_the_answer_is_sent() {
        let seats = Seats::new(2);
        let [first, second] = [seats.take().await, seats.take().await].map(Arc::new);
        let (answer, other) = (first.busy().until_end_of(nothing()), second.busy());
        assert!(waits(&seats) && !first.leave.is_cancelled() && !second.leave.is_cancelled());
        let next = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take().await }
        });
        tokio::task::yield_now().await;
        drop(answer);
        timeout(Duration::from_secs(10), first.asked_to_leave()).await.unwrap();
        drop(first);
        timeout(Duration::from_secs(10), next).await.unwrap().unwrap();
        drop(other);
    }
}
