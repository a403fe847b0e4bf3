//! Tokens to text while they come: a character that is spread over several tokens waits for the last of them.

use super::Tokenizer;

/// The text of one answer.
pub(crate) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    bytes: Vec<u8>,
    /// The space that SentencePiece puts before a text is still to be taken away.
    at_start: bool,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, drops_space: bool) -> Self {
        Self { tokenizer, bytes: Vec::new(), at_start: drops_space }
    }

    /// What a token adds; nothing while a character is incomplete.
    pub(crate) fn push(&mut self, token: u32) -> String {
        let mut piece = self.tokenizer.pieces.get(token);
        if self.at_start && !piece.is_empty() {
            self.at_start = false;
            piece = piece.strip_prefix(b" ").unwrap_or(piece);
        }
        self.bytes.extend_from_slice(piece);
        whole(&mut self.bytes)
    }

    /// The answer is over: what is left of a character becomes a replacement character.
    pub(crate) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned()
    }
}

/// Takes all whole characters out; bytes that cannot become one turn into replacement characters.
fn whole(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut begin = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        begin += chunk.valid().len();
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        // At the end it may still be completed.
        let at_end = begin + invalid.len() == bytes.len();
        if at_end && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        begin += invalid.len();
    }
    bytes.drain(..begin);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_never_cut() {
        let text = "naïve 漢字 🙂!";
        for width in 1..=text.len() {
            let (mut bytes, mut found) = (Vec::new(), String::new());
            for piece in text.as_bytes().chunks(width) {
                bytes.extend_from_slice(piece);
                found.push_str(&whole(&mut bytes));
            }
            assert_eq!((found.as_str(), bytes.len()), (text, 0));
        }
    }

    #[test]
    fn what_is_no_character_is_replaced_at_once() {
        let mut bytes = b"a\xFFb\xE6\xBCc\xF0\x9F".to_vec();
        assert_eq!(whole(&mut bytes), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(bytes, b"\xF0\x9F");
    }
}
