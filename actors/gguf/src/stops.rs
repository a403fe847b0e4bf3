//! Stop sequences in a stream: text is passed on once it can no longer be the beginning of one.

/// Looks for stop sequences in the text of one answer.
pub(crate) struct Stops {
    stops: Vec<String>,
    held: String,
}

/// What can be said after a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) text: String,
    /// A stop sequence came; it and what follows are not passed on.
    pub(crate) stopped: bool,
}

impl Stops {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new() }
    }

    pub(crate) fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        if let Some(begin) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(begin);
            return Passed { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The answer is over: what was held back was no stop sequence.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that begin `stop`, but are not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).rev();
    lengths.into_iter().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = Stops::new(stops.iter().map(ToString::to_string).collect());
        let mut text = String::new();
        for piece in pieces {
            let passed = filter.push(piece);
            text.push_str(&passed.text);
            if passed.stopped {
                return (text, true);
            }
        }
        text.push_str(&filter.finish());
        (text, false)
    }

    #[test]
    fn stops_are_found_however_the_text_is_cut() {
        let text = "née so: \nUser: was";
        for first in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            for second in (first..text.len()).filter(|at| text.is_char_boundary(*at)) {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(run(&["\nUser:", "\nBot"], &pieces), ("née so: ".into(), true));
                assert_eq!(run(&["\nBot", "wash", ""], &pieces), (text.into(), false));
            }
        }
    }

    #[test]
    fn text_is_held_back_no_longer_than_needed() {
        let mut stops = Stops::new(vec!["<end>".into(), "ende".into()]);
        assert_eq!(stops.push("das <e"), Passed { text: "das ".into(), stopped: false });
        assert_eq!(stops.push("nd"), Passed { text: String::new(), stopped: false });
        assert_eq!(stops.push("!"), Passed { text: "<end!".into(), stopped: false });
        assert_eq!(stops.push("aaa"), Passed { text: "aaa".into(), stopped: false });
    }
}
