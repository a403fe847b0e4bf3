//! How an import or export is getting on: a bar on a terminal, a plain line now and then elsewhere. On standard error,
//! so that it never mixes with what is written out.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal::harmless;

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR: &str = "{bar:32} {percent:>3} %  {msg}  {eta} to go";
const SPINNER: &str = "{spinner} {msg}  {elapsed}";

/// A bar or lines.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    total: Option<u64>,
    last_line: Instant,
}

impl Progress {
    /// For `total` bytes, if that is known.
    #[must_use]
    pub fn new(total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = if total.is_some() { BAR } else { SPINNER };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, total, last_line: Instant::now() }
    }

    /// Shows where things stand.
    pub fn show(&mut self, done: u64, words: String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(words);
            self.bar.set_position(done);
            return;
        }
        if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            match self.total.filter(|total| *total > 0) {
                Some(total) => eprintln!("{} %  {words}", done.min(total) * 100 / total),
                None => eprintln!("{words}"),
            }
        }
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        let line = harmless(line);
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
