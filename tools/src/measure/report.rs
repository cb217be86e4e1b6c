//! Figures, and the Markdown that is made of them.

use std::fmt::Write;
use std::process::Command;

use crate::process::{self, field};
use crate::workspace::Workspace;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tokens per second.
    Tokens,
    /// Megabytes per second.
    Megabytes,
    /// Milliseconds: the fewer the better.
    Milliseconds,
    /// Megabytes of memory: the fewer the better.
    Memory,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Tokens => "tok/s",
            Unit::Megabytes => "MB/s",
            Unit::Milliseconds => "ms",
            Unit::Memory => "MB",
        }
    }

    /// How many times as good `ours` is.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Unit::Tokens | Unit::Megabytes => ours / theirs,
            Unit::Milliseconds | Unit::Memory => theirs / ours,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What the numbers count.
    pub unit: Unit,
    /// Ours.
    pub ours: f64,
    /// Whom it is compared with, and their figure.
    pub peer: Option<(String, f64)>,
}

impl Figure {
    /// A line for each peer, or one without.
    pub fn against(what: String, unit: Unit, ours: f64, peers: Vec<(String, f64)>) -> Vec<Figure> {
        let figure = |peer| Figure { what: what.clone(), unit, ours, peer };
        if peers.is_empty() { vec![figure(None)] } else { peers.into_iter().map(Some).map(figure).collect() }
    }
}

/// The table: a line for each figure, and how many times as good as the peer's ours is.
pub fn table(figures: &[Figure]) -> String {
    let mut table = "| what | ours | peer | ratio |\n| --- | --- | --- | --- |\n".to_owned();
    for Figure { what, unit, ours, peer } in figures {
        let name = unit.name();
        let (peer, ratio) = match peer {
            Some((peer, theirs)) => {
                (format!("{theirs:.1} {name} ({peer})"), format!("{:.2}", unit.ratio(*ours, *theirs)))
            }
            None => Default::default(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {what} | {ours:.1} {name} | {peer} | {ratio} |");
    }
    table
}

/// When, on what, and by which command: a sentence each.
pub fn heading(workspace: &Workspace) -> String {
    let ask = |command: &mut Command| process::capture(command).ok();
    let date = ask(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_else(|| "unknown".into());
    let commit = ask(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(&workspace.root));
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "Date: {date}. Machine: {} of {}, load {} at the start. Command: `cargo run --release -p tools -- {}`{}.\n",
        cores(std::thread::available_parallelism().map_or(1, usize::from)),
        field(&cpus, "model name").unwrap_or(std::env::consts::ARCH),
        load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown"),
        arguments.join(" "),
        commit.map(|commit| format!(" at {commit}")).unwrap_or_default(),
    )
}

fn cores(count: usize) -> String {
    if count == 1 { "1 core".into() } else { format!("{count} cores") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_means_that_ours_is_better() {
        let figure = |unit, peer: f64| Figure { what: "x".into(), unit, ours: 2.0, peer: Some(("p".into(), peer)) };
        let lines = table(&[
            figure(Unit::Tokens, 1.0),
            figure(Unit::Milliseconds, 1.0),
            Figure { peer: None, ..figure(Unit::Memory, 1.0) },
        ]);
        let lines: Vec<&str> = lines.lines().skip(2).collect();
        assert_eq!(lines[0], "| x | 2.0 tok/s | 1.0 tok/s (p) | 2.00 |");
        assert_eq!(lines[1], "| x | 2.0 ms | 1.0 ms (p) | 0.50 |");
        assert_eq!(lines[2], "| x | 2.0 MB |  |  |");
    }
}
