//! What a piece of a file means: a record, a whole conversation of a ChatGPT export, or nothing that could be read.

use serde_json::Value;

use super::chatgpt;
use super::pieces::Piece;
use crate::transfer::{Identifier, Line, Overrides, Record, RecordError, no_json};

/// A piece that has been read.
#[derive(Debug, Default, PartialEq)]
pub struct Item {
    /// Its number.
    pub number: u64,
    /// The first byte behind it.
    pub end: u64,
    /// What it holds; every record has an id.
    pub records: Vec<Record>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Messages that are no text of a conversation.
    pub left_out: usize,
}

/// Reads pieces in the order of the file.
#[derive(Debug, Default)]
pub struct Reader {
    overrides: Overrides,
    identifier: Identifier,
}

impl Reader {
    /// A reader with these overrides, that knows what was known at its place.
    #[must_use]
    pub fn new(overrides: Overrides, identifier: Identifier) -> Self {
        Self { overrides, identifier }
    }

    /// What naming the next records needs to know.
    #[must_use]
    pub fn identity(&self) -> &Identifier {
        &self.identifier
    }

    /// Reads one piece.
    pub fn read(&mut self, piece: Piece) -> Item {
        let mut item = Item { number: piece.number, end: piece.end, ..Item::default() };
        let meant = match piece.text {
            Ok(text) => self.understand(&text),
            Err(why) => Err(RecordError(why.to_owned())),
        };
        match meant {
            Ok((mut records, left_out)) => {
                records.iter_mut().for_each(|record| self.identifier.name(record));
                (item.records, item.left_out) = (records, left_out);
            }
            Err(error) => item.problem = Some(error.0),
        }
        item
    }

    fn understand(&self, text: &[u8]) -> Result<(Vec<Record>, usize), RecordError> {
        let value: Value = serde_json::from_slice(text).map_err(|error| RecordError(no_json(&error)))?;
        if chatgpt::is_conversation(&value) {
            let bot = self.overrides.bot.as_ref().ok_or_else(|| {
                RecordError(
                    "this is a conversation of a ChatGPT export; name the bot that shall have it with --bot".into(),
                )
            })?;
            let conversation = chatgpt::read(&value, bot, self.overrides.user.as_ref())?;
            return Ok((conversation.records, conversation.left_out));
        }
        match Line::read(&value, &self.overrides)? {
            Line::Record(record) => Ok((vec![*record], 0)),
            Line::End(_) => Ok((Vec::new(), 0)),
            Line::Broken(why) => Err(RecordError(format!("this export broke off: {why}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::BotSlug;

    use super::*;

    fn read(reader: &mut Reader, text: &str) -> Item {
        reader.read(Piece { number: 3, end: 9, text: Ok(text.as_bytes().to_vec()) })
    }

    #[test]
    fn pieces_become_records_or_a_problem() {
        let mut reader = Reader::default();
        let item = read(&mut reader, r#"{"kind":"memory","bot_id":"nova","content":"x"}"#);
        assert!(item.records[0].id().is_some() && item.problem.is_none() && (item.number, item.end) == (3, 9));
        assert_eq!(read(&mut reader, r#"{"kind":"end","messages":1,"memories":0}"#).records, []);
        assert!(read(&mut reader, "{").problem.unwrap().contains("ends too early"));
        assert!(read(&mut reader, r#"{"kind":"error","detail":"gone"}"#).problem.unwrap().contains("broke off: gone"));
        assert!(read(&mut reader, r#"{"mapping":{}}"#).problem.unwrap().contains("--bot"));
        let bot = Some(BotSlug::from_stored("nova"));
        let mut reader = Reader::new(Overrides { bot, user: None }, Identifier::default());
        let text =
            r#"{"mapping":{"a":{"message":{"create_time":1,"author":{"role":"user"},"content":{"parts":["x"]}}}}}"#;
        assert_eq!(read(&mut reader, text).records.len(), 1);
    }
}
