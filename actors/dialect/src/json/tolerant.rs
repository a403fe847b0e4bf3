//! A reader of almost-JSON. It accepts trailing and missing commas, single and typographic quotes, bare keys, comments,
//! Python's words, quotes inside strings where no string can end, line breaks in strings, and a tail that was cut off:
//! open containers are closed, and the member or element that is incomplete is dropped.

use serde_json::{Map, Number, Value};

use crate::closing::quotes as closing;

/// Deepest nesting.
const DEPTH: usize = 64;
/// Steps per byte of input, over all attempts.
const STEPS_PER_BYTE: usize = 16;

/// One text and what has been spent on it.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    steps: usize,
}

/// Why a value could not be read.
enum Stop {
    /// It is not one.
    Wrong,
    /// The text ended inside it; what was complete is kept, if there is something.
    Cut(Option<Value>),
}

type Read<T> = Result<T, Stop>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, steps: text.len().saturating_mul(STEPS_PER_BYTE) + 1024 }
    }

    /// Whether so much was tried in vain that the rest is not worth it.
    pub(super) fn is_exhausted(&self) -> bool {
        self.steps == 0
    }

    /// The value that begins at this byte, and where it ends.
    pub(super) fn value_at(&mut self, begin: usize) -> Option<(Value, usize)> {
        self.at = begin;
        match self.value(0) {
            Ok(value) => Some((value, self.at)),
            Err(Stop::Cut(Some(value))) => Some((value, self.text.len())),
            Err(Stop::Cut(None) | Stop::Wrong) => None,
        }
    }

    /// The value that begins at this byte and is complete, and where it ends.
    pub(super) fn complete_at(&mut self, begin: usize) -> Option<(Value, usize)> {
        self.at = begin;
        self.value(0).ok().map(|value| (value, self.at))
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.steps = self.steps.checked_sub(1)?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            let rest = &rest[blank..];
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                0
            };
            self.at += blank + comment;
            self.steps = self.steps.saturating_sub(blank + comment);
            if comment == 0 {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > DEPTH || self.steps == 0 {
            return Err(Stop::Wrong);
        }
        self.space();
        match self.peek() {
            None => Err(Stop::Cut(None)),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some(c) if closing(c).is_some() => self.string().map(Value::String),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_alphabetic() => self.word(),
            Some(_) => Err(Stop::Wrong),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        self.next();
        let mut members = Map::new();
        loop {
            self.space();
            match self.peek() {
                None => return Err(Stop::Cut(Some(Value::Object(members)))),
                Some(',') => match self.next() {
                    Some(_) => continue,
                    None => return Err(Stop::Wrong), // out of steps
                },
                Some('}') => {
                    self.next();
                    return Ok(Value::Object(members));
                }
                Some(_) => {}
            }
            let member = self.member(depth);
            match member {
                Ok((key, value)) => {
                    members.insert(key, value);
                }
                Err((_, Stop::Wrong)) => return Err(Stop::Wrong),
                Err((key, Stop::Cut(value))) => {
                    // a container that was cut off keeps what it has; anything else is not to be trusted
                    if let (Some(key), Some(value)) = (key, value) {
                        members.insert(key, value);
                    }
                    return Err(Stop::Cut(Some(Value::Object(members))));
                }
            }
        }
    }

    fn member(&mut self, depth: usize) -> Result<(String, Value), (Option<String>, Stop)> {
        let key = self.key().map_err(|stop| (None, stop))?;
        self.space();
        match self.next() {
            Some(':') => {}
            None => return Err((None, Stop::Cut(None))),
            Some(_) => return Err((None, Stop::Wrong)),
        }
        match self.value(depth + 1) {
            Ok(value) => Ok((key, value)),
            Err(stop) => Err((Some(key), stop)),
        }
    }

    fn key(&mut self) -> Read<String> {
        if self.peek().is_some_and(|c| closing(c).is_some()) {
            return self.string();
        }
        let rest = self.rest();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        self.at += length;
        match length {
            0 => Err(Stop::Wrong),
            _ if self.rest().is_empty() => Err(Stop::Cut(None)),
            _ => Ok(rest[..length].to_owned()),
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        self.next();
        let mut elements = Vec::new();
        loop {
            self.space();
            match self.peek() {
                None => return Err(Stop::Cut(Some(Value::Array(elements)))),
                Some(',') => match self.next() {
                    Some(_) => continue,
                    None => return Err(Stop::Wrong), // out of steps
                },
                Some(']') => {
                    self.next();
                    return Ok(Value::Array(elements));
                }
                Some(_) => {}
            }
            match self.value(depth + 1) {
                Ok(value) => elements.push(value),
                Err(Stop::Wrong) => return Err(Stop::Wrong),
                Err(Stop::Cut(value)) => {
                    elements.extend(value.filter(|value| value != &Value::Object(Map::new())));
                    return Err(Stop::Cut(Some(Value::Array(elements))));
                }
            }
        }
    }

    /// A string in any kind of quotes. A quote ends it only where something can follow that follows a string.
    fn string(&mut self) -> Read<String> {
        let Some(close) = self.next().and_then(closing) else { return Err(Stop::Wrong) };
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(Stop::Cut(None)),
                Some('\\') => self.escape(&mut text)?,
                Some(c) if close.contains(&c) => {
                    if self.ends_here() {
                        return Ok(text);
                    }
                    text.push(c);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn ends_here(&self) -> bool {
        matches!(self.rest().trim_start().chars().next(), None | Some(',' | '}' | ']' | ':' | '/'))
            || self.rest().starts_with(['\n', '\r'])
    }

    fn escape(&mut self, text: &mut String) -> Read<()> {
        match self.next() {
            None => return Err(Stop::Cut(None)),
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('u') => text.push(self.unicode()?),
            Some(c) => text.push(c),
        }
        Ok(())
    }

    fn unicode(&mut self) -> Read<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !self.rest().starts_with("\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        self.at += 2;
        let second = self.hex()?;
        let low = second.wrapping_sub(0xdc00);
        let both = (low < 0x400).then(|| 0x1_0000 + ((first - 0xd800) << 10) + low);
        Ok(both.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Read<u32> {
        let rest = self.rest();
        let Some(digits) = rest.get(..4) else {
            return Err(if rest.len() < 4 { Stop::Cut(None) } else { Stop::Wrong });
        };
        let number = u32::from_str_radix(digits, 16).map_err(|_| Stop::Wrong)?;
        self.at += 4;
        Ok(number)
    }

    fn number(&mut self) -> Read<Value> {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E' | '_');
        let length = rest.find(|c| !part(c)).unwrap_or(rest.len());
        if length == rest.len() {
            return Err(Stop::Cut(None)); // more digits may have been meant
        }
        self.at += length;
        self.steps = self.steps.saturating_sub(length);
        let digits = rest[..length].trim_start_matches('+').replace('_', "");
        if let Ok(whole) = digits.parse::<i64>() {
            return Ok(whole.into());
        }
        let number = digits.parse::<f64>().ok().and_then(Number::from_f64);
        number.map(Value::Number).ok_or(Stop::Wrong)
    }

    fn word(&mut self) -> Read<Value> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let value = match &rest[..length] {
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            "null" | "None" | "undefined" | "NaN" | "nil" => Value::Null,
            _ if length == rest.len() => return Err(Stop::Cut(None)),
            _ => return Err(Stop::Wrong),
        };
        self.at += length;
        self.steps = self.steps.saturating_sub(length);
        Ok(value)
    }
}
