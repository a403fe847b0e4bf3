//! Running one pass through a splitter.

use greenroom_dialect::{Parsed, Splitter, ToolFormat};
use serde_json::Value;

/// The tools of every pass here.
pub const NAMES: &[&str] = &["search", "memory", "history", "model", "time", "HassTurnOn"];

pub fn splitter(format: ToolFormat) -> Splitter {
    Splitter::new(format, NAMES.iter().map(|name| (*name).to_owned()).collect())
}

/// What a pass came to: all its prose, and the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    pub prose: String,
    pub parsed: Parsed,
}

impl Pass {
    /// Names and arguments of the calls.
    pub fn calls(&self) -> Vec<(&str, &Value)> {
        self.parsed.calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect()
    }
}

pub fn run<'a>(format: ToolFormat, pieces: impl IntoIterator<Item = &'a str>) -> Pass {
    let (mut splitter, mut prose) = (splitter(format), String::new());
    for piece in pieces {
        let step = splitter.push(piece.to_owned());
        prose.push_str(&step.prose);
        if step.call_complete {
            break;
        }
    }
    let mut parsed = splitter.finish();
    prose.push_str(&std::mem::take(&mut parsed.prose_rest));
    Pass { prose, parsed }
}

/// The pass of a whole text, having checked that every cut of it comes to the same.
pub fn whole(format: ToolFormat, text: &str) -> Pass {
    let whole = run(format, [text]);
    for (cut, _) in text.char_indices() {
        let (a, b) = text.split_at(cut);
        assert_eq!(run(format, [a, b]), whole, "{format:?} cut at {cut}: {text}");
    }
    let letters: Vec<String> = text.chars().map(String::from).collect();
    assert_eq!(run(format, letters.iter().map(String::as_str)), whole, "{format:?} letter by letter: {text}");
    whole
}
