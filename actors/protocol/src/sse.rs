//! Decoding server-sent events, piece by piece as bytes arrive.
//!
//! Follows the event-stream parsing rules of the WHATWG HTML standard (§9.2.6): lines end with LF, CR or CRLF; a field
//! is `name: value` with one optional space; lines starting with a colon are comments; an empty line dispatches. Bytes
//! may be cut anywhere, also inside a UTF-8 character or between CR and LF. The size of one event is bounded.

use std::fmt;

/// One dispatched event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event:` field, empty when absent.
    pub event: String,
    /// The `data:` lines, joined with newlines.
    pub data: String,
    /// The last `id:` seen on the stream.
    pub id: Option<String>,
}

/// The stream cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than the decoder's cap.
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    /// A line is not UTF-8.
    #[error("the stream is not UTF-8")]
    NotUtf8,
}

/// An incremental decoder.
pub struct SseDecoder {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    last_was_cr: bool,
    at_start: bool,
    cap: usize,
}

impl fmt::Debug for SseDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseDecoder").field("pending", &self.line.len()).finish_non_exhaustive()
    }
}

impl SseDecoder {
    /// A decoder that refuses events larger than `cap` bytes.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self { line: Vec::new(), event: SseEvent::default(), has_data: false, last_was_cr: false, at_start: true, cap }
    }

    /// Feeds bytes; complete events are handed to `sink` in order.
    ///
    /// # Errors
    /// [`SseError`]; the decoder must not be fed further then.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(SseEvent)) -> Result<(), SseError> {
        let mut rest = bytes;
        if self.last_was_cr && !rest.is_empty() {
            self.last_was_cr = false;
            if rest[0] == b'\n' {
                rest = &rest[1..];
            }
        }
        while let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            if self.line.is_empty() {
                self.take_line(&rest[..end], &mut sink)?;
            } else {
                self.line.extend_from_slice(&rest[..end]);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut sink)?;
                self.line = line;
                self.line.clear();
            }
            let cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if cr {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.last_was_cr = true,
                }
            }
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.event.data.len() > self.cap {
            return Err(SseError::TooLarge(self.cap));
        }
        Ok(())
    }

    /// Whether bytes of an undispatched event are pending.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.line.is_empty() || self.has_data
    }

    /// The end of the stream. The standard drops an event that no empty line closed; some servers omit that last empty
    /// line, so a complete `data:` field is dispatched here.
    ///
    /// # Errors
    /// [`SseError`] when the pending line is not UTF-8.
    pub fn finish(&mut self, mut sink: impl FnMut(SseEvent)) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut sink)?;
        }
        self.dispatch(&mut sink);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], sink: &mut impl FnMut(SseEvent)) -> Result<(), SseError> {
        let line =
            if std::mem::take(&mut self.at_start) { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            self.dispatch(sink);
            return Ok(());
        }
        if line[0] == b':' {
            return Ok(());
        }
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotUtf8)?;
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
                if self.event.data.len() > self.cap {
                    return Err(SseError::TooLarge(self.cap));
                }
            }
            "event" => self.event.event = value.to_owned(),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(SseEvent)) {
        if std::mem::take(&mut self.has_data) {
            let id = self.event.id.clone();
            sink(std::mem::take(&mut self.event));
            self.event.id = id;
        } else {
            self.event.event.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let (mut decoder, mut events) = (SseDecoder::new(1 << 16), Vec::new());
        for piece in pieces {
            decoder.feed(piece, |event| events.push(event)).unwrap_or_else(|e| unreachable!("{e}"));
        }
        decoder.finish(|event| events.push(event)).unwrap_or_else(|e| unreachable!("{e}"));
        events
    }

    const STREAM: &str = "\u{feff}: hello\r\nid: 1\r\nevent: x\r\ndata: {\"a\":\"ü€😀\"}\r\n\r\n: keepalive\ndata:two\rdata: lines\r\r\
                          retry: 5\nunknown\n\nid: 2\ndata: [DONE]\n\n";

    #[test]
    fn any_cut_gives_the_same_events() {
        let whole = decode(&[STREAM.as_bytes()]);
        assert_eq!(whole.len(), 3);
        assert_eq!((whole[0].event.as_str(), whole[0].data.as_str()), ("x", "{\"a\":\"ü€😀\"}"));
        assert_eq!(whole[1].data, "two\nlines");
        assert_eq!((whole[1].event.as_str(), whole[1].id.as_deref()), ("", Some("1")));
        assert_eq!((whole[2].data.as_str(), whole[2].id.as_deref()), ("[DONE]", Some("2")));
        for cut in 0..=STREAM.len() {
            let (a, b) = STREAM.as_bytes().split_at(cut);
            assert_eq!(decode(&[a, b]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(decode(&bytes), whole);
    }

    #[test]
    fn a_missing_last_empty_line_loses_nothing() {
        assert_eq!(decode(&[b"data: 1\n\ndata: 2"]).len(), 2);
        assert_eq!(decode(&[b"data: 1\n\ndata: 2\n"]).len(), 2);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = SseDecoder::new(100);
        assert_eq!(decoder.feed(&[b'x'; 101], |_| ()), Err(SseError::TooLarge(100)));
        let mut decoder = SseDecoder::new(100);
        let line = [b"data: ".as_slice(), &[b'x'; 50], b"\n"].concat();
        let fed: Result<(), SseError> = (0..3).try_for_each(|_| decoder.feed(&line, |_| ()));
        assert_eq!(fed, Err(SseError::TooLarge(100)));
    }

    #[test]
    fn garbage_is_not_text() {
        assert_eq!(SseDecoder::new(100).feed(b"data: \xff\xfe\n\n", |_| ()), Err(SseError::NotUtf8));
    }
}
