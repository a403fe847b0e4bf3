//! What the targets share: taking a text apart in pieces. The first byte of an input says how it is cut.

use greenroom_dialect::{Parsed, Splitter, ToolFormat};

/// The tools of every target.
pub const NAMES: [&str; 4] = ["search", "memory", "time", "HassTurnOn"];

/// An input as text, and the length of its pieces.
#[must_use]
pub fn cut(data: &[u8]) -> Option<(&str, usize)> {
    let (first, rest) = data.split_first()?;
    Some((std::str::from_utf8(rest).ok()?, usize::from(*first % 7) + 1))
}

/// What a pass comes to in pieces of so many characters: its prose, and the rest.
#[must_use]
pub fn run(format: ToolFormat, text: &str, length: usize) -> (String, Parsed) {
    let mut splitter = Splitter::new(format, NAMES.map(str::to_owned).into());
    let mut prose = String::new();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(length.max(1)) {
        let step = splitter.push(piece.iter().collect());
        prose.push_str(&step.prose);
        if step.call_complete {
            break;
        }
    }
    let parsed = splitter.finish();
    prose.push_str(&parsed.prose_rest);
    (prose, Parsed { prose_rest: String::new(), ..parsed })
}

/// However a text is cut, it comes to the same; arguments are objects.
pub fn check(format: ToolFormat, text: &str, length: usize) {
    let whole = run(format, text, usize::MAX);
    assert_eq!(run(format, text, length), whole);
    for call in &whole.1.calls {
        assert!(call.arguments.is_object() && !call.name.is_empty());
    }
}
