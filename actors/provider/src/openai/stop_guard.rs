//! Enforcing stop sequences that the provider was not asked to enforce.
//!
//! Text passes through unchanged until a stop sequence begins; only a tail that may still become one is held back.

/// A filter over a stream of text.
#[derive(Debug)]
pub(crate) struct StopGuard {
    stops: Vec<String>,
    held: String,
}

/// What to pass on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) text: String,
    /// A stop sequence was found: nothing after it may follow.
    pub(crate) stopped: bool,
}

impl StopGuard {
    /// A guard over some sequences, none when there is nothing to guard.
    pub(crate) fn new(stops: Vec<String>) -> Option<Self> {
        let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        (!stops.is_empty()).then(|| Self { stops, held: String::new() })
    }

    /// Passes a piece of text through.
    pub(crate) fn pass(&mut self, piece: String) -> Passed {
        let mut text = std::mem::take(&mut self.held);
        if text.is_empty() {
            text = piece;
        } else {
            text.push_str(&piece);
        }
        if let Some(at) = self.stops.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(at);
            return Passed { text, stopped: true };
        }
        let keep = self.ambiguous_tail(&text);
        self.held = text.split_off(text.len() - keep);
        Passed { text, stopped: false }
    }

    /// What was held back when the stream ends without a stop sequence.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of `text` that begins a stop sequence.
    fn ambiguous_tail(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1).filter(|len| *len <= text.len());
            ends.filter(|len| text.ends_with(&stop[..*len])).last().unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut guard = StopGuard::new(stops.iter().map(|stop| (*stop).to_owned()).collect()).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            let passed = guard.pass((*piece).to_owned());
            out.push(passed.text);
            if passed.stopped {
                return (out, true);
            }
        }
        out.push(guard.rest());
        (out, false)
    }

    #[test]
    fn only_an_ambiguous_tail_is_held_back() {
        let (out, stopped) = run(&["<END>"], &["hello", " <", "b> <E", "N", "!"]);
        assert_eq!((out, stopped), (["hello", " ", "<b> ", "", "<EN!", ""].map(str::to_owned).to_vec(), false));
    }

    #[test]
    fn text_ends_before_the_first_stop() {
        for split in 0..="one STOP two".len() {
            let (a, b) = "one STOP two".split_at(split);
            let (out, stopped) = run(&["two", "STOP"], &[a, b]);
            assert_eq!((out.concat(), stopped), ("one ".to_owned(), true), "{split}");
        }
    }

    #[test]
    fn wide_characters_are_not_cut() {
        let (out, stopped) = run(&["ééé"], &["xé", "é", "x€"]);
        assert_eq!((out.concat(), stopped), ("xééx€".to_owned(), false));
        assert!(StopGuard::new(vec![String::new()]).is_none());
    }
}
