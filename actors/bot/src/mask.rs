//! Secrets inside free-form configuration objects: hidden on the way out, kept on the way back in.
//!
//! A client that reads a masked object, changes one member and writes all of it back must not overwrite a secret with
//! its mask, so a masked value on a write means "as it was".

use serde_json::{Map, Value};

/// What stands in place of a secret.
pub const MASK: &str = "********";

/// Parts of member names that mark a secret.
const SECRET_WORDS: &[&str] = &[
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "privatekey",
    "accesskey",
    "credential",
    "authorization",
    "cookie",
];

/// Member names that speak of tokens as a unit and not as a secret.
const PLAIN_NAMES: &[&str] = &["maxtokens", "maxinputtokens", "maxoutputtokens", "maxcontexttokens", "tokenparam"];

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    !PLAIN_NAMES.contains(&plain.as_str()) && SECRET_WORDS.iter().any(|word| plain.contains(word))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The object with every secret hidden.
#[must_use]
pub fn masked(object: &Map<String, Value>) -> Map<String, Value> {
    let hide = |(name, value): (&String, &Value)| {
        let value = if is_secret(name) && !is_empty(value) { MASK.into() } else { masked_value(value) };
        (name.clone(), value)
    };
    object.iter().map(hide).collect()
}

fn masked_value(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(masked(object)),
        Value::Array(items) => items.iter().map(masked_value).collect(),
        other => other.clone(),
    }
}

/// The written object with every mask replaced by what is stored in its place, or left out when nothing is.
#[must_use]
pub fn unmasked(written: Map<String, Value>, stored: Option<&Map<String, Value>>) -> Map<String, Value> {
    let restore = |(name, value): (String, Value)| {
        let before = stored.and_then(|stored| stored.get(&name));
        restored(value, before, is_secret(&name)).map(|value| (name, value))
    };
    written.into_iter().filter_map(restore).collect()
}

fn restored(value: Value, before: Option<&Value>, secret: bool) -> Option<Value> {
    match value {
        Value::String(text) if secret && text == MASK => before.cloned(),
        Value::Object(object) => Some(Value::Object(unmasked(object, before.and_then(Value::as_object)))),
        Value::Array(items) => {
            let before = before.and_then(Value::as_array);
            let items = items.into_iter().enumerate();
            let restore = |(at, item)| restored(item, before.and_then(|before| before.get(at)), false);
            Some(Value::Array(items.filter_map(restore).collect()))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn secrets_are_hidden_at_any_depth() {
        let config = object(json!({
            "session_key": "agent:main", "bot_secret": "s3cret", "max_tokens": 12, "token": "", "api-key": {"id": 1},
            "env": {"OPENAI_API_KEY": "sk-1", "HOME": "/x"}, "list": [{"password": "p"}], "use_token": true,
        }));
        assert_eq!(
            Value::Object(masked(&config)),
            json!({
                "session_key": "agent:main", "bot_secret": MASK, "max_tokens": 12, "token": "", "api-key": MASK,
                "env": {"OPENAI_API_KEY": MASK, "HOME": "/x"}, "list": [{"password": MASK}], "use_token": true,
            })
        );
    }

    #[test]
    fn reading_changing_and_writing_back_keeps_secrets() {
        let stored = object(json!({"secret": "s", "url": "a", "deep": {"token": "t"}, "list": [{"password": "p"}]}));
        let mut written = masked(&stored);
        written.insert("url".into(), "b".into());
        let kept = unmasked(written, Some(&stored));
        assert_eq!(
            Value::Object(kept),
            json!({"secret": "s", "url": "b", "deep": {"token": "t"}, "list": [{"password": "p"}]})
        );
        let changed = unmasked(object(json!({"secret": "new"})), Some(&stored));
        assert_eq!(Value::Object(changed), json!({"secret": "new"}));
        assert_eq!(unmasked(object(json!({"secret": MASK})), None), Map::new());
    }
}
