//! Whether a text fits its key: a pure judgement, the same for saving, validating and previewing.

use greenroom_protocol::fields::{Field, Fields};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::PromptError;
use crate::language::{Syntax, SyntaxError, fenced, one_line};
use crate::registry::{Definition, Kind};
use crate::template::{BODY_MAX, names};

/// Largest set of values for a preview, in bytes of JSON.
const VALUES_MAX: usize = 256 * 1024;

/// The judgement, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Whether it may be saved.
    pub valid: bool,
    /// Variables it must use.
    pub required_vars: Vec<String>,
    /// Variables it uses, in order of first appearance.
    pub placeholders: Vec<String>,
    /// Required and not used.
    pub missing_required: Vec<String>,
    /// Used and not known; an error for built-in keys only.
    pub unknown_placeholders: Vec<String>,
    /// What it gives with the values of the request.
    pub rendered_preview: Option<String>,
    /// Everything that is wrong, in words.
    pub errors: Vec<String>,
}

/// A text to be judged, as a client sent it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trial {
    /// The text; the one that resolves when absent.
    pub body: Option<String>,
    /// Variables it must use; the built-in prompt's when empty.
    pub required_vars: Vec<String>,
    /// Values for a preview.
    pub variables: Map<String, Value>,
}

impl Trial {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`PromptError::Invalid`] with every complaint.
    pub fn read(body: &Value) -> Result<Self, PromptError> {
        let mut fields = Fields::of("body", body).map_err(PromptError::Invalid)?;
        let text = fields.text("body").some();
        if text.as_ref().is_some_and(|text| text.len() > BODY_MAX) {
            fields.complain("string_too_long", "body", format!("A prompt has at most {BODY_MAX} bytes"));
        }
        let required_vars = names(&mut fields).some().unwrap_or_default();
        let variables = match fields.object("variables") {
            Field::Value(map) => map.clone(),
            Field::Absent | Field::Null => Map::new(),
        };
        if Value::Object(variables.clone()).to_string().len() > VALUES_MAX {
            fields.complain("too_long", "variables", format!("At most {VALUES_MAX} bytes of JSON"));
        }
        fields.finish().map_err(PromptError::Invalid)?;
        Ok(Self { body: text, required_vars, variables })
    }

    /// One value as it is put in.
    fn value(&self, name: &str, known: Option<&Definition>) -> Option<String> {
        let text = match self.variables.get(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(insert(known, name, &text))
    }
}

/// Puts a value in as its kind demands; variables of prompts that are not built in are blocks.
pub(crate) fn insert(known: Option<&Definition>, name: &str, text: &str) -> String {
    match known.map_or(Kind::Block, |known| known.kind_of(name)) {
        Kind::Block => fenced(name, text),
        Kind::Inline => one_line(text),
    }
}

/// Judges a text. `required` overrides the built-in prompt's set unless it is empty. The second value says where the text
/// is not even a template.
pub(crate) fn judge(
    body: &str,
    required: &[String],
    known: Option<&Definition>,
) -> (Validation, Result<Syntax, SyntaxError>) {
    let required_vars = match known {
        Some(known) if required.is_empty() => known.required_vars(),
        Some(_) | None => required.to_vec(),
    };
    let syntax = Syntax::parse(body);
    let placeholders = syntax.as_ref().map(Syntax::placeholders).unwrap_or_default();
    // A built-in prompt is only ever given the variables of its definition.
    let knows = |name: &String| match known {
        Some(known) => known.variables.iter().any(|variable| variable.name == *name),
        None => required_vars.contains(name),
    };
    let absent = |name: &&String| syntax.is_ok() && !placeholders.contains(*name);
    let missing: Vec<String> = required_vars.iter().filter(absent).cloned().collect();
    let unknown: Vec<String> = placeholders.iter().filter(|name| !knows(name)).cloned().collect();
    let mut errors = Vec::new();
    if body.trim().is_empty() {
        errors.push("the text is blank".to_owned());
    }
    if let Err(error) = &syntax {
        errors.push(error.to_string());
    }
    if !missing.is_empty() {
        errors.push(format!("required variables are missing: {}", missing.join(", ")));
    }
    if known.is_some() && !unknown.is_empty() {
        errors.push(format!("unknown variables: {}", unknown.join(", ")));
    }
    let judgement = Validation {
        valid: errors.is_empty(),
        required_vars,
        placeholders,
        missing_required: missing,
        unknown_placeholders: unknown,
        rendered_preview: None,
        errors,
    };
    (judgement, syntax)
}

/// Judges a trial, and renders it: always when `force`d, otherwise when it is valid and has values.
pub(crate) fn attempt(body: &str, trial: &Trial, known: Option<&Definition>, force: bool) -> Validation {
    let (mut judgement, syntax) = judge(body, &trial.required_vars, known);
    let wanted = force || (judgement.valid && !trial.variables.is_empty());
    if let (true, Ok(syntax)) = (wanted, syntax) {
        match syntax.render(|name| trial.value(name, known)) {
            Ok(text) => judgement.rendered_preview = Some(text),
            Err(missing) => {
                judgement.valid = false;
                judgement.errors.push(missing.to_string());
            }
        }
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::definition;

    fn judged(body: &str, key: &str) -> Validation {
        judge(body, &[], definition(key)).0
    }

    #[test]
    fn built_in_prompts_take_their_variables_and_no_others() {
        assert!(judged("sum up {messages}", "history.summarization.single").valid);
        let wrong = judged("sum up {message}", "history.summarization.single");
        assert_eq!(
            (wrong.missing_required, wrong.unknown_placeholders),
            (vec!["messages".into()], vec!["message".into()])
        );
        assert_eq!(wrong.errors.len(), 2);
        assert!(!judged("say {x}", "chat.tts_output_instructions").valid);
        assert!(!judged(" \n", "chat.tts_output_instructions").valid);
    }

    #[test]
    fn own_prompts_only_list_what_they_do_not_know() {
        let (own, _) = judge("{a} {b}", &["a".into()], None);
        assert!(own.valid);
        assert_eq!(own.unknown_placeholders, ["b"]);
        assert!(!judge("{b}", &["a".into()], None).0.valid);
    }

    #[test]
    fn broken_braces_are_one_error_with_a_place() {
        let broken = judged("{messages} and {", "history.summarization.single");
        assert_eq!(broken.errors, ["an opening brace without a closing one at character 15"]);
        assert!(broken.missing_required.is_empty());
    }

    #[test]
    fn a_preview_needs_all_values() {
        let trial = Trial { variables: Map::from_iter([("a".into(), Value::from(1))]), ..Trial::default() };
        assert_eq!(attempt("<{a}>", &trial, None, false).rendered_preview.map(|text| text.contains("1")), Some(true));
        let short = attempt("{a}{b}", &trial, None, true);
        assert!(!short.valid && short.errors[0].contains("{b}"), "{short:?}");
        assert_eq!(attempt("x", &Trial::default(), None, false).rendered_preview, None);
        assert_eq!(attempt("x", &Trial::default(), None, true).rendered_preview.as_deref(), Some("x"));
    }
}
