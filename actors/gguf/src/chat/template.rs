//! A chat template in Jinja, as model makers write them for the `transformers` library.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use super::{ChatMessage, Role};
use crate::error::GgufError;

/// Steps that a template may take: long conversations take some ten thousand.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat";

/// A template and what it is given besides the messages.
pub(super) struct Template {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl Template {
    pub(super) fn new(source: &str, begin: &str, end: &str) -> Result<Self, GgufError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, source.to_owned()).map_err(failed)?;
        Ok(Self { environment, begin: begin.to_owned(), end: end.to_owned() })
    }

    pub(super) fn render(&self, messages: &[ChatMessage]) -> Result<String, GgufError> {
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let message = |message: &ChatMessage| {
            Value::from_pairs([("role", message.role.name()), ("content", message.content.as_str())])
        };
        let given = context! {
            messages => messages.iter().map(message).collect::<Vec<_>>(),
            add_generation_prompt => true,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
        };
        template.render(given).map_err(failed)
    }

    /// Whether instructions show in what comes out.
    pub(super) fn shows_system(&self) -> bool {
        const PROBE: &str = "instructions-7f3a";
        let messages = [ChatMessage::new(Role::System, PROBE), ChatMessage::new(Role::User, "hello")];
        self.render(&messages).is_ok_and(|prompt| prompt.contains(PROBE))
    }
}

/// Errors tell the template's own words, never the messages.
fn failed(error: Error) -> GgufError {
    let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = error.detail().filter(|_| error.kind() != ErrorKind::InvalidOperation || is_raised(&error));
    let detail = detail.map_or_else(|| error.kind().to_string(), |detail| detail.chars().take(200).collect());
    GgufError::Template(format!("{detail}{line}"))
}

const RAISED: &str = "the template says: ";

fn is_raised(error: &Error) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with(RAISED))
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

fn strftime_now(format: String) -> Result<String, Error> {
    let now = jiff::Zoned::now();
    let text = jiff::fmt::strtime::format(&format, &now);
    text.map_err(|_| Error::new(ErrorKind::InvalidOperation, "a date could not be formatted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<ChatMessage> {
        vec![ChatMessage::new(Role::System, "be brief"), ChatMessage::new(Role::User, "Hi {{ 'there' }}")]
    }

    #[test]
    fn templates_are_rendered_as_transformers_does() {
        let source = "{{ bos_token }}{% for message in messages %}\n    {% if loop.first and message.role == 'system' %}\n\
            [{{ message['content'].strip().upper() }}]\n    {% else %}\n{{ message.role }}: {{ message.content | trim }}\n\
            {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}assistant:{% endif %}";
        let template = Template::new(source, "<s>", "</s>").expect("a template");
        let prompt = template.render(&conversation()).expect("a prompt");
        assert_eq!(prompt, "<s>[BE BRIEF]\nuser: Hi {{ 'there' }}\nassistant:");
        assert!(!template.shows_system(), "in capitals it is not recognised");
    }

    #[test]
    fn a_template_may_refuse() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}";
        let template = Template::new(source, "", "").expect("a template");
        assert!(!template.shows_system());
        let error = template.render(&conversation()).expect_err("refused");
        assert_eq!(error, GgufError::Template("the template says: no system in line 1".into()));
    }

    #[test]
    fn a_template_cannot_run_for_ever_and_errors_tell_no_messages() {
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        let template = Template::new(endless, "", "").expect("a template");
        assert!(matches!(template.render(&conversation()), Err(GgufError::Template(_))));
        let template = Template::new("{{ messages[1].content + 1 }}", "", "").expect("a template");
        let error = template.render(&conversation()).expect_err("an error").to_string();
        assert!(!error.contains("there"), "{error}");
        assert!(Template::new("{% if %}", "", "").is_err());
    }

    #[test]
    fn json_and_dates_are_there() {
        let source = "{{ {'a': [1, 'é<b>']} | tojson }} {{ strftime_now('%Y') | length }}";
        let template = Template::new(source, "", "").expect("a template");
        assert_eq!(template.render(&[]).expect("a prompt"), r#"{"a": [1, "é\u003cb\u003e"]} 4"#);
    }
}
