//! Taking one pass of a model's text apart while it streams: prose goes out as soon as it cannot be a call, calls are kept
//! back (tools.md §2.4, §4.2, §5).
//!
//! Invariant: what comes out does not depend on how the text was cut into pieces, because every decision is taken by a
//! function that says *not yet* until the text that follows cannot change it. What is held back is bounded: the longest
//! beginning of a marker for prose, [`CAP`] for a call.

use std::sync::Arc;

use serde_json::Value;

use crate::call::{Malformed, TextCall, named};
use crate::closing::Closing;
use crate::fences::Fences;
use crate::format::ToolFormat;
use crate::json;
use crate::leak::LeakFilter;
use crate::line::{Line, Turn, answer_in, head};
use crate::look::Look;
use crate::markers::{self, Keyword};
use crate::names::Names;
use crate::react::{self, Rules, Verdict};
use crate::xml::{self, Between};

/// Most bytes of one call, and of one thought.
const CAP: usize = 256 * 1024;
/// Most calls of one pass.
const CALLS: usize = 32;

/// What a piece of text came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What can be shown.
    pub prose: String,
    /// Nothing more is to be learned from this pass: stop the provider and call [`Splitter::finish`].
    pub call_complete: bool,
}

/// What a pass came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The prose that was held back to the end.
    pub prose_rest: String,
    /// What was thought before the call, with its headers: never shown, but told back to the model.
    pub thought: String,
    /// The calls, in order. Without any, and without [`Self::malformed`], the pass is an answer.
    pub calls: Vec<TextCall>,
    /// An attempt that failed, behind the calls.
    pub malformed: Option<Malformed>,
}

/// Takes one pass apart. What it lets through is free of leaks, see [`LeakFilter`].
#[derive(Debug)]
pub struct Splitter {
    format: ToolFormat,
    names: Names,
    filter: LeakFilter,
    fences: Fences,
    state: State,
    /// Text about which nothing is decided yet; in a call, the call from its first marker on.
    pending: String,
    /// `pending` begins a line, as far as it is known with nothing but blanks before it.
    line_head: bool,
    /// Something other than blank space was let through.
    shown: bool,
    /// What comes is thought, not prose.
    thinking: bool,
    /// The last byte before `pending`.
    last: u8,
    parsed: Parsed,
}

#[derive(Debug)]
enum State {
    Text,
    /// Behind `Final Answer:`, whether emphasis is to be closed.
    Answer {
        emphasis: bool,
    },
    /// `pending` begins with a header or a tag at `at`, perhaps in a fence.
    Marker {
        keyword: Option<Keyword>,
        at: usize,
        fenced: bool,
    },
    /// The arguments, or the call itself, stand in an object in `pending`.
    Object(Object),
    /// Behind a call in an element: others may follow.
    Between,
    Over,
}

#[derive(Debug)]
struct Object {
    kind: Kind,
    name: Option<String>,
    at: usize,
    scanned: usize,
    closing: Closing,
    fenced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Behind header lines.
    Header,
    /// In an element.
    Element,
    /// By itself: it is prose unless it is a call to a known tool.
    Bare,
}

impl Splitter {
    /// For one pass in a format, with the tools that are offered in it. Without tools all text is prose.
    #[must_use]
    pub const fn new(format: ToolFormat, names: Arc<[String]>) -> Self {
        Self {
            format,
            names: Names::new(names),
            filter: LeakFilter::new(),
            fences: Fences::new(),
            state: State::Text,
            pending: String::new(),
            line_head: true,
            shown: false,
            thinking: false,
            last: b'\n',
            parsed: Parsed { prose_rest: String::new(), thought: String::new(), calls: Vec::new(), malformed: None },
        }
    }

    /// Takes a piece in.
    #[must_use]
    pub fn push(&mut self, piece: String) -> Step {
        if self.is_idle() {
            return Step { prose: self.filter.push(piece), call_complete: false };
        }
        if self.passes(&piece) {
            self.fences.feed(&piece);
            self.last = piece.bytes().last().unwrap_or(self.last);
            return Step { prose: self.filter.push(piece), call_complete: false };
        }
        let mut prose = String::new();
        if self.pending.is_empty() {
            self.pending = piece;
        } else {
            self.pending.push_str(&piece);
        }
        while self.advance(false, &mut prose) {}
        let prose = if prose.is_empty() { prose } else { self.filter.push(prose) };
        Step { prose, call_complete: matches!(self.state, State::Over) }
    }

    /// The end of the pass.
    #[must_use]
    pub fn finish(mut self) -> Parsed {
        let mut prose = String::new();
        while self.advance(true, &mut prose) {}
        if self.thinking && self.parsed.calls.is_empty() && self.parsed.malformed.is_none() {
            prose.push_str(&answer_in(&self.parsed.thought, self.shown));
        }
        let mut rest = self.filter.push(prose);
        rest.push_str(&self.filter.finish());
        Parsed { prose_rest: rest, ..self.parsed }
    }

    /// Whether a piece is prose in the middle of a line, as most are.
    fn passes(&self, piece: &str) -> bool {
        let plain = !self.line_head && !self.thinking && self.pending.is_empty() && matches!(self.state, State::Text);
        plain && !piece.is_empty() && !piece.bytes().any(|byte| matches!(byte, b'<' | b'\n'))
    }

    /// Whether there is nothing to look for.
    fn is_idle(&self) -> bool {
        self.format == ToolFormat::None || self.names.is_empty()
    }

    const fn is_text(&self) -> bool {
        self.format.is_text()
    }

    fn rules(&self, ended: bool, fenced: bool) -> Rules<'_> {
        Rules {
            names: &self.names,
            strict: fenced || !self.is_text(),
            bare: self.format == ToolFormat::React && !fenced,
            thinking: self.thinking,
            ended,
        }
    }

    const fn line(&self) -> Line<'_> {
        Line { names: &self.names, format: self.format, thinking: self.thinking, shown: self.shown }
    }

    /// Does what can be done with what is there; whether there may be more to do.
    fn advance(&mut self, ended: bool, out: &mut String) -> bool {
        match &self.state {
            State::Text => self.text(ended, out),
            State::Answer { emphasis } => {
                let emphasis = *emphasis;
                self.answer(emphasis)
            }
            State::Marker { keyword, at, fenced } => {
                let (keyword, at, fenced) = (*keyword, *at, *fenced);
                self.marker(keyword, at, fenced, ended, out)
            }
            State::Object(_) => self.object(ended, out),
            State::Between => self.between(ended),
            State::Over => {
                self.pending.clear();
                false
            }
        }
    }

    /// Prose and thought, up to the next marker.
    fn text(&mut self, ended: bool, out: &mut String) -> bool {
        let text = std::mem::take(&mut self.pending);
        let mut at = 0;
        let turn = loop {
            let rest = &text[at..];
            if rest.is_empty() || matches!(self.state, State::Over) {
                break None;
            }
            let fenced = !self.thinking && self.fences.inside();
            if self.line_head && !fenced {
                match self.line().turn(rest) {
                    Look::Maybe if !ended => break None,
                    Look::Found(turn) => break Some(turn),
                    Look::Maybe | Look::No => {
                        let length = head(rest);
                        self.pass(&rest[..length], out);
                        at += length;
                        continue;
                    }
                }
            }
            if fenced {
                let length = self.fences.stretch(rest);
                let length = length + usize::from(rest[length..].starts_with('\n'));
                self.pass(&rest[..length], out);
                at += length;
                continue;
            }
            // a pass may open a fence: only what begins here is looked at
            let length = match rest.find(['<', '\n']) {
                Some(0) if rest.starts_with('<') => 0,
                Some(length) if rest[length..].starts_with('\n') => length + 1,
                Some(length) => length,
                None => rest.len(),
            };
            if length > 0 {
                self.pass(&rest[..length], out);
                at += length;
                continue;
            }
            let quoted = matches!(self.last, b'`' | b'"' | b'\'');
            match if quoted { Look::No } else { markers::opener(rest) } {
                Look::Found(_) => break Some(Turn::Marker { keyword: None, at: 0, fenced: false }),
                Look::Maybe if !ended => break None,
                Look::Maybe | Look::No => {
                    self.pass("<", out);
                    at += 1;
                }
            }
        };
        self.pending = text;
        self.pending.drain(..at);
        let Some(turn) = turn else { return false };
        match turn {
            Turn::Think(length) => {
                self.thinking = true;
                self.pass_pending(length, out);
            }
            Turn::Answer { length, emphasis } => {
                self.thinking = false;
                self.pending.drain(..length);
                self.line_head = false;
                self.state = State::Answer { emphasis };
            }
            Turn::Recover(length) => {
                self.pass_pending(length, out);
                self.thinking = false;
            }
            Turn::Marker { keyword, at, fenced } => self.state = State::Marker { keyword, at, fenced },
            Turn::Object { name, at } => self.state = State::Object(Object::new(Kind::Bare, name, at, false)),
        }
        true
    }

    /// Lets text through, as prose or as thought.
    fn pass(&mut self, text: &str, out: &mut String) {
        let Some(last) = text.bytes().last() else { return };
        if self.thinking {
            self.parsed.thought.push_str(text);
            if self.parsed.thought.len() > CAP {
                self.fail("the thought was too long".to_owned(), 0);
            }
        } else {
            self.fences.feed(text);
            out.push_str(text);
            self.shown |= !text.trim_start().is_empty();
        }
        self.line_head = last == b'\n' || (self.line_head && text.trim_start_matches([' ', '\t', '\r']).is_empty());
        self.last = last;
    }

    fn pass_pending(&mut self, length: usize, out: &mut String) {
        let rest = self.pending.split_off(length);
        let text = std::mem::replace(&mut self.pending, rest);
        self.pass(&text, out);
    }

    /// Drops what stands between the header of an answer and the answer.
    fn answer(&mut self, emphasis: bool) -> bool {
        let after = if emphasis { self.pending.trim_start_matches(['*', '_']) } else { &*self.pending };
        let marked = self.pending.len() - after.len();
        let after = after.trim_start_matches([' ', '\t']);
        let (length, done) = (self.pending.len() - after.len(), !after.is_empty());
        self.pending.drain(..length);
        // emphasis is closed right behind the colon or not at all
        let emphasis = emphasis && length == marked;
        self.state = if done { State::Text } else { State::Answer { emphasis } };
        done
    }

    /// What looked like a call is prose: its first character is, the rest is looked at again.
    fn release(&mut self, out: &mut String) -> bool {
        self.state = State::Text;
        self.pass_pending(head(&self.pending), out);
        true
    }

    fn marker(&mut self, keyword: Option<Keyword>, at: usize, fenced: bool, ended: bool, out: &mut String) -> bool {
        let rules = self.rules(ended, fenced);
        let verdict = match keyword {
            Some(keyword) => react::judge(&self.pending[at..], keyword, rules),
            None => xml::judge(&self.pending[at..], rules),
        };
        let kind = if keyword.is_some() { Kind::Header } else { Kind::Element };
        match verdict {
            Verdict::Wait if ended || self.pending.len() > CAP => self.release(out),
            Verdict::Wait => false,
            Verdict::Prose => self.release(out),
            Verdict::Aside(length) => {
                self.state = State::Text;
                self.thinking = true;
                self.pass_pending(at + length, out);
                true
            }
            Verdict::Object { name, at: begin } => {
                self.state = State::Object(Object::new(kind, name, at + begin, fenced));
                true
            }
            Verdict::Call { name, end } => {
                self.called(kind, name, Value::Object(serde_json::Map::new()), at, at + end, true);
                true
            }
            Verdict::Bad { problem, end } => {
                self.fail(problem, at + end);
                true
            }
        }
    }

    fn object(&mut self, ended: bool, out: &mut String) -> bool {
        let State::Object(object) = &mut self.state else { return false };
        let fresh = object.at + object.scanned;
        let end = object.closing.feed(&self.pending[fresh..]).map(|length| fresh + length);
        object.scanned = self.pending.len() - object.at;
        let too_long = end.unwrap_or(self.pending.len()) > CAP;
        if end.is_none() && !ended && !too_long {
            return false;
        }
        let (closed, end) = (end.is_some(), end.unwrap_or(self.pending.len()));
        let State::Object(object) = std::mem::replace(&mut self.state, State::Text) else { return false };
        let Object { kind, name, at, fenced, .. } = object;
        let given = if too_long { None } else { json::object(&self.pending[at..end]) };
        let call = match (&name, given) {
            (_, None) => None,
            (Some(name), Some(given)) => match named(&given) {
                // the name before the object and once more in it
                Some(inner) if kind != Kind::Header && inner.explicit && self.names.known(&inner.name) => {
                    Some((name.clone(), inner.arguments))
                }
                Some(_) | None => Some((name.clone(), given)),
            },
            (None, Some(given)) => {
                named(&given).filter(|call| kind != Kind::Bare || call.explicit).map(|call| (call.name, call.arguments))
            }
        };
        let strict = kind == Kind::Bare || fenced || (kind == Kind::Element && !self.is_text());
        match call {
            Some((name, _)) if strict && !self.names.known(&name) => self.release(out),
            Some((name, arguments)) => {
                self.called(kind, name, arguments, 0, end, closed);
                true
            }
            None if kind == Kind::Bare || fenced => self.release(out),
            None => {
                let problem = match name {
                    _ if too_long => "the call was too long".to_owned(),
                    Some(name) if closed => format!("the arguments of {name} were not valid JSON"),
                    Some(name) => format!("the arguments of {name} were not complete"),
                    None if closed => "the call was not a JSON object with a name and arguments".to_owned(),
                    None => "the call was not complete".to_owned(),
                };
                self.fail(problem, end);
                true
            }
        }
    }

    /// A call is in `pending` from `begin` to `end`.
    fn called(&mut self, kind: Kind, name: String, arguments: Value, begin: usize, end: usize, closed: bool) {
        let raw = self.pending[begin..end].trim_start().to_owned();
        self.pending.drain(..end);
        let format = if kind == Kind::Header { ToolFormat::React } else { ToolFormat::Xml };
        self.parsed.calls.push(TextCall { name, arguments, raw, format, closed });
        let more = kind == Kind::Element && self.parsed.calls.len() < CALLS;
        self.state = if more { State::Between } else { State::Over };
    }

    fn between(&mut self, ended: bool) -> bool {
        let next = xml::between(&self.pending, ended);
        let (skip, state, more) = match next {
            Between::Nothing(skip) => (skip, State::Between, false),
            Between::Next(skip) => (skip, State::Marker { keyword: None, at: 0, fenced: false }, true),
            Between::Over => (0, State::Over, true),
        };
        self.pending.drain(..skip);
        self.state = state;
        more
    }

    /// An attempt to call ends at `end` in `pending`.
    fn fail(&mut self, problem: String, end: usize) {
        self.parsed.malformed = Some(Malformed::new(problem, self.pending[..end].trim_start()));
        self.state = State::Over;
    }
}

impl Object {
    const fn new(kind: Kind, name: Option<String>, at: usize, fenced: bool) -> Self {
        Self { kind, name, at, scanned: 0, closing: Closing::new(), fenced }
    }
}
