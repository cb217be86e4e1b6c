//! `lockstep serve`: the page, the model files and the HTTP API.
//!
//! [`routes`] is the whole API; [`gate`] decides who may ask; [`generate`], [`train`] and [`stream`] answer with events, [`openai`] as
//! OpenAI's clients want it, [`files`] and
//! [`send`] with files, [`receipts`] with the receipts of what was computed. Connections are served by an async runtime, which computes nothing: [`engine`] does, on a thread of
//! its own. [`requests`] logs each request, [`metrics`] counts.

mod about;
mod api_error;
mod body;
mod cors;
pub mod door;
mod ending;
mod engine;
mod files;
mod gate;
mod generate;
mod guard;
mod keys;
mod load;
mod metrics;
mod openai;
mod opened_files;
mod patience;
mod query;
mod receipts;
mod reply;
mod requests;
mod routes;
mod seats;
mod send;
mod state;
mod stream;
mod text;
mod train;
mod weights;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream, lookup_host};

use crate::logs::{self, LogFormat};
use crate::{Failure, Outcome, cli};
use gate::Gate;
use patience::Patient;
use seats::{Seat, Seats, within_files};
use state::State;

/// Connections at a time; idle ones make room for further ones.
const CONNECTIONS: usize = 256;
/// Bytes that a connection keeps of what it has read and not understood yet, or not sent yet: the longest head of a request.
const BUFFER: usize = 128 * 1024;

/// Runs the command until Ctrl-C or SIGTERM.
///
/// # Errors
/// If the address cannot be listened on, or the model cannot be loaded.
pub fn serve(arguments: cli::Serve, log: LogFormat) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(listen(arguments, log));
    // A file being read by a runtime's thread is not waited for.
    runtime.shutdown_background();
    outcome
}

async fn listen(arguments: cli::Serve, log: LogFormat) -> Outcome {
    let listening = arguments.listening.clone();
    let (host, port) = (listening.bare_host(), listening.port);
    let gate = Gate::new(&arguments)?;
    let open = arguments.clients.allow_unauthenticated;
    let (engine, queue) = engine::engine(gate.callers());
    let state = Arc::new(State::new(arguments, engine, gate)?);
    let refused = |error| {
        format!("cannot listen on {host}, port {port}: {error}; choose another --host or --port (0 picks a free port)")
    };
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(refused)?.collect();
    check_open(&addresses, &state.gate, open)?;
    let listener = TcpListener::bind(&addresses[..]).await.map_err(refused)?;
    let address = listener.local_addr()?;
    // From here on a signal ends the server in its order.
    let mut end = pin!(asked_to_end()?);
    logs::say(log, &format!("listening on http://{}/web/", reachable(address)));

    let mut engine = pin!(load::start(state.clone(), queue)?);
    let connections = GracefulShutdown::new();
    let seats = Seats::new(within_files(CONNECTIONS));
    let outcome = loop {
        tokio::select! {
            biased;
            signal = &mut end => break signal,
            ended = &mut engine => break Err(ended),
            (stream, seat) = accept(&listener, &seats) => serve_connection(stream, seat, &state, &connections),
        }
    };
    drop(listener);
    // An engine that has failed answers nobody any more.
    let timeout = Duration::from_secs(if outcome.is_ok() { state.arguments.shutdown_timeout.into() } else { 0 });
    tracing::info!("ending: what runs may go on for {timeout:?}, or until the next signal");
    let again = asked_to_end()?;
    ending::end(connections, &state.ending, timeout, async { drop(again.await) }).await;
    outcome
}

/// Refuses to listen where others can use the server without a key, unless that is insisted on.
fn check_open(addresses: &[SocketAddr], gate: &Gate, insisted: bool) -> Result<(), String> {
    let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback()) else { return Ok(()) };
    let ip = open.ip();
    match (gate.has_keys(), insisted) {
        (true, _) => tracing::warn!(
            "{ip} can be reached from the network, where others can read what is sent: put a proxy with TLS in front"
        ),
        (false, true) => tracing::warn!("{ip} can be reached from the network: anyone there can use this server"),
        (false, false) => {
            return Err(format!(
                "{ip} can be reached from the network, and anyone there could use this server: give it a key with --api-key-file FILE \
                 or LOCKSTEP_API_KEY, or insist with --allow-unauthenticated"
            ));
        }
    }
    Ok(())
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
async fn accept(listener: &TcpListener, seats: &Arc<Seats>) -> (TcpStream, Seat) {
    let seat = seats.take().await;
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

fn serve_connection(stream: TcpStream, seat: Seat, state: &Arc<State>, connections: &GracefulShutdown) {
    // Each token is to leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("nodelay: {error}");
    }
    let patience = state.arguments.limits.client_timeout();
    let (state, seat) = (state.clone(), Arc::new(seat));
    let taken = seat.clone();
    let service = service_fn(move |request| {
        let (busy, answer) = (taken.busy(), routes::answer(state.clone(), request));
        async { answer.await.map(|response| response.map(|body| busy.until_end_of(body))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Patient::new(stream, patience)), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!("connection: {error}");
            },
            () = seat.asked_to_leave() => tracing::debug!("connection: closed, to make room"),
        }
    });
}

/// Listens for Ctrl-C, and for SIGTERM where there are signals; the future is ready when one has come.
///
/// # Errors
/// If the system refuses.
fn asked_to_end() -> Result<impl Future<Output = Outcome>, Failure> {
    #[cfg(unix)]
    let asked = {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            io::Result::Ok(())
        }
    };
    #[cfg(not(unix))]
    let asked = tokio::signal::ctrl_c();
    Ok(async { Ok(asked.await?) })
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
