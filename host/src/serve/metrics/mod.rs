//! `GET /metrics`: how the server does, as Prometheus reads it (OpenMetrics 1.0).
//!
//! Whatever is sent, the number of time series stays the same few: unknown paths are one route, methods are no label.

use std::fmt;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use kernel::transcript::PROFILE;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::api_error::ApiError;
use super::reply::{self, Body};
use super::state::State;
use crate::{cli, memory};
use histogram::Histogram;

mod generations;
mod histogram;

pub use generations::{Generations, Watch};

/// The labels of a response.
type Labels = [(&'static str, &'static str); 2];
type Route = [(&'static str, &'static str); 1];

/// What is counted from the start of the server on.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Nothing has happened yet.
    pub fn new(arguments: &cli::Serve, generations: &Generations) -> Metrics {
        let mut registry = Registry::with_prefix("lockstep");
        let backend = arguments.model.base.backend.name();
        let build = [("version", env!("CARGO_PKG_VERSION")), ("profile", PROFILE), ("backend", backend)];
        registry.register("build", "The program, its numeric contract and its instruction set", Info::new(build));
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and class of their status", requests.clone());
        let durations = Family::new_with_constructor(Histogram::of_requests as fn() -> Histogram);
        let help = "Time from a request's head to the end of its response";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        generations.register(&mut registry);
        Metrics { registry, requests, durations }
    }

    /// Counts a request that has ended.
    pub fn request(&self, route: &'static str, status: u16, duration: std::time::Duration) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&[("route", route), ("status", class)]).inc();
        self.durations.get_or_create(&[("route", route)]).observe(duration);
    }
}

/// Answers with all metrics.
pub fn answer(state: &State) -> Response<Body> {
    match text(state) {
        Ok(text) => {
            let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            reply::reply(StatusCode::OK, &[(CONTENT_TYPE, media), (CACHE_CONTROL, "no-store")], reply::full(text))
        }
        Err(error) => ApiError::internal(error).response(),
    }
}

fn text(state: &State) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &state.metrics.registry)?;
    encode_registry(&mut text, &now(state))?;
    encode_eof(&mut text)?;
    Ok(text)
}

/// What is so at this moment.
fn now(state: &State) -> Registry {
    let mut registry = Registry::default();
    if let Some(bytes) = memory::resident() {
        let help = "Memory of the process that is in use, mapped files included";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, ConstGauge::new(bytes));
    }
    let (engine, lockstep) = (&state.engine, registry.sub_registry_with_prefix("lockstep"));
    for (name, help, value) in [
        ("ready", "Whether the model is loaded", usize::from(state.model.get().is_some())),
        ("active_generations", "Generations that advance", engine.active()),
        ("waiting_generations", "Generations that wait for their turn", engine.waiting()),
        ("training", "Whether a training runs or waits", usize::from(engine.training.is_taken())),
    ] {
        lockstep.register(name, help, ConstGauge::new(value as u64));
    }
    registry
}
