//! Reading a JSON object field by field, leniently in types and exactly in complaints.
//!
//! A [`Fields`] remembers every complaint with its place, so one answer names all of them (http-api §1.3). Scalars are
//! coerced the way the existing clients expect; a text field never accepts a number. "Absent", "null" and "a value"
//! stay three different things ([`Field`]), because updates need the difference.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One complaint, in the shape of a 422 `detail` entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Complaint {
    /// Machine-readable kind, for example `missing` or `string_type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where: starts with `body`, `query` or `path`.
    pub loc: Vec<Value>,
    /// For people.
    pub msg: String,
    /// What was found there.
    pub input: Value,
}

impl Complaint {
    /// A complaint about one place.
    #[must_use]
    pub fn new(kind: &str, loc: &[&str], msg: impl Into<String>, input: Value) -> Self {
        Self { kind: kind.into(), loc: loc.iter().map(|part| Value::from(*part)).collect(), msg: msg.into(), input }
    }

    /// The same complaint one level deeper: `place` goes right behind the first element of `loc`.
    #[must_use]
    pub fn under(mut self, place: &[Value]) -> Self {
        let at = 1.min(self.loc.len());
        self.loc.splice(at..at, place.iter().cloned());
        self
    }
}

/// Presence-aware value of an optional field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// The client did not send the field.
    #[default]
    Absent,
    /// The client sent `null`.
    Null,
    /// The client sent a value.
    Value(T),
}

impl<T> Field<T> {
    /// The value, with absent and null alike as `None`.
    #[must_use]
    pub fn some(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// Applies an update to a nullable place: absent keeps, null clears, a value replaces.
    pub fn apply(self, place: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *place = None,
            Self::Value(value) => *place = Some(value),
        }
    }

    /// True when the client sent neither null nor a value.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Maps the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Value(value) => Field::Value(f(value)),
        }
    }
}

/// A JSON object being read; complaints gather in it until [`Fields::finish`].
pub struct Fields<'a> {
    root: &'static str,
    map: &'a Map<String, Value>,
    complaints: Vec<Complaint>,
}

/// How a wanted type is named in complaints.
struct Kind {
    kind: &'static str,
    msg: &'static str,
}

const STRING: Kind = Kind { kind: "string_type", msg: "Input should be a valid string" };
const BOOL: Kind = Kind { kind: "bool_parsing", msg: "Input should be a valid boolean" };
const INT: Kind = Kind { kind: "int_parsing", msg: "Input should be a valid integer" };
const FLOAT: Kind = Kind { kind: "float_parsing", msg: "Input should be a valid number" };
const OBJECT: Kind = Kind { kind: "dict_type", msg: "Input should be a valid dictionary" };
const LIST: Kind = Kind { kind: "list_type", msg: "Input should be a valid list" };

impl<'a> Fields<'a> {
    /// Starts on a value that must be an object.
    ///
    /// # Errors
    /// One complaint when it is not.
    pub fn of(root: &'static str, value: &'a Value) -> Result<Self, Vec<Complaint>> {
        match value {
            Value::Object(map) => Ok(Self { root, map, complaints: Vec::new() }),
            other => Err(vec![Complaint::new(OBJECT.kind, &[root], OBJECT.msg, other.clone())]),
        }
    }

    /// Starts on a map, such as parsed query parameters.
    #[must_use]
    pub fn of_map(root: &'static str, map: &'a Map<String, Value>) -> Self {
        Self { root, map, complaints: Vec::new() }
    }

    /// Records a complaint about `name`.
    pub fn complain(&mut self, kind: &str, name: &str, msg: impl Into<String>) {
        let input = self.map.get(name).cloned().unwrap_or(Value::Null);
        self.complaints.push(Complaint::new(kind, &[self.root, name], msg, shorten(input)));
    }

    /// Adds complaints found elsewhere.
    pub fn add(&mut self, complaints: impl IntoIterator<Item = Complaint>) {
        self.complaints.extend(complaints);
    }

    fn read<T>(&mut self, name: &str, kind: &Kind, parse: impl FnOnce(&'a Value) -> Option<T>) -> Field<T> {
        match self.map.get(name) {
            None => Field::Absent,
            Some(Value::Null) => Field::Null,
            Some(value) => match parse(value) {
                Some(parsed) => Field::Value(parsed),
                None => {
                    self.complain(kind.kind, name, kind.msg);
                    Field::Absent
                }
            },
        }
    }

    /// The raw value.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Field<String> {
        self.read(name, &STRING, |value| value.as_str().map(str::to_owned))
    }

    /// A text of at most `max` characters.
    pub fn text_max(&mut self, name: &str, max: usize) -> Field<String> {
        let text = self.text(name);
        if let Field::Value(value) = &text
            && value.chars().count() > max
        {
            self.complain("string_too_long", name, format!("String should have at most {max} characters"));
        }
        text
    }

    /// A text that must be there and not blank.
    pub fn required_text(&mut self, name: &str, max: usize) -> String {
        match self.text_max(name, max) {
            Field::Value(text) if !text.trim().is_empty() => text,
            Field::Value(_) => {
                self.complain("string_too_short", name, "String should not be blank");
                String::new()
            }
            Field::Absent if self.map.contains_key(name) => String::new(),
            Field::Absent => {
                self.missing(name);
                String::new()
            }
            Field::Null => {
                self.complain(STRING.kind, name, STRING.msg);
                String::new()
            }
        }
    }

    /// Records that a required field is not there.
    pub fn missing(&mut self, name: &str) {
        self.complaints.push(Complaint::new(
            "missing",
            &[self.root, name],
            "Field required",
            shorten(Value::Object(self.map.clone())),
        ));
    }

    /// A boolean; `true/false/1/0/yes/no/on/off/t/f/y/n` in any case also count.
    pub fn boolean(&mut self, name: &str) -> Field<bool> {
        self.read(name, &BOOL, as_bool)
    }

    /// An integer within bounds.
    pub fn integer(&mut self, name: &str, min: i64, max: i64) -> Field<i64> {
        let number = self.read(name, &INT, as_int);
        if let Field::Value(value) = number {
            self.bounds(name, value < min, value > max, &min, &max);
        }
        number
    }

    /// A finite number within bounds.
    pub fn number(&mut self, name: &str, min: f64, max: f64) -> Field<f64> {
        let number = self.read(name, &FLOAT, as_float);
        if let Field::Value(value) = number {
            self.bounds(name, value < min, value > max, &min, &max);
        }
        number
    }

    fn bounds(&mut self, name: &str, low: bool, high: bool, min: &dyn std::fmt::Display, max: &dyn std::fmt::Display) {
        if low {
            self.complain("greater_than_equal", name, format!("Input should be greater than or equal to {min}"));
        } else if high {
            self.complain("less_than_equal", name, format!("Input should be less than or equal to {max}"));
        }
    }

    /// An object.
    pub fn object(&mut self, name: &str) -> Field<&'a Map<String, Value>> {
        self.read(name, &OBJECT, Value::as_object)
    }

    /// A list.
    pub fn list(&mut self, name: &str) -> Field<&'a Vec<Value>> {
        self.read(name, &LIST, Value::as_array)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All complaints, when there are any.
    pub fn finish(self) -> Result<(), Vec<Complaint>> {
        if self.complaints.is_empty() { Ok(()) } else { Err(self.complaints) }
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::String(word) => match word.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "guarded: integral and far inside i64")]
fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// Keeps huge inputs out of error answers.
fn shorten(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > 200 => {
            json!(format!("{}…", text.chars().take(200).collect::<String>()))
        }
        Value::Array(items) if items.len() > 8 => json!(format!("list of {} items", items.len())),
        Value::Object(_) | Value::Array(_) if value.to_string().len() > 500 => json!("…"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_coerced_and_strings_are_not() {
        let value = json!({"t": "0.5", "b": "Yes", "n": 5, "big": 1e300, "nan": "nan", "i": "7", "null": null});
        let mut fields = Fields::of("body", &value).unwrap_or_else(|_| unreachable!());
        assert_eq!(fields.number("t", 0.0, 2.0), Field::Value(0.5));
        assert_eq!(fields.boolean("b"), Field::Value(true));
        assert_eq!(fields.integer("i", 0, 9), Field::Value(7));
        assert_eq!(fields.text("null"), Field::Null);
        assert_eq!(fields.text("gone"), Field::Absent);
        assert_eq!(fields.text("n"), Field::Absent);
        assert_eq!(fields.integer("big", 0, 9), Field::Absent);
        assert_eq!(fields.number("nan", 0.0, 9.0), Field::Absent);
        let complaints = fields.finish().err().unwrap_or_default();
        let kinds: Vec<_> = complaints.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(kinds, ["string_type", "int_parsing", "float_parsing"]);
    }

    #[test]
    fn bounds_are_inclusive_and_named() {
        let value = json!({"a": 2, "b": 2.1});
        let mut fields = Fields::of("body", &value).unwrap_or_else(|_| unreachable!());
        fields.number("a", 0.0, 2.0);
        fields.number("b", 0.0, 2.0);
        let complaints = fields.finish().err().unwrap_or_default();
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].loc, vec![json!("body"), json!("b")]);
        assert_eq!(complaints[0].msg, "Input should be less than or equal to 2");
    }

    #[test]
    fn hostile_inputs_do_not_echo_whole() {
        let value = json!({"x": vec!["y"; 100_000]});
        let mut fields = Fields::of("body", &value).unwrap_or_else(|_| unreachable!());
        fields.text("x");
        let complaints = fields.finish().err().unwrap_or_default();
        assert!(serde_json::to_string(&complaints).map_or(0, |text| text.len()) < 500);
    }
}
