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
        let keep = self.stops.iter().map(|stop| begun(&text, stop)).max().unwrap_or(0);
        self.held = text.split_off(text.len() - keep);
        Passed { text, stopped: false }
    }

    /// Whether something is held back.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// What was held back when the stream ends without a stop sequence.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that begins `word` without being all of it.
pub(crate) fn begun(text: &str, word: &str) -> usize {
    let ends = word.char_indices().map(|(at, _)| at).skip(1).filter(|len| *len <= text.len());
    ends.filter(|len| text.ends_with(&word[..*len])).last().unwrap_or(0)
}

/// Stop sequences without duplicates: those that the provider is asked to enforce, and those beyond what it accepts.
pub(crate) fn split_stops(stops: &[String], limit: Option<u32>, allowed: bool) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<String> = Vec::new();
    for stop in stops.iter().filter(|stop| !stop.is_empty()) {
        if !all.contains(stop) {
            all.push(stop.clone());
        }
    }
    let most = match limit {
        _ if !allowed => 0,
        None => all.len(),
        Some(limit) => all.len().min(usize::try_from(limit).unwrap_or(usize::MAX)),
    };
    let rest = all.split_off(most);
    (all, rest)
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
