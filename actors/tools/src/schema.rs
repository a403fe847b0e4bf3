//! JSON schemas of arguments: made from Rust types, in the plain form that every provider takes, and narrowed to the
//! actions that a bot may use. Pure.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// Members that say nothing to a model.
const NOISE: [&str; 3] = ["$schema", "title", "format"];

/// The schema of a type: an object without references, titles, formats and `null` types. Enums are `enum`s.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    plain(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        // What the type says of itself is for readers of the program.
        object.remove("description");
        object.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

fn plain(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for noise in NOISE {
        object.remove(noise);
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    without_null(object);
    constants_to_enum(object);
    // Of an enum with `null` among its words, too.
    if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(plain);
    }
    if let Some(items) = object.get_mut("items") {
        plain(items);
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(list) = object.get_mut(several).and_then(Value::as_array_mut) {
            list.iter_mut().for_each(plain);
        }
    }
}

/// An optional member is simply not required.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(types) = object.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(mut list)) = object.remove("anyOf") {
        list.retain(|kind| kind["type"] != "null");
        match (list.len(), list.pop()) {
            (1, Some(Value::Object(only))) => only.into_iter().for_each(|(key, value)| {
                object.entry(key).or_insert(value);
            }),
            (_, last) => {
                list.extend(last);
                object.insert("anyOf".into(), list.into());
            }
        }
    }
}

/// Words with a description each become one list of words, described together.
fn constants_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(list)) = object.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut lines = Vec::new();
    for kind in list {
        let found =
            kind.get("const").into_iter().chain(kind.get("enum").and_then(Value::as_array).into_iter().flatten());
        let found: Vec<Value> = found.cloned().collect();
        if found.is_empty() {
            return;
        }
        if let ([Value::String(word)], Some(about)) = (found.as_slice(), kind["description"].as_str()) {
            lines.push(format!("{word}: {about}"));
        }
        words.extend(found);
    }
    object.remove("oneOf");
    object.insert("type".into(), "string".into());
    object.insert("enum".into(), words.into());
    if !lines.is_empty() {
        let before = object.get("description").and_then(Value::as_str).map(|text| format!("{text} "));
        object.insert("description".into(), format!("{}{}", before.unwrap_or_default(), lines.join(" ")).into());
    }
}

/// For a member that takes any value but `null`.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            {"type": "string"}, {"type": "number"}, {"type": "boolean"},
            {"type": "array", "items": {}}, {"type": "object"},
        ]
    })
}

/// The schema with fewer actions; `None` when no action is left. A tool without actions stays as it is.
pub(crate) fn narrowed(schema: &Value, allowed: impl Fn(&str) -> bool) -> Option<Value> {
    let mut schema = schema.clone();
    let Some(action) = schema.pointer_mut("/properties/action").and_then(Value::as_object_mut) else {
        return Some(schema);
    };
    let Some(words) = action.get_mut("enum").and_then(Value::as_array_mut) else { return Some(schema) };
    words.retain(|word| word.as_str().is_some_and(&allowed));
    if words.is_empty() {
        return None;
    }
    let kept = words.clone();
    // What is done when nobody says must be one of them.
    if action.get("default").is_some_and(|default| !kept.contains(default)) {
        action.remove("default");
        if let Some(object) = schema.as_object_mut() {
            let required = object.entry("required").or_insert_with(|| json!([]));
            if let Some(names) = required.as_array_mut().filter(|names| !names.iter().any(|name| name == "action")) {
                names.push("action".into());
            }
        }
    }
    Some(schema)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// For readers of the program.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Arguments {
        /// What to do.
        #[serde(default)]
        action: Action,
        /// How many.
        #[schemars(range(min = 1, max = 20))]
        count: Option<u32>,
        role: Option<Role>,
        tags: Option<Vec<String>>,
        #[serde(default)]
        #[schemars(schema_with = "any_value")]
        value: Option<Value>,
    }

    #[derive(Default, Deserialize, JsonSchema, serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Action {
        /// Shows it.
        #[default]
        Show,
        /// Takes it away.
        TakeAway,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Role {
        User,
        Assistant,
    }

    #[test]
    fn schemas_are_plain_and_closed() {
        let expected = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "action": {
                    "type": "string", "enum": ["show", "take_away"], "default": "show",
                    "description": "What to do. show: Shows it. take_away: Takes it away.",
                },
                "count": {"type": "integer", "minimum": 1, "maximum": 20, "description": "How many."},
                "role": {"type": "string", "enum": ["user", "assistant"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "value": any_value(&mut SchemaGenerator::default()).to_value(),
            },
        });
        assert_eq!(of::<Arguments>(), expected);
    }

    #[test]
    fn an_action_that_is_not_allowed_is_not_described() {
        let schema = of::<Arguments>();
        let some = narrowed(&schema, |action| action == "take_away").expect("a schema");
        assert_eq!(some["properties"]["action"]["enum"], json!(["take_away"]));
        assert_eq!(some["required"], json!(["action"]), "the default is gone");
        assert_eq!(narrowed(&schema, |_| false), None);
        assert_eq!(narrowed(&json!({"type": "object"}), |_| false), Some(json!({"type": "object"})));
    }
}
