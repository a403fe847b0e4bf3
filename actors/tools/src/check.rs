//! Arguments against their schema: what can be understood is put right, what cannot is refused with the member's name.
//!
//! Put right: numbers and booleans written as text, JSON written as text, one value where a list belongs, words in another
//! case, `null` for "not given". Nothing is guessed beyond that. What a schema says in terms unknown here is not checked.
//! Pure; its work is bounded by the arguments times the alternatives of the schema.

use serde_json::{Map, Number, Value};

use crate::tool::Origin;

/// Alternatives of one place that are tried.
const MOST_ALTERNATIVES: usize = 16;
/// Names that a complaint lists.
const MOST_NAMED: usize = 40;

/// What does not fit, in a sentence.
pub(crate) type Complaint = String;

/// The arguments, put right.
///
/// # Errors
/// The first thing that does not fit.
pub(crate) fn arguments(schema: &Value, given: Map<String, Value>, origin: Origin) -> Result<Value, Complaint> {
    let checker = Checker { lenient: origin == Origin::BuiltIn };
    checker.value(schema, Value::Object(given), "")
}

struct Checker {
    /// Numbers out of range count as the nearest in it, and an empty text for an optional member as none.
    lenient: bool,
}

impl Checker {
    fn value(&self, schema: &Value, given: Value, at: &str) -> Result<Value, Complaint> {
        let Some(rules) = schema.as_object() else { return Ok(given) };
        if let Some(list) = rules.get("anyOf").or(rules.get("oneOf")).and_then(Value::as_array) {
            return self.alternatives(list, given, at);
        }
        if let Some(constant) = rules.get("const") {
            return one_of(std::slice::from_ref(constant), given, at);
        }
        if let Some(words) = rules.get("enum").and_then(Value::as_array) {
            return one_of(words, given, at);
        }
        let kinds: Vec<&str> = match rules.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return self.shape(rules, given, at),
        };
        if kinds.iter().any(|kind| is(kind, &given)) {
            return self.shape(rules, given, at);
        }
        let expected = || format!("{} must be {}", named(at), kinds.join(" or "));
        let understood = kinds.iter().find_map(|kind| understood(kind, &given)).ok_or_else(expected)?;
        self.shape(rules, understood, at)
    }

    /// The first alternative that takes the value as it is, else the first that can be made to.
    fn alternatives(&self, list: &[Value], given: Value, at: &str) -> Result<Value, Complaint> {
        let mut best = None;
        for schema in list.iter().take(MOST_ALTERNATIVES) {
            match self.value(schema, given.clone(), at) {
                Ok(value) if value == given => return Ok(value),
                Ok(value) => best = best.or(Some(value)),
                Err(_) => {}
            }
        }
        best.ok_or_else(|| format!("{} has none of the forms it may have", named(at)))
    }

    /// A value of the right type against the rest of its rules.
    fn shape(&self, rules: &Map<String, Value>, given: Value, at: &str) -> Result<Value, Complaint> {
        match given {
            Value::Object(members) => self.object(rules, members, at).map(Value::Object),
            Value::Array(items) => self.list(rules, items, at),
            Value::Number(number) => self.number(rules, number, at),
            Value::String(text) => length(rules, text, at),
            Value::Null | Value::Bool(_) => Ok(given),
        }
    }

    fn object(
        &self,
        rules: &Map<String, Value>,
        members: Map<String, Value>,
        at: &str,
    ) -> Result<Map<String, Value>, Complaint> {
        let none = Map::new();
        let properties = rules.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: Vec<&str> =
            rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut out = Map::new();
        for (name, value) in members {
            let place = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let rule = properties.get(&name);
            if value.is_null() && !rule.is_some_and(takes_null) {
                continue;
            }
            let blank = value.as_str().is_some_and(|text| text.trim().is_empty());
            if self.lenient && blank && rule.is_some() && !required.contains(&name.as_str()) {
                continue;
            }
            match (rule, rules.get("additionalProperties")) {
                (Some(rule), _) => {
                    let value = self.value(rule, value, &place)?;
                    out.insert(name, value);
                }
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> = properties.keys().take(MOST_NAMED).map(String::as_str).collect();
                    let known = if known.is_empty() {
                        "it takes none".into()
                    } else {
                        format!("known are {}", known.join(", "))
                    };
                    return Err(format!("{} is not known; {known}", named(&place)));
                }
                (None, Some(rule @ Value::Object(_))) => {
                    let value = self.value(rule, value, &place)?;
                    out.insert(name, value);
                }
                (None, _) => {
                    out.insert(name, value);
                }
            }
        }
        match required.iter().find(|name| !out.contains_key(**name)) {
            Some(name) if at.is_empty() => Err(format!("{} is required", named(name))),
            Some(name) => Err(format!("{} is required", named(&format!("{at}.{name}")))),
            None => Ok(out),
        }
    }

    fn list(&self, rules: &Map<String, Value>, items: Vec<Value>, at: &str) -> Result<Value, Complaint> {
        let count = items.len() as u64;
        if let Some(most) = rules.get("maxItems").and_then(Value::as_u64).filter(|most| count > *most) {
            return Err(format!("{} may have at most {most} entries", named(at)));
        }
        if let Some(least) = rules.get("minItems").and_then(Value::as_u64).filter(|least| count < *least) {
            return Err(format!("{} must have at least {least} entries", named(at)));
        }
        let Some(rule) = rules.get("items") else { return Ok(items.into()) };
        let items = items.into_iter().enumerate().map(|(n, item)| self.value(rule, item, &format!("{at}[{n}]")));
        items.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    fn number(&self, rules: &Map<String, Value>, number: Number, at: &str) -> Result<Value, Complaint> {
        let Some(value) = number.as_f64() else { return Ok(number.into()) };
        let least = rules.get("minimum").filter(|least| least.as_f64().is_some_and(|least| value < least));
        let most = rules.get("maximum").filter(|most| most.as_f64().is_some_and(|most| value > most));
        if let Some(bound) = least.or(most) {
            if self.lenient {
                return Ok(bound.clone());
            }
            let which = if least.is_some() { "at least" } else { "at most" };
            return Err(format!("{} must be {which} {bound}", named(at)));
        }
        let above = rules.get("exclusiveMinimum").and_then(Value::as_f64).is_none_or(|bound| value > bound);
        let below = rules.get("exclusiveMaximum").and_then(Value::as_f64).is_none_or(|bound| value < bound);
        if above && below { Ok(number.into()) } else { Err(format!("{} is out of range", named(at))) }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

/// The value that was meant, of this type.
fn understood(kind: &str, given: &Value) -> Option<Value> {
    let text = given.as_str().map(str::trim);
    match kind {
        "integer" => whole(match text {
            Some(text) => text.parse().ok()?,
            None => given.as_f64()?,
        })
        .filter(|_| text.is_none_or(|text| text.len() <= 32)),
        "number" => {
            let number: f64 = text?.parse().ok()?;
            Number::from_f64(number).map(Value::Number)
        }
        "boolean" => match text.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on" | "1") => Some(true.into()),
            Some("false" | "no" | "off" | "0") => Some(false.into()),
            Some(_) => None,
            None => given.as_i64().filter(|n| matches!(n, 0 | 1)).map(|n| (n == 1).into()),
        },
        "string" => match given {
            Value::Number(_) | Value::Bool(_) => Some(given.to_string().into()),
            _ => None,
        },
        "array" => match text.filter(|text| text.starts_with('[')).map(serde_json::from_str) {
            Some(Ok(list @ Value::Array(_))) => Some(list),
            _ => Some(Value::Array(vec![given.clone()])),
        },
        "object" => match serde_json::from_str(text?) {
            Ok(object @ Value::Object(_)) => Some(object),
            _ => None,
        },
        _ => None,
    }
}

/// A whole number that JSON and the programs behind it hold exactly.
fn whole(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| (number as i64).into())
}

fn one_of(words: &[Value], given: Value, at: &str) -> Result<Value, Complaint> {
    if words.contains(&given) {
        return Ok(given);
    }
    let folded = |value: &Value| match value {
        Value::String(text) => text.trim().to_lowercase().replace([' ', '-'], "_"),
        other => other.to_string(),
    };
    let meant = folded(&given);
    if let Some(word) = words.iter().find(|word| folded(word) == meant) {
        return Ok(word.clone());
    }
    let known: Vec<String> =
        words.iter().take(MOST_NAMED).map(|word| word.as_str().map_or(word.to_string(), str::to_owned)).collect();
    Err(format!("{} must be one of: {}", named(at), known.join(", ")))
}

fn length(rules: &Map<String, Value>, text: String, at: &str) -> Result<Value, Complaint> {
    let most = rules.get("maxLength").and_then(Value::as_u64);
    let least = rules.get("minLength").and_then(Value::as_u64);
    if most.is_none() && least.is_none() {
        return Ok(text.into());
    }
    let chars = text.chars().count() as u64;
    match (least.filter(|least| chars < *least), most.filter(|most| chars > *most)) {
        (Some(least), _) => Err(format!("{} must have at least {least} characters", named(at))),
        (_, Some(most)) => Err(format!("{} may have at most {most} characters", named(at))),
        (None, None) => Ok(text.into()),
    }
}

fn takes_null(rule: &Value) -> bool {
    match rule.get("type") {
        Some(Value::String(kind)) => kind == "null",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "null"),
        _ => ["anyOf", "oneOf"]
            .iter()
            .filter_map(|several| rule.get(several)?.as_array())
            .flatten()
            .any(|alternative| alternative["type"] == "null"),
    }
}

/// The place as a complaint names it: short and on one line, since the model chose part of it.
fn named(at: &str) -> String {
    match at {
        "" => "the arguments".into(),
        at => format!("'{}'", at.chars().filter(|c| !c.is_control()).take(80).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["action"],
            "properties": {
                "action": {"type": "string", "enum": ["search", "store_it"]},
                "n": {"type": "integer", "minimum": 1, "maximum": 20},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "sure": {"type": "boolean"},
                "text": {"type": "string", "maxLength": 5},
                "value": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "object"}]},
                "maybe": {"type": ["string", "null"]},
                "inner": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
            },
        })
    }

    fn checked(given: Value, origin: Origin) -> Result<Value, Complaint> {
        let Value::Object(members) = given else { panic!("an object") };
        arguments(&schema(), members, origin)
    }

    #[test]
    fn what_can_be_understood_is_put_right() {
        for (given, expected) in [
            (json!({"action": "SEARCH"}), json!({"action": "search"})),
            (json!({"action": "store-it"}), json!({"action": "store_it"})),
            (json!({"action": "search", "n": "5"}), json!({"action": "search", "n": 5})),
            (json!({"action": "search", "n": 5.0}), json!({"action": "search", "n": 5})),
            (json!({"action": "search", "n": 900}), json!({"action": "search", "n": 20})),
            (json!({"action": "search", "share": "0.5"}), json!({"action": "search", "share": 0.5})),
            (json!({"action": "search", "share": 7}), json!({"action": "search", "share": 1})),
            (json!({"action": "search", "tags": "one"}), json!({"action": "search", "tags": ["one"]})),
            (json!({"action": "search", "tags": "[\"a\", 1]"}), json!({"action": "search", "tags": ["a", "1"]})),
            (json!({"action": "search", "sure": "True"}), json!({"action": "search", "sure": true})),
            (json!({"action": "search", "text": 42}), json!({"action": "search", "text": "42"})),
            (json!({"action": "search", "text": " "}), json!({"action": "search"})),
            (json!({"action": "search", "value": "5"}), json!({"action": "search", "value": "5"})),
            (json!({"action": "search", "value": {"a": 1}}), json!({"action": "search", "value": {"a": 1}})),
            (json!({"action": "search", "n": null, "maybe": null}), json!({"action": "search", "maybe": null})),
            (json!({"action": "search", "inner": "{\"x\": \"3\"}"}), json!({"action": "search", "inner": {"x": 3}})),
        ] {
            assert_eq!(checked(given.clone(), Origin::BuiltIn), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_cannot_is_refused_by_name() {
        for (given, field) in [
            (json!({}), "'action' is required"),
            (json!({"action": null}), "'action' is required"),
            (json!({"action": "drop"}), "'action' must be one of: search, store_it"),
            (json!({"action": "search", "n": "many"}), "'n' must be integer"),
            (json!({"action": "search", "n": 1.5}), "'n' must be integer"),
            (json!({"action": "search", "n": [5]}), "'n' must be integer"),
            (json!({"action": "search", "share": "NaN"}), "'share' must be number"),
            (json!({"action": "search", "tags": ["a", {}]}), "'tags[1]' must be string"),
            (json!({"action": "search", "tags": ["a", "b", "c", "d"]}), "'tags' may have at most 3"),
            (json!({"action": "search", "sure": "perhaps"}), "'sure' must be boolean"),
            (json!({"action": "search", "text": "too long"}), "'text' may have at most 5"),
            (json!({"action": "search", "text": {}}), "'text' must be string"),
            (json!({"action": "search", "value": [1]}), "'value' has none of the forms"),
            (json!({"action": "search", "inner": {}}), "'inner.x' is required"),
            (json!({"action": "search", "other": 1}), "'other' is not known; known are action, inner"),
        ] {
            let complaint = checked(given.clone(), Origin::BuiltIn).expect_err("a complaint");
            assert!(complaint.contains(field), "{given}: {complaint}");
        }
    }

    #[test]
    fn the_ranges_of_others_are_kept_to() {
        let complaint = checked(json!({"action": "search", "n": 900}), Origin::Remote).expect_err("a complaint");
        assert!(complaint.contains("'n' must be at most 20"), "{complaint}");
        assert_eq!(
            checked(json!({"action": "search", "text": ""}), Origin::Remote),
            Ok(json!({"action": "search", "text": ""}))
        );
        // What is not known here is let through.
        let open = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}});
        let given = json!({"a": {"b": [1]}, "c": 1});
        let Value::Object(members) = given.clone() else { panic!() };
        assert_eq!(arguments(&open, members, Origin::Remote), Ok(given));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9\\[\\]{}\" ]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("action|n|tags|value|inner|x|zz", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Nothing panics, and what was accepted once is accepted again, unchanged.
        #[test]
        fn checking_is_stable(given in prop::collection::btree_map("action|n|share|tags|sure|text|value|inner|zz", any_json(), 0..6)) {
            let members: Map<String, Value> = given.into_iter().collect();
            for origin in [Origin::BuiltIn, Origin::Remote] {
                if let Ok(once) = arguments(&schema(), members.clone(), origin) {
                    let Value::Object(again) = once.clone() else { panic!("an object") };
                    prop_assert_eq!(arguments(&schema(), again, origin), Ok(once));
                }
            }
        }
    }
}
