//! Answers of a wanted shape (`response_format`) from models that cannot be held to it.
//!
//! Where a provider takes the wish, it is passed on and this has no part in the turn. Elsewhere the prompt asks for it, the
//! text is kept back and checked, and the model gets one chance to mend it. What still does not fit is an error, never an
//! answer.

use greenroom_dialect::{ToolFormat, json};
use greenroom_protocol::ErrorClass;
use greenroom_provider::Engine;
use jsonschema::Validator;
use serde_json::Value;

use crate::answer::TurnFailure;
use crate::plan::TurnPlan;

/// Complaints that the model is told of.
const MOST_COMPLAINTS: usize = 5;
/// Characters of one.
const LONGEST_COMPLAINT: usize = 300;

/// Whether the wish is ours to see to: the model cannot be held to it, or only by forbidding it to call tools.
pub(crate) fn must_be_enforced(plan: &TurnPlan, engine: &Engine, calls_in_text: bool) -> bool {
    let wanted = plan.sampling.response_format.as_ref().is_some_and(|wish| wish["type"] != "text");
    let able = engine.capabilities().response_format && engine.tool_format() != ToolFormat::None;
    wanted && (calls_in_text || !able)
}

/// What the prompt says of the wish.
pub(crate) fn instructions(wish: &Value) -> String {
    let ask =
        "## Form of the answer\n\nAnswer with one JSON value and nothing else: no words around it, no code fence.";
    match wish.pointer("/json_schema/schema") {
        Some(schema) => format!("{ask} It must satisfy this JSON Schema:\n\n{schema}"),
        None => format!("{ask} It must be an object."),
    }
}

/// What the model is told when its answer does not fit. It may not have been told of the form before: its server learnt
/// only now that it cannot be held to one.
pub(crate) fn complaint(why: &str, wish: Option<&Value>) -> String {
    let form = wish.map(instructions).unwrap_or_default();
    format!(
        "That does not have the required form:\n{why}\nWrite the whole JSON value again, corrected, and nothing else.\n\n{form}"
    )
}

/// The end of a turn whose answer did not fit the second time either.
pub(crate) fn failure(why: &str) -> TurnFailure {
    let first = why.lines().next().unwrap_or_default();
    TurnFailure::new(ErrorClass::ProviderRefused, format!("the model's answer does not fit response_format: {first}"))
}

/// A wanted shape.
pub(crate) struct Shape(Option<Validator>);

impl Shape {
    /// The shape that a `response_format` asks for.
    ///
    /// # Errors
    /// When its schema is none.
    pub(crate) fn of(wish: Option<&Value>) -> Result<Self, TurnFailure> {
        let Some(schema) = wish.and_then(|wish| wish.pointer("/json_schema/schema")) else { return Ok(Self(None)) };
        // References lead nowhere but into the schema itself: nothing is fetched.
        let validator = jsonschema::options().build(schema).map_err(|error| {
            let why: String = error.to_string().chars().take(LONGEST_COMPLAINT).collect();
            TurnFailure::new(ErrorClass::InvalidRequest, format!("response_format.json_schema.schema: {why}"))
        })?;
        Ok(Self(Some(validator)))
    }

    /// The answer as JSON text of this shape.
    ///
    /// # Errors
    /// What is wrong with it, one complaint a line.
    pub(crate) fn fitted(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let (value, written) = match serde_json::from_str::<Value>(text) {
            Ok(value) => (value, text.to_owned()),
            Err(error) => {
                let value = json::repair(text).ok_or_else(|| format!("it is not JSON: {error}"))?;
                let written = value.to_string();
                (value, written)
            }
        };
        let Some(validator) = &self.0 else {
            return if value.is_object() { Ok(written) } else { Err("it is not an object".into()) };
        };
        let complaints = validator.iter_errors(&value).take(MOST_COMPLAINTS).map(|error| {
            let said = format!("{}: {error}", error.instance_path());
            said.chars().take(LONGEST_COMPLAINT).collect::<String>()
        });
        let complaints: Vec<String> = complaints.collect();
        if complaints.is_empty() { Ok(written) } else { Err(complaints.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wish() -> Value {
        json!({"type": "json_schema", "json_schema": {"name": "person", "schema": {
            "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
            "required": ["name"], "additionalProperties": false,
        }}})
    }

    #[test]
    fn an_answer_fits_or_says_why_not() {
        let shape = Shape::of(Some(&wish())).expect("a schema");
        assert_eq!(shape.fitted(r#" {"name": "Ann"} "#), Ok(r#"{"name": "Ann"}"#.to_owned()));
        assert_eq!(shape.fitted("Here:\n```json\n{\"name\": \"Ann\",}\n```"), Ok(r#"{"name":"Ann"}"#.to_owned()));
        let why = shape.fitted(r#"{"age": -1, "x": 2}"#).expect_err("three faults");
        assert!(why.lines().count() == 3 && why.contains("/age"), "{why}");
        assert!(shape.fitted("no").expect_err("no JSON").contains("not JSON"));
    }

    #[test]
    fn any_object_is_one() {
        let shape = Shape::of(Some(&json!({"type": "json_object"}))).expect("no schema");
        assert!(shape.fitted("{}").is_ok() && shape.fitted("[1]").is_err());
    }

    #[test]
    fn a_bad_schema_is_the_clients_fault_and_nothing_is_fetched() {
        for schema in [json!({"type": "no such type"}), json!({"$ref": "https://example.invalid/schema.json"})] {
            let wish = json!({"type": "json_schema", "json_schema": {"schema": schema}});
            let failure = Shape::of(Some(&wish)).err().expect("refused");
            assert_eq!(failure.class, ErrorClass::InvalidRequest);
        }
    }
}
