//! Code fences of Markdown (CommonMark §4.5), followed byte by byte. Nothing is held back for it: what is inside a fence
//! passes unchanged, so only where one ends has to be known.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Only so many blanks as yet, at most three.
    Head(u8),
    /// A run of backticks or tildes.
    Marks { mark: u8, count: usize },
    /// The language behind the marks that open a fence.
    Info { mark: u8, count: usize },
    /// Blanks behind the marks that may close one.
    Trail { mark: u8, count: usize },
    /// Nothing that matters until the line ends.
    Other,
}

/// Fewest marks of a fence.
const SHORTEST: usize = 3;

/// Where a text stands.
#[derive(Debug, Clone)]
pub(crate) struct Fences {
    open: Option<(u8, usize)>,
    line: Line,
}

impl Fences {
    pub(crate) const fn new() -> Self {
        Self { open: None, line: Line::Head(0) }
    }

    /// Takes text in.
    pub(crate) fn feed(&mut self, text: &str) {
        let mut bytes = text.as_bytes();
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.line == Line::Other && byte != b'\n' {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
                bytes = &rest[end..];
                continue;
            }
            self.step(byte);
            bytes = rest;
        }
    }

    fn step(&mut self, byte: u8) {
        if byte == b'\n' {
            match (self.open, self.line) {
                (None, Line::Marks { mark, count } | Line::Info { mark, count }) if count >= SHORTEST => {
                    self.open = Some((mark, count));
                }
                _ if self.closes() => self.open = None,
                _ => {}
            }
            self.line = Line::Head(0);
            return;
        }
        self.line = match self.line {
            Line::Head(indent @ 0..=2) if byte == b' ' => Line::Head(indent + 1),
            Line::Head(_) if matches!(byte, b'`' | b'~') => Line::Marks { mark: byte, count: 1 },
            Line::Marks { mark, count } if byte == mark => Line::Marks { mark, count: count + 1 },
            Line::Marks { mark, count } | Line::Trail { mark, count }
                if self.open.is_some() && matches!(byte, b' ' | b'\t' | b'\r') =>
            {
                Line::Trail { mark, count }
            }
            Line::Marks { mark, count } if self.open.is_none() && count >= SHORTEST => Line::Info { mark, count },
            Line::Info { mark, count } if !(mark == b'`' && byte == b'`') => Line::Info { mark, count },
            Line::Head(_) | Line::Marks { .. } | Line::Info { .. } | Line::Trail { .. } | Line::Other => Line::Other,
        };
    }

    /// Whether the text stands in a fence, the lines that open and close it included.
    pub(crate) fn inside(&self) -> bool {
        self.open.is_some()
            || matches!(self.line, Line::Marks { count, .. } | Line::Info { count, .. } if count >= SHORTEST)
    }

    /// How much of the text that follows stands in the fence for certain, its line break excluded. A backtick in the line
    /// that opens a fence of backticks says that it was none.
    pub(crate) fn stretch(&self, text: &str) -> usize {
        let line = text.find('\n').unwrap_or(text.len());
        match (self.inside(), self.open) {
            (false, _) => 0,
            (true, Some(_)) => line,
            (true, None) => text[..line].find('`').map_or(line, |mark| mark + 1),
        }
    }

    /// Whether the fence is over if the line ends here.
    pub(crate) fn closes(&self) -> bool {
        match (self.open, self.line) {
            (Some((mark, length)), Line::Marks { mark: last, count } | Line::Trail { mark: last, count }) => {
                mark == last && count >= length
            }
            _ => false,
        }
    }
}

/// A text in parts, each with whether it stands in a fence.
pub(crate) fn parts(text: &str) -> Vec<(bool, &str)> {
    let (mut fences, mut parts, mut begin, mut at) = (Fences::new(), Vec::new(), 0, 0);
    let mut was = false;
    for line in text.split_inclusive('\n') {
        fences.feed(line.trim_end_matches('\n'));
        let is = fences.inside();
        if is != was && at > begin {
            parts.push((was, &text[begin..at]));
            begin = at;
        }
        was = is;
        fences.feed(if line.ends_with('\n') { "\n" } else { "" });
        at += line.len();
    }
    if at > begin {
        parts.push((was, &text[begin..at]));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(text: &str) -> Vec<&str> {
        parts(text).into_iter().filter(|(fenced, _)| *fenced).map(|(_, part)| part).collect()
    }

    #[test]
    fn fences_open_and_close_as_in_markdown() {
        assert_eq!(inside("a\n```rust\nlet x;\n```\nb"), ["```rust\nlet x;\n```\n"]);
        assert_eq!(inside("````\n```\n````"), ["````\n```\n````"]);
        assert_eq!(inside("~~~\n```\n~~~~ \nb"), ["~~~\n```\n~~~~ \n"]);
        assert_eq!(inside("   ```\nx"), ["   ```\nx"]);
        assert_eq!(inside("```\nx\n``` y\n```\nz"), ["```\nx\n``` y\n```\n"]);
        for text in ["``` inline ``` code", "``\nx", "    ```\nx", "a ```\nx", "~~ x"] {
            assert!(inside(text).is_empty(), "{text}");
        }
        assert_eq!(parts("").len(), 0);
    }

    #[test]
    fn cuts_do_not_matter() {
        let text = "a\n```x\n~~~\n``` \nb ``` c\n~~~\n\n~~~~\n";
        for cut in 0..=text.len() {
            let (mut whole, mut cut_up) = (Fences::new(), Fences::new());
            whole.feed(text);
            cut_up.feed(&text[..cut]);
            cut_up.feed(&text[cut..]);
            assert_eq!((whole.open, whole.line), (cut_up.open, cut_up.line), "{cut}");
        }
    }
}
