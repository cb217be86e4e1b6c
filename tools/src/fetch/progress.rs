//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Files below this many bytes arrive without a word.
const WORTH_A_BAR: u64 = 1 << 20;
/// Lines are written each time this many hundredths more have arrived.
const STEP: u64 = 10;

/// The progress of one file.
pub struct Progress {
    bar: ProgressBar,
    name: String,
    size: u64,
    start: u64,
    since: Instant,
    /// Hundredths at which the next line is due, where there is no terminal.
    next_line: u64,
}

impl Progress {
    /// Begins to show the download of a file of which `have` bytes are here.
    pub fn new(name: &str, size: Option<u64>, have: u64) -> Progress {
        let size = size.unwrap_or(0);
        let bar = if size < WORTH_A_BAR { ProgressBar::hidden() } else { ProgressBar::new(size) };
        let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar.set_position(have);
        bar.reset_eta();
        let next_line = have * 100 / size.max(1) + STEP;
        Progress { bar, name: name.to_owned(), size, start: have, since: Instant::now(), next_line }
    }

    /// Shows that `have` bytes are here.
    pub fn advance(&mut self, have: u64) {
        self.bar.set_position(have);
        if !self.bar.is_hidden() || self.size < WORTH_A_BAR || have * 100 / self.size < self.next_line {
            return;
        }
        self.next_line = have * 100 / self.size + STEP;
        let seconds = self.since.elapsed().as_secs_f64().max(1e-3);
        let speed = (have - self.start) as f64 / seconds;
        eprintln!(
            "{}: {} of {}, {}/s, {:.0} s left",
            self.name,
            HumanBytes(have),
            HumanBytes(self.size),
            HumanBytes(speed as u64),
            (self.size - have) as f64 / speed
        );
    }

    /// Shows that the file is here.
    pub fn finish(self) {
        self.bar.finish();
    }
}
