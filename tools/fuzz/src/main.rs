//! Runs fuzz targets as often as it is told: `cargo run --profile fuzz -p fuzz -- safetensors --runs 10000000`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{ScopedJoinHandle, scope};
use std::time::Instant;

use clap::Parser;
use fuzz::{Find, Report, Seen, Target, drive, run_once, targets};

/// Fuzz targets with oracles: each execution judges an input that was made by changing valid ones.
#[derive(Parser, Debug)]
struct Arguments {
    /// The target: safetensors, gguf, tokenizer, bpe, chat, receipt, http, or all
    target: String,
    /// Executions of each target
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    runs: u64,
    /// The first of them: execution N of a seed is the same input always
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Which inputs
    #[arg(long, value_name = "N", env = "LOCKSTEP_FUZZ_SEED", default_value_t = 1)]
    seed: u64,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Run this input once instead
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen: Vec<&Target> = match arguments.target.as_str() {
        "all" => targets::ALL.iter().collect(),
        name => targets::named(name).into_iter().collect(),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        eprintln!("error: there is no target {:?}; choose all or one of {}", arguments.target, names.join(", "));
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        let outcome = match &arguments.replay {
            Some(file) => replay(target, file),
            None => fuzz(target, &arguments),
        };
        if let Err(error) = outcome {
            eprintln!("error: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// What ends a target badly.
type Failure = Box<dyn std::error::Error>;

fn replay(target: &Target, file: &PathBuf) -> Result<(), Failure> {
    let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut seen = Seen::new(target.outcomes);
    run_once(target, &input, &mut seen)?;
    let outcomes: Vec<&str> = seen.counts().filter(|(_, count)| *count > 0).map(|(outcome, _)| outcome).collect();
    Ok(writeln!(io::stdout(), "{}: {}", target.name, outcomes.join(", "))?)
}

fn fuzz(target: &Target, arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { runs, from, seed, jobs, .. } = *arguments;
    let start = Instant::now();
    let reports: Vec<Result<Report, Find>> = scope(|scope| {
        let step = usize::try_from(jobs).unwrap_or(usize::MAX);
        let job = |job| scope.spawn(move || drive(target, seed, (from + job..from + runs).step_by(step)));
        let jobs: Vec<ScopedJoinHandle<'_, _>> = (0..jobs).map(job).collect();
        jobs.into_iter().map(|job| job.join().expect("what a target does is caught")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let mut reports = reports.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut whole = reports.next().ok_or("there are no jobs")?;
    reports.for_each(|report| whole.add(&report));
    print(target, runs, seconds, &whole)?;
    let missing = whole.missing(target);
    if missing.is_empty() { Ok(()) } else { Err(format!("never seen: {}", missing.join(", ")).into()) }
}

/// What was run and how fast, and how often each outcome came up.
fn print(target: &Target, runs: u64, seconds: f64, report: &Report) -> io::Result<()> {
    let (slowest, time) = report.slowest;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {runs} executions, {:.0} a second, no find", target.name, runs as f64 / seconds)?;
    writeln!(out, "  the slowest took {time:?}: execution {slowest}")?;
    for ((outcome, made), (_, cases)) in report.made.counts().zip(report.cases.counts()) {
        let share = made as f64 * 100.0 / runs.max(1) as f64;
        writeln!(out, "  {made:>12} {share:>6.2} %  {outcome}{}", if cases > 0 { ", and in a case" } else { "" })?;
    }
    Ok(())
}
