//! A file in pieces: its lines, or the elements of the array that it is. Memory is bounded by one piece.
//!
//! Invariant: pieces are numbered from one and each tells where it ends, so that reading can go on there later. A piece
//! that is too large is passed over and reported. Deliberately absent: what a piece means, and JSON beyond its brackets.

use std::io::{self, BufRead, ErrorKind};

/// Largest line.
const LINE_LIMIT: usize = 32 << 20;
/// Largest element of an array: one whole conversation.
const ELEMENT_LIMIT: usize = 128 << 20;

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its number, from 1.
    pub number: u64,
    /// The first byte behind it.
    pub end: u64,
    /// The text, or what is wrong with it.
    pub text: Result<Vec<u8>, &'static str>,
}

/// How a file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Into lines.
    Lines,
    /// Into the elements of the array that it is.
    Array,
}

impl Framing {
    /// What a piece is called.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Lines => "line",
            Self::Array => "element",
        }
    }
}

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// How the file is cut.
    pub framing: Framing,
    /// The number of the piece before.
    pub number: u64,
    /// The byte behind it.
    pub offset: u64,
}

/// A file being cut.
#[derive(Debug)]
pub struct Pieces<R> {
    reader: R,
    place: Place,
    over: bool,
}

impl<R: BufRead> Pieces<R> {
    /// Looks at the beginning and decides how the file is cut.
    ///
    /// # Errors
    /// What reading says, and archives, which are no text.
    pub fn open(mut reader: R) -> io::Result<Self> {
        let mut offset = 0;
        if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            reader.consume(3);
            offset += 3;
        }
        let first = loop {
            let Some(byte) = reader.fill_buf()?.first().copied() else { break b'{' };
            if !matches!(byte, b' ' | b'\t') {
                break byte;
            }
            reader.consume(1);
            offset += 1;
        };
        let magic = reader.fill_buf()?;
        if magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"\x1f\x8b") {
            return Err(io::Error::new(ErrorKind::InvalidData, "this is an archive; unpack it first"));
        }
        let framing = if first == b'[' { Framing::Array } else { Framing::Lines };
        if framing == Framing::Array {
            reader.consume(1);
            offset += 1;
        }
        Ok(Self { reader, place: Place { framing, number: 0, offset }, over: false })
    }

    /// Goes on at a place; `reader` must stand there already.
    pub fn resume(reader: R, place: Place) -> Self {
        Self { reader, place, over: false }
    }

    /// How the file is cut.
    pub fn framing(&self) -> Framing {
        self.place.framing
    }

    /// The next piece that is not blank; `None` at the end.
    ///
    /// # Errors
    /// What reading says.
    pub fn next(&mut self) -> io::Result<Option<Piece>> {
        if self.over {
            return Ok(None);
        }
        match self.place.framing {
            Framing::Lines => self.line(),
            Framing::Array => self.element(),
        }
    }

    fn piece(&mut self, text: Result<Vec<u8>, &'static str>) -> Piece {
        self.place.number += 1;
        Piece { number: self.place.number, end: self.place.offset, text }
    }

    fn line(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let mut line = Some(Vec::new());
            let ended = loop {
                let buffer = fill(&mut self.reader)?;
                if buffer.is_empty() {
                    break true;
                }
                let newline = buffer.iter().position(|byte| *byte == b'\n');
                let part = newline.map_or(buffer.len(), |at| at + 1);
                keep(&mut line, &buffer[..part], LINE_LIMIT);
                self.reader.consume(part);
                self.place.offset += part as u64;
                if newline.is_some() {
                    break false;
                }
            };
            let blank = line.as_ref().is_some_and(|line| line.iter().all(u8::is_ascii_whitespace));
            self.over = ended;
            if ended && blank {
                return Ok(None);
            }
            if blank {
                // Counted, so that numbers are those of an editor.
                self.place.number += 1;
                continue;
            }
            return Ok(Some(self.piece(line.ok_or("it is too long"))));
        }
    }

    fn element(&mut self) -> io::Result<Option<Piece>> {
        let mut scan = Scan::default();
        let mut text = Some(Vec::new());
        loop {
            let buffer = fill(&mut self.reader)?;
            if buffer.is_empty() {
                self.over = true;
                return Ok(Some(self.piece(Err("the file ends in the middle of the array"))));
            }
            let (used, kept, step) = scan.through(buffer);
            keep(&mut text, &buffer[kept..used], ELEMENT_LIMIT);
            let comma_or_end = usize::from(matches!(step, Step::ScalarEnd { .. } | Step::ArrayEnd));
            self.reader.consume(used + comma_or_end);
            self.place.offset += (used + comma_or_end) as u64;
            match step {
                Step::More => {}
                Step::ArrayEnd => {
                    self.over = true;
                    return Ok(None);
                }
                Step::ScalarEnd { last } => {
                    self.over = last;
                    return Ok(Some(self.piece(text.ok_or("it is too large"))));
                }
                Step::End => return Ok(Some(self.piece(text.ok_or("it is too large")))),
            }
        }
    }
}

fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    // Twice, because a borrow cannot be kept across the retry.
    while let Err(error) = reader.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

/// Adds to a text until it is too long; then it is let go.
fn keep(text: &mut Option<Vec<u8>>, part: &[u8], most: usize) {
    match text {
        Some(kept) if kept.len() + part.len() <= most => kept.extend_from_slice(part),
        _ => *text = None,
    }
}

/// Where in an element the reading is.
#[derive(Debug, Default)]
struct Scan {
    started: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The buffer ended first.
    More,
    /// The element ended with its own bracket.
    End,
    /// An element without brackets ended at a comma or at the array's end, which stands behind it.
    ScalarEnd { last: bool },
    /// The array ended.
    ArrayEnd,
}

impl Scan {
    /// Goes through a buffer: how much of it was used, where in it the element begins, and why it stopped.
    fn through(&mut self, buffer: &[u8]) -> (usize, usize, Step) {
        let mut kept = if self.started { 0 } else { buffer.len() };
        for (at, byte) in buffer.iter().copied().enumerate() {
            if !self.started {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b',' => continue,
                    b']' => return (at, at, Step::ArrayEnd),
                    _ => {
                        self.started = true;
                        kept = at;
                    }
                }
            }
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b']' if self.depth == 0 => return (at, kept, Step::ScalarEnd { last: true }),
                b',' if self.depth == 0 => return (at, kept, Step::ScalarEnd { last: false }),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, kept, Step::End);
                    }
                }
                _ => {}
            }
        }
        (buffer.len(), kept, Step::More)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn cut(text: &str, buffer: usize) -> Vec<(u64, Result<String, &'static str>)> {
        let mut pieces = Pieces::open(BufReader::with_capacity(buffer, text.as_bytes())).unwrap();
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            all.push((piece.number, piece.text.map(|text| String::from_utf8(text).unwrap())));
        }
        all
    }

    fn texts(text: &str) -> Vec<String> {
        let whole = cut(text, 4096);
        for buffer in [4, 5, 7] {
            assert_eq!(cut(text, buffer), whole, "buffer {buffer}");
        }
        whole.into_iter().map(|(_, text)| text.unwrap_or_else(|why| format!("!{why}"))).collect()
    }

    #[test]
    fn lines_are_numbered_as_in_an_editor() {
        let whole = cut("\u{feff}{\"a\":1}\r\n\n  \n{\"b\":2}", 8);
        let numbers: Vec<u64> = whole.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4]);
        assert_eq!(texts(""), Vec::<String>::new());
        assert_eq!(texts("x\ny\n"), ["x\n", "y\n"]);
    }

    #[test]
    fn arrays_are_cut_at_their_commas_whatever_stands_in_texts() {
        assert_eq!(
            texts(r#" [ {"a":"],}\"\\"} , {"b":[{},[1]]},"x,]y", 17 ,[[]],null]  rest"#),
            [r#"{"a":"],}\"\\"}"#, r#"{"b":[{},[1]]}"#, r#""x,]y""#, "17 ", "[[]]", "null"]
        );
        assert_eq!(texts("[]"), Vec::<String>::new());
        assert_eq!(texts("[\n]\n"), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_breaks_off_says_so() {
        for text in ["[", "[{\"a\":1}", "[{\"a\":", "[\"x"] {
            assert!(texts(text).last().unwrap().starts_with("!the file ends"), "{text}");
        }
        assert_eq!(texts("{\"a\":"), ["{\"a\":"]);
    }

    #[test]
    fn reading_goes_on_where_a_piece_ended() {
        for text in ["{\"a\":1}\n\n{\"b\":2}\n{\"c\":3}\n", "[{\"a\":1}, {\"b\":2},\n{\"c\":3}]"] {
            let mut pieces = Pieces::open(text.as_bytes()).unwrap();
            let first = pieces.next().unwrap().unwrap();
            let rest: Vec<Piece> = std::iter::from_fn(|| pieces.next().unwrap()).collect();
            let place = Place { framing: pieces.framing(), number: first.number, offset: first.end };
            let mut again = Pieces::resume(&text.as_bytes()[usize::try_from(first.end).unwrap()..], place);
            let again: Vec<Piece> = std::iter::from_fn(|| again.next().unwrap()).collect();
            assert_eq!(again, rest, "{text}");
            assert_eq!(rest.len(), 2);
        }
    }

    #[test]
    fn a_giant_is_passed_over_and_an_archive_refused() {
        let mut text = vec![b'x'; LINE_LIMIT + 10];
        text.extend_from_slice(b"\nnext\n");
        let mut pieces = Pieces::open(&text[..]).unwrap();
        assert_eq!(pieces.next().unwrap().unwrap().text, Err("it is too long"));
        assert_eq!(pieces.next().unwrap().unwrap().text, Ok(b"next\n".to_vec()));
        assert!(Pieces::open(&b"PK\x03\x04...."[..]).is_err());
    }
}
