//! Putting tool calls together from the items of a Responses stream.
//!
//! An item is known by its id, else by its place in the output, else it is the newest. What comes whole overrides the
//! fragments before it.

use serde_json::Value;

use crate::http::fold::{EVENT_CAP, Fault};
use crate::wires::tool_calls::{Arguments, CallPiece};

/// Most calls of one answer.
const MOST_CALLS: usize = 1024;

/// The calls seen so far.
#[derive(Debug, Default)]
pub(super) struct Items {
    items: Vec<Item>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Item {
    id: Option<String>,
    place: Option<i64>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl Items {
    /// A fragment of a call's arguments.
    pub(super) fn append(&mut self, event: &Value) -> Result<(), Fault> {
        let Some(fragment) = event.get("delta").and_then(Value::as_str) else { return Ok(()) };
        self.item(event, event)?.arguments.push_str(fragment);
        self.weigh(fragment.len())
    }

    /// What an event tells of a call in full: its item, or its arguments.
    pub(super) fn set(&mut self, event: &Value) -> Result<(), Fault> {
        let told = event.get("item").unwrap_or(event);
        let arguments = match told.get("arguments") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(object) => Some(object.to_string()),
        };
        let weight = arguments.as_ref().map_or(0, String::len);
        let item = self.item(event, told)?;
        item.call_id = filled(told, "call_id").or(item.call_id.take());
        item.name = filled(told, "name").or(item.name.take());
        if let Some(arguments) = arguments {
            item.arguments = arguments;
        }
        self.weigh(weight)
    }

    /// The calls, in the order of the output.
    pub(super) fn take(&mut self) -> impl Iterator<Item = CallPiece> + use<> {
        let mut items = std::mem::take(&mut self.items);
        if items.iter().all(|item| item.place.is_some()) {
            items.sort_by_key(|item| item.place);
        }
        let pieces = items.into_iter().filter(|item| item.name.is_some() || !item.arguments.is_empty());
        pieces.zip(0..).map(|(item, index)| CallPiece {
            index: Some(index),
            id: item.call_id.or(item.id),
            name: item.name,
            arguments: if item.arguments.is_empty() { Arguments::None } else { Arguments::Whole(item.arguments) },
            ..CallPiece::default()
        })
    }

    /// The item that an event is about; one that is announced under a new id is a new one, whatever its place.
    fn item(&mut self, event: &Value, told: &Value) -> Result<&mut Item, Fault> {
        let id = filled(event, "item_id").or_else(|| filled(event.get("item")?, "id"));
        let call_id = filled(told, "call_id");
        let place = event.get("output_index").and_then(Value::as_i64);
        let begins = event.get("type").and_then(Value::as_str) == Some("response.output_item.added");
        let by_id = |item: &Item| id.is_some() && item.id == id;
        let by_call = |item: &Item| call_id.is_some() && item.call_id == call_id;
        let stranger = |item: &Item| call_id.is_some() && item.call_id.is_some() && item.call_id != call_id;
        let by_place = |item: &Item| match (place, item.place) {
            (Some(place), Some(known)) => place == known && !stranger(item),
            _ => id.is_none() && !stranger(item),
        };
        let known = self.items.iter().rposition(by_id).or_else(|| self.items.iter().rposition(by_call));
        let known = known.or_else(|| self.items.iter().rposition(by_place).filter(|_| !begins));
        let at = match known {
            Some(at) => at,
            None if self.items.len() >= MOST_CALLS => return Err(Fault::Broken("too many tool calls")),
            None => {
                self.items.push(Item::default());
                self.items.len() - 1
            }
        };
        let item = &mut self.items[at];
        item.id = item.id.take().or(id);
        item.place = item.place.or(place);
        Ok(item)
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > EVENT_CAP { Err(Fault::Broken("too many tool calls")) } else { Ok(()) }
    }
}

/// A text that says something.
pub(super) fn filled(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
