//! Reading what models take for JSON: proper JSON is read as it is, and what is read can be written and read again.
#![no_main]

use greenroom_dialect::json::{object, object_at, repair};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let proper = serde_json::from_str::<Value>(text.trim()).ok();
    if let Some(proper @ (Value::Object(_) | Value::Array(_))) = &proper {
        assert_eq!(repair(text).as_ref(), Some(proper));
    }
    if let Some(proper @ Value::Object(_)) = &proper {
        assert_eq!(object(text).as_ref(), Some(proper));
    }
    for read in [repair(text), object(text), object_at(text).map(|(value, _)| value)].into_iter().flatten() {
        assert_eq!(repair(&read.to_string()), Some(read));
    }
    if let Some((_, length)) = object_at(text) {
        assert!(text[..length].ends_with('}'));
    }
});
