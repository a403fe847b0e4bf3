//! Texts to word pieces.

use std::path::Path;
use std::sync::Arc;

use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};

/// Word pieces that the model reads at a time, the two marks included.
pub(crate) const LONGEST: usize = 256;
/// A text that does not fit is read in windows of so many pieces ...
const WINDOW: usize = 240;
/// ... each of which begins with the last so many of the window before.
const OVERLAP: usize = 40;

/// Sequences of word pieces, one after the other. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    ids: Arc<[u32]>,
    /// Where each sequence ends.
    ends: Arc<[usize]>,
}

impl Pieces {
    pub(crate) fn new<'a>(sequences: impl Iterator<Item = &'a [u32]>) -> Self {
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        for sequence in sequences {
            ids.extend_from_slice(sequence);
            ends.push(ids.len());
        }
        Self { ids: ids.into(), ends: ends.into() }
    }

    /// All pieces.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where the sequences lie.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let mut begin = 0;
        self.ends.iter().map(move |end| std::mem::replace(&mut begin, *end)..*end)
    }
}

/// A text as the model reads it.
pub(crate) struct Reading {
    /// One sequence of ids, or several windows, each with its marks.
    pub(crate) windows: Vec<Vec<u32>>,
    /// Pieces of the text, each counted once, and two marks.
    pub(crate) tokens: usize,
}

/// The tokenizer, with the marks for begin and end.
pub(crate) struct Reader {
    tokenizer: PipelineTokenizer,
    options: EncodeOptions,
    begin: u32,
    end: u32,
}

impl Reader {
    /// Reads `tokenizer.json`.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let why = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let json = tokenizers::canonicalize_file(path).map_err(|error| why(&error))?;
        let tokenizer = tokenizers::from_json(&json).map_err(|error| why(&error))?;
        // Whatever the file says about cutting and padding is for other uses.
        let options = EncodeOptions {
            add_special_tokens: true,
            padding: Override::Off,
            truncation: Override::Off,
            ..EncodeOptions::default()
        };
        let mut reader = Self { tokenizer, options, begin: 0, end: 0 };
        let marks = reader.pieces("").map_err(|error| why(&error))?;
        let [begin, end] = marks.as_slice() else { return Err(why(&"not a tokenizer with two marks")) };
        (reader.begin, reader.end) = (*begin, *end);
        reader.options.add_special_tokens = false;
        Ok(reader)
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut pieces = Vec::new();
        self.tokenizer.encode_into(text, &self.options, &mut pieces).map_err(|error| error.to_string())?;
        Ok(pieces.into_iter().map(u32::from).collect())
    }

    /// Splits a text into word pieces, and those into windows when there are too many.
    pub(crate) fn read(&self, text: &str) -> Result<Reading, String> {
        let pieces = self.pieces(text)?;
        let marked = |part: &[u32]| [&[self.begin], part, &[self.end]].concat();
        let tokens = pieces.len() + 2;
        let windows = if tokens <= LONGEST {
            vec![marked(&pieces)]
        } else {
            windows(pieces.len()).map(|range| marked(&pieces[range])).collect()
        };
        Ok(Reading { windows, tokens })
    }
}

/// The windows over `length` pieces, which are more than one window.
fn windows(length: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..length.saturating_sub(OVERLAP).max(1))
        .step_by(WINDOW - OVERLAP)
        .map(move |begin| begin..length.min(begin + WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_everything_and_overlap() {
        for length in [255, 280, 281, 440, 441, 1000, 8000] {
            let all: Vec<_> = windows(length).collect();
            assert_eq!(all[0].start, 0);
            assert_eq!(all.last().map(|last| last.end), Some(length));
            for pair in all.windows(2) {
                assert_eq!(pair[0].end - pair[1].start, OVERLAP);
                assert!(pair[1].len() > OVERLAP);
            }
        }
    }
}
