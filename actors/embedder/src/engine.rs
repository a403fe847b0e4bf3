//! What computes: the model, or the hashed words of tests.

use crate::embedder::Embedded;
use crate::error::EmbedError;
use crate::hashed;
use crate::minilm::{MiniLm, Seat, Workspace};
use crate::queue::{Outcome, Queue};
use crate::settings::Choice;

/// A loaded model. Shared by all workers, never changed.
pub(crate) enum Engine {
    MiniLm(Box<MiniLm>),
    Hashed,
}

/// Buffers of one worker.
#[derive(Default)]
pub(crate) struct Scratch(Workspace);

impl Engine {
    /// Loads and checks what was chosen. Takes a second or so; the error is for people.
    pub(crate) fn load(choice: &Choice) -> Result<Self, String> {
        match choice {
            Choice::MiniLm { dir } => Ok(Self::MiniLm(Box::new(MiniLm::load(dir)?))),
            Choice::TestHash => Ok(Self::Hashed),
            Choice::Off => Err(crate::error::OFF.into()),
        }
    }

    /// Embeds texts on this thread alone. `interrupt` is called every few milliseconds.
    pub(crate) fn embed(&self, texts: &[&str], scratch: &mut Scratch, interrupt: &mut dyn FnMut()) -> Vec<Outcome> {
        match self {
            Self::MiniLm(model) => model.embed(texts, &mut scratch.0, interrupt),
            Self::Hashed => texts
                .iter()
                .map(|text| {
                    interrupt();
                    let (vector, tokens) = hashed::embed(text);
                    Ok(Embedded { vector, tokens })
                })
                .collect(),
        }
    }

    /// Embeds one text, with the help of the workers that are idle.
    pub(crate) fn embed_alone(&self, text: &str, queue: &Queue, scratch: &mut Scratch) -> Outcome {
        match self {
            Self::MiniLm(model) => model.embed_alone(text, |input| queue.recruit(input), &mut scratch.0),
            Self::Hashed => {
                let outcome = self.embed(&[text], scratch, &mut || {}).pop();
                outcome.unwrap_or_else(|| Err(EmbedError::Failed("no vector came out".into())))
            }
        }
    }

    /// Does this worker's part of another worker's pass.
    pub(crate) fn assist(&self, seat: Seat, scratch: &mut Scratch) {
        if let Self::MiniLm(model) = self {
            model.assist(seat, &mut scratch.0);
        }
    }
}
