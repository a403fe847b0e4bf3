//! Model files with random weights, for tests and benches: real files with a real tokenizer, but nothing sensible to say.
//!
//! The same [`Sample`] always gives the same bytes, so that answers recorded once stay comparable.

mod vocabulary;
mod writer;

use std::io;
use std::path::Path;

use crate::model::Architecture;
use crate::quant::Quant;

use writer::Writer;

/// A model to be written.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The family.
    pub architecture: Architecture,
    /// Numbers in the stream from layer to layer.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_dim: usize,
    /// Numbers in the middle of a feed-forward part.
    pub feed_forward: usize,
    /// Tokens in the vocabulary; at least 600.
    pub vocabulary: usize,
    /// Tokens of context.
    pub context: usize,
    /// The format of matrices: `Q8_0` or `F32`.
    pub quant: Quant,
}

impl Sample {
    /// A model of a megabyte or so, with everything that the family has.
    #[must_use]
    pub fn tiny(architecture: Architecture) -> Self {
        Self {
            architecture,
            hidden: 128,
            // Of six layers of Gemma 3, one sees everything.
            layers: if architecture == Architecture::Gemma3 { 7 } else { 3 },
            heads: 4,
            kv_heads: if architecture == Architecture::Phi2 { 4 } else { 2 },
            head_dim: 32,
            feed_forward: 256,
            vocabulary: 640,
            context: 512,
            quant: Quant::Q8_0,
        }
    }

    /// A Llama of 134 million parameters, which benches run.
    #[must_use]
    pub fn rig() -> Self {
        Self {
            architecture: Architecture::Llama,
            hidden: 768,
            layers: 12,
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            feed_forward: 2048,
            vocabulary: 32_000,
            context: 2048,
            quant: Quant::Q8_0,
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut writer = Writer::default();
        self.metadata(&mut writer);
        vocabulary::write(self, &mut writer);
        self.tensors(&mut writer);
        writer.finish(path)
    }

    fn metadata(&self, writer: &mut Writer) {
        let family = self.architecture;
        let key = |key: &str| format!("{}.{key}", family.name());
        writer.text("general.architecture", family.name());
        writer.text("general.name", "sample");
        writer.number("general.quantization_version", 2);
        for (name, value) in [
            ("context_length", self.context),
            ("embedding_length", self.hidden),
            ("block_count", self.layers),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("vocab_size", self.vocabulary),
            // Phi 2 rotates a part of its heads.
            ("rope.dimension_count", if family == Architecture::Phi2 { self.head_dim / 2 } else { self.head_dim }),
        ] {
            writer.number(&key(name), value);
        }
        let base = if family == Architecture::Gemma3 { 1_000_000.0 } else { 10_000.0 };
        writer.float(&key("rope.freq_base"), base);
        let epsilon = if family == Architecture::Phi2 { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
        writer.float(&key(&format!("attention.{epsilon}")), 1e-5);
        match family {
            Architecture::Gemma2 => {
                writer.number(&key("attention.sliding_window"), 24);
                writer.float(&key("attn_logit_softcapping"), 50.0);
                writer.float(&key("final_logit_softcapping"), 30.0);
            }
            Architecture::Gemma3 => {
                writer.number(&key("attention.sliding_window"), 24);
                writer.text(&key("rope.scaling.type"), "linear");
                writer.float(&key("rope.scaling.factor"), 8.0);
            }
            Architecture::Phi3 => {
                writer.number(&key("rope.scaling.original_context_length"), 256);
                writer.float(&key("rope.scaling.attn_factor"), 1.1);
            }
            _ => {}
        }
    }

    fn tensors(&self, writer: &mut Writer) {
        let family = self.architecture;
        let gemma = matches!(family, Architecture::Gemma | Architecture::Gemma2 | Architecture::Gemma3);
        let beside = family == Architecture::Phi2;
        let (hidden, middle) = (self.hidden, self.feed_forward);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let quant = self.quant;
        // Gemma's embeddings are its output as well; large ones would have it repeat whatever it reads.
        writer.matrix("token_embd.weight", quant, hidden, self.vocabulary, if gemma { 0.1 } else { 1.0 });
        writer.vector("output_norm.weight", hidden, 1.0, 0.2);
        if !gemma {
            writer.matrix("output.weight", quant, hidden, self.vocabulary, 3.0);
        }
        if beside {
            writer.vector("output_norm.bias", hidden, 0.0, 0.2);
            writer.vector("output.bias", self.vocabulary, 0.0, 0.2);
        }
        match family {
            Architecture::Llama => writer.vector("rope_freqs.weight", self.head_dim / 2, 1.5, 0.5),
            Architecture::Phi3 => {
                writer.vector("rope_factors_short.weight", self.head_dim / 2, 1.0, 0.0);
                writer.vector("rope_factors_long.weight", self.head_dim / 2, 2.0, 1.0);
            }
            _ => {}
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            writer.vector(&name("attn_norm.weight"), hidden, 1.0, 0.2);
            match family {
                Architecture::Phi2 | Architecture::Phi3 => {
                    writer.matrix(&name("attn_qkv.weight"), quant, hidden, queries + 2 * keys, 1.0);
                }
                _ => {
                    for (part, rows) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                        writer.matrix(&name(&format!("{part}.weight")), quant, hidden, rows, 1.0);
                        if family == Architecture::Qwen2 {
                            writer.vector(&name(&format!("{part}.bias")), rows, 0.0, 0.3);
                        }
                    }
                }
            }
            if matches!(family, Architecture::Qwen3 | Architecture::Gemma3) {
                writer.vector(&name("attn_q_norm.weight"), self.head_dim, 1.0, 0.2);
                writer.vector(&name("attn_k_norm.weight"), self.head_dim, 1.0, 0.2);
            }
            // What layers add is smaller than what they are given, so that rounding adds up to little.
            writer.matrix(&name("attn_output.weight"), quant, queries, hidden, 0.5);
            if beside {
                writer.vector(&name("attn_norm.bias"), hidden, 0.0, 0.2);
                writer.vector(&name("attn_qkv.bias"), queries + 2 * keys, 0.0, 0.3);
                writer.vector(&name("attn_output.bias"), hidden, 0.0, 0.2);
                writer.vector(&name("ffn_up.bias"), middle, 0.0, 0.2);
                writer.vector(&name("ffn_down.bias"), hidden, 0.0, 0.2);
            } else {
                writer.vector(&name("ffn_norm.weight"), hidden, 1.0, 0.2);
            }
            if matches!(family, Architecture::Gemma2 | Architecture::Gemma3) {
                writer.vector(&name("post_attention_norm.weight"), hidden, 1.0, 0.2);
                writer.vector(&name("post_ffw_norm.weight"), hidden, 1.0, 0.2);
            }
            if !matches!(family, Architecture::Phi2 | Architecture::Phi3) {
                writer.matrix(&name("ffn_gate.weight"), quant, hidden, middle, 1.0);
            }
            let up = if family == Architecture::Phi3 { 2 * middle } else { middle };
            writer.matrix(&name("ffn_up.weight"), quant, hidden, up, 1.0);
            writer.matrix(&name("ffn_down.weight"), quant, middle, hidden, 0.5);
        }
    }
}
