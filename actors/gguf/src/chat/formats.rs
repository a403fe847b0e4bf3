//! Well-known formats, for files without a template or with a wrong one.

use crate::tokenizer::Tokenizer;

/// A way of writing conversations down.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) template: &'static str,
    /// Where answers end when the marks are plain text to the model.
    pub(super) stops: &'static [&'static str],
}

/// All of them.
pub(super) const ALL: [Format; 5] = [
    Format {
        name: "chatml",
        template: "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
            {% endfor %}{{ '<|im_start|>assistant\\n' }}",
        stops: &["<|im_end|>", "<|im_start|>"],
    },
    Format {
        name: "llama-2",
        template: "{% set system = namespace(text='') %}{% for message in messages %}{% if message.role == 'system' %}\
            {% set system.text = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}{% elif message.role == 'user' %}\
            {{ bos_token + '[INST] ' + system.text + message.content + ' [/INST]' }}{% set system.text = '' %}{% else %}\
            {{ ' ' + message.content + ' ' + eos_token }}{% endif %}{% endfor %}",
        stops: &["[INST]", "</s>"],
    },
    Format {
        name: "llama-3",
        template: "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' \
            + message.content + '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
        stops: &["<|eot_id|>", "<|start_header_id|>"],
    },
    Format {
        name: "alpaca",
        template: "{% for message in messages %}{% if message.role == 'system' %}{{ message.content + '\\n\\n' }}\
            {% elif message.role == 'user' %}{{ '### Instruction:\\n' + message.content + '\\n\\n' }}{% else %}\
            {{ '### Response:\\n' + message.content + eos_token + '\\n\\n' }}{% endif %}{% endfor %}{{ '### Response:\\n' }}",
        stops: &["### Instruction:", "### Response:"],
    },
    Format {
        name: "pygmalion",
        template: "{% for message in messages %}{% if message.role == 'system' %}{{ '<|system|>' + message.content }}\
            {% elif message.role == 'user' %}{{ '<|user|>' + message.content }}{% else %}{{ '<|model|>' + message.content }}\
            {% endif %}{% endfor %}{{ '<|model|>' }}",
        stops: &["<|user|>", "<|system|>", "<|model|>"],
    },
];

/// The format of this name.
pub(super) fn named(name: &str) -> Option<&'static Format> {
    const FORMATS: &[Format] = &ALL;
    FORMATS.iter().find(|format| format.name.eq_ignore_ascii_case(name))
}

/// The format that the special tokens of a file suggest.
pub(super) fn suggested(tokenizer: &Tokenizer) -> &'static Format {
    const FORMATS: &[Format] = &ALL;
    let place = if tokenizer.has_special("<|im_start|>") {
        0
    } else if tokenizer.has_special("<|start_header_id|>") {
        2
    } else {
        3
    };
    &FORMATS[place]
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::super::{ChatMessage, Role};
    use super::*;

    #[test]
    fn every_format_writes_a_conversation_down() {
        let said = [(Role::System, "S"), (Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c")];
        let messages = said.map(|(role, content)| ChatMessage::new(role, content));
        for (name, expected) in [
            (
                "chatml",
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n\
                <|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n",
            ),
            ("llama-2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST]"),
            (
                "llama-3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
                a<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|><|start_header_id|>user\
                <|end_header_id|>\n\nc<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            ("alpaca", "S\n\n### Instruction:\na\n\n### Response:\nb</s>\n\n### Instruction:\nc\n\n### Response:\n"),
            ("pygmalion", "<|system|>S<|user|>a<|model|>b<|user|>c<|model|>"),
        ] {
            let format = named(name).expect(name);
            let template = Template::new(format.template, "<s>", "</s>").expect(name);
            assert!(template.shows_system(), "{name}");
            assert_eq!(template.render(&messages).expect(name), expected, "{name}");
        }
        assert!(named("CHATML").is_some() && named("morse").is_none());
    }
}
