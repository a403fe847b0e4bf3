//! Taking leaked protocol out of a model's text (providers.md §7.5): elements that hold calls, `tool_uses` objects, routing
//! to functions, control characters.
//!
//! It stands in the way of every piece of every stream. A piece without anything suspicious passes as it is, without an
//! allocation; only line breaks at the end and the possible beginning of a leak are held back. Text without leaks keeps
//! its bytes, but for blank space around it and runs of empty lines; blanks are merged only where something was taken out
//! (merging them everywhere would break tables, line breaks and JSON). What is in a code fence is never touched.

use crate::closing::Closing;
use crate::fences::Fences;
use crate::look::{Look, word};
use crate::markers::unblank;

/// How far the end of an element is looked for whose content does not look like a call.
const MENTION: usize = 200;
/// Fewest blanks at the beginning of a text that mean an indented code block.
const CODE: usize = 4;

/// Passes text through while it streams, or whole.
#[derive(Debug, Clone)]
pub struct LeakFilter {
    fences: Fences,
    mode: Mode,
    /// Blank space that is not passed on until something follows it.
    space: String,
    /// The beginning of what may be a leak.
    held: String,
    /// Something was taken out where `space` stands.
    seam: bool,
    /// Something was passed on.
    begun: bool,
    /// The last that was passed on is a blank.
    blank: bool,
    /// The last byte that was passed on, blank space included.
    last: u8,
}

#[derive(Debug, Clone)]
enum Mode {
    Text,
    /// In an element, up to its closing tag.
    Element,
    /// In an object.
    Object(Closing),
    /// In a line that goes to a function.
    Route,
}

/// A leak at the beginning of a text.
#[derive(Debug, PartialEq)]
enum Leak {
    /// So many bytes.
    Bytes(usize),
    /// From here to a closing tag.
    Element(usize),
    /// The object that begins here, its opening tag before it included.
    Object(usize),
    /// To the end of the line.
    Route,
}

impl Default for LeakFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl LeakFilter {
    /// A filter at the beginning of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fences: Fences::new(),
            mode: Mode::Text,
            space: String::new(),
            held: String::new(),
            seam: false,
            begun: false,
            blank: false,
            last: b'\n',
        }
    }

    /// A whole text without its leaks.
    #[must_use]
    pub fn whole(text: &str) -> String {
        let mut filter = Self::new();
        let mut clean = filter.push(text.to_owned());
        clean.push_str(&filter.finish());
        clean
    }

    /// Passes a piece through: what can be shown of the text so far and was not shown yet.
    #[must_use]
    pub fn push(&mut self, piece: String) -> String {
        if self.passes(&piece) {
            self.fences.feed(&piece);
            self.last = piece.bytes().last().unwrap_or(self.last);
            self.blank = self.last == b' ';
            return piece;
        }
        if self.held.is_empty() {
            return self.sift(&piece, false);
        }
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&piece);
        self.sift(&text, false)
    }

    /// The end of the text: what was held back and is no leak.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let text = std::mem::take(&mut self.held);
        let rest = self.sift(&text, true);
        *self = Self::new();
        rest
    }

    /// Whether nothing in the piece needs a second look.
    fn passes(&self, piece: &str) -> bool {
        if !(self.begun && self.space.is_empty() && self.held.is_empty() && matches!(self.mode, Mode::Text))
            || self.seam
        {
            return false;
        }
        let bytes = piece.as_bytes();
        if self.fences.inside() {
            return self.fences.stretch(piece) == piece.len();
        }
        let mut last = self.last;
        for (at, byte) in bytes.iter().enumerate() {
            let route = *byte == b't' && is_blank(last) && matches!(bytes.get(at + 1), None | Some(b'o'));
            if route || matches!(byte, 0..b' ' | b'<' | b'{' | 0x7f | 0xc2) {
                return false;
            }
            last = *byte;
        }
        true
    }

    fn sift(&mut self, text: &str, ended: bool) -> String {
        let mut out = String::with_capacity(self.space.len() + text.len());
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let rest = &text[at..];
            match self.skip(rest, ended) {
                Some(0) => break,
                Some(skipped) => {
                    at += skipped;
                    continue;
                }
                None => {}
            }
            if self.fences.inside() {
                at += self.fenced(rest, &mut out);
                continue;
            }
            if is_space(first) {
                self.fences.feed(&rest[..first.len_utf8()]);
                // A blank in a line goes at once; only what may be the end of the text or a run of empty lines waits.
                if matches!(first, ' ' | '\t') && self.begun && !self.seam && self.space.is_empty() {
                    out.push(first);
                    self.blank = true;
                } else {
                    self.space.push(first);
                }
                self.last = first as u8;
                at += first.len_utf8();
                continue;
            }
            if first.is_control() {
                at += first.len_utf8();
                continue;
            }
            match self.leak(rest, ended) {
                Look::Maybe if !ended => break,
                Look::Found(leak) => {
                    self.seam = true;
                    let (mode, length) = match leak {
                        Leak::Bytes(length) => (Mode::Text, length),
                        Leak::Element(length) => (Mode::Element, length),
                        Leak::Object(length) => (Mode::Object(Closing::new()), length),
                        Leak::Route => (Mode::Route, 0),
                    };
                    self.mode = mode;
                    at += length;
                }
                Look::Maybe | Look::No => at += self.pass(rest, first, &mut out),
            }
        }
        self.held.push_str(&text[at..]);
        out
    }

    /// In a leak: how much of the text belongs to it (0: more is needed to say), `None` where it is over.
    fn skip(&mut self, rest: &str, ended: bool) -> Option<usize> {
        match &mut self.mode {
            Mode::Text => None,
            Mode::Route => {
                let end = rest.find('\n');
                if end.is_some() {
                    self.mode = Mode::Text;
                    self.last = b' ';
                }
                Some(end.unwrap_or(rest.len())).filter(|end| *end > 0)
            }
            Mode::Object(closing) => {
                let end = closing.feed(rest);
                if end.is_some() {
                    self.mode = Mode::Text;
                }
                Some(end.unwrap_or(rest.len()))
            }
            Mode::Element => match rest.find('<') {
                Some(0) => match closer(rest) {
                    Look::Found(length) => {
                        self.mode = Mode::Text;
                        Some(length)
                    }
                    Look::Maybe if !ended => Some(0),
                    Look::Maybe | Look::No => Some(1),
                },
                begin => Some(begin.unwrap_or(rest.len())),
            },
        }
    }

    /// In a fence: passes on what there is of the line, and its break unless it ends the fence.
    fn fenced(&mut self, rest: &str, out: &mut String) -> usize {
        self.flush(out);
        let end = self.fences.stretch(rest);
        self.fences.feed(&rest[..end]);
        out.push_str(&rest[..end]);
        self.last = rest[..end].bytes().last().unwrap_or(self.last);
        if !(self.fences.inside() && rest[end..].starts_with('\n')) {
            return end;
        }
        if self.fences.closes() {
            self.space.push('\n');
        } else {
            out.push('\n');
        }
        self.fences.feed("\n");
        self.last = b'\n';
        end + 1
    }

    /// Passes on one character and what follows it without need of a second look.
    fn pass(&mut self, rest: &str, first: char, out: &mut String) -> usize {
        self.flush(out);
        let begin = first.len_utf8();
        let stop = |c: char| is_space(c) || c.is_control() || matches!(c, '<' | '{');
        let end = rest[begin..].find(stop).map_or(rest.len(), |end| begin + end);
        let text = &rest[..end];
        self.fences.feed(text);
        self.last = text.as_bytes().last().copied().unwrap_or(self.last);
        self.begun = true;
        out.push_str(text);
        end
    }

    /// Passes on the blank space before something.
    fn flush(&mut self, out: &mut String) {
        let space = std::mem::take(&mut self.space);
        let seam = std::mem::take(&mut self.seam);
        let breaks = space.bytes().filter(|byte| *byte == b'\n').count();
        let indent = space.rfind('\n').map_or(&*space, |end| &space[end + 1..]);
        if !self.begun {
            if !seam && (indent.contains('\t') || indent.len() >= CODE) {
                out.push_str(indent);
            }
        } else if breaks > 2 {
            out.push_str("\n\n");
            out.push_str(indent);
        } else if !seam {
            out.push_str(&space);
        } else if breaks > 0 {
            out.extend(std::iter::repeat_n('\n', breaks));
            out.push_str(indent);
        } else if !space.is_empty() && !self.blank {
            out.push(' ');
        }
        self.begun = true;
        self.blank = false;
    }

    fn leak(&self, rest: &str, ended: bool) -> Look<Leak> {
        match rest.as_bytes().first() {
            Some(b'<') if matches!(self.last, b'`' | b'"' | b'\'') => Look::No,
            Some(b'<') => element(rest, ended),
            Some(b'{') => tool_uses(rest),
            Some(b't') if is_blank(self.last) => {
                ["to=functions.", "to=multi_tool_use."].iter().fold(Look::No, |best, route| {
                    best.or(|| match rest.starts_with(route) {
                        true => Look::Found(Leak::Route),
                        false if route.starts_with(rest) => Look::Maybe,
                        false => Look::No,
                    })
                })
            }
            Some(_) | None => Look::No,
        }
    }
}

fn opener(text: &str) -> Look<usize> {
    ["<tool_call>", "<function_call>", "<tool_result"].iter().fold(Look::No, |best, tag| best.or(|| word(text, tag)))
}

fn closer(text: &str) -> Look<usize> {
    ["</tool_call>", "</function_call>", "</tool_result>"]
        .iter()
        .fold(Look::No, |best, tag| best.or(|| word(text, tag)))
}

/// An element that holds a call or a result, or a tag of one that stands alone.
fn element(text: &str, ended: bool) -> Look<Leak> {
    let length = match (closer(text), opener(text)) {
        (Look::Found(length), _) => return Look::Found(Leak::Bytes(length)),
        (_, Look::Found(length)) => length,
        (Look::No, Look::No) => return Look::No,
        _ => return Look::Maybe,
    };
    if !text[..length].ends_with('>') {
        // attributes: a result that the model made up
        return match text[length..].chars().next() {
            None if !ended => Look::Maybe,
            Some(c) if c != '>' && !c.is_whitespace() => Look::No,
            Some(_) | None => Look::Found(Leak::Element(length)),
        };
    }
    let Some(body) = unblank(&text[length..]) else { return Look::Found(Leak::Bytes(length)) };
    let begin = text.len() - body.len();
    match body.chars().next() {
        None if !ended => return Look::Maybe,
        Some('{') => return Look::Found(Leak::Object(begin)),
        Some('[' | '<') => return Look::Found(Leak::Element(begin)),
        Some(_) | None => {}
    }
    let window = &text[length..text.floor_char_boundary(length + MENTION)];
    let ends = window.match_indices("</").find_map(|(at, _)| match closer(&window[at..]) {
        Look::Found(closer) => Some(at + closer),
        Look::Maybe | Look::No => None,
    });
    match ends {
        Some(end) => Look::Found(Leak::Bytes(length + end)),
        None if !ended && text.len() < length + MENTION => Look::Maybe,
        None => Look::Found(Leak::Bytes(length)),
    }
}

/// The object with which models of one family call several tools at once: its first key tells it.
fn tool_uses(text: &str) -> Look<Leak> {
    let mut rest = text;
    for token in ["{", "\"tool_uses\"", ":", "["] {
        match unblank(rest).map(|rest| (rest, word(rest, token))) {
            Some((tail, Look::Found(length))) => rest = &tail[length..],
            Some((_, Look::Maybe)) => return Look::Maybe,
            Some((_, Look::No)) | None => return Look::No,
        }
    }
    Look::Found(Leak::Object(0))
}

/// Blank space in the sense of the sanitiser; the no-break space is text.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

const fn is_blank(byte: u8) -> bool {
    is_space(byte as char)
}
