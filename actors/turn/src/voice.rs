//! Keeps stage directions off the wire of voice bots, while the stored answer keeps them.
//!
//! One rule set for streams and whole answers. Dropped: `*smiles*` and `::smiles::` that begin at a line start or after a
//! blank with a letter behind the marker and hold no line break, and lines that are one parenthesis. In speech mode
//! `**bold**` loses its markers. Code fences pass untouched. Only text that may still become a stage direction is held
//! back, and never more than [`LONGEST_EMOTE`] characters of it.

/// Longer than this and it was no stage direction.
const LONGEST_EMOTE: usize = 100;
/// Longest parenthesised line that is held back.
const LONGEST_ASIDE: usize = 300;

/// The incremental filter of one answer.
#[derive(Debug)]
pub(crate) struct EmoteFilter {
    speech: bool,
    mode: Mode,
    held: String,
    /// Characters of the present line that were let through, up to the third.
    line_head: String,
    in_fence: bool,
    after_blank: bool,
    drop_next_blank: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    /// One marker character held; `usize` is how many.
    Marker(char),
    Emote(char),
    /// Inside an emote, one colon that may be the first of the closing pair.
    EmoteColon,
    Aside,
    AsideClosed,
}

impl EmoteFilter {
    /// A filter; `speech` also drops emphasis markers.
    pub(crate) fn new(speech: bool) -> Self {
        Self {
            speech,
            mode: Mode::Plain,
            held: String::new(),
            line_head: String::new(),
            in_fence: false,
            after_blank: true,
            drop_next_blank: false,
        }
    }

    /// Takes a piece of the answer and gives what may go out.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        for c in piece.chars() {
            self.take(c, &mut out);
        }
        out
    }

    /// The answer is over: gives what was still held back and is no stage direction.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        match self.mode {
            Mode::AsideClosed => self.held.clear(),
            Mode::Plain | Mode::Marker(_) | Mode::Emote(_) | Mode::EmoteColon | Mode::Aside => self.release(&mut out),
        }
        self.mode = Mode::Plain;
        out
    }

    fn take(&mut self, c: char, out: &mut String) {
        match self.mode {
            Mode::Plain => self.plain(c, out),
            Mode::Marker(marker) => self.behind_marker(marker, c, out),
            Mode::Emote(marker) => match c {
                '*' if marker == '*' => self.drop_emote(),
                ':' if marker == ':' => {
                    self.held.push(c);
                    self.mode = Mode::EmoteColon;
                }
                _ => self.hold(c, LONGEST_EMOTE, out),
            },
            Mode::EmoteColon => {
                if c == ':' {
                    self.drop_emote();
                } else {
                    self.mode = Mode::Emote(':');
                    self.hold(c, LONGEST_EMOTE, out);
                }
            }
            Mode::Aside => {
                if c == ')' {
                    self.held.push(c);
                    self.mode = Mode::AsideClosed;
                } else {
                    self.hold(c, LONGEST_ASIDE, out);
                }
            }
            Mode::AsideClosed => match c {
                '\n' => {
                    self.held.clear();
                    self.mode = Mode::Plain;
                    self.line_head.clear();
                    self.after_blank = true;
                }
                ' ' | '\t' => self.held.push(c),
                _ => {
                    self.release(out);
                    self.take(c, out);
                }
            },
        }
    }

    fn plain(&mut self, c: char, out: &mut String) {
        if !self.in_fence {
            let boundary = self.after_blank;
            match c {
                '*' | ':' if c == '*' || boundary => {
                    self.held.push(c);
                    self.mode = Mode::Marker(c);
                    return;
                }
                '(' if self.line_head.trim().is_empty() && boundary => {
                    self.held.push(c);
                    self.mode = Mode::Aside;
                    return;
                }
                ' ' if std::mem::take(&mut self.drop_next_blank) => return,
                _ => {}
            }
        }
        self.emit(c, out);
    }

    fn behind_marker(&mut self, marker: char, c: char, out: &mut String) {
        if c == marker && self.held.len() == 1 {
            if marker == '*' {
                self.held.clear();
                self.mode = Mode::Plain;
                if !self.speech {
                    self.emit('*', out);
                    self.emit('*', out);
                }
            } else {
                self.held.push(c);
            }
            return;
        }
        let opens = c.is_alphabetic() && self.after_blank && (marker == '*' || self.held.len() == 2);
        if opens {
            self.held.push(c);
            self.mode = Mode::Emote(marker);
        } else {
            self.release(out);
            self.take(c, out);
        }
    }

    fn hold(&mut self, c: char, longest: usize, out: &mut String) {
        self.held.push(c);
        if c == '\n' || self.held.chars().count() > longest + 1 {
            self.release(out);
        }
    }

    fn drop_emote(&mut self) {
        self.held.clear();
        self.mode = Mode::Plain;
        self.drop_next_blank = true;
    }

    fn release(&mut self, out: &mut String) {
        self.mode = Mode::Plain;
        for c in std::mem::take(&mut self.held).chars() {
            self.emit(c, out);
        }
    }

    fn emit(&mut self, c: char, out: &mut String) {
        out.push(c);
        self.drop_next_blank = false;
        if c == '\n' {
            self.line_head.clear();
        } else if self.line_head.len() < 3 {
            self.line_head.push(c);
            if self.line_head == "```" {
                self.in_fence = !self.in_fence;
            }
        }
        self.after_blank = c.is_whitespace();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str, speech: bool) -> String {
        let mut filter = EmoteFilter::new(speech);
        let mut out = filter.push(text);
        out.push_str(&filter.finish());
        out
    }

    #[test]
    fn stage_directions_vanish_and_everything_else_stays() {
        for (text, wire) in [
            ("*smiles* Hello *waves* you", "Hello you"),
            ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
            ("a*b*c and foo*bar", "a*b*c and foo*bar"),
            ("::laughs:: fine", "fine"),
            ("std::vec::Vec: ok", "std::vec::Vec: ok"),
            ("(sighs deeply)\nWell.", "Well."),
            ("Well (as they say) yes", "Well (as they say) yes"),
            ("(one) two", "(one) two"),
            ("*open until the end", "*open until the end"),
            ("* item one\n* item two", "* item one\n* item two"),
            ("```\n*x* (y)\n```\n*x* z", "```\n*x* (y)\n```\nz"),
        ] {
            assert_eq!(filter(text, false), wire, "{text:?}");
        }
    }

    #[test]
    fn bold_survives_unless_spoken() {
        assert_eq!(filter("a **bold** word", false), "a **bold** word");
        assert_eq!(filter("a **bold** word", true), "a bold word");
    }

    #[test]
    fn a_long_run_was_no_stage_direction() {
        let text = format!("*{}* b", "a".repeat(150));
        assert_eq!(filter(&text, false), text);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in r"[a-c *:()\n`]{0,60}", cuts in prop::collection::vec(1usize..5, 0..60)) {
            let mut filter_ = EmoteFilter::new(true);
            let (mut out, mut rest) = (String::new(), text.as_str());
            for cut in cuts {
                let cut = cut.min(rest.len());
                out.push_str(&filter_.push(&rest[..cut]));
                rest = &rest[cut..];
            }
            out.push_str(&filter_.push(rest));
            out.push_str(&filter_.finish());
            prop_assert_eq!(out, filter(&text, true));
        }
    }
}
