//! `lockstep serve`: the page, the model files and the HTTP API.
//!
//! [`routes`] is the whole API; [`guard`] decides who may ask; [`generate`], [`train`] and [`stream`] answer with events, [`files`] and
//! [`send`] with files, [`receipts`] with the receipts of what was computed. Connections are served by an async runtime, which computes nothing: [`engine`] does, on a thread of
//! its own.

mod ending;
mod engine;
mod files;
mod generate;
mod guard;
mod load;
mod query;
mod receipts;
mod reply;
mod routes;
mod send;
mod state;
mod stream;
mod train;
mod weights;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Failure, Outcome, cli};
use state::State;

/// Connections at a time; further ones wait until one of these ends.
const CONNECTIONS: usize = 256;
/// A client must have sent its request's head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the command until Ctrl-C or SIGTERM.
///
/// # Errors
/// If the address cannot be listened on, or the model cannot be loaded.
pub fn serve(arguments: cli::Serve) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(listen(arguments));
    // A file being read by a runtime's thread is not waited for.
    runtime.shutdown_background();
    outcome
}

async fn listen(arguments: cli::Serve) -> Outcome {
    let (host, port) = (arguments.host.clone(), arguments.port);
    let listener = TcpListener::bind((host.trim_matches(['[', ']']), port)).await.map_err(|error| {
        format!("cannot listen on {host}, port {port}: {error}; choose another --host or --port (0 picks a free port)")
    })?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!("{address} can be reached from the network: anyone there can use this server");
    }
    // A server whose stderr is closed serves all the same.
    let _ = writeln!(io::stderr(), "listening on http://{}/web/", reachable(address));

    let (engine, queue) = engine::engine();
    let state = Arc::new(State::new(arguments, engine));
    let mut engine = pin!(load::start(state.clone(), queue)?);
    let mut end = pin!(asked_to_end());
    let connections = GracefulShutdown::new();
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let outcome = loop {
        tokio::select! {
            biased;
            signal = &mut end => break signal,
            ended = &mut engine => break Err(ended),
            (stream, seat) = accept(&listener, seats.clone()) => serve_connection(stream, seat, &state, &connections),
        }
    };
    drop(listener);
    // An engine that has failed answers nobody any more.
    let timeout = Duration::from_secs(if outcome.is_ok() { state.arguments.shutdown_timeout.into() } else { 0 });
    tracing::info!("ending: what runs may go on for {timeout:?}, or until the next signal");
    let again = async { drop(asked_to_end().await) };
    ending::end(connections, &state.ending, timeout, again).await;
    outcome
}

/// The address under which a browser on this machine finds the server.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The next connection, once there is a seat for it.
async fn accept(listener: &TcpListener, seats: Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let seat = seats.acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, seat),
            Err(error) => {
                // Out of file handles, or the client has gone already: both pass.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    seat: Option<OwnedSemaphorePermit>,
    state: &Arc<State>,
    connections: &GracefulShutdown,
) {
    // Each token is to leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("nodelay: {error}");
    }
    let state = state.clone();
    let service = service_fn(move |request| routes::answer(state.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection: {error}");
        }
        drop(seat);
    });
}

/// Returns at Ctrl-C, or at SIGTERM where there are signals.
async fn asked_to_end() -> Outcome {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::from)?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_shown_is_one_that_a_browser_can_open() {
        let shown = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(shown("[::]:80"), "[::1]:80");
        assert_eq!(shown("192.168.1.7:80"), "192.168.1.7:80");
    }
}
