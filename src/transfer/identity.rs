//! Ids for records that have none. They follow from what the record says, so that importing a file again, or another
//! export of the same conversation, stores nothing twice.
//!
//! Invariant: the same records in the same order get the same ids. Records that are alike in everything, time included,
//! are told apart by how many of their kind came before them with that time.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::Record;

/// How many records of one instant are told apart; of further ones, equal ones count as one.
const INSTANT_LIMIT: usize = 10_000;

/// Names records as they pass. What it remembers can be kept with the place in the file, so that reading on there goes on
/// as if it had never stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    instant: Option<Timestamp>,
    seen: HashMap<Uuid, u32>,
}

impl Identifier {
    /// Gives the record an id if it has none.
    pub fn name(&mut self, record: &mut Record) {
        if record.id().is_none() {
            let id = self.id_of(record);
            record.set_id(id.to_string());
        }
    }

    fn id_of(&mut self, record: &Record) -> Uuid {
        let (at, plain) = match record {
            Record::Message(message) => (
                Some(message.at),
                digest(&[
                    "message",
                    message.bot_id.as_str(),
                    message.role.as_str(),
                    &message.at.as_microsecond().to_string(),
                    message.user_id.as_ref().map_or("", |user| user.as_str()),
                    message.session.as_deref().unwrap_or_default(),
                    &message.content,
                ]),
            ),
            // A memory is what it says, whenever it was learnt.
            Record::Memory(memory) => (None, digest(&["memory", memory.bot_id.as_str(), &memory.content])),
        };
        let Some(at) = at else { return plain };
        if self.instant != Some(at) {
            self.instant = Some(at);
            self.seen.clear();
        }
        if self.seen.len() >= INSTANT_LIMIT && !self.seen.contains_key(&plain) {
            return plain;
        }
        let before = self.seen.entry(plain).or_default();
        *before += 1;
        match *before {
            1 => plain,
            nth => digest(&[&plain.to_string(), &nth.to_string()]),
        }
    }
}

fn digest(parts: &[&str]) -> Uuid {
    // Lengths keep ("ab", "c") and ("a", "bc") apart.
    let mut text = String::from("greenroom transfer");
    for part in parts {
        text.push_str(&format!("\u{0}{}\u{0}", part.len()));
        text.push_str(part);
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::record::{Line, Overrides};
    use serde_json::json;

    fn named(records: &[(&str, u32)]) -> Vec<String> {
        let mut identifier = Identifier::default();
        let read = records.iter().map(|(content, at)| {
            let value = json!({"kind": "message", "bot_id": "a", "role": "user", "content": content, "at": at});
            let Ok(Line::Record(mut record)) = Line::read(&value, &Overrides::default()) else { panic!() };
            identifier.name(&mut record);
            record.id().unwrap().to_owned()
        });
        read.collect()
    }

    #[test]
    fn ids_follow_from_what_is_said_and_twins_are_told_apart() {
        let ids = named(&[("ok", 1), ("ok", 1), ("no", 1), ("ok", 2)]);
        assert_eq!(ids, named(&[("ok", 1), ("ok", 1), ("no", 1), ("ok", 2)]));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        // The place in the file does not matter, only the neighbours of the same instant.
        assert_eq!(named(&[("before", 0), ("ok", 1)])[1], ids[0]);
    }

    #[test]
    fn a_given_id_stays_and_a_memory_is_its_text() {
        let mut identifier = Identifier::default();
        let mut name = |value: serde_json::Value| {
            let Ok(Line::Record(mut record)) = Line::read(&value, &Overrides::default()) else { panic!() };
            identifier.name(&mut record);
            record.id().unwrap().to_owned()
        };
        assert_eq!(name(json!({"kind": "memory", "bot_id": "a", "content": "x", "id": "mine"})), "mine");
        let first = name(json!({"kind": "memory", "bot_id": "a", "content": "x", "at": 1}));
        assert_eq!(first, name(json!({"kind": "memory", "bot_id": "a", "content": "x", "at": 2, "tags": ["t"]})));
        assert_ne!(first, name(json!({"kind": "memory", "bot_id": "b", "content": "x"})));
    }
}
