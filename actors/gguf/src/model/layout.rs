//! Where the matrices of a model lie in its file. Their shapes are checked once, here; the forward pass relies on it.

use std::ops::Range;

use fearless_simd::Level;

use super::rope::Angles;
use super::shape::{Architecture, Shape};
use crate::error::GgufError;
use crate::file::{GgufFile, Header, Tensor};
use crate::kernels::{Linear, Norm, Weights};
use crate::quant::Quant;

/// Adapters and classifiers have more dimensions, but no model has norms wider than this.
const MAX_WIDTH: usize = 1 << 20;

/// A file and what lies where in it.
pub(crate) struct Model {
    pub(crate) file: GgufFile,
    pub(crate) shape: Shape,
    pub(crate) embedding: Weights,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Norm,
    pub(crate) output: Projection,
    pub(crate) angles: Angles,
    pub(crate) window_angles: Angles,
}

/// A matrix with its bias.
pub(crate) struct Projection {
    pub(crate) weights: Weights,
    pub(crate) bias: Option<Vec<f32>>,
}

/// One layer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    pub(crate) query: Projection,
    pub(crate) key: Projection,
    pub(crate) value: Projection,
    /// Norms of single heads.
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) attention_output: Projection,
    /// After attention, before it is added.
    pub(crate) attention_post_norm: Option<Norm>,
    /// Without it, the feed-forward part runs beside attention on the same input.
    pub(crate) feed_forward_norm: Option<Norm>,
    pub(crate) gate: Option<Projection>,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
    /// After the feed-forward part, before it is added.
    pub(crate) feed_forward_post_norm: Option<Norm>,
}

impl Model {
    /// Finds everything; `context` decides between the short and the long factors of stretched models.
    pub(crate) fn new(file: GgufFile, context: usize) -> Result<Self, GgufError> {
        let shape = Shape::read(file.header())?;
        let find = Finder { file: &file, shape: &shape };
        let embedding = find.matrix("token_embd", 0..shape.vocabulary, shape.hidden, shape.vocabulary)?;
        let tied = file.header().tensor("output.weight").is_none();
        let output = match tied {
            true => Projection { weights: embedding.weights, bias: None },
            false => find.matrix("output", 0..shape.vocabulary, shape.hidden, shape.vocabulary)?,
        };
        let layers = (0..shape.layers).map(|layer| find.layer(layer)).collect::<Result<_, _>>()?;
        let output_norm = find.norm("output_norm", shape.hidden)?.ok_or_else(|| absent("output_norm.weight"))?;
        let factors = find.factors(context)?;
        let angles = Angles::new(&shape.rope, false, factors.as_deref());
        let window_angles = Angles::new(&shape.rope, true, factors.as_deref());
        let embedding = embedding.weights;
        Ok(Self { embedding, layers, output_norm, output, angles, window_angles, shape, file })
    }
}

/// Looks tensors up and checks their shapes.
struct Finder<'a> {
    file: &'a GgufFile,
    shape: &'a Shape,
}

impl Finder<'_> {
    fn layer(&self, layer: usize) -> Result<Layer, GgufError> {
        let Shape { hidden, feed_forward, heads, key_heads, width, .. } = *self.shape;
        let (queries, keys) = (heads * width, key_heads * width);
        let name = |part: &str| format!("blk.{layer}.{part}");
        let header = self.file.header();
        let (query, key, value);
        let together = name("attn_qkv");
        if header.tensor(&format!("{together}.weight")).is_some() {
            let all = queries + 2 * keys;
            query = self.matrix(&together, 0..queries, hidden, all)?;
            key = self.matrix(&together, queries..queries + keys, hidden, all)?;
            value = self.matrix(&together, queries + keys..all, hidden, all)?;
        } else {
            query = self.matrix(&name("attn_q"), 0..queries, hidden, queries)?;
            key = self.matrix(&name("attn_k"), 0..keys, hidden, keys)?;
            value = self.matrix(&name("attn_v"), 0..keys, hidden, keys)?;
        }
        let (gate, up);
        if self.shape.architecture == Architecture::Phi3 {
            let (name, both) = (name("ffn_up"), 2 * feed_forward);
            gate = Some(self.matrix(&name, 0..feed_forward, hidden, both)?);
            up = self.matrix(&name, feed_forward..both, hidden, both)?;
        } else {
            let gated = self.shape.architecture != Architecture::Phi2;
            let matrix = |part| self.matrix(&name(part), 0..feed_forward, hidden, feed_forward);
            gate = if gated { Some(matrix("ffn_gate")?) } else { None };
            up = matrix("ffn_up")?;
        }
        let norm = |part: &str, width| self.norm(&name(part), width);
        let beside = self.shape.architecture == Architecture::Phi2;
        let feed_forward_norm = norm("ffn_norm", hidden)?;
        if feed_forward_norm.is_none() && !beside {
            return Err(absent(&name("ffn_norm.weight")));
        }
        Ok(Layer {
            attention_norm: norm("attn_norm", hidden)?.ok_or_else(|| absent(&name("attn_norm.weight")))?,
            query,
            key,
            value,
            query_norm: norm("attn_q_norm", width)?,
            key_norm: norm("attn_k_norm", width)?,
            attention_output: self.matrix(&name("attn_output"), 0..hidden, queries, hidden)?,
            attention_post_norm: norm("post_attention_norm", hidden)?,
            feed_forward_norm,
            gate,
            up,
            down: self.matrix(&name("ffn_down"), 0..hidden, feed_forward, hidden)?,
            feed_forward_post_norm: norm("post_ffw_norm", hidden)?,
        })
    }

    /// Some rows of a matrix that has to be there, with the same rows of its bias.
    fn matrix(&self, name: &str, rows: Range<usize>, columns: usize, all: usize) -> Result<Projection, GgufError> {
        let weight = format!("{name}.weight");
        let tensor = self.tensor(&weight, columns, all)?.ok_or_else(|| absent(&weight))?;
        if let Quant::Other(_) = tensor.quant {
            return Err(GgufError::UnsupportedQuantization(tensor.quant));
        }
        if tensor.quant.is_integer() && !columns.is_multiple_of(32) {
            return Err(GgufError::Unsupported(format!("rows of {columns} numbers")));
        }
        let bias = self.floats(&format!("{name}.bias"), all)?.map(|bias| bias[rows.clone()].to_vec());
        Ok(Projection { weights: Weights::new(tensor, rows.start), bias })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Option<Norm>, GgufError> {
        let Some(gain) = self.floats(&format!("{name}.weight"), width)? else { return Ok(None) };
        let bias = self.floats(&format!("{name}.bias"), width)?;
        // Only Phi 2 takes the mean away.
        let bias = bias.or_else(|| (self.shape.architecture == Architecture::Phi2).then(|| vec![0.0; width]));
        Ok(Some(Norm { gain, bias, epsilon: self.shape.epsilon }))
    }

    fn factors(&self, context: usize) -> Result<Option<Vec<f32>>, GgufError> {
        let pairs = self.shape.rope.width / 2;
        let long = self.shape.rope.original_context.is_some_and(|original| context > original);
        let stretched = if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        match self.floats(stretched, pairs)? {
            Some(factors) => Ok(Some(factors)),
            None => self.floats("rope_freqs.weight", pairs),
        }
    }

    /// A small tensor as floats, if it is there.
    fn floats(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, GgufError> {
        let Some(tensor) = self.tensor(name, length, 1)? else { return Ok(None) };
        if tensor.quant.is_integer() || matches!(tensor.quant, Quant::Other(_)) || length > MAX_WIDTH {
            return Err(GgufError::UnsupportedQuantization(tensor.quant));
        }
        let mut floats = vec![0.0; length];
        Linear::new(Level::new()).row(self.file, &Weights::new(tensor, 0), 0, &mut floats);
        Ok(Some(floats))
    }

    fn tensor(&self, name: &str, columns: usize, rows: usize) -> Result<Option<Tensor>, GgufError> {
        let header: &Header = self.file.header();
        let Some(tensor) = header.tensor(name) else { return Ok(None) };
        if (tensor.columns, tensor.rows) != (columns, rows) {
            let (found_columns, found_rows) = (tensor.columns, tensor.rows);
            let text = format!("{name} is {found_columns} × {found_rows}, not {columns} × {rows}");
            return Err(GgufError::Malformed(text));
        }
        Ok(Some(tensor))
    }
}

fn absent(name: &str) -> GgufError {
    GgufError::Malformed(format!("{name} is missing"))
}
