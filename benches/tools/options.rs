//! What is measured and how much of it.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// The options in words.
const KNOWN: &str = "there are --only round-trip|relay|first-text (several with commas), --rounds N, --streams N, \
    --every MILLISECONDS, --quick and --server PATH";

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Turns that call tools.
    RoundTrip,
    /// Pieces of many streams.
    Relay,
    /// The first text of a model whose calls are text.
    FirstText,
}

impl Part {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 3] = [Self::RoundTrip, Self::Relay, Self::FirstText];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "round-trip",
            Self::Relay => "relay",
            Self::FirstText => "first-text",
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    only: Vec<Part>,
    rounds: Option<usize>,
    /// Streams that are open at once.
    pub streams: usize,
    /// Milliseconds between two pieces of a stream.
    pub every: usize,
    /// Less of everything, to try the bench itself.
    pub quick: bool,
    /// The server.
    pub server: PathBuf,
}

impl Options {
    /// Reads the command line; words that cargo adds are passed over.
    ///
    /// # Errors
    /// For words that it does not know.
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            rounds: None,
            streams: 200,
            every: 50,
            quick: false,
            server: env!("CARGO_BIN_EXE_greenroom").into(),
        };
        let mut words = words.iter().map(String::as_str).filter(|word| !matches!(*word, "--bench" | "run"));
        while let Some(word) = words.next() {
            if word == "--quick" {
                options.quick = true;
                continue;
            }
            let value = words.next().with_context(|| format!("'{word}' needs a value; {KNOWN}"))?;
            let number = || value.parse::<usize>().with_context(|| format!("'{word}' needs a number"));
            match word {
                "--only" => {
                    for name in value.split(',') {
                        let part = Part::ALL.into_iter().find(|part| part.name() == name);
                        options.only.push(part.with_context(|| format!("unknown part '{name}'; {KNOWN}"))?);
                    }
                }
                "--rounds" => options.rounds = Some(number()?.max(1)),
                "--streams" => options.streams = number()?.max(1),
                "--every" => options.every = number()?.max(1),
                "--server" => options.server = value.into(),
                _ => bail!("unknown option '{word}'; {KNOWN}"),
            }
        }
        Ok(options)
    }

    /// Whether a part is asked for.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// The first number, or the second in a quick run.
    pub fn amount(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Rounds of which the median counts: as told, else so many, few in a quick run.
    pub fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or_else(|| self.amount(usual, 2))
    }
}
