//! Text to tokens and back, as the file says.
//!
//! The words come from the file's vocabulary: byte-level BPE with merges (`gpt2`), or SentencePiece with scores (`llama`).
//! Special tokens are cut out of a prompt before; text that users wrote cannot become one (see [`Tokenizer::guard`]).

mod special;
mod stream;
mod words;

use crate::error::GgufError;
use crate::file::GgufFile;

pub(crate) use stream::TextStream;

use special::Specials;
use words::Words;

/// Kinds of tokens in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Byte,
}

/// A model's tokenizer.
pub(crate) struct Tokenizer {
    words: Words,
    specials: Specials,
    pieces: Pieces,
    begin: Option<u32>,
    ends: Vec<u32>,
    begin_text: String,
    end_text: String,
    /// SentencePiece: a text begins with a space, and so does what follows a special token.
    space_prefix: bool,
}

/// The bytes of every token, one behind the other.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, token: u32) -> &[u8] {
        let token = token as usize;
        let begin = token.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = begin.zip(self.ends.get(token).copied());
        range.and_then(|(begin, end)| self.bytes.get(begin..end)).unwrap_or_default()
    }
}

/// Texts of tokens that end an answer in one family or another, whatever else the file says.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<|end_of_turn|>",
];

impl Tokenizer {
    /// Reads the vocabulary of a model with room for `rows` tokens.
    pub(crate) fn read(file: &GgufFile, rows: usize) -> Result<Self, GgufError> {
        let header = file.header();
        let absent = |key: &str| GgufError::Malformed(format!("{key} is missing"));
        let tokens = header.array("tokenizer.ggml.tokens").ok_or_else(|| absent("tokenizer.ggml.tokens"))?;
        if tokens.length > rows || tokens.length == 0 {
            return Err(GgufError::Malformed(format!("{} tokens and {rows} embeddings", tokens.length)));
        }
        let texts: Vec<_> = tokens.strings(file.bytes()).collect();
        let mut kinds = vec![Kind::Normal; texts.len()];
        if let Some(array) = header.array("tokenizer.ggml.token_type") {
            for (kind, value) in kinds.iter_mut().zip(array.values(file.bytes())) {
                *kind = match value.as_u64() {
                    Some(2) => Kind::Unknown,
                    Some(3 | 5) => Kind::Control,
                    Some(4) => Kind::UserDefined,
                    Some(6) => Kind::Byte,
                    _ => Kind::Normal,
                };
            }
        }
        let (words, pieces) = match header.text("tokenizer.ggml.model") {
            Some("gpt2") => words::byte_level(file, &texts, &kinds)?,
            Some("llama") => words::sentence_pieces(file, &texts, &kinds)?,
            other => return Err(GgufError::Unsupported(format!("the tokenizer {:?}", other.unwrap_or_default()))),
        };
        let sentence_pieces = words.is_sentence_pieces();
        let id = |key: &str| {
            let id = header.number(&format!("tokenizer.ggml.{key}_token_id"))?;
            u32::try_from(id).ok().filter(|id| (*id as usize) < texts.len())
        };
        let text =
            |id: Option<u32>| id.and_then(|id| texts.get(id as usize)).map_or_else(String::new, ToString::to_string);
        let (begin, end) = (id("bos"), id("eos"));
        let ends = (0u32..).zip(&texts).zip(&kinds).filter(|((_, text), kind)| {
            matches!(kind, Kind::Control | Kind::UserDefined) && ENDS.contains(&text.as_ref())
        });
        let ends: Vec<u32> = ends.map(|((id, _), _)| id).chain(end).chain(id("eot")).chain(id("eom")).collect();
        let with_begin = header.flag("tokenizer.ggml.add_bos_token").unwrap_or_else(|| {
            sentence_pieces || matches!(header.text("tokenizer.ggml.pre"), Some("llama3" | "llama-v3" | "llama-bpe"))
        });
        let space_prefix = header.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
        Ok(Self {
            specials: Specials::new(&texts, &kinds, header.text("tokenizer.chat_template").unwrap_or_default())?,
            begin_text: text(begin),
            end_text: text(end),
            begin: begin.filter(|_| with_begin),
            ends,
            space_prefix: sentence_pieces && space_prefix,
            words,
            pieces,
        })
    }

    /// Whether a token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The texts of the tokens that begin and end a text, for templates.
    pub(crate) fn marks(&self) -> (&str, &str) {
        (&self.begin_text, &self.end_text)
    }

    /// Whether a special token has this text.
    pub(crate) fn has_special(&self, text: &str) -> bool {
        self.specials.contains(text)
    }

    /// Makes text that somebody else wrote safe: what reads like a special token stays words in [`Self::encode`].
    pub(crate) fn guard(&self, text: &str) -> String {
        self.specials.guard(text)
    }

    /// The tokens of a prompt, with special tokens where their texts stand, and the beginning mark where the model has one.
    pub(crate) fn encode(&self, prompt: &str) -> Result<Vec<u32>, GgufError> {
        let mut tokens = Vec::new();
        let mut after_special = true;
        for part in self.specials.split(prompt) {
            match &part {
                special::Part::Token(token) => tokens.push(*token),
                special::Part::Text(text) => {
                    self.words.encode(text, self.space_prefix && after_special, &mut tokens)?;
                }
            }
            after_special = matches!(part, special::Part::Token(_));
        }
        if let Some(begin) = self.begin
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    /// Turns the tokens of an answer into text, one after the other.
    pub(crate) fn stream(&self) -> TextStream<'_> {
        TextStream::new(self, self.space_prefix)
    }
}
