//! What the header of a file says about a model: sizes, and the switches in which the families differ.
//!
//! Where a file is silent, the values are those that llama.cpp assumes, so that both compute the same.

use crate::error::GgufError;
use crate::file::Header;
use crate::kernels::{Gate, MAX_WIDTH};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the families' own")]
pub enum Architecture {
    /// Llama, Mistral and what is built like them.
    Llama,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi2,
    Phi3,
}

impl Architecture {
    pub(crate) const ALL: [Self; 8] =
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma, Self::Gemma2, Self::Gemma3, Self::Phi2, Self::Phi3];

    /// The name in GGUF files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi2 => "phi2",
            Self::Phi3 => "phi3",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}

/// Sizes and switches of a model.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) architecture: Architecture,
    pub(crate) context: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    /// Numbers in a head.
    pub(crate) width: usize,
    pub(crate) vocabulary: usize,
    pub(crate) epsilon: f32,
    pub(crate) gate: Gate,
    /// What embeddings are multiplied by.
    pub(crate) embedding_scale: f32,
    /// What queries are multiplied by.
    pub(crate) query_scale: f32,
    pub(crate) attention_cap: Option<f32>,
    pub(crate) output_cap: Option<f32>,
    /// How far back the layers look that have a window.
    pub(crate) window: Option<usize>,
    /// Of so many layers, all but the last have a window.
    pub(crate) window_pattern: usize,
    pub(crate) rope: Rope,
}

/// How positions are told.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// Numbers of a head that are rotated.
    pub(crate) width: usize,
    pub(crate) base: f32,
    /// In layers with a window.
    pub(crate) window_base: f32,
    /// What positions are multiplied by in layers without a window.
    pub(crate) scale: f32,
    /// What sines and cosines are multiplied by.
    pub(crate) magnitude: f32,
    /// Whether pairs are neighbours; else half a rotation apart.
    pub(crate) neighbours: bool,
    /// The context that the model was first trained for, where it was stretched later.
    pub(crate) original_context: Option<usize>,
}

impl Shape {
    pub(crate) fn read(header: &Header) -> Result<Self, GgufError> {
        let name = header.text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let architecture = Architecture::ALL.into_iter().find(|family| family.name() == name);
        let family = architecture.ok_or_else(|| GgufError::UnsupportedArchitecture(name.chars().take(64).collect()))?;
        let get = Keys { header, prefix: name };
        if get.number("expert_count").unwrap_or(0) > 0 {
            return Err(GgufError::Unsupported("mixtures of experts".into()));
        }
        let (hidden, layers) = (get.size("embedding_length")?, get.size("block_count")?);
        let heads = get.size("attention.head_count")?;
        let key_heads = get.optional_size("attention.head_count_kv")?.unwrap_or(heads);
        let width = get.optional_size("attention.key_length")?.unwrap_or(hidden / heads);
        if get.optional_size("attention.value_length")?.is_some_and(|values| values != width) {
            return Err(GgufError::Unsupported("values of another size than keys".into()));
        }
        if heads % key_heads != 0 || width == 0 || width % 16 != 0 || width > MAX_WIDTH {
            return Err(GgufError::Unsupported(format!("{heads} heads of {width} with {key_heads} keys")));
        }
        let embedding = header.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let epsilon = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"];
        let epsilon = epsilon.into_iter().find_map(|key| get.float(key)).ok_or_else(|| missing("a norm's epsilon"))?;
        let (window, window_pattern) = match family {
            Architecture::Gemma2 => (Some(get.optional_size("attention.sliding_window")?.unwrap_or(4096)), 2),
            Architecture::Gemma3 => {
                let pattern = get.optional_size("attention.sliding_window_pattern").ok().flatten().unwrap_or(6);
                (get.optional_size("attention.sliding_window")?, pattern)
            }
            _ => (None, 1),
        };
        // The largest of the second and third generation scale by the width of the model, not of a head.
        let by_model = matches!((family, layers), (Architecture::Gemma2, 46) | (Architecture::Gemma3, 62));
        let query_scale = if by_model { hidden as f32 / heads as f32 } else { width as f32 }.sqrt().recip();
        let cap = |key, default| match family {
            Architecture::Gemma2 => Some(get.float(key).unwrap_or(default)),
            _ => None,
        };
        Ok(Self {
            architecture: family,
            context: get.size("context_length")?,
            hidden,
            layers,
            feed_forward: get.size("feed_forward_length")?,
            heads,
            key_heads,
            width,
            vocabulary: embedding.rows,
            epsilon,
            gate: if family.is_gemma() || family == Architecture::Phi2 { Gate::Gelu } else { Gate::Silu },
            embedding_scale: if family.is_gemma() { (hidden as f32).sqrt() } else { 1.0 },
            query_scale,
            attention_cap: cap("attn_logit_softcapping", 50.0),
            output_cap: cap("final_logit_softcapping", 30.0),
            window,
            window_pattern,
            rope: rope(&get, family, width)?,
        })
    }

    /// Whether a layer sees only its window.
    pub(crate) fn has_window(&self, layer: usize) -> bool {
        self.window.is_some() && layer % self.window_pattern < self.window_pattern - 1
    }

    /// Bytes that a token of context costs: keys and values as halves.
    pub(crate) fn cache_bytes_per_token(&self) -> u64 {
        2 * 2 * (self.layers * self.key_heads * self.width) as u64
    }
}

fn rope(get: &Keys<'_>, family: Architecture, width: usize) -> Result<Rope, GgufError> {
    let rotated = get.optional_size("rope.dimension_count")?.unwrap_or(width);
    if rotated > width || rotated % 2 != 0 {
        return Err(GgufError::Malformed(format!("{rotated} of {width} numbers are rotated")));
    }
    let kind = get.header.text(&get.key("rope.scaling.type")).unwrap_or("linear");
    if !["none", "linear", "longrope"].contains(&kind) {
        return Err(GgufError::Unsupported(format!(
            "positions scaled by {:?}",
            kind.chars().take(64).collect::<String>()
        )));
    }
    let factor = ["rope.scaling.factor", "rope.scale_linear"].into_iter().find_map(|key| get.float(key));
    let factor = factor.filter(|factor| *factor > 0.0 && kind != "none");
    let base = get.float("rope.freq_base").unwrap_or(10_000.0);
    let window_base = match family {
        Architecture::Gemma3 => get.float("rope.freq_base_swa").unwrap_or(10_000.0),
        _ => base,
    };
    Ok(Rope {
        width: rotated,
        base,
        window_base,
        scale: factor.map_or(1.0, f32::recip),
        magnitude: get.float("rope.scaling.attn_factor").unwrap_or(1.0),
        neighbours: family == Architecture::Llama,
        original_context: get.optional_size("rope.scaling.original_context_length")?,
    })
}

fn missing(key: &str) -> GgufError {
    GgufError::Malformed(format!("{key} is missing"))
}

/// The keys of one family.
struct Keys<'a> {
    header: &'a Header,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.header.number(&self.key(key))
    }

    fn float(&self, key: &str) -> Option<f32> {
        self.header.float(&self.key(key)).filter(|number| number.is_finite())
    }

    /// A size that has to be there.
    fn size(&self, key: &str) -> Result<usize, GgufError> {
        self.optional_size(key)?.ok_or_else(|| missing(&self.key(key)))
    }

    /// A size within every sensible bound, unless there is none.
    fn optional_size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let key = self.key(key);
        let Some(value) = self.header.get(&key) else { return Ok(None) };
        let size = value.as_u64().filter(|size| (1..=1 << 24).contains(size));
        let size = size.ok_or_else(|| GgufError::Unsupported(format!("{key} is not one sensible number")))?;
        Ok(usize::try_from(size).ok())
    }
}
