//! The end of the server: what runs may go on until a deadline.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long responses that are ended have to tell their clients so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Waits until all connections have ended: those without a request do so at once, those with one when it is answered. After
/// `timeout`, or as soon as `again` is ready, `ending` is cancelled, which ends the answers that are still under way.
pub async fn end(
    connections: GracefulShutdown,
    ending: &CancellationToken,
    timeout: Duration,
    again: impl Future<Output = ()>,
) {
    let mut ended = pin!(connections.shutdown());
    tokio::select! {
        biased;
        () = &mut ended => return,
        () = again => tracing::info!("what still runs is ended"),
        () = sleep(timeout) => tracing::info!("what still runs after {timeout:?} is ended"),
    }
    ending.cancel();
    tokio::select! {
        () = ended => {}
        () = sleep(LAST_WORDS) => tracing::warn!("some connections did not end within {LAST_WORDS:?}"),
    }
}
