//! What is measured and how much of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The options in words.
const KNOWN: &str = "there are --only recall|search|insert|flat|first-token (several with commas), --rounds N, --quick, \
    --vectors N, --data FOLDER and --server PATH";

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Evidence found.
    Recall,
    /// Searches of many memories.
    Search,
    /// Messages taken in.
    Insert,
    /// Turns over a short and over a long past.
    Flat,
    /// The first token of bots with and without memory.
    FirstToken,
}

impl Part {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 5] = [Self::Recall, Self::Search, Self::Insert, Self::Flat, Self::FirstToken];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Search => "search",
            Self::Insert => "insert",
            Self::Flat => "flat",
            Self::FirstToken => "first-token",
        }
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    only: Vec<Part>,
    /// Rounds of which the median counts.
    pub rounds: usize,
    /// Less of everything, to try the bench itself.
    pub quick: bool,
    /// Messages of the long past that have vectors.
    pub vectors: usize,
    /// Folder of the conversations with questions.
    pub data: PathBuf,
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
            rounds: 8,
            quick: false,
            vectors: 10_000,
            data: Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
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
                "--rounds" => options.rounds = number()?.max(1),
                "--vectors" => options.vectors = number()?.max(1),
                "--data" => options.data = value.into(),
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

    /// The folder with the model.
    pub fn weights(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/minilm")
    }
}
