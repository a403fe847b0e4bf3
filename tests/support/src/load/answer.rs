//! Reading a streamed answer with next to no work: the client must not be what is measured.
//!
//! Lines are looked at, not parsed: `data: ` lines with a `"content"` member give text, the end marker ends. Invariant:
//! any cut of the bytes gives the same text. Deliberately absent: JSON; only an escaped string is handed to a parser.

/// The text of one answer, growing with the bytes that are fed.
#[derive(Debug, Default)]
pub(super) struct AnswerReader {
    line: Vec<u8>,
    /// The text so far.
    pub text: String,
    /// Frames with text so far.
    pub pieces: usize,
    /// The end marker came.
    pub done: bool,
}

impl AnswerReader {
    /// Takes bytes of the body, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                self.take(&rest[..end]);
            } else {
                self.line.extend_from_slice(&rest[..end]);
                let line = std::mem::take(&mut self.line);
                self.take(&line);
                self.line = line;
                self.line.clear();
            }
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
    }

    fn take(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data: ") else { return };
        let data = data.strip_suffix(b"\r").unwrap_or(data);
        if data == b"[DONE]" {
            self.done = true;
        } else if let Some(content) = std::str::from_utf8(data).ok().and_then(content_of)
            && !content.is_empty()
        {
            self.pieces += 1;
            self.text.push_str(&content);
        }
    }
}

/// The string value of the first `"content"` member.
fn content_of(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    let start = json.find(r#""content":""#)? + r#""content":"#.len();
    let quoted = json.get(start..)?;
    let mut escaped = false;
    let mut any_escape = false;
    let end = quoted.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        any_escape |= escaped;
        ends
    })?;
    if any_escape {
        serde_json::from_str(quoted.get(..end + 2)?).ok().map(std::borrow::Cow::Owned)
    } else {
        quoted.get(1..=end).map(std::borrow::Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_whatever_the_cuts() {
        let stream = "id: 1\ndata: {\"object\":\"service.turn_metadata\",\"choices\":[{\"delta\":{}}]}\n\n\
            : keepalive\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n\
            id: 2\ndata: {\"choices\":[{\"delta\":{\"content\":\"a \\\"q\\\" \\\\\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"ü\"}}],\"x\":\"content\"}\n\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut reader = AnswerReader::default();
            for part in stream.as_bytes().chunks(size) {
                reader.feed(part);
            }
            assert_eq!((reader.text.as_str(), reader.pieces, reader.done), ("a \"q\" \\ü", 2, true), "{size}");
        }
    }

    #[test]
    fn a_stream_without_its_end_is_not_done() {
        let mut reader = AnswerReader::default();
        reader.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DO");
        assert!(!reader.done && reader.pieces == 1);
    }
}
