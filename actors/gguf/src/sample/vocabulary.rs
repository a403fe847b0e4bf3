//! Vocabularies that encode every text: SentencePiece for Llama, Gemma and Phi 3, byte-level BPE for Qwen and Phi 2.

use std::collections::HashSet;

use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Sample, Writer};
use crate::model::Architecture;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Syllables that longer pieces are made of.
const SYLLABLES: [&str; 24] = [
    "th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it", "al",
    "ar", "st", "to", "nt", "ng",
];

/// The template of all samples, in the marks of the vocabulary at hand.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
    message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
    {% endif %}";
/// Gemma knows no instructions.
const GEMMA_TEMPLATE: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not \
    supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{{ '<|im_start|>' + \
    message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>model\n' }}{% endif %}";

#[derive(Default)]
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
    known: HashSet<String>,
}

impl Tokens {
    fn push(&mut self, text: impl Into<String>, kind: i32) {
        let text = text.into();
        if self.known.insert(text.clone()) {
            self.texts.push(text);
            self.kinds.push(kind);
        }
    }
}

pub(super) fn write(sample: &Sample, writer: &mut Writer) {
    let family = sample.architecture;
    let mut tokens = Tokens::default();
    match family {
        Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Phi2 => {
            byte_level(sample.vocabulary, &mut tokens, writer);
            writer.text("tokenizer.ggml.pre", if family == Architecture::Phi2 { "phi-2" } else { "qwen2" });
        }
        _ => sentence_pieces(sample.vocabulary, &mut tokens, writer),
    }
    writer.texts("tokenizer.ggml.tokens", &tokens.texts);
    writer.kinds("tokenizer.ggml.token_type", &tokens.kinds);
    let gemma = matches!(family, Architecture::Gemma | Architecture::Gemma2 | Architecture::Gemma3);
    writer.text("tokenizer.chat_template", if gemma { GEMMA_TEMPLATE } else { TEMPLATE });
}

fn sentence_pieces(size: usize, tokens: &mut Tokens, writer: &mut Writer) {
    for (text, kind) in [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)] {
        tokens.push(text, kind);
    }
    for text in ["<|im_start|>", "<|im_end|>"] {
        tokens.push(text, CONTROL);
    }
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"), BYTE);
    }
    tokens.push("\u{2581}", NORMAL);
    for byte in b'!'..=b'~' {
        tokens.push(char::from(byte).to_string(), NORMAL);
    }
    tokens.push("é", NORMAL);
    fill(size, tokens, "\u{2581}");
    let scores: Vec<f32> = (0u16..).zip(&tokens.texts).map(|(n, _)| -f32::from(n)).collect();
    writer.text("tokenizer.ggml.model", "llama");
    writer.floats("tokenizer.ggml.scores", &scores);
    writer.number("tokenizer.ggml.unknown_token_id", 0);
    writer.number("tokenizer.ggml.bos_token_id", 1);
    writer.number("tokenizer.ggml.eos_token_id", 2);
    writer.flag("tokenizer.ggml.add_bos_token", true);
}

fn byte_level(size: usize, tokens: &mut Tokens, writer: &mut Writer) {
    let alphabet = ByteLevel::alphabet();
    for letter in alphabet {
        tokens.push(letter.to_string(), NORMAL);
    }
    fill(size - 3, tokens, &alphabet[usize::from(b' ')].to_string());
    let mut merges = Vec::new();
    for text in &tokens.texts {
        // Every piece is its head and its last letter, the head a piece itself.
        if let Some((cut, _)) = text.char_indices().next_back().filter(|(cut, _)| *cut > 0) {
            merges.push(format!("{} {}", &text[..cut], &text[cut..]));
        }
    }
    for text in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] {
        tokens.push(text, CONTROL);
    }
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.texts("tokenizer.ggml.merges", &merges);
    writer.number("tokenizer.ggml.bos_token_id", size - 3);
    writer.number("tokenizer.ggml.eos_token_id", size - 1);
    writer.flag("tokenizer.ggml.add_bos_token", false);
}

/// Fills a vocabulary up with pieces, the head of each of which is one as well.
fn fill(size: usize, tokens: &mut Tokens, space: &str) {
    let mut layer = vec![String::new(), space.to_owned()];
    while tokens.texts.len() < size {
        let mut next = Vec::new();
        for head in &layer {
            for syllable in SYLLABLES {
                let text = format!("{head}{syllable}");
                let cut = text.char_indices().next_back().map_or(0, |(cut, _)| cut);
                for text in [&text[..cut], &text] {
                    if tokens.texts.len() < size {
                        tokens.push(text, NORMAL);
                    }
                }
                next.push(text);
            }
        }
        layer = next;
    }
}
