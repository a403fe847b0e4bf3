//! Decoding newline-delimited JSON, piece by piece as bytes arrive. Empty lines say nothing; the size of one line is bounded.

/// Why lines cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineError {
    TooLarge,
    NotUtf8,
}

/// An incremental decoder.
#[derive(Debug)]
pub(super) struct LineDecoder {
    line: Vec<u8>,
    cap: usize,
}

impl LineDecoder {
    pub(super) fn new(cap: usize) -> Self {
        Self { line: Vec::new(), cap }
    }

    /// Feeds bytes; complete lines are handed to `sink` in order.
    pub(super) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&str)) -> Result<(), LineError> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                line(&rest[..end], &mut sink)?;
            } else {
                self.line.extend_from_slice(&rest[..end]);
                line(&self.line, &mut sink)?;
                self.line.clear();
            }
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > self.cap { Err(LineError::TooLarge) } else { Ok(()) }
    }

    /// The end of the stream; a last line needs no newline.
    pub(super) fn finish(&mut self, mut sink: impl FnMut(&str)) -> Result<(), LineError> {
        line(&std::mem::take(&mut self.line), &mut sink)
    }
}

fn line(bytes: &[u8], sink: &mut impl FnMut(&str)) -> Result<(), LineError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| LineError::NotUtf8)?.trim();
    if !text.is_empty() {
        sink(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&[u8]]) -> (Vec<String>, Result<(), LineError>) {
        let (mut decoder, mut lines) = (LineDecoder::new(16), Vec::new());
        let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, |line| lines.push(line.to_owned())));
        let fed = fed.and_then(|()| decoder.finish(|line| lines.push(line.to_owned())));
        (lines, fed)
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let bytes = "\u{feff}{\"a\":1}\r\n\n \n{\"ü\":2}\n{\"c\"".as_bytes();
        for at in 0..=bytes.len() {
            let (lines, fed) = run(&[&bytes[..at], &bytes[at..]]);
            assert_eq!((lines.concat(), lines.len(), fed), ("{\"a\":1}{\"ü\":2}{\"c\"".to_owned(), 3, Ok(())), "{at}");
        }
    }

    #[test]
    fn endless_lines_and_other_bytes_are_refused() {
        assert_eq!(run(&[&[b'x'; 10], &[b'x'; 10]]).1, Err(LineError::TooLarge));
        assert_eq!(run(&[b"{}\n\xff\n"]), (vec!["{}".to_owned()], Err(LineError::NotUtf8)));
    }
}
