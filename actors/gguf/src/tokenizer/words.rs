//! Ordinary text to tokens: byte-level BPE and SentencePiece, both run by the `tokenizers` library.

use std::borrow::Cow;
use std::collections::HashMap;

use tokenizers::SplitDelimiterBehavior;
use tokenizers::models::bpe::{BpeConfig, Merges, PipelineBPE, Vocab};
use tokenizers::pipeline::{EncodeOptions, Override, PipelineModel, PipelinePreTokenizer, PipelineTokenizer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::PipelineSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::vocab::bucket_added_vocabulary::AddedVocabulary;

use super::{Kind, Pieces};
use crate::error::GgufError;
use crate::file::GgufFile;

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

// How texts are taken apart before merging. The library runs these very patterns natively.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Turns ordinary text into tokens.
pub(super) struct Words {
    tokenizer: PipelineTokenizer,
    options: EncodeOptions,
    sentence_pieces: bool,
}

impl Words {
    fn new(pre_tokenizer: PipelinePreTokenizer, config: BpeConfig, sentence_pieces: bool) -> Result<Self, GgufError> {
        let model = PipelineBPE::from_config(config).map_err(damaged)?;
        let tokenizer = PipelineTokenizer::from_parts(
            AddedVocabulary::new(),
            Vec::new(),
            pre_tokenizer,
            PipelineModel::BPE(model),
            Default::default(),
            None,
            Default::default(),
            None,
            None,
        );
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: true,
            padding: Override::Off,
            truncation: Override::Off,
        };
        Ok(Self { tokenizer, options, sentence_pieces })
    }

    pub(super) fn is_sentence_pieces(&self) -> bool {
        self.sentence_pieces
    }

    /// Appends the tokens of a text.
    pub(super) fn encode(&self, text: &str, space_prefix: bool, tokens: &mut Vec<u32>) -> Result<(), GgufError> {
        let spaced;
        let text = if self.sentence_pieces {
            spaced = format!("{}{}", if space_prefix { SPACE } else { "" }, text.replace(' ', SPACE));
            &spaced
        } else {
            text
        };
        let mut found = Vec::new();
        let done = self.tokenizer.encode_into(text, &self.options, &mut found);
        done.map_err(|_| GgufError::Failed("a text could not be encoded".into()))?;
        tokens.extend(found.into_iter().map(u32::from));
        Ok(())
    }
}

fn damaged(error: impl std::fmt::Display) -> GgufError {
    GgufError::Malformed(format!("the vocabulary is damaged: {error}"))
}

/// Byte-level BPE, with the merges of the file.
pub(super) fn byte_level(
    file: &GgufFile,
    texts: &[Cow<'_, str>],
    kinds: &[Kind],
) -> Result<(Words, Pieces), GgufError> {
    let header = file.header();
    let missing = || GgufError::Malformed("tokenizer.ggml.merges is missing".into());
    let merges = header.array("tokenizer.ggml.merges").ok_or_else(missing)?;
    let vocab = vocabulary(texts, kinds);
    let merges: Merges = merges
        .strings(file.bytes())
        .filter_map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
        .filter(|(left, right)| {
            vocab.contains_key(left) && vocab.contains_key(right) && vocab.contains_key(&format!("{left}{right}"))
        })
        .collect();
    let style = header.text("tokenizer.ggml.pre").unwrap_or("default");
    let ignore_merges = matches!(style, "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "tekken");
    let config = BpeConfig { vocab, merges, byte_level: true, ignore_merges, ..BpeConfig::default() };

    let alphabet: HashMap<char, u8> = ByteLevel::alphabet().into_iter().zip(0u8..=255).collect();
    let mut pieces = Pieces::default();
    for (text, kind) in texts.iter().zip(kinds) {
        match kind {
            Kind::Control | Kind::Unknown => pieces.push(b""),
            Kind::UserDefined => pieces.push(text.as_bytes()),
            Kind::Normal | Kind::Byte => {
                let mut bytes = Vec::new();
                for letter in text.chars() {
                    match alphabet.get(&letter) {
                        Some(byte) => bytes.push(*byte),
                        None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                pieces.push(&bytes);
            }
        }
    }
    Ok((Words::new(before_merging(style)?, config, false)?, pieces))
}

/// How texts are taken apart, by the name in the file.
fn before_merging(style: &str) -> Result<PipelinePreTokenizer, GgufError> {
    let split = |pattern: &str| {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        Split::native(pattern, SplitDelimiterBehavior::Isolated, false)
            .map(PipelinePreTokenizer::Split)
            .map_err(damaged)
    };
    match style {
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "dbrx" | "smaug-bpe" => split(LLAMA_3),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" => split(QWEN_2),
        "gpt-4o" | "llama4" => split(GPT_4O),
        "tekken" => split(TEKKEN),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
            let digits = PipelinePreTokenizer::Digits(Digits::new(true));
            Ok(PipelinePreTokenizer::Sequence(PipelineSequence::new(vec![digits, split(GPT_2)?])))
        }
        "default" | "gpt-2" | "phi-2" | "mpt" | "olmo" => split(GPT_2),
        other => {
            tracing::warn!(style = other, "unknown way of taking texts apart, taken for that of gpt-2");
            split(GPT_2)
        }
    }
}

/// SentencePiece: what is merged first is what has the highest score.
pub(super) fn sentence_pieces(
    file: &GgufFile,
    texts: &[Cow<'_, str>],
    kinds: &[Kind],
) -> Result<(Words, Pieces), GgufError> {
    let header = file.header();
    let missing = || GgufError::Malformed("tokenizer.ggml.scores is missing".into());
    let scores = header.array("tokenizer.ggml.scores").ok_or_else(missing)?;
    let scores: Vec<f32> = scores.values(file.bytes()).map(|score| score.as_f32().unwrap_or(f32::MIN)).collect();
    let vocab = vocabulary(texts, kinds);
    let mut merges = Vec::new();
    for (((id, text), kind), score) in texts.iter().enumerate().zip(kinds).zip(&scores) {
        if *kind != Kind::Normal {
            continue;
        }
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((*score, id, cut));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let cut = |(_, id, cut): (f32, usize, usize)| {
        let (left, right) = texts[id].split_at(cut);
        (left.to_owned(), right.to_owned())
    };
    let merges: Merges = merges.into_iter().map(cut).collect();
    let unknown = (texts.iter().zip(kinds)).find_map(|(text, kind)| (*kind == Kind::Unknown).then(|| text.to_string()));
    let byte_fallback = (0..=255u8).all(|byte| vocab.contains_key(&format!("<0x{byte:02X}>")));
    let unk_token = unknown.filter(|text| vocab.contains_key(text));
    let config = BpeConfig { vocab, merges, unk_token, fuse_unk: true, byte_fallback, ..BpeConfig::default() };

    let mut pieces = Pieces::default();
    for (text, kind) in texts.iter().zip(kinds) {
        match kind {
            Kind::Control => pieces.push(b""),
            Kind::Unknown => pieces.push("\u{2047}".as_bytes()),
            Kind::UserDefined | Kind::Normal => pieces.push(text.replace(SPACE, " ").as_bytes()),
            Kind::Byte => {
                let byte = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
                let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                pieces.push(&byte.map_or_else(Vec::new, |byte| vec![byte]));
            }
        }
    }
    Ok((Words::new(PipelinePreTokenizer::None, config, true)?, pieces))
}

/// The tokens that text can become. The first of several with the same text counts.
fn vocabulary(texts: &[Cow<'_, str>], kinds: &[Kind]) -> Vocab {
    let mut vocab = Vocab::default();
    for ((id, text), kind) in (0u32..).zip(texts).zip(kinds) {
        if !matches!(kind, Kind::Control) && !text.is_empty() {
            vocab.entry(text.to_string()).or_insert(id);
        }
    }
    vocab
}
