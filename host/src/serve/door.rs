//! The server without a socket and without a model: what it makes of the bytes of a client. The fuzz targets in `tools/fuzz` come
//! in here.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;

use super::engine::{self, Queue};
use super::gate::Gate;
use super::query::Query;
use super::routes;
use super::state::State;
use crate::Failure;
use crate::cli::{Cli, Command};

/// A server that is still loading its model.
pub struct Door {
    runtime: Runtime,
    state: Arc<State>,
    /// Nothing works on it, and without it the engine has ended.
    _queue: Queue,
}

impl Door {
    /// A server of the page in this folder.
    ///
    /// # Errors
    /// If the system refuses what it needs.
    pub fn new(web_root: &Path) -> Result<Door, Failure> {
        let line = ["lockstep".as_ref(), "serve".as_ref(), "--web-root".as_ref(), web_root.as_os_str()];
        let Command::Serve(arguments) = Cli::try_parse_from(line)?.command else {
            return Err("the command is serve".into());
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let gate = Gate::new(&arguments)?;
        let (engine, queue) = engine::engine(gate.callers());
        Ok(Door { runtime, state: Arc::new(State::new(arguments, engine, gate)?), _queue: queue })
    }

    /// All that a client receives that sends these bytes and then no more.
    pub fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let mut received = Vec::new();
        let service = service_fn(|request| routes::answer(self.state.clone(), request));
        let connection = http1::Builder::new()
            // The end of the bytes is not that of the client, who waits for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(tokio::io::join(bytes, &mut received)), service);
        if let Err(error) = self.runtime.block_on(connection) {
            tracing::debug!("connection: {error}");
        }
        received
    }
}

/// The names and values of a query, in order, as every route reads them.
///
/// # Errors
/// What the client is told.
pub fn query(text: &str) -> Result<Vec<(String, String)>, String> {
    Query::parse(text).map(Query::into_pairs).map_err(|error| error.to_string())
}
