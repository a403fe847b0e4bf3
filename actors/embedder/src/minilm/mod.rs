//! all-MiniLM-L6-v2: texts to word pieces to vectors.
//!
//! `pieces` reads a text, `model` is the forward pass, `gemm`, `attention` and `elementwise` are its operators, `team`
//! lets several workers share one pass, `weights` reads the file.

mod aligned;
mod attention;
mod elementwise;
mod gemm;
mod model;
#[cfg(test)]
mod oracle;
mod pieces;
mod team;
mod weights;

use std::path::Path;

use pulp::Arch;

use crate::embedder::Embedded;
use crate::error::EmbedError;
use crate::queue::Outcome;
use crate::vector::Vector;

use model::Model;
use pieces::Reader;

pub(crate) use model::Workspace;
pub(crate) use pieces::Pieces;
pub(crate) use team::Seat;

/// Rows of one pass, so that buffers stay small; a single sequence is shorter.
const ROWS: usize = 640;
/// Two sentences whose cosine is known, to see that the model is the one it should be.
const CHECK: [&str; 2] = ["The cat sleeps on the warm windowsill.", "A kitten naps beside the sunny window."];
/// Their cosine.
const CHECK_COSINE: f32 = 0.6598;
/// How far off it may be.
const CHECK_TOLERANCE: f32 = 0.01;

/// The model with its tokenizer.
pub(crate) struct MiniLm {
    reader: Reader,
    model: Model,
}

impl MiniLm {
    /// Loads the model from a folder and checks that it is the right one. The error is for people.
    pub(crate) fn load(dir: &Path) -> Result<Self, String> {
        if !dir.join("model.safetensors").is_file() {
            return Err(format!("no weights in {} (make setup installs them)", dir.display()));
        }
        let model = Self { reader: Reader::load(&dir.join("tokenizer.json"))?, model: Model::load(dir, Arch::new())? };
        model.check()?;
        Ok(model)
    }

    fn check(&self) -> Result<(), String> {
        let vectors: Vec<Vector> = self
            .embed(&CHECK, &mut Workspace::default(), &mut || {})
            .into_iter()
            .map(|outcome| outcome.map_err(|error| error.to_string())?.vector.ok_or_else(|| "no vector".to_owned()))
            .collect::<Result<_, _>>()?;
        let [a, b] = vectors.as_slice() else { return Err("self-check failed".into()) };
        let cosine = a.cosine(b);
        if (cosine - CHECK_COSINE).abs() > CHECK_TOLERANCE {
            return Err(format!(
                "self-check failed: the cosine of two known sentences is {cosine}, not {CHECK_COSINE}"
            ));
        }
        Ok(())
    }

    /// Embeds texts on this thread alone.
    pub(crate) fn embed(&self, texts: &[&str], room: &mut Workspace, interrupt: &mut dyn FnMut()) -> Vec<Outcome> {
        let readings: Vec<_> = texts.iter().map(|text| self.reader.read(text)).collect();
        let windows: Vec<&[u32]> =
            readings.iter().flatten().flat_map(|reading| reading.windows.iter().map(Vec::as_slice)).collect();
        let mut means = Vec::with_capacity(windows.len());
        for pass in passes(&windows) {
            let pieces = Pieces::new(pass.iter().copied());
            means.extend(match self.model.embed(&pieces, None, room, interrupt) {
                Ok(found) => found.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(why) => vec![Err(why); pass.len()],
            });
        }
        let mut means = means.into_iter();
        let outcome = |reading: Result<pieces::Reading, String>| {
            let reading = reading?;
            let parts = means.by_ref().take(reading.windows.len()).collect::<Result<Vec<_>, _>>()?;
            finish(parts, reading.tokens)
        };
        readings.into_iter().map(outcome).map(|found| found.map_err(EmbedError::Failed)).collect()
    }

    /// Embeds one text together with the workers that `recruit` finds.
    pub(crate) fn embed_alone(
        &self,
        text: &str,
        recruit: impl FnOnce(Pieces) -> Option<Seat>,
        room: &mut Workspace,
    ) -> Outcome {
        let failed = EmbedError::Failed;
        let reading = self.reader.read(text).map_err(failed)?;
        let windows: Vec<&[u32]> = reading.windows.iter().map(Vec::as_slice).collect();
        let mut recruit = Some(recruit);
        let mut means = Vec::with_capacity(windows.len());
        for pass in passes(&windows) {
            let pieces = Pieces::new(pass.iter().copied());
            // Only the first pass of a long text: workers that other texts need are not kept.
            let team = recruit.take().and_then(|recruit| recruit(pieces.clone()));
            let together = team.and_then(|mut seat| {
                let found = self.model.embed(&pieces, Some(&mut seat), room, &mut || {}).ok()?;
                seat.finish();
                Some(found)
            });
            means.extend(match together {
                Some(found) => found,
                // No helper was free, or one was held up.
                None => self.model.embed(&pieces, None, room, &mut || {}).map_err(failed)?,
            });
        }
        finish(means, reading.tokens).map_err(failed)
    }

    /// Does this worker's part of a pass of a team.
    pub(crate) fn assist(&self, mut seat: Seat, room: &mut Workspace) {
        let pieces = seat.input();
        // Whoever leads the team has the result, and notices when there is none.
        if self.model.embed(&pieces, Some(&mut seat), room, &mut || {}).is_ok() {
            seat.finish();
        }
    }
}

/// Sequences in passes of about [`ROWS`] rows, evenly filled.
fn passes<'a, 'b>(windows: &'a [&'b [u32]]) -> Vec<&'a [&'b [u32]]> {
    let rows: usize = windows.iter().map(|window| window.len()).sum();
    let share = rows.div_ceil(rows.div_ceil(ROWS).max(1));
    let (mut passes, mut begin, mut filled) = (Vec::new(), 0, 0);
    for (n, window) in windows.iter().enumerate() {
        if filled > 0 && filled + window.len() / 2 > share {
            passes.push(&windows[begin..n]);
            (begin, filled) = (n, 0);
        }
        filled += window.len();
    }
    if begin < windows.len() {
        passes.push(&windows[begin..]);
    }
    passes
}

/// The vector of a text from the means of its windows.
fn finish(means: Vec<Vec<f32>>, tokens: usize) -> Result<Embedded, String> {
    let broken = || "the model gave no finite vector".to_owned();
    let mut parts = means.into_iter().map(Vector::new);
    let first = parts.next().flatten().ok_or_else(broken)?;
    if parts.len() == 0 {
        return Ok(Embedded { vector: Some(first), tokens });
    }
    let mut sum = first.to_vec();
    for part in parts {
        sum.iter_mut().zip(part.ok_or_else(broken)?.iter()).for_each(|(sum, number)| *sum += number);
    }
    Ok(Embedded { vector: Some(Vector::new(sum).ok_or_else(broken)?), tokens })
}
