//! What a model file is, without loading it.

use std::path::Path;

use crate::error::GgufError;
use crate::file::{GgufFile, Header};
use crate::model::{Architecture, Shape};
use crate::quant::Quant;

/// What the header of a model file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The family.
    pub architecture: Architecture,
    /// The model's own name, if it has one.
    pub name: Option<String>,
    /// The format of most of the weights, such as `q8_0`.
    pub quantization: String,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Tokens of context that it was trained for.
    pub context_length: u32,
    /// Layers.
    pub layers: u32,
    /// Heads of attention in a layer.
    pub heads: u32,
    /// Heads of keys and values in a layer.
    pub kv_heads: u32,
    /// Numbers in a head.
    pub head_dim: u32,
    /// Numbers in the stream from layer to layer.
    pub hidden: u32,
    /// Numbers in the middle of a feed-forward part.
    pub feed_forward: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes that a token of context costs: keys and values, as halves.
    pub kv_bytes_per_token: u64,
    /// The chat template (Jinja) of the file.
    pub chat_template: Option<String>,
}

/// Reads the header of a model file. Cheap, but it reads from the disk: not for an async task.
///
/// # Errors
///
/// When there is no such file, when it is damaged, or when it holds a model that this engine cannot run.
pub fn inspect(path: &Path) -> Result<Facts, GgufError> {
    let file = GgufFile::open(path)?;
    let shape = Shape::read(file.header())?;
    Facts::new(&file, &shape)
}

impl Facts {
    pub(crate) fn new(file: &GgufFile, shape: &Shape) -> Result<Self, GgufError> {
        let header = file.header();
        let numbers = |tensor: &crate::file::Tensor| tensor.rows as u64 * tensor.columns as u64;
        if let Some(tensor) = header.tensors().find(|tensor| matches!(tensor.quant, Quant::Other(_))) {
            return Err(GgufError::UnsupportedQuantization(tensor.quant));
        }
        let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Ok(Self {
            architecture: shape.architecture,
            name: header.text("general.name").map(|name| name.chars().take(256).collect()),
            quantization: most_used(header).to_string(),
            parameters: header.tensors().map(numbers).sum(),
            context_length: small(shape.context),
            layers: small(shape.layers),
            heads: small(shape.heads),
            kv_heads: small(shape.key_heads),
            head_dim: small(shape.width),
            hidden: small(shape.hidden),
            feed_forward: small(shape.feed_forward),
            vocabulary: small(shape.vocabulary),
            file_bytes: file.bytes().len() as u64,
            kv_bytes_per_token: shape.cache_bytes_per_token(),
            chat_template: header.text("tokenizer.chat_template").map(ToOwned::to_owned),
        })
    }
}

/// The format with the most numbers.
fn most_used(header: &Header) -> Quant {
    let mut counts: Vec<(Quant, u64)> = Vec::new();
    for tensor in header.tensors() {
        let numbers = tensor.rows as u64 * tensor.columns as u64;
        match counts.iter_mut().find(|(quant, _)| *quant == tensor.quant) {
            Some((_, count)) => *count += numbers,
            None => counts.push((tensor.quant, numbers)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(Quant::F32, |(quant, _)| quant)
}
