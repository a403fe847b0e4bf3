//! Where an object ends that arrives in pieces. The same notion of a string as [`crate::json`]: a quote ends one only
//! where something follows that can follow a string, so that a forgotten backslash does not hide the end.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Structure,
    /// In a string that one of these ends.
    Text(&'static [char]),
    Escape(&'static [char]),
    /// Behind a quote, with or without blanks after it.
    Quote(&'static [char], bool),
}

/// A scan over one object, from its opening brace.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    place: Place,
    /// What is still missing, innermost last.
    open: String,
}

impl Closing {
    pub(crate) const fn new() -> Self {
        Self { place: Place::Structure, open: String::new() }
    }

    /// Takes text in, the first of which begins with the brace. The length of the part of it that completes the object.
    pub(crate) fn feed(&mut self, text: &str) -> Option<usize> {
        for (at, c) in text.char_indices() {
            self.place = match self.place {
                Place::Escape(close) => Place::Text(close),
                Place::Text(close) => inside(close, c),
                Place::Quote(_, false) if matches!(c, '\n' | '\r') => Place::Structure,
                Place::Quote(close, _) if c.is_whitespace() => Place::Quote(close, true),
                Place::Quote(_, _) if matches!(c, ',' | '}' | ']' | ':' | '/') => Place::Structure,
                Place::Quote(close, _) => inside(close, c),
                Place::Structure => Place::Structure,
            };
            if self.place != Place::Structure {
                continue;
            }
            match c {
                '{' => self.open.push('}'),
                '[' => self.open.push(']'),
                '}' | ']' => {
                    // what was left open inside is closed with it; a closer of nothing is passed over
                    if let Some(index) = self.open.rfind(c) {
                        self.open.truncate(index);
                    }
                    if self.open.is_empty() {
                        return Some(at + 1);
                    }
                }
                _ => {
                    if let Some(close) = quotes(c) {
                        self.place = Place::Text(close);
                    }
                }
            }
        }
        None
    }

    /// What has to be added so that the object is complete; `None` inside a string, where something was lost.
    pub(crate) fn missing(&self) -> Option<String> {
        let complete = matches!(self.place, Place::Structure | Place::Quote(..));
        complete.then(|| self.open.chars().rev().collect())
    }
}

fn inside(close: &'static [char], c: char) -> Place {
    match c {
        '\\' => Place::Escape(close),
        c if close.contains(&c) => Place::Quote(close, false),
        _ => Place::Text(close),
    }
}

/// What ends a string that begins with this character.
pub(crate) const fn quotes(open: char) -> Option<&'static [char]> {
    match open {
        '"' => Some(&['"']),
        '\'' => Some(&['\'']),
        '\u{201c}' | '\u{201d}' | '\u{201e}' => Some(&['\u{201d}', '\u{201c}']),
        '\u{2018}' | '\u{2019}' => Some(&['\u{2019}']),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<usize> {
        let whole = Closing::new().feed(text);
        for (cut, _) in text.char_indices() {
            let mut closing = Closing::new();
            let found = closing.feed(&text[..cut]).or_else(|| Some(closing.feed(&text[cut..])? + cut));
            assert_eq!(found, whole, "{text} cut at {cut}");
        }
        whole
    }

    #[test]
    fn the_end_is_where_the_object_closes() {
        for whole in [
            "{}",
            r#"{"a": {"b": [1, {}]}}"#,
            r#"{"a": "}\"}"}"#,
            r#"{"a": "he said "hi}" to me"}"#,
            "{'a': 'it's {fine}'}",
            "{\"a\": \"x\"\n}",
            "{\u{201c}a\u{201d}: \u{201c}}\u{201d}}",
            r#"{"a": [1, 2}"#,
            r#"{"a": "ü}" , "b": 1]}"#,
        ] {
            assert_eq!(end(&format!("{whole}}} and on")), Some(whole.len()), "{whole}");
        }
        assert_eq!(end(r#"{"a": "b"#), None);
    }

    #[test]
    fn what_is_missing_is_known_outside_strings() {
        let missing = |text: &str| {
            let mut closing = Closing::new();
            assert_eq!(closing.feed(text), None);
            closing.missing()
        };
        assert_eq!(missing(r#"{"a": [{"b": 1"#).as_deref(), Some("}]}"));
        assert_eq!(missing(r#"{"a": "b""#).as_deref(), Some("}"));
        assert_eq!(missing(r#"{"a": "b"#), None);
    }
}
