//! JSON schemas for structured output, as far as the API's grammar goes.
//!
//! The API takes a part of JSON Schema and refuses a request with more. What it cannot check is put into words where the
//! model reads it; the turn validates the answer in any case.

use serde_json::{Map, Value};

/// Members that are passed on as they are.
const TAKEN: [&str; 9] = ["type", "description", "title", "enum", "const", "default", "$ref", "required", "nullable"];
/// Members that hold schemas by name, one schema, or a list of schemas.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
const LISTS: [&str; 2] = ["anyOf", "allOf"];
/// Formats of texts that the grammar knows.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// Deeper schemas are not written by people.
const DEEPEST: usize = 64;

/// The schema in the API's terms; `None` when that would change what it admits, as with objects of any members.
pub(super) fn conform(schema: &Value) -> Option<Value> {
    within(schema, DEEPEST)
}

fn within(schema: &Value, depth: usize) -> Option<Value> {
    let (schema, deeper) = (schema.as_object()?, depth.checked_sub(1)?);
    let (mut taken, mut told) = (Map::new(), Vec::new());
    for (name, value) in schema {
        let kept = match name.as_str() {
            "$schema" | "$id" | "$comment" => continue,
            plain if TAKEN.contains(&plain) => value.clone(),
            named if NAMED.contains(&named) => {
                let each = value.as_object()?.iter();
                Value::Object(
                    each.map(|(name, schema)| Some((name.clone(), within(schema, deeper)?))).collect::<Option<_>>()?,
                )
            }
            "items" => within(value, deeper)?,
            list if LISTS.contains(&list) => all(value, deeper)?,
            "oneOf" => {
                taken.insert("anyOf".into(), all(value, deeper)?);
                continue;
            }
            "additionalProperties" if *value == Value::Bool(false) => continue, // said of every object below
            "additionalProperties" => return None,
            "minItems" if value.as_u64().is_some_and(|least| least <= 1) => value.clone(),
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => value.clone(),
            _ => {
                told.push(format!("{name}: {value}"));
                continue;
            }
        };
        taken.insert(name.clone(), kept);
    }
    if schema.get("type").is_some_and(|kind| kind == "object") {
        taken.insert("additionalProperties".into(), false.into());
    }
    if !told.is_empty() {
        let told = format!("({})", told.join(", "));
        let described = match taken.get("description").and_then(Value::as_str) {
            Some(description) => format!("{description} {told}"),
            None => told,
        };
        taken.insert("description".into(), described.into());
    }
    Some(Value::Object(taken))
}

fn all(schemas: &Value, depth: usize) -> Option<Value> {
    schemas.as_array()?.iter().map(|schema| within(schema, depth)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_grammar_lacks_is_put_into_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0, "description": "Years."},
                "born": {"type": "string", "format": "date"},
                "mood": {"oneOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 3},
            },
            "required": ["age"],
            "$defs": {"tag": {"type": "object", "properties": {}, "additionalProperties": false}},
        });
        assert_eq!(
            conform(&schema).unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "age": {"type": "integer", "description": "Years. (minimum: 0)"},
                    "born": {"type": "string", "format": "date"},
                    "mood": {"anyOf": [{"type": "string", "description": "(pattern: \"^[a-z]+$\")"}, {"type": "null"}]},
                    "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1,
                        "description": "(maxItems: 3)"},
                },
                "required": ["age"],
                "$defs": {"tag": {"type": "object", "properties": {}, "additionalProperties": false}},
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn what_would_change_its_meaning_is_not_conformed() {
        let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        assert_eq!(conform(&json!({"type": "array", "items": map})), None);
        assert_eq!(conform(&json!(true)), None);
        let deep = (0..200).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}));
        assert_eq!(conform(&deep), None);
    }
}
